//! What is temporary goes with all that depends on it, by a CASCADE that nobody says: at the end of a transaction or a session, and
//! at DISCARD. Nothing permanent that is there comes to depend on it.

use linegate_tests::under::{code, say};
use linegate_tests::wire::{bind, error_of, execute, parse, sync};
use linegate_tests::{RawClient, eventually};

use super::{closed, settle};

pub(super) const MORE: &str = "SET ROLE app;
    CREATE TABLE scr.par (id int PRIMARY KEY); CREATE VIEW scr.va AS SELECT id FROM scr.par;
    CREATE VIEW safe.va AS SELECT * FROM scr.va;
    CREATE TABLE scr.kh (id int, note text); CREATE VIEW safe.kh AS SELECT note FROM scr.kh;
    CREATE TABLE scr.target (id int PRIMARY KEY); CREATE TABLE safe.kid (p int REFERENCES scr.target)";
/// Whatever the closed schema has, to the last column, key and default.
pub(super) const LEFT: &str = "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'safe'::regnamespace AND NOT a.attisdropped;
    SELECT count(*) FROM pg_constraint WHERE connamespace = 'safe'::regnamespace;
    SELECT count(*) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid WHERE c.relnamespace = 'safe'::regnamespace";

/// A name that the server cuts is another by its last word.
const LONG: &str =
    "CREATE TABLE scr.\"abcdefghijabcdefghijabcdefghij abcdefghijabcdefghijabcdefghijab\" (id int, o own)";

/// A definition over what is temporary.
pub(super) fn view(condition: &str) -> String {
    format!("CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.par WHERE {condition}")
}

/// The last of these statements, if it is refused by linegate.
#[track_caller]
pub(super) fn refuses(client: &mut RawClient, statements: &[&str]) {
    let (last, first) = statements.split_last().expect("statements");
    for statement in first {
        assert_eq!(code(&client.query(statement)), "no error", "{statement}");
    }
    let found = code(&client.query(last));
    assert_eq!(found, "42501", "{statements:?}");
}

#[test]
fn nothing_that_is_there_comes_to_depend_on_what_is_temporary() {
    let (under, _) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    let before = under.postgres.sql(LEFT);
    let temporary = "CREATE TEMP TABLE own (id int)";
    let made = "SET client_min_messages = error; DROP TABLE IF EXISTS scr.np2, scr.np5, scr.nt CASCADE";
    let forget = || under.postgres.sql(made);
    for (first, last) in [
        (temporary, view("NULL::own IS NULL")),
        (temporary, view("'pg_temp.own'::regclass IS NOT NULL")),
        (temporary, view("(SELECT count(x) FROM scr.par x, own) = 0")),
        ("SELECT 1 AS a INTO TEMP own", view("NULL::own[] IS NULL")),
        ("CREATE TEMP SEQUENCE own", view("'own'::regclass IS NOT NULL")),
        ("CREATE TEMP VIEW own AS SELECT 1", view("NULL::own IS NULL")),
        (
            "CREATE DOMAIN pg_temp.own AS int",
            view("NULL::pg_temp.own IS NULL"),
        ),
        ("SET search_path = pg_temp", view("NULL::own IS NULL")),
        (
            "CREATE COLLATION pg_temp.own FROM \"C\"; CREATE TABLE scr.np2 (id int, note text) PARTITION BY LIST (note COLLATE pg_temp.own)",
            "ALTER TABLE scr.np2 ATTACH PARTITION scr.kh DEFAULT".to_owned(),
        ),
        (
            "CREATE TYPE pg_temp.own AS (id int, note text); CREATE TABLE scr.np5 OF pg_temp.own",
            "ALTER TABLE scr.kh INHERIT scr.np5".to_owned(),
        ),
        (
            "CREATE TEMP TABLE own (id int); CREATE TABLE scr.nt (id int, o own)",
            "ALTER SEQUENCE scr.loose OWNED BY scr.nt.o".to_owned(),
        ),
        (
            "CREATE DOMAIN pg_temp.own AS int",
            "ALTER TABLE scr.target ALTER id TYPE pg_temp.own".to_owned(),
        ),
    ] {
        for within in [true, false] {
            let mut client = under.client();
            if within {
                client.query("BEGIN");
            }
            refuses(&mut client, &[first, &last]);
            client.query(if within { "COMMIT" } else { "DISCARD TEMP" });
            drop(client);
            forget();
        }
        // In one text.
        let mut client = under.client();
        refuses(&mut client, &[&format!("{first}; {last}")]);
        forget();
        // Bound before there was anything temporary.
        client.query("BEGIN");
        assert_eq!(
            code(&say(
                &mut client,
                &[parse("d", &last), bind("p", "d", &[], 0), sync()]
            )),
            if last.contains("pg_temp") {
                "42501"
            } else {
                "no error"
            },
            "{last}"
        );
        if !last.contains("pg_temp") {
            assert_eq!(code(&client.query(first)), "no error");
            let run = code(&say(&mut client, &[execute("p", 0), sync()]));
            assert_eq!(run, "42501", "{last}");
        }
        client.query("ROLLBACK");
        drop(client);
        forget();
        eventually("sessions end", || {
            let sessions =
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND application_name = ''";
            (under.postgres.sql(sessions) == "0").then_some(())
        });
        assert_eq!(under.postgres.sql(LEFT), before, "{first} {last}");
    }
}

