//! Names that come to mean something else between the decision and the moment when the server reads them.

use std::time::Duration;

use linegate_tests::shop;
use linegate_tests::under::{Under, assert_nothing_raw, code, query, say, under, with};
use linegate_tests::wire::{bind, execute, parse, rows, sync};
use linegate_tests::{RawClient, eventually};

/// `ci` may delete nothing in the schema `app`.
const ORDERS_STAY: &str =
    "@id(\"orders-stay\") forbid (principal in Group::\"ci\", action == Action::\"delete\", resource)
    when { resource is Table && resource.schema == \"app\" };";
/// Gives the name of a table of one's own to a view over another.
const SWAP: [&str; 2] = [
    "DROP TABLE scr.w",
    "CREATE VIEW scr.w AS SELECT * FROM app.orders",
];
const DELETE: &str = "DELETE FROM scr.w WHERE id = 1";

fn scratch(policies: &str) -> (Under, RawClient, RawClient) {
    let under = under(policies);
    under.postgres.sql(
        "CREATE SCHEMA scr AUTHORIZATION app; CREATE TABLE scr.w (id int PRIMARY KEY); INSERT INTO scr.w VALUES (1);
         ALTER TABLE scr.w OWNER TO app",
    );
    let dba = under.linegate.lease("user:dba", &[], "all");
    let dba = under.linegate.client(&dba);
    let client = under.client();
    (under, client, dba)
}

fn run(client: &mut RawClient, steps: &[&str]) {
    for step in steps {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
}

fn orders(under: &Under) -> String {
    under.postgres.sql("SELECT count(*) FROM app.orders")
}

#[test]
fn what_was_prepared_early_is_looked_at_again_when_it_runs() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    let prepared = say(&mut client, &[parse("s", DELETE), sync()]);
    assert_eq!(code(&prepared), "no error");
    run(&mut dba, &["BEGIN", SWAP[0], SWAP[1]]);
    std::thread::sleep(Duration::from_millis(1200)); // the catalog was read again meanwhile
    let messages = [bind("", "s", &[], 0), execute("", 0), sync()].concat();
    client.send_bytes(&messages);
    std::thread::sleep(Duration::from_millis(300));
    run(&mut dba, &["COMMIT"]);
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(orders(&under), "1000");
    under.linegate.assert_unharmed();
}

#[test]
fn a_portal_that_waits_is_looked_at_again_when_it_runs() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    client.query("BEGIN");
    let text = "COPY (DELETE FROM scr.w WHERE id = 1 RETURNING id) TO STDOUT";
    let bound = say(&mut client, &[parse("s", text), bind("p", "s", &[], 0), sync()]);
    assert_eq!(code(&bound), "no error");
    run(&mut dba, &["BEGIN", SWAP[0], SWAP[1]]);
    client.send_bytes(&[execute("p", 0), sync()].concat());
    std::thread::sleep(Duration::from_millis(300));
    run(&mut dba, &["COMMIT"]);
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(orders(&under), "1000");
}

#[test]
fn a_change_that_is_counted_is_looked_at_again_when_it_is_sent() {
    let counted = shop::POLICIES.replacen(
        "@id(\"ci-works\")",
        "@id(\"ci-works\") @budget_changed(\"100/hour\")",
        1,
    );
    let (under, mut client, mut dba) = scratch(&format!("{counted}\n{ORDERS_STAY}"));
    client.send_bytes(&[query("SELECT pg_sleep(1)"), query(DELETE)].concat());
    std::thread::sleep(Duration::from_millis(300));
    run(&mut dba, &SWAP);
    client.read_to_ready();
    let code = code(&client.read_to_ready());
    assert!(matches!(code.as_str(), "42501" | "55P03"), "{code}");
    assert_eq!(orders(&under), "1000");
    assert_eq!(rows(&client.query("SELECT 'usable'")), [["usable"]]);
}

