//! What a look-up of a labelled column costs: every value that it may be compared with, each time that this may be another one.

mod by_name;
mod parameters;

use linegate_tests::under::{self, Under, assert_nothing_raw, code, say};
use linegate_tests::wire::{bind, execute, parse_typed, rows, sync};
use linegate_tests::{Options, RawClient};

/// Values that may be looked up.
const ROOM: usize = 20;
/// Whatever `TimeZone` says.
const BY_ZONE: &str = "to_char(timestamptz '2000-01-01', 'tz')";

fn policies() -> String {
    format!(
        "@id(\"on-a-budget\") @budget_lookups(\"{ROOM}\")
         permit (principal in Group::\"ci\", action, resource) unless {{ action in [Action::\"read_raw\", Action::\"probe\"] }};"
    )
}

fn masked() -> (Under, RawClient) {
    let under = under::under(&policies());
    let client = under.client();
    (under, client)
}

/// With more in the database.
fn with(sql: &str) -> Under {
    let options = Options {
        policies: policies(),
        ..Options::default()
    };
    under::behind(options, sql)
}

/// The same with more columns that are labelled.
fn labelled(columns: &[&str], sql: &str) -> Under {
    let options = Options {
        policies: policies(),
        more: format!(
            "[[label]]\nname = \"more\"\ntarget = \"shop\"\ncolumns = {columns:?}\nredact = \"null\"\n"
        ),
        ..Options::default()
    };
    under::behind(options, sql)
}

/// Asks until there is no room; how often that went well.
#[track_caller]
fn until_refused(client: &mut RawClient, mut ask: impl FnMut(&mut RawClient, usize) -> String) -> usize {
    for number in 0..ROOM * 3 {
        match ask(client, number).as_str() {
            "54000" => return number,
            "no error" => {}
            other => panic!("number {number}: {other}"),
        }
    }
    panic!("all {} were let through", ROOM * 3);
}

fn many() -> String {
    let values: Vec<String> = (0..ROOM * 2).map(|number| format!("v{number}")).collect();
    values.join(",")
}

#[test]
fn the_same_value_is_paid_for_once() {
    let (_under, mut client) = masked();
    for _ in 0..ROOM * 3 {
        for text in [
            "SELECT id FROM app.customers WHERE ssn = '000-00-0001'",
            "SELECT upper(name), now() FROM app.customers WHERE ssn = '000-00-0001'::text",
        ] {
            assert_eq!(code(&client.query(text)), "no error", "{text}");
        }
        client.query("SET statement_timeout = '1min'");
    }
}

#[test]
fn what_settings_and_the_clock_spell_is_no_look_up() {
    let (_under, mut client) = masked();
    for number in 0..3 {
        client.query(&format!("SET TimeZone = '<000-00-{number:04}>0'"));
        for text in [
            format!("SELECT id FROM app.customers WHERE ssn = {BY_ZONE}"),
            format!("SELECT id FROM app.customers WHERE ssn = ANY (ARRAY[{BY_ZONE}])"),
            format!("DECLARE c CURSOR FOR SELECT id FROM app.customers WHERE ssn = {BY_ZONE}"),
            format!("PREPARE p AS SELECT id FROM app.customers WHERE ssn = {BY_ZONE}"),
            format!("COPY (SELECT id FROM app.customers WHERE ssn = {BY_ZONE}) TO STDOUT"),
        ] {
            assert_eq!(code(&client.query(&text)), "42501", "{text}");
        }
    }
}

#[test]
fn a_literal_goes_by_the_settings_of_its_time() {
    let (_under, mut client) = masked();
    let well = until_refused(&mut client, |client, number| {
        client.query(&format!("SET TimeZone = '<x>{number}'"));
        code(&client.query("SELECT id FROM app.customers WHERE ssn = '000-00-0001'"))
    });
    assert!(well <= ROOM, "{well}");
    // Many in one text are as many.
    let (_under, mut client) = masked();
    client.query("PREPARE p AS SELECT id FROM app.customers WHERE ssn = 'a' || 'b'");
    let many: String = (0..=ROOM)
        .map(|number| format!("SET TimeZone = '<x>{number}'; EXECUTE p;"))
        .collect();
    assert_eq!(code(&client.query(&many)), "54000");
}

#[test]
fn what_is_computed_of_names_alone_is_counted() {
    let (_under, mut client) = masked();
    let values = vec!["upper(current_catalog)"; ROOM + 1].join(", ");
    let many = format!("SELECT id FROM app.customers WHERE ssn IN ({values})");
    assert_eq!(code(&client.query(&many)), "54000");
    let rows = vec!["(upper(current_catalog))"; ROOM + 1].join(", ");
    let many = format!("SELECT c.id FROM app.customers c, (VALUES {rows}) v(x) WHERE c.ssn = v.x");
    assert_eq!(code(&client.query(&many)), "54000");
}

#[test]
fn blanks_beyond_ascii_are_between_values() {
    let (_under, mut client) = masked();
    let values: Vec<String> = (0..=ROOM).map(|number| format!("000-00-{number:04}")).collect();
    for (call, blank) in [
        ("unnest", " "),
        ("unnest", "\u{2003}"),
        ("unnest", "\u{3000}"),
        ("U&\"unn\\0065st\"", " "),
    ] {
        let text = &format!("SELECT c.id FROM {call}($1) u(x, a, b), app.customers c WHERE c.ssn = u.x");
        let messages = [
            parse_typed("", text, &[3614]),
            bind("", "", &[&values.join(blank)], 0),
            execute("", 0),
            sync(),
        ];
        assert_eq!(code(&say(&mut client, &messages)), "54000", "{blank:?}");
    }
}

#[test]
fn no_query_is_kept_that_looks_up_another_value_each_time() {
    let (_under, mut client) = masked();
    for text in [
        format!("CREATE TEMP VIEW v AS SELECT id FROM app.customers WHERE ssn = {BY_ZONE}"),
        format!("CREATE MATERIALIZED VIEW app.v AS SELECT id FROM app.customers WHERE ssn = {BY_ZONE}"),
    ] {
        assert_eq!(code(&client.query(&text)), "42501", "{text}");
    }
    let kept = client.query("CREATE TEMP VIEW w AS SELECT id FROM app.customers WHERE ssn = '000-00-0001'");
    assert_eq!(code(&kept), "no error");
}

#[test]
fn functions_that_newer_servers_read_as_syntax_are_functions() {
    let (under, mut client) = masked();
    under.postgres.sql(
        "CREATE FUNCTION public.json_scalar(int) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
             'BEGIN RETURN (SELECT ssn FROM app.customers WHERE id = $1); END';
         CREATE FUNCTION public.json_value(int, text) RETURNS text LANGUAGE sql SECURITY DEFINER AS
             'SELECT ssn FROM app.customers WHERE id = $1';
         CREATE FUNCTION public.merge_action() RETURNS text LANGUAGE sql SECURITY DEFINER AS
             'SELECT ssn FROM app.customers WHERE id = 1'",
    );
    std::thread::sleep(std::time::Duration::from_millis(1200)); // the catalog is read meanwhile
    for call in ["json_scalar(1)", "json_value(1, '$')", "merge_action()"] {
        let answer = client.query(&format!("SELECT {call}"));
        assert_nothing_raw(call, &answer);
    }
    assert_ne!(code(&client.query("SELECT json_scalar(1)")), "no error");
}

#[test]
fn dates_are_charged_each_time_and_go_with_dates_only() {
    let under = labelled(
        &["app.births.born", "app.births.word"],
        "CREATE TABLE app.births (id int, born date, word text); ALTER TABLE app.births OWNER TO app;
         INSERT INTO app.births VALUES (1, '2000-02-01', '2000-02-01')",
    );
    let fresh = || {
        under
            .linegate
            .client(&under.linegate.lease("workload:ci-runner", &[], "all"))
    };
    // The same text is another day under another DateStyle, whatever it is written as.
    for compared in [
        "'01-02-2000'",
        "date '01-02-2000'",
        "'01-02-2000'::timestamp",
        "'01-02-2000'::date + 1",
    ] {
        let mut client = fresh();
        let well = until_refused(&mut client, |client, number| {
            client.query(&format!("SET DateStyle = '{}'", ["DMY", "MDY"][number % 2]));
            code(&client.query(&format!("SELECT id FROM app.births WHERE born = {compared}")))
        });
        assert!(well <= ROOM, "{compared}: {well}");
        // Where it is a text that is compared, nobody can tell how many it may be.
        let mut client = fresh();
        if compared.contains("::") {
            let text = format!("SELECT id FROM app.births WHERE word = ({compared})::text");
            assert_eq!(code(&client.query(&text)), "42501", "{text}");
        }
    }
    // What drivers send: declared or not, and read by the server as a date.
    for kind in [0, 1082] {
        let mut client = fresh();
        let text = "SELECT id FROM app.births WHERE born = $1";
        let ask = |client: &mut RawClient, day: &str| {
            let messages = [
                parse_typed("", text, &[kind]),
                bind("", "", &[day], 0),
                execute("", 0),
                sync(),
            ];
            say(client, &messages)
        };
        let answer = ask(&mut client, "2000-02-01");
        assert_eq!(rows(&answer), [["1"]], "an honest look-up finds it: {kind}");
        let well = until_refused(&mut client, |client, number| {
            client.query(&format!("SET DateStyle = '{}'", ["DMY", "MDY"][number % 2]));
            code(&ask(client, "01-02-2000"))
        });
        assert!(well <= ROOM, "{kind}: {well}");
    }
}