#[test]
fn what_another_session_has_temporary_is_out_of_reach_as_well() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    let before = under.postgres.sql(LEFT);
    let mut other = under.client();
    for made in [
        "CREATE TEMP TABLE own (id int)",
        "CREATE TABLE scr.through (id int, o own)",
        "CREATE TABLE scr.copied AS SELECT o, 1 AS id FROM own AS o",
        "ALTER TABLE scr.t1 ADD COLUMN o own",
        LONG,
    ] {
        if made.contains("t1") {
            under.postgres.sql("SET ROLE app; CREATE TABLE scr.t1 (id int)");
        }
        assert_eq!(code(&other.query(made)), "no error", "{made}");
    }
    under.postgres.sql(
        "SET ROLE app; CREATE VIEW scr.over AS SELECT o, id FROM scr.through; CREATE SEQUENCE scr.owned OWNED BY scr.through.o;
         RESET ROLE; CREATE TYPE scr.announced",
    );
    settle(&under);
    for made in [
        "CREATE VIEW scr.again AS SELECT id FROM scr.through",
        "CREATE DOMAIN scr.announced AS int",
        "CREATE VIEW scr.announced AS SELECT 'own'::regclass AS a",
    ] {
        let (code, message) = error_of(&other.query(made)).expect("an error");
        assert!(
            code == "42501" && message.contains("may be temporary"),
            "{made}: {message}"
        );
    }
    let oid = under
        .postgres
        .sql("SELECT oid FROM pg_class WHERE relname = 'own'");
    let schema = under
        .postgres
        .sql("SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'own'");
    for condition in [
        "EXISTS (SELECT o FROM scr.through)".to_owned(),
        "EXISTS (SELECT o FROM scr.copied)".to_owned(),
        "EXISTS (SELECT o FROM scr.t1)".to_owned(),
        "EXISTS (SELECT o FROM scr.OVER)".to_owned(),
        "'scr.through'::regclass IS NULL".to_owned(),
        "'scr.owned'::regclass IS NOT NULL".to_owned(),
        "EXISTS (SELECT last_value FROM scr.owned)".to_owned(),
        "EXISTS (SELECT o FROM scr.\"abcdefghijabcdefghijabcdefghij abcdefghijabcdefghijabcdefghijabc\")"
            .to_owned(),
        format!("'{oid}'::regclass IS NOT NULL"),
        format!("$${oid}$$::regclass IS NOT NULL"),
        format!("NULL::{schema}.own IS NULL"),
        format!("NULL::U&\"pg\\005f{}\".own IS NULL", &schema[3..]),
    ] {
        assert_eq!(code(&client.query(&view(&condition))), "42501", "{condition}");
    }
    // By an extension, all of whose parts are temporary.
    let extension = format!("CREATE EXTENSION tablefunc SCHEMA {schema}");
    assert_eq!(code(&other.query(&extension)), "no error");
    let part = "ALTER EXTENSION tablefunc ADD VIEW scr.va";
    assert_eq!(code(&client.query(part)), "42501");
    // What is not committed yet is waited for.
    other.query("BEGIN");
    assert_eq!(
        code(&other.query("CREATE TABLE scr.open (id int, o own)")),
        "no error"
    );
    client.send_query(&view("EXISTS (SELECT o FROM scr.open)"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    other.query("COMMIT");
    assert_eq!(code(&client.read_to_ready()), "42501");
    // Nor by a table that a third session makes of it while somebody waits for a lock.
    let mut third = under.client();
    under.postgres.sql("CREATE TABLE scr.gate ()");
    third.query("BEGIN; LOCK TABLE scr.par IN ACCESS EXCLUSIVE MODE");
    client.send_query(&view("EXISTS (SELECT o FROM scr.late)"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut fourth = under.client();
    fourth.send_query("CREATE TABLE scr.late (LIKE scr.through)");
    std::thread::sleep(std::time::Duration::from_millis(300));
    third.query("COMMIT");
    assert_eq!(code(&fourth.read_to_ready()), "42501");
    assert_eq!(code(&client.read_to_ready()), "42P01");
    drop(other);
    // What goes with that session goes alone, and names are free again.
    eventually("the other session's tables are gone", || {
        let left = "SELECT count(*) FROM pg_class WHERE relname = 'own'";
        (under.postgres.sql(left) == "0").then_some(())
    });
    assert_eq!(under.postgres.sql(LEFT), before);
    eventually("the catalog shows it", || {
        let again = view("EXISTS (SELECT id FROM scr.through)");
        (code(&client.query(&again)) == "no error").then_some(())
    });
}

#[test]
fn sessions_that_begin_in_a_temporary_schema_remake_nothing() {
    let (under, mut other) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    assert_eq!(code(&other.query("CREATE TEMP TABLE own (id int)")), "no error");
    let schema = under
        .postgres
        .sql("SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'own'");
    let option = format!("-c search_path={schema}");
    for (name, value) in [
        ("search_path", schema.as_str()),
        ("options", &option),
        ("search_path", "\"pg_temp\""),
    ] {
        let mut client = under.client_with(&[(name, value)]);
        assert_eq!(
            code(&client.query(&view("NULL::own IS NULL"))),
            "42501",
            "{name} {value}"
        );
    }
    for statement in [
        "ALTER ROLE app SET search_path = pg_temp",
        "ALTER ROLE app IN DATABASE shop SET search_path = pg_temp",
        "ALTER DATABASE shop SET search_path = pg_temp",
        "ALTER SYSTEM SET search_path = pg_temp",
    ] {
        assert_eq!(code(&other.query(statement)), "42501", "{statement}");
    }
    for statement in [
        &format!("SELECT set_config(n, v, false) FROM (VALUES ('search_path', '{schema}')) x (n, v)"),
        &format!("UPDATE pg_settings SET setting = '{schema}' WHERE name = 'search_path'"),
    ] {
        let mut client = under.client();
        assert_eq!(code(&client.query(statement)), "no error", "{statement}");
        assert_eq!(
            code(&client.query(&view("NULL::own IS NULL"))),
            "42501",
            "{statement}"
        );
    }
}

#[test]
fn whoever_uses_temporary_tables_goes_on_working() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    for statement in [
        "CREATE TEMP TABLE stage (id int, t text)",
        "INSERT INTO stage SELECT g, 'x' FROM generate_series(1, 9) g",
        "CREATE INDEX ON stage (id)",
        "ALTER TABLE stage ADD COLUMN n int DEFAULT 1",
        "ALTER TABLE pg_temp.stage ALTER n TYPE bigint",
        "CREATE OR REPLACE TEMP VIEW staged AS SELECT id FROM stage",
        "CREATE TABLE scr.loaded AS SELECT * FROM stage",
        "CREATE UNIQUE INDEX loaded_id ON scr.loaded (id)",
        "ALTER TABLE scr.loaded ADD PRIMARY KEY USING INDEX loaded_id",
        "ALTER TABLE scr.loaded ALTER t SET DEFAULT 'y'",
        "ALTER TABLE scr.loaded RENAME TO loaded_1",
        "CREATE VIEW scr.shown AS SELECT id FROM scr.loaded_1",
        "COMMENT ON TABLE scr.loaded_1 IS 'of today'",
        "GRANT SELECT ON scr.loaded_1 TO PUBLIC",
        "DROP TABLE stage CASCADE",
    ] {
        assert_eq!(code(&client.query(statement)), "no error", "{statement}");
    }
    // Another session says what the words of a definition are about.
    let mut other = under.client();
    for statement in [
        "CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.par WHERE id > 20000 AND 'a1' ~ '^\\w\\d+$'",
        "ALTER TABLE scr.loaded_1 ALTER id TYPE bigint",
    ] {
        let found = code(&other.query(statement));
        let is_of_view = statement.starts_with("ALTER"); // a view shows the column
        assert_eq!(
            found,
            if is_of_view { "0A000" } else { "no error" },
            "{statement}"
        );
    }
}