#[test]
fn what_is_counted_and_runs_by_its_name_is_looked_at_again() {
    let counted = shop::POLICIES.replacen(
        "@id(\"ci-works\")",
        "@id(\"ci-works\") @budget_changed(\"100/hour\")",
        1,
    );
    let (under, mut client, mut dba) = scratch(&format!("{counted}\n{ORDERS_STAY}"));
    run(&mut client, &[&format!("PREPARE d AS {DELETE}")]);
    client.send_bytes(&[query("SELECT pg_sleep(1)"), query("EXECUTE d")].concat());
    std::thread::sleep(Duration::from_millis(300));
    run(&mut dba, &["DROP TABLE scr.w", SWAP[1]]);
    client.read_to_ready();
    let code = code(&client.read_to_ready());
    assert!(matches!(code.as_str(), "42501" | "55P03"), "{code}");
    assert_eq!(orders(&under), "1000");
}

#[test]
fn a_change_below_a_view_waits_for_who_reads_through_it() {
    let (under, mut client, mut dba) = scratch(shop::POLICIES);
    run(
        &mut dba,
        &[
            "CREATE VIEW scr.below AS SELECT id AS k, name AS v FROM app.customers",
            "CREATE VIEW scr.above AS SELECT k, v FROM scr.below",
            "CREATE TABLE scr.copy (v text)",
        ],
    );
    assert_eq!(
        rows(&client.query("SELECT v FROM scr.above WHERE k = 1")),
        [["first customer"]]
    );
    let insert = "INSERT INTO scr.copy SELECT v FROM scr.above WHERE k = 1";
    client.send_bytes(&[query("SELECT pg_sleep(1)"), query(insert)].concat());
    std::thread::sleep(Duration::from_millis(300));
    run(
        &mut dba,
        &["CREATE OR REPLACE VIEW scr.below AS SELECT id AS k, ssn AS v FROM app.customers"],
    );
    client.read_to_ready();
    assert_eq!(code(&client.read_to_ready()), "no error");
    assert_eq!(under.postgres.sql("SELECT v FROM scr.copy"), "first customer");
}

#[test]
fn a_cursor_shows_what_its_names_meant_when_it_was_declared() {
    let (under, mut client, mut dba) = scratch(shop::POLICIES);
    let there =
        "ALTER TABLE app.customers RENAME name TO other; ALTER TABLE app.customers RENAME ssn TO name";
    let back = "ALTER TABLE app.customers RENAME name TO ssn; ALTER TABLE app.customers RENAME other TO name";
    run(&mut dba, &[there]);
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT name || '' FROM app.customers WHERE id = 1";
    eventually("the catalog shows it", || {
        let seen = client.query("SELECT name || '' FROM app.customers WHERE id = 1");
        assert_nothing_raw("renamed", &seen);
        (code(&seen) == "no error").then_some(())
    });
    assert_eq!(code(&client.query(declare)), "no error");
    run(&mut dba, &[back]);
    for _ in 0..2 {
        let fetched = client.query("FETCH ALL FROM c");
        assert_nothing_raw("fetched", &fetched);
        assert_eq!(code(&fetched), "42501");
        client.query(declare); // it is there already, and means another thing by now
    }
    let fresh = declare.replace("DECLARE c", "DECLARE d");
    assert_eq!(code(&client.query(&fresh)), "no error");
    assert_eq!(rows(&client.query("FETCH ALL FROM d")), [["first customer"]]);
    under.linegate.assert_unharmed();
}

#[test]
fn a_cursor_over_what_the_transaction_made_is_fetched_from_when_others_change_things() {
    let (_under, mut client, mut dba) = scratch(shop::POLICIES);
    run(&mut client, &["BEGIN"]);
    run(
        &mut client,
        &[
            "CREATE TEMP TABLE mine (id int)",
            "INSERT INTO mine VALUES (1), (2)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM mine",
            "COMMIT",
        ],
    );
    // It was declared when the catalog did not hold the table, and is decided again now that it does.
    for (change, row) in [
        ("ALTER TABLE app.scratch RENAME id TO n", "1"),
        ("ALTER TABLE app.scratch RENAME n TO id", "2"),
    ] {
        run(&mut dba, &[change]);
        assert_eq!(rows(&client.query("FETCH 1 FROM c")), [[row]]);
    }
}

