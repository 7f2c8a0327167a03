//! What a transaction makes is not in any catalog yet: statements behind it are decided by what they may come to do.

use linegate_tests::RawClient;
use linegate_tests::under::{Under, assert_nothing_raw, code, say, under, with};
use linegate_tests::wire::{bind, execute, parse, sync};

/// `ci` defines what it likes, and uses nothing that nobody can look into.
const NOTHING_OPAQUE: &str = r#"@id("nothing-opaque") forbid (principal in Group::"ci",
    action in [Action::"select", Action::"insert", Action::"update", Action::"delete"], resource)
    when { context.opaque || context.fires_triggers };
@id("sees-all") permit (principal in Group::"ci", action == Action::"read_raw", resource);"#;
/// `ci` reads nothing in the schema `app`.
const UNREAD: &str = r#"@id("unread") forbid (principal in Group::"ci",
    action in [Action::"select", Action::"copy-out"], resource)
    when { resource is Table && resource.schema == "app" };"#;
/// `ci` locks in its own schema only.
const LOCKS: &str = r#"@id("locks-own") forbid (principal in Group::"ci", action == Action::"lock", resource)
    when { resource is Table && resource.schema == "app" };"#;
/// The same by permitting.
const LOCKS_PERMITTED: &str = r#"
@id("works") permit (principal in Group::"ci", action, resource) unless { action == Action::"lock" };
@id("locks") permit (principal in Group::"ci", action == Action::"lock", resource)
    when { resource is Table && resource.schema == "scr" };
@id("dba") permit (principal in Group::"dba", action, resource);"#;
const WIPES: &str = "RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN 1; END'";

fn scratch(policies: &str) -> (Under, RawClient) {
    let under = under(policies);
    under.postgres.sql(
        "CREATE SCHEMA scr AUTHORIZATION app; SET ROLE app; CREATE TABLE scr.w (id int PRIMARY KEY, note text);
         INSERT INTO scr.w VALUES (1, 'a'); CREATE VIEW scr.behind AS SELECT * FROM app.orders;
         CREATE FUNCTION scr.old() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    let client = under.client();
    (under, client)
}

fn orders(under: &Under) -> String {
    under.postgres.sql("SELECT count(*) FROM app.orders")
}

/// One of these is refused in a transaction, which would commit otherwise.
fn assert_refused(client: &mut RawClient, steps: &[&str]) {
    client.query("BEGIN");
    let answers: Vec<String> = steps.iter().map(|step| code(&client.query(step))).collect();
    let is_refused = answers
        .iter()
        .any(|answer| matches!(answer.as_str(), "42501" | "0A000"));
    client.query(if is_refused { "ROLLBACK" } else { "COMMIT" });
    assert!(is_refused, "{steps:?}: {answers:?}");
}

#[test]
fn what_the_open_transaction_made_is_opaque_wherever_it_runs() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    let made = format!("CREATE FUNCTION scr.g() {WIPES}");
    let ways: &[(&[&str], &str)] = &[
        (&[], "SELECT scr.g()"),
        (&[], "INSERT INTO scr.w SELECT scr.g(), 'x'"),
        (&["CREATE VIEW scr.v AS SELECT scr.g()"], "SELECT * FROM scr.v"),
        (
            &["ALTER TABLE scr.w ALTER id SET DEFAULT scr.g()"],
            "INSERT INTO scr.w (note) VALUES ('x')",
        ),
        (
            &["CREATE DOMAIN scr.d AS int CHECK (scr.g() > value)"],
            "SELECT 0::scr.d",
        ),
        (&["ALTER FUNCTION scr.g() RENAME TO h"], "SELECT scr.h()"),
        (
            &[
                "ALTER TABLE scr.w ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                "CREATE POLICY p ON scr.w USING (scr.g() > 0)",
            ],
            "SELECT * FROM scr.w",
        ),
    ];
    for (steps, last) in ways {
        assert_eq!(code(&client.query("BEGIN")), "no error");
        assert_eq!(code(&client.query(&made)), "no error");
        // What makes a query of it is one already.
        let mut answers = steps.iter().chain([last]).map(|step| code(&client.query(step)));
        let refused = answers.find(|answer| answer != "no error");
        assert_eq!(refused.as_deref(), Some("42501"), "{last}");
        client.query("ROLLBACK");
    }
    assert_eq!(orders(&under), "1000");
    under.linegate.assert_unharmed();
}

