//! Programs that show, move and infer nothing of a labelled value: under a mask they work as they do without.

use std::time::Duration;

use linegate_tests::shop;
use linegate_tests::under::{Under, code, under};
use linegate_tests::wire::{error_of, rows};
use linegate_tests::{RawClient, eventually};

/// Under a mask, and otherwise free.
const NOTHING_WAITS: &str = r#"@id("works") permit (principal in Group::"ci", action, resource)
    unless { action in [Action::"read_raw", Action::"probe"] };"#;

/// The shop, and an unlabelled corner of it.
fn corner() -> (Under, RawClient) {
    corner_under(shop::POLICIES)
}

fn corner_under(policies: &str) -> (Under, RawClient) {
    let under = under(policies);
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE app.notes (id serial PRIMARY KEY, body text); INSERT INTO app.notes (body) VALUES ('a'), ('b');
         CREATE VIEW app.bodies AS SELECT body FROM app.notes; CREATE VIEW app.people AS SELECT id, name FROM app.customers",
    );
    let client = under.client();
    (under, client)
}

#[test]
fn values_of_unlabelled_columns_may_be_kept_and_sent() {
    let (_under, mut client) = corner();
    for text in [
        "SELECT pg_try_advisory_lock(id) FROM app.notes",
        "SELECT pg_notify('changed', id::text) FROM app.notes",
        "SELECT set_config('my.note', body, false) FROM app.notes",
    ] {
        assert_eq!(code(&client.query(text)), "no error", "{text}");
    }
    for text in [
        "SELECT pg_try_advisory_lock(length(ssn)) FROM app.customers",
        "SELECT pg_notify('changed', ssn) FROM app.customers",
        "SELECT set_config('my.note', ssn, false) FROM app.customers",
    ] {
        assert_ne!(code(&client.query(text)), "no error", "{text}");
    }
}

#[test]
fn a_migration_reads_back_what_it_made_behind_other_definitions() {
    let (_under, mut client) = corner();
    for before in [
        "ALTER TABLE app.notes ADD late text",
        "ALTER TABLE app.notes ADD CONSTRAINT short CHECK (length(body) < 99)",
    ] {
        for step in [
            "BEGIN",
            before,
            "CREATE TABLE app.fresh (id int, p int)",
            "INSERT INTO app.fresh VALUES (1, 2) RETURNING id, p",
            "SELECT count(*), max(p) FROM app.fresh",
            "UPDATE app.fresh SET p = 3 WHERE id = 1 RETURNING p",
            "ROLLBACK",
        ] {
            assert_eq!(code(&client.query(step)), "no error", "{before}: {step}");
        }
    }
}

#[test]
fn a_lock_on_one_table_takes_no_other_views_away() {
    let (under, mut client) = corner();
    let people = "SELECT id, name FROM app.people WHERE id = 1";
    assert_eq!(rows(&client.query(people)).len(), 1);
    let mut other = RawClient::login(under.postgres.port(), "app", "app-secret", "shop");
    for step in ["BEGIN", "LOCK TABLE app.notes IN ACCESS EXCLUSIVE MODE"] {
        assert_eq!(code(&other.query(step)), "no error", "{step}");
    }
    // Its end has the catalog read anew.
    assert_eq!(code(&client.query("CREATE TABLE app.more (id int)")), "no error");
    for _ in 0..3 {
        assert_eq!(rows(&client.query(people)).len(), 1, "a view over another table");
        std::thread::sleep(Duration::from_millis(100));
    }
    other.query("COMMIT");
    eventually("the view over the locked table is back", || {
        (code(&client.query("SELECT body FROM app.bodies")) == "no error").then_some(())
    });
}

#[test]
fn a_misspelt_column_is_called_by_its_name() {
    let (_under, mut client) = corner();
    for (text, name) in [
        ("SELECT c.nope FROM app.customers c", "c.nope"),
        ("SELECT id FROM app.customers ORDER BY nope", "nope"),
        ("SELECT count(nope) FROM app.customers", "nope"),
    ] {
        let (sqlstate, message) = error_of(&client.query(text)).expect("an error");
        assert_eq!(sqlstate, "42703", "{text}");
        assert!(message.contains(name), "{message}");
    }
    let probes = "SELECT id FROM app.customers ORDER BY ssn";
    assert_eq!(code(&client.query(probes)), "42501");
}

#[test]
fn rows_of_the_client_replace_labelled_values() {
    let (under, mut client) = corner_under(NOTHING_WAITS);
    under
        .postgres
        .sql("ALTER TABLE app.customers ALTER ssn DROP NOT NULL, ALTER card_number DROP NOT NULL, ALTER credit_limit DROP NOT NULL");
    assert_eq!(code(&client.query("CREATE TABLE app.more (id int)")), "no error");
    for source in [
        "SELECT * FROM unnest(ARRAY[9001, 9002], ARRAY['a', 'b'], ARRAY['c', 'd'])",
        "SELECT * FROM (VALUES (9001, 'a', 'c')) v(id, name, email)",
        "SELECT id + 9000, body, body FROM app.notes",
    ] {
        let upsert = format!(
            "INSERT INTO app.customers (id, name, email) {source} ON CONFLICT (id) DO UPDATE SET email = excluded.email"
        );
        assert_eq!(code(&client.query(&upsert)), "no error", "{source}");
    }
    for stolen in [
        "INSERT INTO app.notes (id, body) SELECT id, ssn FROM app.customers ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        "INSERT INTO app.customers (id, name) SELECT id, ssn FROM app.customers ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "INSERT INTO app.customers (id, name, ssn) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET name = customers.ssn",
        "INSERT INTO app.customers AS excluded (id, name) SELECT 1, 'a' FROM app.notes ON CONFLICT (id) DO UPDATE SET name = excluded.ssn",
    ] {
        assert_ne!(code(&client.query(stolen)), "no error", "{stolen}");
    }
}
