//! A client that knows how linegate keeps its books: names that change their meaning, messages that the server throws away,
//! policies, catalogs and settings that change between deciding and running.

use std::time::Duration;

use linegate_tests::shop::{self, CARDS, SSNS};
use linegate_tests::wire::{self, bind, describe, error_of, execute, parse, rows, status, sync, tags};
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, RawClient, eventually};
use rustix::process::Signal;

struct Under {
    postgres: Postgres,
    linegate: Linegate,
    lease: Lease,
}

impl Under {
    fn client(&self) -> RawClient {
        self.linegate.client(&self.lease)
    }

    /// Other policies from now on; `in_force` tells when they are.
    fn reload(&self, policies: &str, mut in_force: impl FnMut() -> bool) {
        let file = self
            .linegate
            .config()
            .with_file_name("policies")
            .join("shop.cedar");
        std::fs::write(file, policies).expect("our own directory");
        self.linegate.tell(Signal::HUP);
        eventually("the policies are in force", || in_force().then_some(()));
    }
}

fn under(policies: &str) -> Under {
    let postgres = Postgres::start();
    let options = Options {
        policies: policies.to_owned(),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    Under {
        postgres,
        linegate,
        lease,
    }
}

/// The shop's policies and more.
fn with(more: &str) -> String {
    format!("{}\n{more}", shop::POLICIES)
}

fn assert_nothing_raw(what: &str, messages: &[Message]) {
    for message in messages {
        let text = String::from_utf8_lossy(&message.body);
        for raw in CARDS.iter().chain(&SSNS) {
            assert!(
                !text.contains(raw),
                "{what}: {:?} shows {raw}",
                char::from(message.tag)
            );
        }
    }
}

fn code(messages: &[Message]) -> String {
    error_of(messages).map_or_else(|| "no error".to_owned(), |(code, _)| code)
}

fn say(client: &mut RawClient, messages: &[Vec<u8>]) -> Vec<Message> {
    client.send_bytes(&messages.concat());
    client.read_to_ready()
}

fn query(sql: &str) -> Vec<u8> {
    wire::framed(b'Q', &wire::c_string(sql))
}

#[test]
fn what_waits_for_a_person_at_bind_waits_at_execute_as_well() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    assert_eq!(
        tags(&say(&mut client, &[parse("t", "TRUNCATE app.orders"), sync()])),
        "1Z"
    );
    for sql in ["EXECUTE t", "SELECT 1; EXECUTE t"] {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| client.query(sql));
            let hold = under.linegate.hold();
            if sql == "EXECUTE t" {
                let shown = hold["statement"].as_str().expect("a text");
                assert!(
                    shown.contains("TRUNCATE app.orders"),
                    "the approver sees what it runs: {shown}"
                );
            }
            let id = hold["id"].as_str().expect("a hold has an id");
            under
                .linegate
                .cli(&["deny", id, "--as", "user:oncall", "--reason", "no"])
                .good();
            assert_eq!(code(&waiting.join().expect("it is told")), "42501", "{sql}");
        });
    }
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
    assert_eq!(rows(&client.query("SELECT 'usable'")), [["usable"]]);
}