#[test]
fn what_the_open_transaction_replaced_is_not_what_the_catalog_says() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    // The query of a followed function is known, and so it may be called.
    let prepared = say(&mut client, &[parse("s", "SELECT lower('A'), scr.old()"), sync()]);
    let is_known = code(&prepared);
    client.query("BEGIN");
    let replaced = format!("CREATE OR REPLACE FUNCTION scr.old() {WIPES}");
    assert_eq!(code(&client.query(&replaced)), "no error");
    assert_eq!(code(&client.query("SELECT scr.old()")), "42501");
    client.query("ROLLBACK");
    client.query("BEGIN");
    assert_eq!(code(&client.query(&replaced)), "no error");
    let run = [bind("", "s", &[], 0), execute("", 0), sync()].concat();
    assert_ne!(
        code(&say(&mut client, &[run])),
        "no error",
        "prepared: {is_known}"
    );
    client.query("ROLLBACK");
    assert_eq!(orders(&under), "1000");
    assert_eq!(
        code(&client.query("SELECT scr.old()")),
        is_known,
        "the catalog holds again"
    );
}

#[test]
fn operators_and_casts_of_the_open_transaction_run_what_it_says() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    let function = "CREATE FUNCTION scr.eq(a text, b int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN true; END'";
    let operator = "CREATE OPERATOR scr.=~= (function = scr.eq, leftarg = text, rightarg = int)";
    let uses = "SELECT 'x'::text OPERATOR(scr.=~=) 1";
    client.query("BEGIN");
    for step in [function, operator] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    assert_eq!(code(&client.query(uses)), "42501");
    client.query("ROLLBACK");
    // And when they are committed, the catalog says so.
    for step in [
        function,
        operator,
        "CREATE FUNCTION scr.low(a int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN true; END'",
        "CREATE DOMAIN scr.d AS int CHECK (scr.low(value))",
        "CREATE TABLE scr.t (d scr.d)",
        "CREATE DOMAIN scr.above AS scr.d",
        "CREATE TYPE scr.pair AS (one scr.d, other int)",
        "CREATE TABLE scr.t2 (a scr.above[])",
    ] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    for last in [
        uses,
        "SELECT 0::scr.d",
        "SELECT '{1}'::scr.d[]",
        "SELECT '{1}'::scr._d",
        "SELECT 1::scr.above",
        "SELECT (1, 2)::scr.pair",
        "INSERT INTO scr.t2 VALUES ('{1}')",
        "INSERT INTO scr.t VALUES (1)",
    ] {
        assert_eq!(code(&client.query(last)), "42501", "{last}");
    }
    assert_eq!(code(&client.query("SELECT 'x'::text = 'y', 1::int")), "no error");
    assert_eq!(orders(&under), "1000");
}

#[test]
fn migrations_that_make_code_go_on() {
    let (_under, mut client) = scratch(&with(NOTHING_OPAQUE));
    for step in [
        "BEGIN",
        "CREATE FUNCTION scr.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
        "CREATE TABLE scr.items (id int PRIMARY KEY, made timestamptz DEFAULT now())",
        "INSERT INTO scr.items VALUES (1)",
        "CREATE TRIGGER touched BEFORE UPDATE ON scr.items FOR EACH ROW EXECUTE FUNCTION scr.touch()",
        "SELECT count(*) FROM scr.items",
        "CREATE DOMAIN scr.short AS text CHECK (length(value) < 9)",
        "SELECT 'a'::text, coalesce(note, '-') FROM scr.w",
        "UPDATE scr.w SET note = upper(note) WHERE id = 1",
        "INSERT INTO scr.w VALUES (2, 'note')",
        "COMMIT",
        "SELECT 'a'::scr.short",
    ] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
}

