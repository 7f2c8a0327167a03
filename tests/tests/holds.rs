//! What a person sees of a statement that waits for them is what the server gets.

use linegate_tests::under::{Under, behind, code, query, say, under};
use linegate_tests::wire::{bind, bind_formats, describe, execute, framed, parse_typed, sync};
use linegate_tests::{Options, RawClient, shop};
use serde_json::Value;

const CHANGES: &str = "UPDATE app.orders SET note = 'changed' WHERE id < $1::int";

/// Sends what waits, has it refused, and tells what a person saw of it: as JSON and as text.
fn seen(under: &Under, client: &mut RawClient, messages: &[Vec<u8>]) -> (Value, String) {
    client.send_bytes(&messages.concat());
    let hold = under.linegate.hold();
    let text = under.linegate.cli(&["holds"]).good().out;
    let id = hold["id"].as_str().expect("an id");
    let deny = ["deny", id, "--as", "user:oncall", "--reason", "no"];
    under.linegate.cli(&deny).good();
    assert_eq!(code(&client.read_to_ready()), "42501");
    (hold, text)
}

/// Sends what waits and has it approved.
fn approved(under: &Under, client: &mut RawClient, messages: &[Vec<u8>]) -> String {
    client.send_bytes(&messages.concat());
    let hold = under.linegate.hold();
    let id = hold["id"].as_str().expect("an id");
    under.linegate.cli(&["approve", id, "--as", "user:oncall"]).good();
    code(&client.read_to_ready())
}

#[test]
fn values_are_shown_as_the_server_reads_them() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let changes = |types: &[u32], formats: &[u16], value: &[u8]| {
        vec![
            parse_typed("", CHANGES, types),
            bind_formats("", "", (formats, &[value]), 0),
            execute("", 0),
            sync(),
        ]
    };
    for (types, formats, value, shown, of) in [
        (&[23][..], &[1][..], &b"0001"[..], "808464433", "integer"),
        (&[20], &[1], b"       1", "2314885530818453553", "bigint"),
        (
            &[],
            &[1],
            b"0001",
            "\\x30303031",
            "binary, of a type that is not known",
        ),
        (&[18], &[], b"9", "9", "\"char\""),
        (&[1560], &[0], b"100", "100", "bit"),
        (&[23], &[], b"5", "5", "integer"),
        (&[], &[], b"5", "5", ""),
    ] {
        let (hold, text) = seen(&under, &mut client, &changes(types, formats, value));
        assert_eq!(hold["parameters"][0], shown, "{hold}");
        assert_eq!(hold["parameter_types"][0], of, "{hold}");
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" ({of})")
        };
        assert!(text.contains(&format!("$1{of} = '{shown}'\n")), "{text}");
    }
    // Whoever asks the server for the types shows them to the approver as well.
    let prepared = [parse_typed("s", CHANGES, &[]), describe(b'S', "s"), sync()];
    assert_eq!(code(&say(&mut client, &prepared)), "no error");
    let run = [
        bind_formats("", "s", (&[1], &[b"0001"]), 0),
        execute("", 0),
        sync(),
    ];
    let (hold, _) = seen(&under, &mut client, &run);
    assert_eq!(hold["parameters"][0], "808464433", "{hold}");
    // What SQL prepared by that name since is another statement.
    let typed = [
        parse_typed(
            "t",
            "UPDATE app.orders SET note = 'changed' WHERE note > $1",
            &[25],
        ),
        sync(),
    ];
    assert_eq!(code(&say(&mut client, &typed)), "no error");
    assert_eq!(code(&client.query("DEALLOCATE t")), "no error");
    let again = "PREPARE t(int) AS UPDATE app.orders SET note = 'changed' WHERE id < $1";
    let query = |text: &str| vec![framed(b'Q', &[text.as_bytes(), &[0]].concat())];
    assert_eq!(approved(&under, &mut client, &query(again)), "no error");
    let run = [
        bind_formats("", "t", (&[1], &[b"0001"]), 0),
        execute("", 0),
        sync(),
    ];
    let (hold, _) = seen(&under, &mut client, &run);
    assert_eq!(hold["parameters"][0], "\\x30303031", "{hold}");
    assert_eq!(hold["relations"], serde_json::json!(["app.orders"]), "{hold}");
    // Nor does what SQL prepared by a name too long to be told say anything of the unnamed statement.
    let (kept, asked) = ("é".repeat(31), "é".repeat(33));
    let other = format!("PREPARE \"a{kept}\"(text) AS SELECT $1");
    assert_eq!(code(&client.query(&other)), "no error");
    let unnamed = [parse_typed("", CHANGES, &[]), sync()];
    assert_eq!(code(&say(&mut client, &unnamed)), "no error");
    let told = say(&mut client, &[describe(b'S', &format!("a{asked}")), sync()]);
    assert!(
        told.iter().any(|message| message.tag == b't'),
        "the server cuts names"
    );
    let run = [
        bind_formats("", "", (&[1], &[b"0001"]), 0),
        execute("", 0),
        sync(),
    ];
    let (hold, _) = seen(&under, &mut client, &run);
    assert_eq!(hold["parameters"][0], "\\x30303031", "{hold}");
    // What looks like another text is not shown as it.
    let text = "UPDATE app.orders SET note = '\u{202e}x' WHERE id < 9";
    let (_, text) = seen(&under, &mut client, &query(text));
    assert!(text.contains("'\u{fffd}x'"), "{text}");
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM app.orders WHERE note = 'changed'"),
        "0"
    );
}

