//! A client that knows how linegate keeps its books: messages that the server throws away, copies nobody reads, startup
//! options, and a data plane that dies in a counted transaction.

use std::time::Duration;

use linegate_tests::shop::{self};
use linegate_tests::under::{assert_nothing_raw, code, query, say, under};
use linegate_tests::wire::{self, bind, describe, execute, parse, rows, status, sync, tags};
use linegate_tests::{Linegate, Postgres, eventually};

#[test]
fn what_the_server_throws_away_leaves_no_answer_to_wait_for() {
    let under = under(shop::POLICIES);
    // Behind an error of the extended protocol, all is ignored up to Sync, a Query as well.
    let mut client = under.client();
    client.send_bytes(
        &[
            parse("", "SELECT 1 / (id - id) FROM app.orders"),
            bind("", "", &[], 0),
            execute("", 0),
            wire::framed(b'H', &[]),
        ]
        .concat(),
    );
    client.read_to(b'E');
    client.send_bytes(
        &[
            query("SELECT 'one' AS a"),
            query("SELECT 'two' AS a"),
            sync(),
            query("SELECT card_number || '' FROM app.customers"),
        ]
        .concat(),
    );
    let first = client.read_to_ready();
    assert_eq!(tags(&first), "Z", "only Sync is answered");
    let second = client.read_to_ready();
    assert_nothing_raw("behind ignored queries", &second);
    assert_eq!(rows(&second).len(), 3, "{:?}", tags(&second));
    assert_eq!(rows(&client.query("SELECT 'usable'")), [["usable"]]);

    // In the middle of COPY data, another message is thrown away with the COPY.
    for after in [false, true] {
        let mut client = under.client();
        let confusing = [
            query("SELECT 'one' AS a"),
            query("SELECT card_number || '' FROM app.customers"),
        ]
        .concat();
        client.send_query("COPY app.scratch FROM STDIN");
        if after {
            client.read_to(b'G');
        }
        let _ = client.try_send_bytes(&confusing);
        let answer = client.read_to_end();
        assert_nothing_raw("in the middle of COPY", &answer);
        assert!(rows(&answer).is_empty(), "{:?}", tags(&answer));
    }
    // Honest COPY, data and next query at once.
    let mut client = under.client();
    client.send_bytes(
        &[
            query("COPY app.scratch FROM STDIN"),
            wire::framed(b'd', b"1\n2\n"),
            wire::framed(b'c', &[]),
            query("SELECT count(*) FROM app.scratch"),
        ]
        .concat(),
    );
    assert_eq!(tags(&client.read_to_ready()), "GCZ");
    assert_eq!(rows(&client.read_to_ready()), [["2"]]);
    let failed = client.query("COPY app.nowhere FROM STDIN");
    assert_eq!(code(&failed), "42P01");
    let series = [
        parse("", "COPY app.scratch FROM STDIN"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
        wire::framed(b'd', b"3\n"),
        wire::framed(b'c', &[]),
        sync(),
        query("SELECT count(*) FROM app.scratch"),
    ];
    client.send_bytes(&series.concat());
    assert_eq!(tags(&client.read_to_ready()), "12GCZ");
    assert_eq!(rows(&client.read_to_ready()), [["3"]]);
    under.linegate.assert_unharmed();
}

#[test]
fn answers_stay_with_their_questions_whatever_stands_among_copy_data() {
    let under = under(shop::POLICIES);
    let hidden = || query("SELECT card_number || '' FROM app.customers");
    let data = |text: &str| wire::framed(b'd', text.as_bytes());
    let end = || wire::framed(b'c', &[]);
    // Two COPY in one Query: a Sync in the data of the second is nobody's question.
    let copies = || query("COPY app.scratch FROM STDIN; COPY app.scratch FROM STDIN");
    for at_once in [true, false] {
        let mut client = under.client();
        let parts = [vec![copies(), end()], vec![sync()], vec![data("1\n"), end()]];
        if at_once {
            client.send_bytes(&parts.concat().concat());
        } else {
            for part in parts {
                client.send_bytes(&part.concat());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        assert_eq!(tags(&client.read_to_ready()), "GCGCZ");
        assert_eq!(code(&client.query("SELECT 1 / 0")), "22012");
        client.send_bytes(&[hidden(), query("SELECT 'one'")].concat());
        assert_nothing_raw("behind two COPY", &client.read_to_ready());
        assert_eq!(rows(&client.read_to_ready()), [["one"]]);
    }
    // One end of data for two COPY, and another message behind: nobody waits for ever.
    let mut client = under.client();
    client.send_bytes(&[copies(), end(), query("SELECT 1")].concat());
    assert_eq!(code(&client.read_to_end()), "08P01");
    eventually("the server has let go", || {
        let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY app.scratch%'";
        (under.postgres.sql(runs) == "0").then_some(())
    });
    // A COPY that fails by its data, with a Sync among them.
    let series = || {
        let parts = [
            parse("", "COPY app.scratch FROM STDIN"),
            bind("", "", &[], 0),
            execute("", 0),
            data("none\n"),
            sync(),
        ];
        let rest = [end(), sync(), hidden(), query("SELECT 'one'")];
        [parts.concat(), data("1\n").repeat(2000), rest.concat()].concat()
    };
    for _ in 0..5 {
        let mut client = under.client();
        client.send_bytes(&series());
        assert_eq!(tags(&client.read_to_ready()), "12GEZ");
        // The first Sync is answered where the server has failed before it came.
        let mut answer = client.read_to_ready();
        if tags(&answer) == "Z" {
            answer = client.read_to_ready();
        }
        assert_nothing_raw("behind a COPY that failed", &answer);
        assert_eq!(rows(&answer).len(), 3);
        assert_eq!(rows(&client.read_to_ready()), [["one"]]);
    }
    // What EXECUTE runs may be a COPY that was prepared by Parse.
    let mut client = under.client();
    let prepare = parse("k", "COPY app.scratch FROM STDIN");
    assert_eq!(tags(&say(&mut client, &[prepare, sync()])), "1Z");
    client.send_bytes(&[query("EXECUTE k"), data("5\n"), end(), hidden()].concat());
    assert_eq!(tags(&client.read_to_ready()), "GCZ");
    assert_nothing_raw("behind EXECUTE of COPY", &client.read_to_ready());
    client.send_bytes(&[query("EXECUTE k"), hidden()].concat());
    let answer = client.read_to_end();
    assert!(rows(&answer).is_empty(), "{:?}", tags(&answer));
    under.linegate.assert_unharmed();
}

#[test]
fn startup_options_name_neither_another_database_nor_another_user() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let psql = |options: &str| {
        linegate
            .psql_command(&lease)
            .env("PGOPTIONS", options)
            .args(["-Atc", "SELECT current_database()"])
            .output()
            .expect("psql runs")
    };
    assert_eq!(psql("-c geqo=off").stdout, b"shop\n");
    for options in [
        "-c database=postgres",
        "--database=postgres",
        "--user=postgres",
        "--replication=database",
        "-c options=-csession_replication_role=replica",
        "-c Database=postgres",
    ] {
        let refused = psql(options);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("of the startup options only"), "{options}: {said}");
    }
}

#[test]
fn data_that_nobody_will_send_are_not_waited_for() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut client = linegate.client(&lease);
    let began = std::time::Instant::now();
    client.send_query(
        "SELECT 'ok' AS begin; CREATE TABLE app.lines (line text); INSERT INTO app.lines VALUES ('x'); \
         COPY app.lines FROM STDIN; UPDATE app.lines SET line = 'y' WHERE line = 'x'; SELECT 'ok' AS done",
    );
    let told = client.read_to_end();
    let errors: Vec<_> = told.iter().filter(|message| message.tag == b'E').collect();
    assert!(began.elapsed() < Duration::from_secs(10));
    let last = errors.last().expect("an error");
    let said = (last.field(b'S'), last.field(b'C'));
    assert_eq!(
        said,
        (Some("FATAL".into()), Some("0A000".into())),
        "{}",
        tags(&told)
    );
    let left = || {
        let found = postgres
            .sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%app.lines%' AND state = 'active'");
        (found.trim() == "1").then_some(()) // this one
    };
    eventually("the server's side of it ends", left);
    let mut other = linegate.client(&lease);
    assert_eq!(rows(&other.query("SELECT 1 AS a")), [["1"]]);
}