#[test]
fn rows_that_are_forbidden_do_not_come_through_a_parent_of_the_open_transaction() {
    let (under, mut client) = scratch(&with(UNREAD));
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.parent AS SELECT * FROM app.orders LIMIT 0;
         CREATE TABLE app.parts (id int); INSERT INTO app.parts VALUES (7);
         CREATE TABLE scr.whole (id int) PARTITION BY LIST (id)",
    );
    for (step, last) in [
        (
            "ALTER TABLE app.orders INHERIT scr.parent",
            "SELECT * FROM scr.parent",
        ),
        (
            "ALTER TABLE app.orders INHERIT scr.parent",
            "COPY (TABLE scr.parent) TO STDOUT",
        ),
        (
            "ALTER TABLE scr.whole ATTACH PARTITION app.parts DEFAULT",
            "SELECT count(*) FROM scr.whole",
        ),
    ] {
        client.query("BEGIN");
        assert_eq!(code(&client.query(step)), "no error", "{step}");
        assert_eq!(
            code(&client.query("SELECT * FROM scr.w")),
            "no error",
            "it goes on"
        );
        assert_eq!(code(&client.query(last)), "42501", "{last}");
        client.query("ROLLBACK");
        assert_eq!(
            code(&client.query(&format!("{step}; {last}"))),
            "42501",
            "in one text"
        );
        client.query("ROLLBACK");
    }
}

#[test]
fn a_lock_through_a_view_is_one_of_what_it_shows() {
    for policies in [&with(LOCKS), LOCKS_PERMITTED] {
        let (under, mut client) = scratch(policies);
        under
            .postgres
            .sql("ALTER VIEW scr.behind OWNER TO app; GRANT ALL ON app.orders TO app");
        for text in [
            "LOCK TABLE scr.behind IN ACCESS EXCLUSIVE MODE",
            "SELECT * FROM scr.behind FOR UPDATE",
            "LOCK TABLE app.orders",
        ] {
            client.query("BEGIN");
            assert_eq!(code(&client.query(text)), "42501", "{text}");
            client.query("ROLLBACK");
        }
        for text in [
            "LOCK TABLE scr.w",
            "SELECT * FROM scr.w FOR UPDATE",
            "SELECT * FROM scr.behind",
        ] {
            client.query("BEGIN");
            assert_eq!(code(&client.query(text)), "no error", "{text}");
            client.query("ROLLBACK");
        }
    }
}

/// `ci` changes rows in its own schema only, drops nothing elsewhere, and reads no column that bears a label.
const OWN_ONLY: &str = r#"
@id("works") permit (principal in Group::"ci", action, resource)
    unless { action in [Action::"delete", Action::"drop", Action::"unreadable", Action::"execute"] };
@id("own") permit (principal in Group::"ci", action in [Action::"delete", Action::"drop"], resource)
    when { resource is Table && resource.schema == "scr" };
@id("unlabelled") forbid (principal in Group::"ci", action == Action::"read", resource in Label::"pii");
@id("dba") permit (principal in Group::"dba", action, resource);"#;

