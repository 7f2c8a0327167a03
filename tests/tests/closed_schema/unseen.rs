//! What a text does not say: what its transaction has made by a number or by a name that it runs, names without words, operators, and
//! the schema of what is made without one.

use linegate_tests::under::{Under, behind, code, say};
use linegate_tests::wire::{bind, error_of, execute, framed, parse, rows, sync, tags};
use linegate_tests::{Message, Options, RawClient, eventually};

use super::temporary::{LEFT, MORE, refuses, view};
use super::{FIXTURE, POLICIES, closed, settle};

/// Another session's temporary table, something that rests on it, and what is in the closed schema.
fn beside(under: &Under, made: &[&str]) -> (RawClient, String) {
    under.postgres.sql(MORE);
    settle(under);
    let before = under.postgres.sql(LEFT);
    let mut other = under.client();
    for made in [&["CREATE TEMP TABLE own (id int)"], made].concat() {
        assert_eq!(code(&other.query(made)), "no error", "{made}");
    }
    settle(under);
    (other, before)
}

/// Nothing goes along with what the other session has.
fn stays(under: &Under, mut other: RawClient, before: &str) {
    assert_eq!(code(&other.query("DISCARD TEMP")), "no error");
    assert_eq!(under.postgres.sql(LEFT), before);
}

#[test]
fn names_of_signs_beyond_ascii_need_no_quotes() {
    let (under, mut client) = closed();
    let (other, before) = beside(&under, &["CREATE TABLE scr.€ (id int, o own)"]);
    refuses(&mut client, &[&view("EXISTS (SELECT o FROM scr.€)")]);
    refuses(&mut client, &[&view("NULL::scr.€ IS NULL")]);
    refuses(&mut client, &["ALTER SEQUENCE scr.loose2 OWNED BY scr.€.o"]);
    assert_eq!(code(&client.query(&view("id > 5"))), "no error");
    stays(&under, other, &before);
}

#[test]
fn what_the_open_transaction_made_by_a_number_is_built_upon_by_nothing() {
    let (under, mut client) = closed();
    let (other, before) = beside(&under, &[]);
    let number = "SELECT oid FROM pg_class WHERE relname = 'own'";
    let oid = under.postgres.sql(number);
    let fresh = format!("CREATE VIEW scr.fresh AS SELECT 1 AS id WHERE '{oid}'::regclass IS NOT NULL");
    let over = view("EXISTS (SELECT FROM scr.fresh)");
    refuses(&mut client, &["BEGIN", &fresh, &over]);
    client.query("ROLLBACK");
    let parent = format!(
        "CREATE TABLE scr.fresht (id int, note text) PARTITION BY LIST ((CASE WHEN '{oid}'::regclass IS NULL THEN 1 ELSE id END))"
    );
    let attach = "ALTER TABLE scr.fresht ATTACH PARTITION scr.kh DEFAULT";
    refuses(&mut client, &["BEGIN", &parent, attach]);
    client.query("ROLLBACK");
    // A transaction without BEGIN, answered up to here.
    client.send_bytes(
        &[
            parse("", &fresh),
            bind("", "", &[], 0),
            execute("", 0),
            framed(b'H', b""),
        ]
        .concat(),
    );
    client.read_to(b'C');
    let remade = [parse("", &over), bind("", "", &[], 0), execute("", 0), sync()];
    assert_eq!(code(&say(&mut client, &remade)), "42501");
    // Where others see it, its name tells.
    client.query("DROP VIEW IF EXISTS scr.fresh");
    assert_eq!(code(&client.query(&fresh)), "no error");
    settle(&under);
    refuses(&mut client, &[&over]);
    assert_eq!(code(&client.query(&view("id > 5"))), "no error");
    stays(&under, other, &before);
}

#[test]
fn what_a_table_takes_from_a_prepared_statement_is_not_said() {
    let (under, mut client) = closed();
    let (other, before) = beside(&under, &["CREATE TABLE scr.through (id int, o own)"]);
    client.query("PREPARE p AS SELECT o FROM scr.through");
    for made in [
        "CREATE TABLE scr.fresht AS EXECUTE p",
        "EXPLAIN ANALYZE CREATE TABLE scr.fresht AS EXECUTE p",
    ] {
        for remade in [
            view("EXISTS (SELECT o FROM scr.fresht)"),
            "ALTER SEQUENCE scr.loose OWNED BY scr.fresht.o".to_owned(),
        ] {
            client.query("BEGIN");
            if code(&client.query(made)) == "no error" {
                refuses(&mut client, &[&remade]);
            }
            client.query("ROLLBACK");
        }
    }
    stays(&under, other, &before);
}

