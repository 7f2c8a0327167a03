//! CASCADE takes nothing of a closed schema along, whatever stands between, and however lately it was put there.

use linegate_tests::under::{code, say};
use linegate_tests::wire::{bind, execute, parse, sync};

use super::{closed, is_refusal, refused_at_last, settle};

const MORE: &str = "SET ROLE app;
    CREATE TABLE scr.par (id int PRIMARY KEY); CREATE VIEW scr.va AS SELECT id FROM scr.par;
    CREATE VIEW safe.va AS SELECT * FROM scr.va; CREATE TABLE scr.t2 (id int); CREATE TABLE scr.t3 (id int);
    CREATE VIEW scr.shows AS SELECT * FROM scr.t3";
const LEFT: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = 'safe'::regnamespace";

#[test]
fn constants_and_row_types_are_dependencies_as_well() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    let before = under.postgres.sql(LEFT);
    for query in [
        "SELECT 1 AS id WHERE 'scr.t2'::regclass IS NOT NULL",
        "SELECT 1 AS id WHERE NULL::scr.t2 IS NULL",
        "SELECT id FROM scr.par WHERE (NULL::scr.t2).id IS NULL",
    ] {
        let view = format!("CREATE OR REPLACE VIEW scr.va AS {query}");
        refused_at_last(&mut client, &[&view, "DROP TABLE scr.t2 CASCADE"]);
        // In one text, and by the extended protocol.
        let both = client.query(&format!("{view}; DROP TABLE scr.t2 CASCADE"));
        assert!(is_refusal(&code(&both)), "{query}");
        let bound = [
            parse("d", "DROP TABLE scr.t2 CASCADE"),
            bind("p", "d", &[], 0),
            sync(),
        ];
        client.query("BEGIN");
        assert_eq!(code(&say(&mut client, &bound)), "no error");
        assert_eq!(code(&client.query(&view)), "no error");
        let run = code(&say(&mut client, &[execute("p", 0), sync()]));
        assert!(is_refusal(&run), "{query}: {run}");
        client.query("ROLLBACK; DEALLOCATE ALL");
        // With something that is known to go along, it is CASCADE.
        let view = view.replace("scr.t2", "scr.t3");
        refused_at_last(&mut client, &[&view, "DROP TABLE scr.t3 CASCADE"]);
        assert_eq!(under.postgres.sql(LEFT), before, "{query}");
    }
}

#[test]
fn what_is_computed_with_a_table_goes_with_it() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.k (id int); CREATE VIEW scr.kv AS SELECT * FROM scr.k;
         CREATE TABLE scr.parts (id int) PARTITION BY LIST ((CASE WHEN 'scr.k'::regclass IS NULL THEN 1 ELSE id END));
         CREATE TABLE safe.part PARTITION OF scr.parts DEFAULT;
         CREATE TABLE scr.i (id int); CREATE VIEW scr.iv AS SELECT * FROM scr.i;
         CREATE INDEX ON safe.orders (id) WHERE 'scr.i'::regclass IS NOT NULL;
         CREATE TABLE scr.g (id int); CREATE VIEW scr.gv AS SELECT * FROM scr.g;
         CREATE TABLE scr.gen (a int, b int GENERATED ALWAYS AS (a + CASE WHEN 'scr.g'::regclass IS NULL THEN 1 ELSE 0 END) STORED);
         CREATE VIEW safe.gen AS SELECT b FROM scr.gen;
         CREATE TABLE scr.r (id int); CREATE VIEW scr.rv AS SELECT * FROM scr.r;
         CREATE TABLE scr.rows (r scr.r, n int); CREATE VIEW safe.rows AS SELECT r FROM scr.rows;
         RESET ROLE; CREATE EXTENSION citext SCHEMA scr; CREATE TABLE safe.words (id int, x scr.citext);
         CREATE TABLE scr.e (id int); CREATE VIEW scr.ev AS SELECT * FROM scr.e; ALTER EXTENSION citext ADD VIEW scr.ev;
         ALTER TABLE scr.e OWNER TO app; ALTER VIEW scr.ev OWNER TO app",
    );
    settle(&under);
    let objects = format!(
        "{LEFT}; SELECT count(*) FROM pg_index WHERE indrelid = 'safe.orders'::regclass;
         SELECT count(*) FROM pg_attribute WHERE attrelid = 'safe.words'::regclass AND NOT attisdropped"
    );
    let before = under.postgres.sql(&objects);
    for table in ["k", "i", "g", "r", "e"] {
        let dropped = code(&client.query(&format!("DROP TABLE scr.{table} CASCADE")));
        assert_eq!(dropped, "42501", "{table}");
        assert_eq!(under.postgres.sql(&objects), before, "{table}");
    }
}