#[test]
fn whatever_a_relation_is_called_to_be_renamed() {
    let (under, mut client) = scratch(OWN_ONLY);
    for steps in [
        &["ALTER INDEX scr.behind RENAME TO gone", "DELETE FROM scr.gone"][..],
        &[
            "ALTER INDEX scr.w RENAME TO told",
            "ALTER INDEX scr.behind RENAME TO w",
            "DELETE FROM scr.w",
        ],
        &["ALTER SEQUENCE scr.behind RENAME TO gone", "DELETE FROM scr.gone"],
        &[
            "ALTER TABLE app.orders INHERIT scr.parent",
            "DROP TABLE scr.parent CASCADE",
        ],
        &[
            "ALTER TABLE app.orders RENAME TO o2",
            "ALTER TABLE app.o2 SET SCHEMA scr",
            "DROP TABLE scr.o2 CASCADE",
        ],
    ] {
        under
            .postgres
            .sql("SET ROLE app; CREATE TABLE IF NOT EXISTS scr.parent AS SELECT * FROM app.orders LIMIT 0");
        assert_refused(&mut client, steps);
        assert_eq!(orders(&under), "1000", "{steps:?}");
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_labelled_column_is_not_read_by_another_name() {
    let (under, mut client) = scratch(OWN_ONLY);
    let labelled = "SELECT ssn FROM app.customers WHERE id = 1";
    assert_eq!(code(&client.query(labelled)), "42501");
    assert_eq!(
        code(&client.query("SELECT id FROM app.customers WHERE id = 1")),
        "no error"
    );
    for steps in [
        &[
            "ALTER TABLE app.customers RENAME COLUMN name TO nm",
            "ALTER TABLE app.customers RENAME COLUMN ssn TO name",
            "SELECT name FROM app.customers WHERE id = 1",
        ][..],
        &[
            "ALTER TABLE app.customers RENAME TO people",
            "SELECT * FROM app.people",
        ],
        &[
            "ALTER INDEX app.customers RENAME TO people",
            "SELECT * FROM app.people",
        ],
        &[
            "ALTER TABLE app.customers SET SCHEMA scr",
            "SELECT * FROM scr.customers",
        ],
        &["ALTER SCHEMA app RENAME TO app2", "SELECT * FROM app2.customers"],
    ] {
        client.query("BEGIN");
        let answers: Vec<_> = steps.iter().map(|step| client.query(step)).collect();
        client.query("ROLLBACK");
        let is_refused = |answer: &Vec<_>| matches!(code(answer).as_str(), "42501" | "0A000");
        assert!(answers.iter().any(is_refused), "{steps:?}");
        let joined = client.query(&steps.join("; "));
        assert_ne!(code(&joined), "no error", "in one text: {steps:?}");
        client.query("ROLLBACK");
        for answer in answers.iter().chain([&joined]) {
            assert_nothing_raw(&steps.join("; "), answer);
        }
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_forbidden_relation_does_not_go_with_its_schema_or_through_a_new_key() {
    let (under, mut client) = scratch(OWN_ONLY);
    under.postgres.sql("CREATE SCHEMA kept AUTHORIZATION app; SET ROLE app; CREATE TABLE kept.parts (id int); INSERT INTO kept.parts VALUES (1)");
    let before = client.query("SELECT count(*) FROM kept.parts"); // the catalog holds it from now on
    assert_eq!(code(&before), "no error");
    for steps in [
        &["DROP SCHEMA kept CASCADE"][..],
        &[
            "CREATE TABLE scr.k (id int NOT NULL, FOREIGN KEY (id) REFERENCES scr.w ON DELETE CASCADE) PARTITION BY RANGE (id)",
            "ALTER TABLE scr.k ATTACH PARTITION kept.parts FOR VALUES FROM (0) TO (100)",
            "DELETE FROM scr.w WHERE id = 1",
        ],
    ] {
        assert_refused(&mut client, steps);
        assert_eq!(
            under.postgres.sql("SELECT count(*) FROM kept.parts"),
            "1",
            "{steps:?}"
        );
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_partition_has_the_triggers_of_what_it_is_attached_to() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.whole (id int) PARTITION BY LIST (id); CREATE TABLE scr.part (id int);
         INSERT INTO scr.part VALUES (1);
         CREATE FUNCTION scr.wipes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN old; END';
         CREATE TRIGGER wipes BEFORE DELETE ON scr.whole FOR EACH ROW EXECUTE FUNCTION scr.wipes()",
    );
    for steps in [
        &[
            "ALTER TABLE scr.whole ATTACH PARTITION scr.part DEFAULT",
            "DELETE FROM scr.part WHERE id = 1",
        ][..],
        &[
            "CREATE TABLE scr.own PARTITION OF scr.whole FOR VALUES IN (2)",
            "INSERT INTO scr.own VALUES (2)",
            "DELETE FROM scr.own WHERE id = 2",
        ],
    ] {
        assert_refused(&mut client, steps);
        assert_eq!(orders(&under), "1000", "{steps:?}");
    }
}

#[test]
fn migrations_go_on_beside_what_they_made() {
    let (under, mut client) = scratch(OWN_ONLY);
    under
        .postgres
        .sql("SET ROLE app; CREATE TABLE scr.months (id int, month int) PARTITION BY LIST (month)");
    let migrations: &[&[&str]] = &[
        &[
            "CREATE TABLE scr.a (id int PRIMARY KEY)",
            "CREATE TABLE scr.b (id int)",
            "ALTER TABLE scr.b ADD FOREIGN KEY (id) REFERENCES scr.a ON DELETE CASCADE",
            "INSERT INTO scr.a VALUES (1)",
            "UPDATE scr.a SET id = 2 WHERE id = 1",
            "DELETE FROM scr.a WHERE id = 2",
        ],
        &[
            "CREATE OR REPLACE VIEW scr.seen AS SELECT id FROM scr.w",
            "INSERT INTO scr.w VALUES (3, 'c')",
            "UPDATE scr.w SET note = 'd' WHERE id = 3",
        ],
        &[
            "CREATE TABLE scr.m1 PARTITION OF scr.months FOR VALUES IN (1)",
            "INSERT INTO scr.months VALUES (1, 1)",
        ],
        &[
            "CREATE TABLE scr.m2 (id int, month int)",
            "ALTER TABLE scr.months ATTACH PARTITION scr.m2 FOR VALUES IN (2)",
            "INSERT INTO scr.months VALUES (1, 2)",
        ],
    ];
    for steps in migrations {
        client.query("BEGIN");
        for step in *steps {
            assert_eq!(code(&client.query(step)), "no error", "{step}");
        }
        assert_eq!(code(&client.query("COMMIT")), "no error");
    }
}

#[test]
fn new_tables_have_the_defaults_of_those_they_are_made_like() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    under.postgres.sql(&format!(
        "SET ROLE app; CREATE FUNCTION scr.g() {WIPES}; CREATE TABLE scr.model (id int DEFAULT scr.g(), v text)"
    ));
    for steps in [
        &[
            "CREATE TABLE scr.copy (LIKE scr.model INCLUDING DEFAULTS)",
            "INSERT INTO scr.copy (v) VALUES ('a')",
        ][..],
        &[
            "CREATE TABLE IF NOT EXISTS scr.copy (LIKE scr.model INCLUDING DEFAULTS)",
            "INSERT INTO scr.copy (v) VALUES ('a')",
        ],
        &[
            "CREATE TABLE scr.kid () INHERITS (scr.model)",
            "INSERT INTO scr.kid (v) VALUES ('a')",
        ],
        &[
            "CREATE FUNCTION scr.wipes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN old; END'",
            "CREATE TABLE scr.k (id int REFERENCES scr.w ON DELETE CASCADE)",
            "INSERT INTO scr.k VALUES (1)",
            "CREATE TRIGGER wipes AFTER DELETE ON scr.k FOR EACH ROW EXECUTE FUNCTION scr.wipes()",
            "DELETE FROM scr.w WHERE id = 1",
        ],
    ] {
        assert_refused(&mut client, steps);
        client.query(&format!("BEGIN; {}; COMMIT", steps.join("; ")));
        client.query("ROLLBACK");
        assert_eq!(orders(&under), "1000", "{steps:?}");
    }
}

#[test]
fn definitions_that_call_code_are_opaque_wherever_they_stand() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    under.postgres.sql(&format!(
        "SET ROLE app; CREATE FUNCTION scr.g() {WIPES};
         CREATE FUNCTION scr.evil(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM scr.g(); RETURN a; END';
         CREATE FUNCTION scr.is(a text, b text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM scr.g(); RETURN true; END';
         CREATE OPERATOR scr.=~~= (function = scr.is, leftarg = text, rightarg = text);
         CREATE DOMAIN scr.defaulted AS int DEFAULT scr.g(); CREATE TABLE scr.t1 (a scr.defaulted, b int);
         CREATE DOMAIN scr.late AS int; CREATE TABLE scr.t2 (a int DEFAULT (1::scr.late)::int, b int);
         CREATE VIEW scr.v2 AS SELECT id::scr.late FROM scr.w;
         ALTER DOMAIN scr.late ADD CHECK (scr.evil(value) IS NOT NULL) NOT VALID;
         CREATE TABLE scr.t3 (a scr.late); CREATE TABLE scr.t4 (a int) PARTITION BY RANGE ((scr.evil(a)));
         CREATE TABLE scr.t4d PARTITION OF scr.t4 DEFAULT;
         CREATE DOMAIN scr.\"left\" AS text CHECK (scr.is(value, value));
         CREATE FUNCTION scr.defaults(x int, y int DEFAULT scr.g()) RETURNS int LANGUAGE sql AS 'SELECT x + y';
         CREATE FUNCTION scr.compares() RETURNS int LANGUAGE sql AS 'SELECT 1 WHERE ''a''::text OPERATOR(scr.=~~=) ''b'''"
    ));
    // Its end has the catalog read.
    assert_eq!(code(&client.query("CREATE TABLE scr.seen (a int)")), "no error");
    for text in [
        "INSERT INTO scr.t1 (b) VALUES (1)",
        "INSERT INTO scr.t2 (b) VALUES (1)",
        "SELECT * FROM scr.v2",
        "SELECT jsonb_populate_record(t, '{\"a\": 1}') FROM scr.t3 t",
        "INSERT INTO scr.t4 VALUES (1)",
        "SELECT scr.\"left\"(note) FROM scr.w",
        "SELECT scr.defaults(1)",
        "SELECT scr.compares()",
    ] {
        assert_eq!(code(&client.query(text)), "42501", "{text}");
    }
    assert_eq!(code(&client.query("SELECT id, note FROM scr.w")), "no error");
    assert_eq!(orders(&under), "1000");
    under.linegate.assert_unharmed();
}

#[test]
fn what_the_open_transaction_changes_below_others_counts_for_these() {
    let (under, mut client) = scratch(&with(NOTHING_OPAQUE));
    under.postgres.sql(&format!(
        "SET ROLE app; CREATE FUNCTION scr.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION scr.f() RETURNS int LANGUAGE sql AS 'SELECT scr.g()';
         CREATE FUNCTION scr.ev() {WIPES};
         CREATE TABLE scr.p (id int PRIMARY KEY); INSERT INTO scr.p VALUES (0), (1);
         CREATE TABLE scr.k (p int REFERENCES scr.p ON DELETE SET DEFAULT); INSERT INTO scr.k VALUES (1);
         CREATE DOMAIN scr.d AS int; CREATE TABLE scr.t (a scr.d);
         CREATE SCHEMA other; CREATE FUNCTION other.f() {WIPES}"
    ));
    for steps in [
        &[
            "CREATE OR REPLACE FUNCTION scr.g() RETURNS int LANGUAGE sql AS 'DELETE FROM app.orders RETURNING 1'",
            "SELECT scr.f()",
        ][..],
        &[
            "ALTER TABLE scr.k ALTER p SET DEFAULT scr.ev()",
            "DELETE FROM scr.p WHERE id = 1",
        ],
        &[
            "ALTER DOMAIN scr.d ADD CHECK (scr.ev() IS NOT NULL) NOT VALID",
            "INSERT INTO scr.t VALUES (1)",
        ],
        &[
            "ALTER SCHEMA scr RENAME TO scr9",
            "ALTER SCHEMA other RENAME TO scr",
            "SELECT scr.f()",
        ],
    ] {
        assert_refused(&mut client, steps);
        assert_eq!(orders(&under), "1000", "{steps:?}");
    }
    under.linegate.assert_unharmed();
}

#[test]
fn new_views_do_not_lead_locks_and_drops_to_what_they_show() {
    let (_under, mut client) = scratch(LOCKS_PERMITTED);
    for last in [
        "LOCK TABLE scr.fresh IN ACCESS EXCLUSIVE MODE",
        "SELECT * FROM scr.fresh FOR UPDATE",
    ] {
        let view = "CREATE VIEW scr.fresh AS SELECT * FROM app.orders";
        assert_refused(&mut client, &[view, last]);
    }
    let (under, mut client) = scratch(OWN_ONLY);
    under
        .postgres
        .sql("SET ROLE app; CREATE VIEW app.names AS SELECT id, name FROM app.customers");
    let before = client.query("SELECT count(*) FROM app.names");
    assert_eq!(code(&before), "no error");
    assert_refused(
        &mut client,
        &[
            "CREATE OR REPLACE VIEW app.names AS SELECT id, note AS name FROM scr.w",
            "DROP TABLE scr.w CASCADE",
        ],
    );
    for step in [
        "CREATE TABLE scr.old (id int)",
        "BEGIN",
        "CREATE TABLE scr.next AS SELECT * FROM scr.old",
        "DROP TABLE scr.old",
        "COMMIT",
    ] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    under.linegate.assert_unharmed();
}