#[test]
fn settings_that_give_a_text_another_meaning_are_shown() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let waits = [
        parse_typed("", "UPDATE app.orders SET note = 'changed'", &[]),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
    ];
    let (hold, text) = seen(&under, &mut client, &waits);
    assert_eq!(hold["settings"].as_array().map(Vec::len), Some(0), "{hold}");
    assert!(!text.contains("session set"), "{text}");
    let before = hold["digest"].clone();
    for set in ["SET transform_null_equals = on", "SET extra_float_digits = 3"] {
        assert_eq!(code(&client.query(set)), "no error");
    }
    let (hold, text) = seen(&under, &mut client, &waits);
    assert_eq!(
        hold["settings"],
        serde_json::json!(["transform_null_equals"]),
        "{hold}"
    );
    assert!(text.contains("session set transform_null_equals"), "{text}");
    assert_ne!(hold["digest"], before);
}

#[test]
fn a_portal_whose_values_nobody_saw_is_bound_again() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let prepared = [parse_typed("s", CHANGES, &[23]), sync()];
    assert_eq!(code(&say(&mut client, &prepared)), "no error");
    assert_eq!(code(&client.query("BEGIN")), "no error");
    let both = |portal: &str, value: &str| vec![bind(portal, "s", &[value], 0), sync()];
    // Holds are refused in transactions, by default.
    assert_eq!(code(&say(&mut client, &both("p", "2"))), "25001");
    client.query("ROLLBACK");
    let run = [bind("", "s", &["2"], 0), execute("", 0), sync()];
    assert_eq!(approved(&under, &mut client, &run), "no error");
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM app.orders WHERE note = 'changed'"),
        "1"
    );
    // A second portal takes the place of the first; what was approved for that is over.
    let twice = [
        bind("a", "s", &["3"], 0),
        bind("b", "s", &["4"], 0),
        execute("a", 0),
        sync(),
    ];
    client.send_bytes(&twice.concat());
    for _ in 0..2 {
        let hold = under.linegate.hold();
        let id = hold["id"].as_str().expect("an id");
        under.linegate.cli(&["approve", id, "--as", "user:oncall"]).good();
        linegate_tests::eventually("it goes on", || {
            let holds = under.linegate.cli(&["holds", "--json"]).good().json();
            (!holds.to_string().contains(id)).then_some(())
        });
    }
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM app.orders WHERE note = 'changed'"),
        "1"
    );
}

#[test]
fn what_cannot_be_shown_whole_waits_for_nobody() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let prepared = "PREPARE z AS UPDATE app.orders SET note = 'changed' WHERE id > 2";
    let query = |text: &str| vec![framed(b'Q', &[text.as_bytes(), &[0]].concat())];
    assert_eq!(approved(&under, &mut client, &query(prepared)), "no error");
    let long = "x".repeat(70_000);
    for text in [
        format!("DELETE FROM app.orders WHERE id = 1 /*{long}*/ OR true"),
        format!("EXECUTE z /*{long}*/"),
    ] {
        assert_eq!(code(&client.query(&text)), "54000");
    }
    let valued = [
        parse_typed("", "UPDATE app.orders SET note = $1 WHERE id > 2", &[]),
        bind("", "", &[&long], 0),
        execute("", 0),
        sync(),
    ];
    assert_eq!(code(&say(&mut client, &valued)), "54000");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
}

const CODE_WAITS: &str = r#"
@id("everything") permit (principal, action, resource);
@id("code-waits") @approvers("oncall") forbid (
    principal, action in [Action::"select", Action::"call", Action::"function-call", Action::"execute"], resource)
when { context.opaque } unless { context.approved };
"#;

#[test]
fn code_that_was_replaced_meanwhile_needs_another_approval() {
    let options = Options {
        policies: CODE_WAITS.to_owned(),
        ..Options::default()
    };
    let more = "CREATE TABLE app.hits (n int); CREATE TABLE app.read (n int); GRANT ALL ON app.hits TO app;
        CREATE FUNCTION app.inner() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
        CREATE FUNCTION app.outer(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN app.inner(); END'";
    let under = behind(options, more);
    let mut client = under.client();
    let replaced = "CREATE OR REPLACE FUNCTION app.inner() RETURNS int LANGUAGE plpgsql AS
        'BEGIN INSERT INTO app.hits VALUES (1); RETURN 1; END'";
    let number = under.postgres.sql("SELECT 'app.outer'::regproc::oid");
    let number: u32 = number.parse().expect("a number");
    let call = framed(
        b'F',
        &[&number.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 1, b'1', 0, 0]].concat(),
    );
    let default = "ALTER TABLE app.read ALTER n SET DEFAULT 7";
    for (question, shown) in [
        (query("SELECT app.outer(1)"), "SELECT app.outer(1)"),
        (call, "-- which is app.outer"),
    ] {
        for meanwhile in [None, Some(replaced), Some(default)] {
            client.send_bytes(&question);
            let hold = under.linegate.hold();
            let text = hold["statement"].as_str().expect("a text");
            assert!(text.contains(shown), "{text}");
            if let Some(meanwhile) = meanwhile {
                under.postgres.sql(meanwhile);
            }
            let id = hold["id"].as_str().expect("an id");
            under.linegate.cli(&["approve", id, "--as", "user:oncall"]).good();
            let expected = if meanwhile.is_some() { "42501" } else { "no error" };
            assert_eq!(code(&client.read_to_ready()), expected, "{shown}");
            assert_eq!(
                under.postgres.sql("SELECT count(*) FROM app.hits"),
                "0",
                "{shown}"
            );
            under.postgres.sql(
                "CREATE OR REPLACE FUNCTION app.inner() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
                 ALTER TABLE app.read ALTER n DROP DEFAULT",
            );
        }
    }
}
