//! A client that knows how linegate learns the catalog: tables made in the same transaction, settings of the database,
//! columns that a rule forbids, reached through something else.

use std::time::Duration;

use linegate_tests::eventually;
use linegate_tests::shop;
use linegate_tests::under::{Under, assert_nothing_raw, code, query, say, under, with};
use linegate_tests::wire::{bind, error_of, execute, parse, rows, sync, tags};

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
fn names_that_another_session_moves_are_waited_for() {
    let under = under(shop::POLICIES);
    let dba = under.linegate.lease("user:dba", &[], "all");
    let mut dba = under.linegate.client(&dba);
    let mut client = under.client();
    let text = "SELECT name || '' FROM app.customers WHERE id = 1";
    assert_eq!(rows(&client.query(text))[0][0], "first customer");
    for (steps, done) in [
        (
            ["RENAME name TO old_name", "RENAME ssn TO name"],
            ["RENAME name TO ssn", "RENAME old_name TO name"],
        ),
        (
            ["RENAME name TO other", "RENAME card_number TO name"],
            ["RENAME name TO card_number", "RENAME other TO name"],
        ),
    ] {
        dba.query("BEGIN");
        for step in steps {
            assert_eq!(
                code(&dba.query(&format!("ALTER TABLE app.customers {step}"))),
                "no error"
            );
        }
        client.send_bytes(&query(text));
        std::thread::sleep(Duration::from_millis(300));
        dba.query("COMMIT");
        let answer = client.read_to_ready();
        assert_nothing_raw(&format!("{steps:?}"), &answer);
        for step in done {
            dba.query(&format!("ALTER TABLE app.customers {step}"));
        }
        eventually("the name is what it was", || {
            let answer = client.query(text);
            rows(&answer)
                .iter()
                .any(|row| row[0] == "first customer")
                .then_some(())
        });
    }
    // Behind something that takes its time, it is decided before the names move and read after that.
    client.send_bytes(&[query("SELECT pg_sleep(1)"), query(text)].concat());
    std::thread::sleep(Duration::from_millis(300));
    dba.query("ALTER TABLE app.customers RENAME name TO other; ALTER TABLE app.customers RENAME ssn TO name");
    assert_nothing_raw("pg_sleep", &client.read_to_ready());
    assert_nothing_raw("behind pg_sleep", &client.read_to_ready());
    // A change that nobody commits makes nobody wait for ever, and nobody else at all.
    dba.query("BEGIN");
    dba.query("ALTER TABLE app.customers ADD COLUMN more int");
    let mut other = under.client();
    assert_eq!(
        code(&other.query("SELECT lower(secret_text) FROM app.typed")),
        "no error"
    );
    assert_eq!(
        code(&client.query("SELECT lower(card_number) FROM app.customers")),
        "55P03"
    );
    under.linegate.assert_unharmed();
}

#[test]
fn a_change_is_of_what_its_names_meant_when_it_was_decided() {
    let under = under(&with(
        "@id(\"orders-stay\") forbid (principal in Group::\"ci\", action == Action::\"delete\", resource)
        when { resource is Table && resource.schema == \"app\" };",
    ));
    under.postgres.sql(
        "CREATE SCHEMA scr AUTHORIZATION app; CREATE TABLE scr.w (id int PRIMARY KEY); INSERT INTO scr.w VALUES (1);
         ALTER TABLE scr.w OWNER TO app",
    );
    let dba = under.linegate.lease("user:dba", &[], "all");
    let mut dba = under.linegate.client(&dba);
    let mut client = under.client();
    assert_eq!(
        code(&client.query("DELETE FROM app.orders WHERE id = 1")),
        "42501"
    );
    let text = "DELETE FROM scr.w WHERE id = 1";
    // On its way behind something else: the change of the name waits for it.
    client.send_bytes(&[query("SELECT pg_sleep(1)"), query(text)].concat());
    std::thread::sleep(Duration::from_millis(300));
    for step in [
        "BEGIN",
        "DROP TABLE scr.w",
        "CREATE VIEW scr.w AS SELECT * FROM app.orders",
    ] {
        assert_eq!(code(&dba.query(step)), "no error", "{step}");
    }
    client.read_to_ready();
    assert_eq!(tags(&client.read_to_ready()), "CZ", "the table was still there");
    // Decided while the change is open: it waits for that, and is denied when the name means the orders.
    client.send_bytes(&query(text));
    std::thread::sleep(Duration::from_millis(300));
    dba.query("COMMIT");
    let answer = client.read_to_ready();
    assert_eq!(code(&answer), "42501", "{:?}", error_of(&answer));
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.orders"), "1000");
    // Nobody waits for ever, nor is let through: not beside what depends on the name either, which nobody can tell.
    for step in [
        "DROP VIEW scr.w",
        "CREATE TABLE scr.w (id int PRIMARY KEY)",
        "BEGIN",
        "DROP TABLE scr.w CASCADE",
        "CREATE VIEW scr.w AS SELECT * FROM app.orders",
    ] {
        assert_eq!(code(&dba.query(step)), "no error", "{step}");
    }
    assert_eq!(code(&client.query(text)), "55P03");
    dba.query("ROLLBACK");
    // Whoever cannot be alone with a name is told so, and nothing of the change is sent.
    client.send_bytes(
        &[
            query("SELECT pg_sleep(7)"),
            query("INSERT INTO app.scratch VALUES (3)"),
        ]
        .concat(),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        code(&dba.query("ALTER TABLE app.scratch RENAME id TO n")),
        "55P03"
    );
    client.read_to_ready();
    assert_eq!(code(&client.read_to_ready()), "no error");
    assert_eq!(
        code(&dba.query("ALTER TABLE app.scratch RENAME id TO n")),
        "no error"
    );
    under.linegate.assert_unharmed();
}

#[test]
fn what_a_session_leaves_behind_does_not_run_later() {
    let under = under(shop::POLICIES);
    let dba = under.linegate.lease("user:dba", &[], "all");
    let mut leaving = under.linegate.client(&dba);
    leaving.send_bytes(&query(
        "SELECT pg_sleep(20); ALTER TABLE app.customers RENAME name TO old; ALTER TABLE app.customers RENAME ssn TO name",
    ));
    eventually("it is on its way", || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()";
        (under.postgres.sql(count) == "1").then_some(())
    });
    drop(leaving);
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'customers' AND column_name = 'ssn'";
    // Who says no more may still listen; nobody does here, so after that time the server is asked to stop.
    eventually("the server was asked to stop", || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%dba%'";
        (under.postgres.sql(left) == "0").then_some(())
    });
    assert_eq!(under.postgres.sql(columns), "1");
    let mut client = under.client();
    eventually("the names are free again", || {
        let answer = client.query("SELECT name || '' FROM app.customers WHERE id = 1");
        assert_nothing_raw("behind what was left", &answer);
        rows(&answer)
            .iter()
            .any(|row| row[0] == "first customer")
            .then_some(())
    });
    under.linegate.assert_unharmed();
}