#[test]
fn a_child_that_is_made_waits_for_who_reads_its_parents() {
    let (under, mut client, mut dba) = scratch(shop::POLICIES);
    run(&mut dba, &["CREATE TABLE scr.parent (ssn text)"]);
    eventually("the catalog shows it", || {
        (code(&client.query("SELECT ssn FROM scr.parent")) == "no error").then_some(())
    });
    client.send_bytes(&[query("SELECT pg_sleep(1.5)"), query("SELECT ssn FROM scr.parent")].concat());
    std::thread::sleep(Duration::from_millis(300));
    let child = "CREATE TABLE scr.child () INHERITS (app.customers, scr.parent)";
    run(&mut dba, &["BEGIN", child]);
    run(
        &mut dba,
        &["INSERT INTO scr.child SELECT * FROM ONLY app.customers", "COMMIT"],
    );
    for _ in 0..2 {
        assert_nothing_raw("through the parent", &client.read_to_ready());
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_key_that_is_made_waits_for_who_deletes_what_it_refers_to() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    run(&mut dba, &["ALTER TABLE app.orders ADD COLUMN w int DEFAULT 1"]);
    for key in [
        "ALTER TABLE app.orders ADD FOREIGN KEY (w) REFERENCES scr.w ON DELETE CASCADE",
        "CREATE TABLE app.later (w int DEFAULT 1 REFERENCES scr.w ON DELETE CASCADE)",
    ] {
        client.send_bytes(&[query("SELECT pg_sleep(1)"), query(DELETE)].concat());
        std::thread::sleep(Duration::from_millis(300));
        let answer = dba.query(key);
        client.read_to_ready();
        let (code, key_code) = (code(&client.read_to_ready()), code(&answer));
        // It waited until the row was gone, or the statement was looked at again.
        assert!(
            matches!(code.as_str(), "no error" | "42501" | "55P03"),
            "{key}: {code}, {key_code}"
        );
        assert_eq!(orders(&under), "1000", "{key}");
        under.postgres.sql(
            "INSERT INTO scr.w VALUES (1) ON CONFLICT DO NOTHING;
             ALTER TABLE app.orders DROP CONSTRAINT IF EXISTS orders_w_fkey",
        );
    }
}

#[test]
fn a_key_of_the_open_transaction_takes_no_rows_along() {
    let (under, mut client, _dba) = scratch(&with(ORDERS_STAY));
    for key in [
        "ALTER TABLE app.orders ADD COLUMN w int DEFAULT 1 REFERENCES scr.w ON DELETE CASCADE",
        "ALTER TABLE app.orders ADD COLUMN v int DEFAULT 1; ALTER TABLE app.orders ADD FOREIGN KEY (v) REFERENCES scr.w ON DELETE CASCADE",
    ] {
        run(&mut client, &["BEGIN", key]);
        assert_eq!(code(&client.query(DELETE)), "42501", "{key}");
        client.query("ROLLBACK");
        assert_eq!(orders(&under), "1000");
    }
}

#[test]
fn what_leads_from_a_child_leads_from_its_parent() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    run(
        &mut dba,
        &[
            "CREATE TABLE scr.kid (note text, UNIQUE (id)) INHERITS (scr.w)",
            "INSERT INTO scr.kid VALUES (7, 'in the child')",
        ],
    );
    let key = "ALTER TABLE app.orders ADD COLUMN w int DEFAULT 7 REFERENCES scr.kid (id) ON DELETE CASCADE";
    run(&mut client, &["BEGIN", key]);
    assert_eq!(code(&client.query("DELETE FROM scr.w WHERE id = 7")), "42501");
    client.query("ROLLBACK");
    assert_eq!(orders(&under), "1000");
}

#[test]
fn what_is_forbidden_of_a_child_is_not_done_through_its_parent() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    run(
        &mut dba,
        &[
            "CREATE TABLE scr.above (id int)",
            "ALTER TABLE app.orders INHERIT scr.above",
        ],
    );
    eventually("the catalog shows it", || {
        (code(&client.query("DELETE FROM scr.above WHERE id = 1")) == "42501").then_some(())
    });
    assert_eq!(orders(&under), "1000");
    run(&mut client, &["DELETE FROM scr.w WHERE id = 1"]);
}