#[test]
fn what_is_run_by_name_is_decided_by_the_policies_in_force() {
    let forbids = with("@id(\"no\") forbid (principal in Group::\"ci\", action in [Action::\"delete\", Action::\"select\"], resource)
        when { resource is Table && resource.name == \"orders\" };");
    let under = under(shop::POLICIES);
    let mut client = under.client();
    let mut other = under.client();
    client.query("PREPARE d AS DELETE FROM app.orders WHERE id = 1");
    say(
        &mut client,
        &[parse("e", "DELETE FROM app.orders WHERE id = 2"), sync()],
    );
    client.query("BEGIN");
    client.query("DECLARE c CURSOR FOR SELECT id FROM app.orders");
    let some = [
        parse("", "SELECT id FROM app.orders ORDER BY id"),
        bind("p", "", &[], 0),
        execute("p", 1),
        sync(),
    ];
    assert_eq!(rows(&say(&mut client, &some)), [["1"]]);
    under.reload(&forbids, || {
        code(&other.query("SELECT id FROM app.orders")) == "42501"
    });
    client.query("SAVEPOINT a");
    let refused = [
        ("EXECUTE", query("EXECUTE d")),
        ("EXPLAIN", query("EXPLAIN ANALYZE EXECUTE d")),
        ("of the protocol", query("EXECUTE e")),
        ("Bind", [bind("", "e", &[], 0), execute("", 0), sync()].concat()),
        (
            "Bind by name",
            [bind("", "d", &[], 0), execute("", 0), sync()].concat(),
        ),
        ("FETCH", query("FETCH ALL FROM c")),
        ("Execute", [execute("p", 0), sync()].concat()),
        ("FETCH of a portal", query("FETCH ALL FROM p")),
    ];
    for (what, bytes) in refused {
        let answer = say(&mut client, &[bytes]);
        // EXPLAIN is refused for what it is as well.
        assert!(
            matches!(code(&answer).as_str(), "42501" | "0A000"),
            "{what}: {:?}",
            error_of(&answer)
        );
        assert!(rows(&answer).is_empty(), "{what}");
        client.query("ROLLBACK TO SAVEPOINT a");
    }
    client.query("COMMIT");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
}

#[test]
fn a_portal_that_was_bound_without_a_mask_is_masked_when_there_is_one() {
    let raw =
        with("@id(\"raw\") permit (principal in Group::\"ci\", action == Action::\"read_raw\", resource);");
    let under = under(&raw);
    let mut client = under.client();
    let mut other = under.client();
    client.query("PREPARE d AS SELECT card_number || '' FROM app.customers");
    client.query("BEGIN");
    client.query("DECLARE c CURSOR FOR SELECT card_number || '', ssn FROM app.customers");
    let some = [
        parse(
            "s",
            "SELECT card_number, ssn || '' FROM app.customers ORDER BY id",
        ),
        bind("p", "s", &[], 0),
        describe(b'P', "p"),
        execute("p", 1),
        sync(),
    ];
    let seen = rows(&say(&mut client, &some));
    assert_eq!(seen[0][0], CARDS[0], "nothing is masked yet");
    under.reload(shop::POLICIES, || {
        !rows(&other.query("SELECT card_number FROM app.customers"))
            .concat()
            .concat()
            .contains(CARDS[0])
    });
    client.query("SAVEPOINT a");
    for (what, bytes) in [
        ("Execute", [execute("p", 0), sync()].concat()),
        (
            "Describe, Execute",
            [describe(b'P', "p"), execute("p", 0), sync()].concat(),
        ),
        ("Bind", [bind("", "s", &[], 0), execute("", 0), sync()].concat()),
        ("FETCH", query("FETCH ALL FROM c")),
        ("FETCH of a portal", query("FETCH ALL FROM p")),
        ("EXECUTE", query("EXECUTE d")),
        (
            "Bind by name",
            [bind("", "d", &[], 0), execute("", 0), sync()].concat(),
        ),
    ] {
        assert_nothing_raw(what, &say(&mut client, &[bytes]));
        client.query("ROLLBACK TO SAVEPOINT a");
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_decision_is_of_one_version_of_the_policies() {
    // Under the first rules the statement is refused, under the second ones it runs; only a mixture would have it wait.
    let first = with(
        "@id(\"rule\") forbid (principal in Group::\"ci\", action == Action::\"select\", resource)
        when { resource is Table && resource.name == \"orders\" };",
    );
    let second = with(
        "@id(\"rule\") @approvers(\"oncall\") forbid (principal in Group::\"ci\", action == Action::\"lock\", resource) unless { context.approved };",
    );
    let under = under(&first);
    let mut client = under.client();
    let mut other = under.client();
    assert_eq!(code(&client.query("SELECT id FROM app.orders")), "42501");
    std::thread::scope(|scope| {
        // While nobody can read the catalog, the statement waits between the check of the policies and its decision.
        let holder = scope.spawn(|| {
            under.postgres.sql(
                "BEGIN; LOCK TABLE pg_catalog.pg_inherits IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT",
            )
        });
        eventually("the lock is held", || {
            let held = "SELECT count(*) FROM pg_locks WHERE relation = 'pg_inherits'::regclass AND mode LIKE 'AccessExcl%' AND granted";
            (under.postgres.sql(held) == "1").then_some(())
        });
        assert_eq!(code(&client.query("CREATE SCHEMA changes_something")), "no error");
        client.send_query("SELECT count(*) FROM app.orders");
        std::thread::sleep(Duration::from_millis(300));
        let file = under
            .linegate
            .config()
            .with_file_name("policies")
            .join("shop.cedar");
        std::fs::write(file, &second).expect("our own directory");
        under.linegate.tell(Signal::HUP);
        let answer = client.read_to_ready();
        assert_eq!(under.linegate.holds_count(), 0);
        assert_eq!(
            (code(&answer), rows(&answer)),
            ("no error".to_owned(), vec![vec!["1000".to_owned()]])
        );
        holder.join().expect("the lock is given back");
    });
    assert_eq!(rows(&other.query("SELECT 1")), [["1"]]);
}

#[test]
fn text_that_the_server_read_in_another_way_is_never_read_here() {
    let policies = r#"
        @id("all") permit (principal in Group::"ci", action, resource);
    "#;
    let stricter = r#"
        @id("all") permit (principal in Group::"ci", action, resource);
        @id("no") forbid (principal in Group::"ci", action in [Action::"delete", Action::"unreadable"], resource);
    "#;
    let under = under(policies);
    let mut client = under.client();
    let mut other = under.client();
    // Read with standard strings, it selects; the server's reading deletes.
    let text = r"WITH a AS (SELECT '\' AS x, $$' AS y), b AS (DELETE FROM app.orders WHERE id = 1 RETURNING id) SELECT 1 --$$ ) SELECT 'x'";
    client.query("SET standard_conforming_strings = off");
    let prepared = say(&mut client, &[parse("s", text), sync()]);
    client.query(r"PREPARE t AS SELECT '\'', 1");
    client.query("SET standard_conforming_strings = on");
    under.reload(stricter, || {
        code(&other.query("DELETE FROM app.orders WHERE id = 5000")) == "42501"
    });
    if tags(&prepared).starts_with('1') {
        let answer = say(&mut client, &[bind("", "s", &[], 0), execute("", 0), sync()]);
        assert_eq!(code(&answer), "42501");
    }
    assert_eq!(code(&client.query("EXECUTE s")), "42501");
    assert_eq!(
        code(&client.query("EXECUTE t")),
        "42501",
        "nobody knows what it is"
    );
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
}

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
fn an_approval_is_for_what_ran_when_it_was_given() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    client.send_bytes(
        &[
            parse("p", "TRUNCATE app.scratch"),
            parse("x", "EXECUTE p"),
            bind("X", "x", &[], 0),
            wire::framed(b'H', &[]),
        ]
        .concat(),
    );
    let approve = || {
        let hold = under.linegate.hold();
        let id = hold["id"].as_str().expect("a hold has an id").to_owned();
        under
            .linegate
            .cli(&["approve", &id, "--as", "user:oncall"])
            .good();
        hold["statement"].as_str().expect("a text").to_owned()
    };
    assert!(approve().contains("app.scratch"));
    client.read_to(b'2');
    client.send_bytes(
        &[
            wire::framed(b'C', b"Sp\0"),
            parse("p", "TRUNCATE app.orders"),
            execute("X", 0),
            sync(),
        ]
        .concat(),
    );
    let hold = under.linegate.hold();
    let shown = hold["statement"].as_str().expect("a text");
    assert!(
        shown.contains("TRUNCATE app.orders"),
        "it is asked again: {shown}"
    );
    let id = hold["id"].as_str().expect("a hold has an id");
    under
        .linegate
        .cli(&["deny", id, "--as", "user:oncall", "--reason", "no"])
        .good();
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
    // What was approved runs.
    client.send_bytes(
        &[
            parse("", "EXECUTE p"),
            bind("", "", &[], 0),
            wire::framed(b'H', &[]),
        ]
        .concat(),
    );
    assert!(approve().contains("app.orders"));
    client.send_bytes(&[execute("", 0), sync()].concat());
    assert_eq!(tags(&client.read_to_ready()), "1N2CZ");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "0");
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
fn what_a_transaction_has_made_is_shown_and_holds_nothing_labelled() {
    let under = under(shop::POLICIES);
    let mut client = under.client();
    client.query("BEGIN");
    client.query("CREATE TABLE app.made (id int, note text)");
    client.query("INSERT INTO app.made VALUES (1, 'mine')");
    assert_eq!(
        rows(&client.query("SELECT id, note FROM app.made")),
        [["1", "mine"]]
    );
    assert_eq!(
        rows(&client.query("SELECT note || '!' FROM app.made")),
        [["mine!"]]
    );
    let series = [
        parse("", "SELECT * FROM app.made"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
    ];
    assert_eq!(rows(&say(&mut client, &series)), [["1", "mine"]]);
    client.query("SAVEPOINT a");
    for sql in [
        "INSERT INTO app.made SELECT id, card_number FROM app.customers",
        "INSERT INTO made SELECT id, card_number FROM app.customers",
        "UPDATE app.made SET note = (SELECT card_number FROM app.customers WHERE id = 1)",
        "CREATE TABLE app.more AS SELECT card_number FROM app.customers",
        "CREATE VIEW app.more AS SELECT card_number FROM app.customers",
        "SELECT made.note, c.card_number || '' FROM app.made, app.customers c",
    ] {
        assert_nothing_raw(sql, &client.query(sql));
        client.query("ROLLBACK TO SAVEPOINT a");
    }
    assert_nothing_raw("what was made", &client.query("SELECT * FROM app.made"));
    // After names were moved about, nothing is known any more.
    client.query("ALTER TABLE app.made RENAME TO other");
    let doubtful = client.query("SELECT * FROM app.other");
    assert_eq!((code(&doubtful), rows(&doubtful).len()), ("42501".to_owned(), 0));
    client.query("ROLLBACK");
    // Begin, make and look in one go: the server may be anywhere.
    client.query("BEGIN; CREATE TEMP TABLE t (id int); SELECT * FROM t");
    client.query("ROLLBACK");
    assert_eq!(rows(&client.query("SELECT 'usable'")), [["usable"]]);
}

#[test]
fn a_table_named_like_a_labelled_one_takes_nothing_from_it() {
    let under = under(shop::POLICIES);
    let columns = "(id int, name text, email text, ssn text, card_number text, credit_limit int)";
    let make = format!("CREATE TEMP TABLE customers {columns}");
    let copy = "INSERT INTO customers SELECT * FROM app.customers";
    let update = "UPDATE customers c SET card_number = o.card_number FROM app.customers o WHERE o.id = c.id";
    let ways: [&[&str]; 4] = [
        &["BEGIN", &make, copy, "COMMIT"],
        &[&format!("{make}; {copy}")],
        &[
            "BEGIN",
            "CREATE TEMP TABLE q (id int, card_number text)",
            "INSERT INTO q VALUES (1, ''), (2, '')",
            "ALTER TABLE q RENAME TO customers",
            update,
            "COMMIT",
        ],
        &[
            "BEGIN",
            &make,
            "INSERT INTO customers (id) VALUES (1)",
            "MERGE INTO customers c USING app.customers o ON o.id = c.id WHEN MATCHED THEN UPDATE SET ssn = o.ssn",
            "COMMIT",
        ],
    ];
    for way in ways {
        let mut client = under.client();
        for sql in way {
            client.query(sql);
        }
        client.query("ROLLBACK");
        client.query("SELECT 1");
        assert_nothing_raw(&way.join("; "), &client.query("SELECT * FROM pg_temp.customers"));
        assert_nothing_raw(
            &way.join("; "),
            &client.query("SELECT ssn, card_number FROM customers"),
        );
    }
    // Everything at once, so that no answer is known when the flow is decided.
    let mut client = under.client();
    client.send_bytes(
        &[
            query(&make),
            query(copy),
            query("SELECT card_number, ssn FROM pg_temp.customers"),
        ]
        .concat(),
    );
    for _ in 0..3 {
        assert_nothing_raw("at once", &client.read_to_ready());
    }
    assert_nothing_raw(
        "later",
        &client.query("SELECT card_number, ssn FROM pg_temp.customers"),
    );
}

#[test]
fn defaults_of_the_database_do_not_reach_the_catalogs_reader() {
    let under = under(shop::POLICIES);
    under.postgres.sql(
        "CREATE VIEW app.names AS SELECT id, name FROM app.customers; GRANT SELECT ON app.names TO PUBLIC",
    );
    let mut client = under.client();
    assert_eq!(rows(&client.query("SELECT count(*) FROM app.names")), [["3"]]);
    under.postgres.sql(
        "CREATE SCHEMA evil;
         CREATE TABLE evil.seen (who text);
         CREATE FUNCTION evil.no(a oid, b int4) RETURNS bool LANGUAGE sql VOLATILE AS
             'INSERT INTO evil.seen VALUES (current_user); SELECT a::int8 OPERATOR(pg_catalog.>=) b';
         CREATE OPERATOR evil.>= (LEFTARG = oid, RIGHTARG = int4, FUNCTION = evil.no);
         GRANT ALL ON SCHEMA evil TO PUBLIC; GRANT ALL ON evil.seen TO PUBLIC;
         ALTER DATABASE shop SET search_path = evil, pg_catalog, public;
         ALTER DATABASE shop SET standard_conforming_strings = off;
         ALTER DATABASE shop SET quote_all_identifiers = on;
         ALTER DATABASE shop SET DateStyle = 'SQL, DMY';
         ALTER ROLE app SET client_encoding = 'LATIN1';
         ALTER ROLE app SET statement_timeout = '1ms';
         ALTER ROLE app SET lock_timeout = '1ms'",
    );
    under.postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'linegate catalog'",
    );
    under.postgres.sql(
        "CREATE OR REPLACE VIEW app.names AS SELECT id, card_number || E'\\\\' AS name FROM app.customers;
         CREATE VIEW app.newest AS SELECT ssn || '' AS other FROM app.customers;
         GRANT SELECT ON app.newest TO PUBLIC",
    );
    let replaced = client.query("SELECT id, name FROM app.names ORDER BY id");
    assert_nothing_raw("a view that was replaced", &replaced);
    assert_eq!(
        rows(&replaced),
        [["1", "NULL"], ["2", "NULL"], ["3", "NULL"]],
        "{:?}",
        error_of(&replaced)
    );
    let newest = client.query("SELECT other FROM app.newest");
    assert_nothing_raw("a new view", &newest);
    assert_eq!(rows(&newest).len(), 3, "{:?}", error_of(&newest));
    assert_eq!(
        under.postgres.sql("SELECT count(*) FROM evil.seen"),
        "0",
        "nobody else's code ran"
    );
}

/// What `ci` gets when a rule forbids to read one column by its name.
fn forbidden(rule: &str) -> Under {
    let raw = "@id(\"raw\") permit (principal in Group::\"ci\", action == Action::\"read_raw\", resource);";
    let under = under(&with(&format!("{raw}\n@id(\"never\") {rule}")));
    under.postgres.sql(
        "CREATE VIEW app.cards AS SELECT id, card_number FROM app.customers;
         CREATE VIEW app.names AS SELECT id, name FROM app.customers;
         CREATE VIEW app.second_hand AS SELECT id AS n, card_number AS code FROM app.cards;
         CREATE VIEW app.picked AS SELECT id FROM app.customers WHERE card_number LIKE '4%';
         CREATE MATERIALIZED VIEW app.kept AS SELECT id, card_number AS code FROM app.customers;
         CREATE FUNCTION app.card(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card_number FROM app.customers WHERE id = $1';
         CREATE FUNCTION app.code(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT code FROM app.second_hand WHERE n = $1';
         CREATE TABLE app.staff (desk int) INHERITS (app.customers);
         GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC;",
    );
    under
}

const REACHED: [&str; 12] = [
    "SELECT card_number FROM app.customers",
    "WITH x AS (SELECT card_number AS y FROM app.customers) SELECT y FROM x",
    "SELECT card_number FROM app.cards",
    "SELECT code FROM app.second_hand",
    "SELECT code FROM app.kept",
    "SELECT id FROM app.picked",
    "SELECT app.card(1)",
    "SELECT app.code(1)",
    "SELECT card_number FROM app.staff",
    "SELECT count(*) FROM app.second_hand WHERE code = '1'",
    "COPY (SELECT code FROM app.second_hand) TO STDOUT",
    "SELECT x FROM app.second_hand x",
];

#[test]
fn a_column_that_may_not_be_read_is_not_read_through_anything() {
    for rule in [
        "forbid (principal in Group::\"ci\", action == Action::\"read\", resource == Column::\"shop/app.customers.card_number\");",
        "forbid (principal in Group::\"ci\", action == Action::\"read\", resource in Table::\"shop/app.customers\");",
        "forbid (principal in Group::\"ci\", action == Action::\"read\", resource in Label::\"pii\");",
    ] {
        let under = forbidden(rule);
        let mut client = under.client();
        for sql in REACHED {
            let answer = client.query(sql);
            assert_eq!(
                (code(&answer), rows(&answer).len()),
                ("42501".to_owned(), 0),
                "{rule}: {sql}"
            );
        }
        for sql in [
            "SELECT id, name FROM app.customers",
            "SELECT id FROM app.cards",
            "SELECT name FROM app.names",
            "SELECT n FROM app.second_hand",
        ] {
            assert_eq!(rows(&client.query(sql)).len(), 3, "{rule}: {sql}");
        }
    }
}

#[test]
fn a_table_that_may_not_be_selected_from_is_not_reached_through_views() {
    for rule in [
        "forbid (principal in Group::\"ci\", action == Action::\"select\", resource == Table::\"shop/app.customers\");",
        "forbid (principal in Group::\"ci\", action == Action::\"select\", resource in Label::\"pii\");",
    ] {
        let under = forbidden(rule);
        let mut client = under.client();
        for sql in REACHED.iter().filter(|sql| !sql.contains("app.staff")) {
            let answer = client.query(sql);
            assert_eq!(
                (code(&answer), rows(&answer).len()),
                ("42501".to_owned(), 0),
                "{rule}: {sql}"
            );
        }
        assert_eq!(code(&client.query("SELECT name FROM app.names")), "42501");
        assert_eq!(rows(&client.query("SELECT count(*) FROM app.orders")), [["1000"]]);
    }
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