#[test]
fn a_refused_query_stands_where_the_servers_error_would() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let insert = |id: u32| {
        [
            parse("", &format!("INSERT INTO app.scratch VALUES ({id})")),
            bind("", "", &[], 0),
            execute("", 0),
        ]
        .concat()
    };
    // Behind an error, it is not looked at.
    let read = [
        parse("", "SELECT 'x'"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
    ];
    let refused = || query("CREATE ROLE somebody");
    let series = [describe(b'S', "nothing"), refused(), read.concat()];
    assert_eq!(tags(&say(&mut client, &series)), "EZ");
    // Behind an Execute without a Sync, it undoes what ran.
    assert_eq!(tags(&say(&mut client, &[insert(1), refused()])), "12CEZ");
    assert_eq!(rows(&client.query("SELECT count(*) FROM app.scratch")), [["0"]]);
    assert_eq!(tags(&say(&mut client, &[insert(2), sync()])), "12CZ");
    assert_eq!(rows(&client.query("SELECT count(*) FROM app.scratch")), [["1"]]);
}

#[test]
fn a_killed_data_plane_leaves_no_half_of_a_counted_transaction() {
    let policies =
        "@id(\"some\") @budget_changed(\"100\") permit (principal in Group::\"ci\", action, resource);";
    let mut under = under(policies);
    let mut own = under.client();
    let mut block = under.client();
    own.query("INSERT INTO app.scratch VALUES (1)");
    assert_eq!(status(&block.query("BEGIN")), Some('T'));
    block.query("INSERT INTO app.scratch VALUES (2), (3)");
    // Outside a block, in one of linegate's own.
    own.send_query("INSERT INTO app.scratch SELECT n FROM generate_series(4, 9) n, pg_sleep(2)");
    eventually("it runs", || {
        let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series(4, 9)%' AND wait_event = 'PgSleep'";
        (under.postgres.sql(runs) == "1").then_some(())
    });
    std::thread::sleep(Duration::from_secs(1)); // what is on its way to the disk gets there
    under.linegate.kill("linegated");
    assert_ne!(under.linegate.wait(), Some(0));
    eventually("the server has noticed", || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%lg_%'";
        (under.postgres.sql(left) == "0").then_some(())
    });
    assert_eq!(under.postgres.sql("SELECT array_agg(id) FROM app.scratch"), "{1}");

    under.linegate.start_again();
    let verified = under.linegate.cli(&["audit", "verify"]);
    assert!(verified.ok, "what was recorded is whole: {}", verified.all());
    let statements = under.linegate.cli(&["audit", "statements"]).good().out;
    for text in ["VALUES (1)", "VALUES (2), (3)", "generate_series(4, 9)"] {
        assert!(statements.contains(text), "{text} is on record:\n{statements}");
    }
    let lease = under.linegate.lease("workload:ci-runner", &[], "all");
    let mut client = under.linegate.client(&lease);
    assert_eq!(rows(&client.query("SELECT id FROM app.scratch")), [["1"]]);
}

#[test]
fn texts_that_are_kept_have_a_limit() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let long = format!("SELECT 1 /*{}*/", "x".repeat(1_000_000));
    let mut prepare = |number: usize| {
        let messages = [parse(&format!("s{number}"), &long), sync()];
        code(&say(&mut client, &messages))
    };
    let codes: Vec<String> = (0..35).map(&mut prepare).collect();
    assert_eq!(codes[..33], ["no error"; 33]);
    assert_eq!(codes[33..], ["54000"; 2], "32 MiB are full");
    let closed = say(&mut client, &[wire::framed(b'C', b"Ss0\0"), sync()]);
    assert_eq!(code(&closed), "no error");
    let again = say(&mut client, &[parse("again", &long), sync()]);
    assert_eq!(code(&again), "no error", "there is room again");
    under.linegate.assert_unharmed();
}