#[test]
fn changes_wait_for_the_catalog_or_are_refused() {
    let (under, mut client, mut dba) = scratch(&with(ORDERS_STAY));
    run(&mut dba, &["ALTER TABLE app.orders ADD COLUMN w int DEFAULT 1"]);
    eventually("the catalog shows it", || {
        (code(&client.query("SELECT w FROM app.orders WHERE id = 0")) == "no error").then_some(())
    });
    // Whoever may lock the server's catalogs has the reading wait.
    std::thread::scope(|scope| {
        let locks =
            "BEGIN; LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(9); ROLLBACK";
        scope.spawn(|| under.postgres.sql(locks));
        eventually("it is locked", || {
            let held = "SELECT count(*) FROM pg_locks WHERE relation = 'pg_policy'::regclass AND mode = 'AccessExclusiveLock'";
            (under.postgres.sql(held) == "1").then_some(())
        });
        let key = "ALTER TABLE app.orders ADD FOREIGN KEY (w) REFERENCES scr.w ON DELETE CASCADE";
        run(&mut dba, &[key]);
        assert_eq!(code(&client.query(DELETE)), "42501");
    });
    assert_eq!(orders(&under), "1000");
    under.linegate.assert_unharmed();
}

/// Nothing is masked and nothing forbidden: what is not permitted is refused.
const SCRATCH_ONLY: &str = "@id(\"connects\") permit (principal, action == Action::\"connect\", resource);
    @id(\"reads\") permit (principal, action in [Action::\"select\", Action::\"create\", Action::\"alter\", Action::\"read_raw\"], resource);
    @id(\"changes\") permit (principal, action in [Action::\"delete\", Action::\"update\"], resource)
    when { resource is Table && resource.schema == \"scr\" };";

#[test]
fn what_a_session_has_just_made_leads_no_further_than_it_may_go() {
    let (under, mut client, _dba) = scratch(SCRATCH_ONLY);
    run(
        &mut client,
        &[
            "CREATE VIEW scr.orders AS SELECT * FROM app.orders",
            "ALTER TABLE app.orders ADD COLUMN w int DEFAULT 1",
        ],
    );
    assert_eq!(
        code(&client.query("DELETE FROM scr.orders WHERE id = 1")),
        "42501"
    );
    let key = "ALTER TABLE app.orders ADD FOREIGN KEY (w) REFERENCES scr.w ON DELETE CASCADE";
    run(&mut client, &[key]);
    assert_eq!(code(&client.query(DELETE)), "42501");
    assert_eq!(orders(&under), "1000");
    run(
        &mut client,
        &[
            "CREATE TABLE scr.own (id int)",
            "DELETE FROM scr.own WHERE id = 1",
        ],
    );
}

#[test]
fn what_changed_definitions_is_not_prepared_for_later() {
    let (_under, mut client, mut dba) = scratch(shop::POLICIES);
    // A migration in one text, which the server's own extensions are part of, is nothing of the kind.
    let migration =
        "BEGIN; CREATE EXTENSION IF NOT EXISTS plpgsql; ALTER TABLE app.scratch RENAME id TO n; COMMIT";
    run(&mut dba, &[migration, "ALTER TABLE app.scratch RENAME n TO id"]);
    run(
        &mut dba,
        &["BEGIN", "ALTER TABLE app.customers RENAME name TO other"],
    );
    assert_eq!(code(&dba.query("PREPARE TRANSACTION 'later'")), "0A000");
    run(&mut dba, &["ROLLBACK"]);
    assert_eq!(
        code(&dba.query("BEGIN; ALTER TABLE app.scratch RENAME id TO n; PREPARE TRANSACTION 'later'")),
        "0A000"
    );
    assert_eq!(code(&client.query("SELECT id FROM app.scratch")), "no error");
}

#[test]
fn an_approval_is_void_when_what_stands_behind_a_name_is_gone() {
    let (under, mut client, mut dba) = scratch(shop::POLICIES);
    run(
        &mut dba,
        &[
            "CREATE DOMAIN scr.f AS int",
            "CREATE VIEW scr.orders AS SELECT * FROM scr.w WHERE 1::scr.f = 1",
        ],
    );
    client.query("SET search_path = scr, app");
    let text = "COPY (DELETE FROM orders RETURNING id) TO STDOUT";
    client.send_bytes(&query(text));
    let hold = under.linegate.hold();
    let id = hold["id"].as_str().expect("a hold has an id").to_owned();
    run(&mut dba, &["DROP DOMAIN scr.f CASCADE"]);
    under
        .linegate
        .cli(&["approve", &id, "--as", "user:oncall"])
        .good();
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(orders(&under), "1000");
}