#[test]
fn operators_and_casts_rest_on_temporary_functions() {
    let opaque = POLICIES.find("@id(\"nothing-opaque\")").expect("the last policy");
    let policies = POLICIES[..opaque].to_owned();
    for (made, used) in [
        (
            [
                "CREATE FUNCTION pg_temp.f(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2'",
                "CREATE OPERATOR scr.=== (FUNCTION = pg_temp.f, LEFTARG = int, RIGHTARG = int)",
            ],
            "id OPERATOR(scr.===) 1",
        ),
        (
            [
                "CREATE FUNCTION pg_temp.f(scr.en2) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
                "CREATE CAST (scr.en2 AS int) WITH FUNCTION pg_temp.f(scr.en2)",
            ],
            "id = CAST('a'::scr.en2 AS int)",
        ),
    ] {
        let options = Options {
            policies: policies.clone(),
            ..Options::default()
        };
        let under = behind(options, FIXTURE);
        let mut client = under.client();
        let (other, before) = beside(&under, &made);
        refuses(&mut client, &[&view(used)]);
        stays(&under, other, &before);
        settle(&under);
        assert_eq!(code(&client.query(&view("id > 5"))), "no error");
    }
}

#[test]
fn what_is_made_without_a_schema_is_made_in_the_first_of_the_path() {
    let policies = POLICIES.replace("\"safe\"", "\"app\"");
    let under = behind(
        Options {
            policies,
            ..Options::default()
        },
        FIXTURE,
    );
    let mut client = under.client();
    for made in [
        "CREATE TABLE brandapp (a int)",
        "CREATE TABLE brandapp AS SELECT 1 AS a",
        "SELECT 1 AS a INTO brandapp",
        "CREATE VIEW brandapp AS SELECT 1 AS a",
        "CREATE SEQUENCE brandapp",
        "CREATE MATERIALIZED VIEW brandapp AS SELECT 1 AS a",
        "SELECT 1; CREATE TABLE brandapp (a int)",
        "CREATE TABLE w (a int)", // there is one elsewhere
    ] {
        refuses(&mut client, &[made]);
    }
    let made = "SELECT count(*) FROM pg_class WHERE relname = 'brandapp' OR relname = 'w' AND relnamespace = 'app'::regnamespace";
    assert_eq!(under.postgres.sql(made), "0");
    assert_eq!(
        code(&client.query("CREATE TABLE scr.brandapp (a int)")),
        "no error"
    );
    assert_eq!(
        code(&client.query("CREATE TEMP TABLE brandapp (a int)")),
        "no error"
    );
}

#[test]
fn nobody_moves_where_others_make_things() {
    let (under, mut client) = closed();
    under
        .postgres
        .sql("CREATE ROLE safe; GRANT safe TO app; GRANT ALL ON SCHEMA safe TO safe");
    assert_eq!(code(&client.query("CREATE TABLE brandnew (a int)")), "no error"); // in app
    for moves in [
        "ALTER ROLE app SET search_path = safe",
        "ALTER ROLE app IN DATABASE shop SET search_path = safe",
        "ALTER DATABASE shop SET search_path TO safe, public",
        "ALTER ROLE ALL SET Search_Path FROM CURRENT",
        "ALTER ROLE app SET role = safe",
        "ALTER ROLE app RESET ALL",
        "ALTER DATABASE shop RESET search_path",
    ] {
        refuses(&mut client, &[moves]);
    }
    refuses(&mut client, &["SET ROLE safe", "CREATE TABLE brandsafe (a int)"]);
    let mut other = under.client();
    refuses(
        &mut other,
        &[
            "BEGIN",
            "REVOKE USAGE ON SCHEMA app FROM app",
            "CREATE TABLE brandsafe (a int)",
        ],
    );
    drop(other);
    let mut other = under.client_with(&[("options", "-c role=safe")]);
    refuses(&mut other, &["CREATE TABLE brandsafe (a int)"]);
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM pg_class WHERE relname = 'brandsafe'"),
        "0"
    );
    let mut other = under.client();
    assert_eq!(
        code(&other.query("ALTER ROLE app SET statement_timeout = '30s'")),
        "no error"
    );
    // Where an administrator moves it, things are judged there, once the catalog is read by a new connection.
    under.postgres.sql("ALTER ROLE app SET search_path = safe");
    eventually("the path is known", || {
        under.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'linegate catalog'");
        settle(&under);
        let made = code(&under.client().query("CREATE TABLE brandsafe (a int)"));
        under.postgres.sql("DROP TABLE IF EXISTS safe.brandsafe");
        (made == "42501").then_some(())
    });
}

#[test]
fn long_texts_hold_up_nobody() {
    let (under, mut client) = closed();
    under.postgres.sql(MORE);
    settle(&under);
    let long = "several words, of which there are many more than fit into one name, and signs";
    for made in [
        format!("CREATE TABLE scr.j (d jsonb DEFAULT '{{\"description\": \"{long}\"}}')"),
        format!("CREATE TABLE scr.h (d text DEFAULT '{}')", "0a".repeat(32)),
        format!("COMMENT ON TABLE scr.par IS 'the \"parents\", {long}'"),
        format!(
            "CREATE VIEW scr.lv AS SELECT 1 AS a WHERE 'x' <> '{}'",
            long.replace(' ', "-")
        ),
        view("id > 5"),
        "ALTER TABLE scr.par ADD COLUMN d text".to_owned(),
    ] {
        assert_eq!(code(&client.query(&made)), "no error", "{made}");
    }
}

