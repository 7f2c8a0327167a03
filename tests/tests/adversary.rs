//! A client that knows how linegate keeps its books: names that change their meaning, policies and approvals that change
//! between deciding and running.

use std::time::Duration;

use linegate_tests::eventually;
use linegate_tests::shop::{self, CARDS};
use linegate_tests::under::{assert_nothing_raw, code, query, say, under, with};
use linegate_tests::wire::{self, bind, describe, error_of, execute, parse, rows, sync, tags};
use rustix::process::Signal;

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
fn what_may_never_be_read_shows_nowhere() {
    let under = under(
        r#"@id("all") permit (principal in Group::"ci", action, resource)
            unless { action in [Action::"unreadable", Action::"execute"] };
        @id("never") forbid (principal in Group::"ci", action == Action::"read", resource in Label::"pii");"#,
    );
    under.postgres.sql("ANALYZE app.customers");
    let mut client = under.client();
    let answer = client.query("UPDATE app.customers SET name = NULL WHERE id = 1");
    assert_eq!(code(&answer), "23502");
    assert_nothing_raw("a row that fails", &answer);
    for text in [
        "SELECT histogram_bounds, most_common_vals FROM pg_stats WHERE tablename = 'customers'",
        "SELECT stavalues1 FROM pg_statistic",
        "ALTER TABLE app.customers ADD CHECK (ssn NOT LIKE '536%')",
        "SELECT ssn FROM app.customers",
        "SELECT * FROM app.customers",
    ] {
        let answer = client.query(text);
        assert!(matches!(code(&answer).as_str(), "42501" | "0A000"), "{text}");
        assert_nothing_raw(text, &answer);
    }
    assert_eq!(
        code(&client.query("SELECT id, name FROM app.customers")),
        "no error"
    );
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
fn an_approval_is_for_the_names_as_they_were() {
    let under = under(shop::POLICIES);
    under.postgres.sql(
        "CREATE SCHEMA dev AUTHORIZATION app; CREATE TABLE dev.orders (id int); ALTER TABLE dev.orders OWNER TO app;",
    );
    let mut client = under.client();
    client.query("SET search_path = dev");
    client.send_bytes(
        &[
            parse("x", "TRUNCATE orders"),
            bind("X", "x", &[], 0),
            wire::framed(b'H', &[]),
        ]
        .concat(),
    );
    let hold = under.linegate.hold();
    let id = hold["id"].as_str().expect("a hold has an id").to_owned();
    under
        .linegate
        .cli(&["approve", &id, "--as", "user:oncall"])
        .good();
    client.read_to(b'2');
    client.send_bytes(
        &[
            parse("", "SET search_path = app"),
            bind("", "", &[], 0),
            execute("", 0),
            execute("X", 0),
            sync(),
        ]
        .concat(),
    );
    // Within a series it cannot wait again.
    assert_eq!(code(&client.read_to_ready()), "25001");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
}

#[test]
fn an_approval_is_void_when_a_name_has_come_to_mean_another() {
    let under = under(shop::POLICIES);
    under.postgres.sql(
        "CREATE SCHEMA dev AUTHORIZATION app; CREATE TABLE dev.orders (id int); ALTER TABLE dev.orders OWNER TO app;",
    );
    let dba = under.linegate.lease("user:dba", &[], "all");
    let mut dba = under.linegate.client(&dba);
    let mut client = under.client();
    client.query("SET search_path = dev, app");
    client.send_bytes(&query("TRUNCATE orders"));
    let hold = under.linegate.hold();
    let id = hold["id"].as_str().expect("a hold has an id").to_owned();
    assert_eq!(code(&dba.query("DROP TABLE dev.orders")), "no error");
    under
        .linegate
        .cli(&["approve", &id, "--as", "user:oncall"])
        .good();
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
}
