//! The FunctionCall message: what policy permits is answered as the server answers, and is on record; the rest is refused.

use linegate_tests::wire::{error_of, framed, rows, status, tags};
use linegate_tests::{Linegate, Message, Options, Postgres, RawClient, eventually};

const LO_CREATE: u32 = 715;
const LO_OPEN: u32 = 952;
const LO_CLOSE: u32 = 953;
const LOREAD: u32 = 954;
const LOWRITE: u32 = 955;
const LO_LSEEK: u32 = 956;
const LO_UNLINK: u32 = 964;
const MD5: u32 = 2311;

/// An object's number, and 0x60000: to read and to write.
const OBJECT: [u8; 4] = 424_242_u32.to_be_bytes();
const READ_WRITE: [u8; 4] = 0x60000_u32.to_be_bytes();

/// A FunctionCall; arguments and result in binary.
fn call(function: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let count = |count: usize| u16::try_from(count).expect("few").to_be_bytes();
    let mut body = function.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 1, 0, 1]); // one format for all
    body.extend_from_slice(&count(arguments.len()));
    for argument in arguments {
        body.extend_from_slice(&u32::try_from(argument.len()).expect("short").to_be_bytes());
        body.extend_from_slice(argument);
    }
    body.extend_from_slice(&[0, 1]);
    framed(b'F', &body)
}

fn ask(client: &mut RawClient, function: u32, arguments: &[&[u8]]) -> Vec<Message> {
    client.send_bytes(&call(function, arguments));
    client.read_to_ready()
}

/// What is said to one conversation about a large object, errors and a pipeline included.
fn talk(client: &mut RawClient) -> Vec<(u8, Vec<u8>)> {
    let zero = 0_u32.to_be_bytes();
    let mut said = client.query("BEGIN");
    said.extend(ask(client, LO_CREATE, &[&OBJECT]));
    said.extend(ask(client, LO_OPEN, &[&OBJECT, &READ_WRITE]));
    // Without waiting: write, back to the start, read, close.
    let pipeline = [
        call(LOWRITE, &[&zero, b"a large object\0\xff"]),
        call(LO_LSEEK, &[&zero, &zero, &zero]),
        call(LOREAD, &[&zero, &100_u32.to_be_bytes()]),
        call(LO_CLOSE, &[&zero]),
    ];
    client.send_bytes(&pipeline.concat());
    for _ in pipeline {
        said.extend(client.read_to_ready());
    }
    said.extend(client.query("COMMIT"));
    said.extend(ask(client, MD5, &[b"x"]));
    said.extend(ask(client, LO_UNLINK, &[&OBJECT]));
    said.extend(ask(client, LO_UNLINK, &[&OBJECT])); // an error of the server's
    said.extend(ask(client, 0, &[])); // no such function
    said.extend(client.query("SELECT 1"));
    said.into_iter()
        .map(|message| (message.tag, message.body))
        .collect()
}

fn with_policies(postgres: &Postgres, policies: &str) -> (Linegate, RawClient) {
    let options = Options {
        policies: format!("permit (principal, action, resource);\n{policies}"),
        ..Options::default()
    };
    let linegate = Linegate::start_with(postgres, options);
    let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let client = linegate.client(&lease);
    (linegate, client)
}

#[test]
fn what_policy_permits_is_answered_as_the_server_answers_and_recorded() {
    let postgres = Postgres::start();
    let direct = talk(&mut RawClient::login(postgres.port(), "app_trust", "", "shop"));
    let (linegate, mut client) = with_policies(&postgres, "");
    let via = talk(&mut client);
    assert!(
        direct.iter().filter(|(tag, _)| *tag == b'V').count() >= 8,
        "{direct:?}"
    );
    assert_eq!(direct, via);
    linegate.assert_unharmed();
    drop(client);
    eventually("both calls are on record", || {
        let said = linegate.cli(&["audit", "statements", "--json"]).good();
        let texts = ["FunctionCall 955", "FunctionCall 2311"];
        texts.iter().all(|text| said.out.contains(text)).then_some(())
    });
}

#[test]
fn large_objects_are_known_by_number_and_any_other_function_is_what_a_do_block_is() {
    let postgres = Postgres::start();
    let numbers = postgres.sql(
        "SELECT oid FROM pg_proc WHERE proname ~ '^lo(_|read|write)' AND pronamespace = 'pg_catalog'::regnamespace",
    );
    let (linegate, mut client) = with_policies(
        &postgres,
        "forbid (principal, action == Action::\"execute\", resource);",
    );
    assert!(numbers.lines().count() >= 20, "{numbers}");
    for number in numbers.lines() {
        let answer = ask(&mut client, number.parse().expect("an OID"), &[]);
        // The server tells the place in its sources: too few arguments, or not for this role.
        let file = answer.iter().find_map(|message| message.field(b'F'));
        assert!(file.is_some(), "{number} did not reach the server: {answer:?}");
    }
    let answer = ask(&mut client, MD5, &[b"x"]);
    assert_eq!(error_of(&answer).expect("refused").0, "42501");
    linegate.assert_unharmed();
}

#[test]
fn what_policy_refuses_never_reaches_the_server_and_the_session_goes_on() {
    let postgres = Postgres::start();
    for action in ["function-call", "server"] {
        let policy = format!("forbid (principal, action == Action::\"{action}\", resource);");
        let (linegate, mut client) = with_policies(&postgres, &policy);
        client.query("BEGIN");
        let answer = ask(&mut client, LO_CREATE, &[&OBJECT]);
        assert_eq!(tags(&answer), "EZ", "{action}");
        assert_eq!(error_of(&answer).expect("refused").0, "42501");
        assert_eq!(status(&answer), Some('T'), "the server knows of nothing");
        assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
        client.query("COMMIT");
        assert_eq!(postgres.sql("SELECT count(*) FROM pg_largeobject_metadata"), "0");
        linegate.assert_unharmed();
    }
}

#[test]
fn a_result_is_charged_as_a_row() {
    let postgres = Postgres::start();
    let options = Options {
        policies: "@id(\"few\") @budget_rows(\"2\") permit (principal, action, resource);".to_owned(),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    let mut client = linegate.client(&linegate.lease("workload:ci-runner", &[], "all"));
    for _ in 0..2 {
        assert_eq!(tags(&ask(&mut client, MD5, &[b"x"])), "VZ");
    }
    let answer = ask(&mut client, MD5, &[b"x"]);
    assert_eq!(tags(&answer), "EZ");
    assert_eq!(error_of(&answer).expect("used up").0, "54000");
    linegate.assert_unharmed();
}