/// Nothing is made in the closed schema; the rest goes.
fn nothing_new() -> Under {
    let policies = r#"
        @id("everything") permit (principal, action, resource);
        @id("nothing-new") forbid (principal, action in [Action::"create", Action::"drop"], resource)
        when { resource is Table && resource.schema == "safe" };
    "#;
    let options = Options {
        policies: policies.to_owned(),
        ..Options::default()
    };
    behind(options, FIXTURE)
}

fn is_nothing_new(answer: &[Message]) -> bool {
    error_of(answer).is_some_and(|(_, message)| message.contains("nothing-new"))
}

/// `set_config('search_path', 'safe', false)` in the message that names functions by number.
fn path_by_number(under: &Under) -> Vec<u8> {
    let number = under.postgres.sql("SELECT 'pg_catalog.set_config'::regproc::oid");
    let mut body = number.parse::<u32>().expect("an OID").to_be_bytes().to_vec();
    body.extend([0, 1, 0, 1, 0, 3]); // one format for all, binary; three arguments
    for argument in [b"search_path".as_slice(), b"safe", &[0]] {
        body.extend(u32::try_from(argument.len()).expect("short").to_be_bytes());
        body.extend(argument);
    }
    body.extend([0, 1]);
    framed(b'F', &body)
}

#[test]
fn a_path_is_moved_by_a_function_that_is_called_by_number() {
    let under = nothing_new();
    let moved = path_by_number(&under);
    let make = "CREATE TABLE moved (a int)";
    let is_unknown_place = |answer: &[Message]| {
        let error = error_of(answer);
        error.is_some_and(|(code, message)| code == "42501" && message.contains("not known any more"))
    };
    let mut client = under.client();
    client.send_bytes(&moved);
    assert_eq!(tags(&client.read_to_ready()), "VZ", "the path is moved");
    assert_eq!(rows(&client.query("SHOW search_path")), [["safe"]]);
    assert!(is_unknown_place(&client.query(make)));
    assert_eq!(code(&client.query("CREATE TABLE scr.moved (a int)")), "no error");
    // Without waiting, and named by what nobody reads: what comes behind may be anything, and is opaque.
    let (under, mut client) = closed();
    let computed = "SELECT set_config('search_' || 'path', 'safe', false)";
    client.send_bytes(
        &[computed, make]
            .map(|text| framed(b'Q', format!("{text}\0").as_bytes()))
            .concat(),
    );
    client.read_to_ready();
    assert_eq!(code(&client.read_to_ready()), "42501");
    let found = under
        .postgres
        .sql("SELECT count(*) FROM pg_class WHERE relname = 'moved'");
    assert_eq!(found, "0");
}

#[test]
fn what_is_put_into_a_closed_schema_is_made_there() {
    let under = nothing_new();
    under.postgres.sql(
        "GRANT CREATE ON DATABASE shop TO app; CREATE EXTENSION postgres_fdw; \
         CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER far TO app; \
         CREATE USER MAPPING FOR app SERVER far",
    );
    settle(&under);
    let mut client = under.client();
    for honest in [
        "CREATE EXTENSION citext SCHEMA scr",
        "CREATE EXTENSION tablefunc", // into app
        "ALTER TABLE scr.lone SET SCHEMA lone",
        "ALTER TABLE safe.counted ADD more int", // is not made there
    ] {
        assert_eq!(code(&client.query(honest)), "no error", "{honest}");
    }
    let mut is_refused = |put: &str| is_nothing_new(&client.query(put));
    // The server is asked, and says why it does not.
    let import = |into: &str| format!("IMPORT FOREIGN SCHEMA public {into}");
    assert!(!is_refused(&import("FROM SERVER far INTO scr")));
    assert!(!is_refused("ALTER EXTENSION citext SET SCHEMA lone"));
    for put in [
        "CREATE EXTENSION hstore SCHEMA safe",
        "ALTER EXTENSION citext SET SCHEMA safe",
        "ALTER TABLE scr.friends SET SCHEMA safe",
        "CREATE TABLE scr.more (a int); ALTER TYPE scr.own SET SCHEMA safe",
        &import("FROM SERVER far INTO safe"),
        &import("LIMIT TO (a) FROM SERVER far INTO safe"),
        &import("EXCEPT (a) FROM SERVER far INTO safe"),
    ] {
        assert!(is_refused(put), "{put}");
    }
    under.postgres.sql("ALTER ROLE app SET search_path = safe");
    eventually("the path is known", || {
        under.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'linegate catalog'");
        let mut other = under.client();
        other.query("CREATE TABLE scr.settling (id int)"); // has the catalog read
        other.query("DROP TABLE scr.settling");
        let answer = other.query("CREATE EXTENSION hstore");
        under.postgres.sql("DROP EXTENSION IF EXISTS hstore");
        is_nothing_new(&answer).then_some(())
    });
}