#[test]
fn nothing_goes_along_that_linegate_has_not_seen() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    assert_eq!(code(&client.query("SELECT 1")), "no error");
    // Past linegate, a moment ago.
    under
        .postgres
        .sql("SET ROLE app; CREATE VIEW safe.late AS SELECT id FROM scr.t2; CREATE TABLE scr.of (id int PRIMARY KEY); 
              CREATE TABLE safe.refers (id int REFERENCES scr.of); INSERT INTO scr.of VALUES (1); INSERT INTO safe.refers VALUES (1);
              CREATE OR REPLACE VIEW scr.va AS SELECT 1 AS id WHERE 'scr.t3'::regclass IS NOT NULL");
    let before = under.postgres.sql(LEFT);
    for (text, series) in [
        ("DROP TABLE scr.t2 CASCADE", false),
        ("drop table scr.t2 cascade ;", true),
        ("ALTER TABLE scr.t2 DROP COLUMN id CASCADE", true),
        ("DROP TABLE scr.t3 CASCADE", false), // `scr.shows` is known to go along
        ("TRUNCATE scr.of CASCADE", false),
        ("TRUNCATE scr.of CASCADE", true),
    ] {
        let answer = match series {
            true => say(
                &mut client,
                &[parse("", text), bind("", "", &[], 0), execute("", 0), sync()],
            ),
            false => client.query(text),
        };
        assert!(is_refusal(&code(&answer)), "{text}");
    }
    let after = under
        .postgres
        .sql(&format!("{LEFT}; SELECT count(*) FROM safe.refers"));
    assert_eq!(after, format!("{before}\n1"));
}

#[test]
fn a_cascade_waits_for_whatever_others_are_making() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    let before = under.postgres.sql(LEFT);
    for made in [
        "CREATE OR REPLACE VIEW scr.va AS SELECT 1 AS id WHERE 'scr.t3'::regclass IS NOT NULL",
        "CREATE MATERIALIZED VIEW scr.mv AS SELECT id FROM scr.t3; CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.mv",
        "CREATE TABLE scr.uu (x scr.t3, id int); CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.uu",
    ] {
        under
            .postgres
            .sql("SET ROLE app; CREATE TABLE IF NOT EXISTS scr.t3 (id int); CREATE OR REPLACE VIEW scr.shows AS SELECT * FROM scr.t3");
        settle(&under);
        let mut other = under.client();
        client.query("BEGIN");
        let mut steps = made.split("; ");
        let first = steps.next().expect("a step");
        assert_eq!(code(&client.query(first)), "no error", "{first}");
        // `scr.shows` is known to go along, so that it stays CASCADE.
        other.send_query("DROP TABLE scr.t3 CASCADE");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let rest: Vec<String> = steps.map(|step| code(&client.query(step))).collect();
        client.query("COMMIT");
        let dropped = code(&other.read_to_ready());
        // Whoever comes first goes on, and the other one may be told.
        let known = |code: &String| ["no error", "55P03", "42501", "25P02"].contains(&code.as_str());
        assert!(
            rest.iter().chain([&dropped]).all(known),
            "{made}: {rest:?} {dropped}"
        );
        assert_eq!(under.postgres.sql(LEFT), before, "{made}");
        client.query("CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.par");
    }
}

#[test]
fn tables_are_no_longer_own_when_another_session_takes_names_away() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "CREATE SCHEMA w1 AUTHORIZATION app; SET ROLE app; CREATE TABLE scr.par (id int PRIMARY KEY);
         INSERT INTO scr.par SELECT generate_series(1, 9); CREATE TABLE safe.kid (p int REFERENCES scr.par ON DELETE CASCADE);
         INSERT INTO safe.kid SELECT generate_series(1, 9);
         CREATE TABLE scr.target (id int PRIMARY KEY); INSERT INTO scr.target SELECT generate_series(1, 9)",
    );
    settle(&under);
    let mut other = under.client();
    client.query("BEGIN");
    assert_eq!(
        code(&client.query("CREATE TABLE w1.nx (id int PRIMARY KEY)")),
        "no error"
    );
    // ALTER SCHEMA is nothing that this principal may say; what it comes to is.
    under
        .postgres
        .sql("ALTER SCHEMA w1 RENAME TO w2; CREATE SCHEMA w1 AUTHORIZATION app");
    settle(&under);
    for step in [
        "ALTER TABLE scr.par SET SCHEMA w1",
        "ALTER TABLE w1.par RENAME TO nx",
    ] {
        assert_eq!(code(&other.query(step)), "no error", "{step}");
    }
    let key = "ALTER TABLE w1.nx ADD FOREIGN KEY (id) REFERENCES scr.target ON DELETE CASCADE";
    let found = code(&client.query(key));
    if found == "no error" {
        assert_eq!(
            code(&client.query("DELETE FROM scr.target WHERE id < 4")),
            "42501"
        );
    }
    client.query("COMMIT");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.kid"), "9");
}

#[test]
fn keys_refer_to_what_becomes_a_partition() {
    let (under, mut client) = closed();
    under.postgres.sql(&format!(
        "{MORE}; CREATE TABLE scr.whole (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE safe.refers (id int REFERENCES scr.whole)"
    ));
    settle(&under);
    let keys =
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'safe.refers'::regclass";
    let before = under.postgres.sql(keys);
    let part = "CREATE TABLE scr.part PARTITION OF scr.whole FOR VALUES FROM (0) TO (9)";
    refused_at_last(&mut client, &[part, "DROP TABLE scr.part, scr.t3 CASCADE"]);
    let both = client.query(&format!("{part}; DROP TABLE scr.part, scr.t3 CASCADE"));
    assert!(is_refusal(&code(&both)));
    assert_eq!(under.postgres.sql(keys), before);
}

#[test]
fn migrations_say_cascade_where_nothing_goes_along() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    for steps in [
        &[
            "CREATE TABLE scr.a (id int, b int, c int)",
            "ALTER TABLE scr.a RENAME COLUMN b TO d",
            "ALTER TABLE scr.a DROP COLUMN d CASCADE",
            "ALTER TABLE scr.t2 RENAME TO t9",
            "CREATE VIEW scr.shown AS SELECT * FROM scr.a",
            "DROP TABLE scr.lone CASCADE",
        ][..],
        &[
            "CREATE SEQUENCE scr.q",
            "ALTER SEQUENCE scr.q OWNED BY scr.t2.id",
            "DROP TABLE scr.held CASCADE",
        ],
        &["DROP TABLE scr.t3 CASCADE"],
        // With a view that goes along, as mappers do it in one transaction.
        &[
            "CREATE TABLE scr.later (id int PRIMARY KEY, other int)",
            "ALTER TABLE scr.later ADD COLUMN n int DEFAULT 7",
            "ALTER TABLE scr.later RENAME COLUMN n TO m",
            "CREATE VIEW scr.later_shown AS SELECT * FROM scr.later",
            "DROP TABLE scr.t3 CASCADE",
            "CREATE TABLE scr.t3 (id int)",
        ],
        &["TRUNCATE scr.t2, scr.t3 CASCADE"],
        &["DROP TYPE scr.own CASCADE"],
    ] {
        client.query("BEGIN");
        for step in steps {
            let expected = match *step {
                "DROP TABLE scr.held CASCADE" => "42501", // safe has a column of its rows
                "DROP TYPE scr.own CASCADE" => "42501", // a column is of it: CASCADE, which cannot be looked into
                _ => "no error",
            };
            assert_eq!(code(&client.query(step)), expected, "{step}");
        }
        client.query("ROLLBACK");
    }
    drop(under);
}
