//! What parameters are: values that are written, or whatever their types make of them.

use linegate_tests::RawClient;
use linegate_tests::under::{self, code, say};
use linegate_tests::wire::{bind, execute, parse, parse_typed, sync};

use super::{ROOM, labelled, many, masked, policies, until_refused, with};

/// Parses, binds text parameters and runs.
fn run(client: &mut RawClient, text: &str, types: &[u32], values: &[&str]) -> String {
    let messages = [
        parse_typed("", text, types),
        bind("", "", values, 0),
        execute("", 0),
        sync(),
    ];
    code(&say(client, &messages))
}

#[test]
fn parameters_of_types_that_the_catalog_or_settings_spell_are_no_free_values() {
    let (under, mut client) = masked();
    let number = under.postgres.sql("SELECT 'app.customers'::regclass::oid");
    let text = "SELECT id FROM app.customers WHERE ssn = $1::text";
    let declared = |client: &mut RawClient, kind: u32, value: &str| {
        let messages = [
            parse_typed("", text, &[kind]),
            bind("", "", &[value], 0),
            execute("", 0),
            sync(),
        ];
        code(&say(client, &messages))
    };
    assert_eq!(declared(&mut client, 2205, &number), "42501");
    assert_eq!(declared(&mut client, 25, "a"), "no error");
    for kind in ["regclass", "timestamptz", "regclass[]"] {
        let prepared = client.query(&format!("PREPARE p({kind}) AS {text}"));
        assert_eq!(code(&prepared), "42501", "{kind}");
    }
    let well = until_refused(&mut client, |client, _| declared(client, 1184, "2000-01-01"));
    assert!(well <= ROOM, "{well}");

    // Within types that somebody made, there may be such values.
    under
        .postgres
        .sql("SET ROLE app; CREATE TYPE app.pair AS (x regclass); CREATE TYPE app.word AS ENUM ('a')");
    for kind in ["app.pair", "app.word"] {
        let kind: u32 = under
            .postgres
            .sql(&format!("SELECT '{kind}'::regtype::oid"))
            .parse()
            .expect("an OID");
        assert_eq!(declared(&mut client, kind, "a"), "42501");
    }
    for somewhere in ["$1::regclass IS NULL", "$1 < now()"] {
        let text = format!("SELECT id, {somewhere} FROM app.customers WHERE ssn = $1::text");
        assert_eq!(
            code(&say(&mut client, &[parse_typed("", &text, &[]), sync()])),
            "42501",
            "{text}"
        );
    }

    // A portal that goes on.
    let (_under, mut client) = masked();
    client.query("BEGIN");
    let text =
        "SELECT c.id, g FROM generate_series(1, 100) g, app.customers c WHERE c.ssn = right($1::text, 3)";
    let bound = say(
        &mut client,
        &[
            parse_typed("s", text, &[1184]),
            bind("p", "s", &["2000-01-01"], 0),
            sync(),
        ],
    );
    assert_eq!(code(&bound), "no error");
    let well = until_refused(&mut client, |client, number| {
        client.query(&format!("SET LOCAL TimeZone = '<x>{}'", number % 12));
        code(&say(client, &[execute("p", 1), sync()]))
    });
    assert!(well <= ROOM, "{well}");
}

#[test]
fn a_parameter_that_is_taken_apart_is_text() {
    let functions = "SET ROLE app; CREATE FUNCTION app.fa(text) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1, '',''))';
         CREATE FUNCTION app.fb(jsonb) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM app.fa($1::text) id';
         CREATE FUNCTION app.fd(text) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = ANY ($1::text[])';
         CREATE FUNCTION app.fe(bytea) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM app.fd($1::text) id';
         CREATE FUNCTION app.fc(bytea) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = ANY ($1::text::text[])'";
    let under = with(functions);
    let hidden = format!("[\"x{}\"]", many().replace(',', "\\u002c"));
    for text in [
        "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1::jsonb::text, ','))",
        "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1::json::text, ','))",
        "SELECT c.id FROM app.customers c, unnest(string_to_array($1::jsonb::text, ',')) u WHERE c.ssn = u",
        "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array(ARRAY[$1::text]::text, ','))",
        "UPDATE app.customers SET id = id WHERE ssn = ANY (string_to_array($1::jsonpath::text, ','))",
    ] {
        let mut client = under.client();
        assert_eq!(run(&mut client, text, &[], &[&hidden]), "42501", "{text}");
        client.query("DEALLOCATE ALL");
        assert_eq!(
            code(&client.query(&format!("PREPARE q AS {text}"))),
            "42501",
            "{text}"
        );
    }
    let split = "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1::text, ','))";
    // bytea, json, jsonb, text[], varchar[], xml
    for kind in [17, 114, 3802, 1009, 1015, 142] {
        let mut client = under.client();
        assert_eq!(run(&mut client, split, &[kind], &["{a}"]), "42501", "{kind}");
    }
    for kind in ["text[]", "jsonb", "bytea"] {
        let mut client = under.client();
        let prepared = client.query(&format!("PREPARE q({kind}) AS {split}"));
        assert_eq!(code(&prepared), "42501", "{kind}");
    }
    // What another place makes of it, and what is written as text first.
    for (text, kind) in [
        (
            "$1::jsonb IS NOT NULL AND ssn = ANY (string_to_array($1::text, ','))",
            0,
        ),
        (
            "$1::jsonpath IS NOT NULL AND ssn = ANY (string_to_array($1::text, ','))",
            0,
        ),
        (
            "$1::text[] IS NOT NULL AND ssn = ANY (string_to_array($1::text, ','))",
            0,
        ),
        (
            "'{}'::jsonb = $1 OR ssn = ANY (string_to_array($1::text, ','))",
            0,
        ),
        ("ssn = ANY ($1::text::text[])", 17),
        ("ssn = ANY ($1::varchar::varchar[])", 17),
        ("ssn IN (SELECT json_array_elements_text($1::text::json))", 17),
        ("ssn IN (SELECT u FROM unnest($1::text::text[]) u)", 17),
    ] {
        let mut client = under.client();
        let text = format!("SELECT id FROM app.customers WHERE {text}");
        assert_eq!(run(&mut client, &text, &[kind], &["{}"]), "42501", "{text}");
    }
    let mut client = under.client();
    client.query("SET bytea_output = escape");
    for array in ["string_to_array($1, ',')", "$1::text[]"] {
        client.query("DEALLOCATE ALL");
        let prepare = format!("PREPARE q(text) AS SELECT id FROM app.customers WHERE ssn = ANY ({array})");
        assert_eq!(code(&client.query(&prepare)), "no error", "{prepare}");
        let answer = client.query(r"EXECUTE q('\x612c622c63'::bytea)");
        assert_ne!(code(&answer), "no error", "{prepare}");
    }
    // Through a function of an administrator's.
    let mut client = under.client();
    for (call, kind) in [
        ("app.fa($1::text)", 3802),
        ("app.fa($1::text)", 17),
        ("app.fa($1::text)", 1009),
        ("app.fa($1::jsonb::text)", 0),
        ("app.fb($1)", 0),
        ("app.fd($1::text)", 17),
        ("app.fd($1::name)", 17),
        ("app.fa(ARRAY[$1]::text)", 3802),
        ("app.fa(ARRAY[ARRAY[$1]]::varchar)", 3802),
        ("app.fa(ARRAY[$1::jsonb]::text)", 0),
        ("app.fe($1)", 0),
        ("app.fc($1)", 0),
    ] {
        let text = format!("SELECT f FROM {call} f");
        let answer = run(&mut client, &text, &[kind], &["{}"]);
        assert_ne!(answer, "no error", "{text} {kind}");
    }
    assert_eq!(
        run(&mut client, "SELECT f FROM app.fa($1) f", &[], &["a,b"]),
        "no error"
    );
    assert_eq!(
        run(&mut client, "SELECT f FROM app.fd($1::text) f", &[25], &["{a,b}"]),
        "no error"
    );
    // Beside it, other parameters are what they are.
    let under = under::under(&policies());
    let mut client = under.client();
    let beside = "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1, ',')) AND id = ANY ($2)";
    assert_eq!(
        run(&mut client, beside, &[25, 1007], &["a,b", "{1,2}"]),
        "no error"
    );
    for kind in [0, 25, 1043] {
        assert_eq!(run(&mut client, split, &[kind], &["a,b"]), "no error", "{kind}");
    }
    assert_eq!(run(&mut client, split, &[], &[&many()]), "54000");
}

#[test]
fn what_gives_a_parameter_its_type_elsewhere_counts_in_arrays_and_lists() {
    let (under, mut client) = masked();
    let number = under.postgres.sql("SELECT 'app.customers'::regclass::oid");
    for text in [
        "SELECT id FROM app.customers WHERE $1::regclass[] IS NOT NULL AND ssn = ANY ($1::text[])",
        "SELECT id FROM app.customers WHERE ARRAY['pg_class'::regclass] IS DISTINCT FROM $1 AND ssn = ANY ($1::text[])",
        "SELECT id FROM app.customers WHERE $1::regclass IS NOT NULL AND ssn = ANY (string_to_array($1::text, ','))",
        "SELECT id FROM app.customers WHERE now() = ANY ($1) AND ssn = ANY ($1::text[])",
        "SELECT c.id FROM app.customers c, unnest($1::text[]) u WHERE $1::regclass[] IS NOT NULL AND c.ssn = u",
        "SELECT id FROM app.customers WHERE ($2::regclass IS NULL OR id IN ($1, $2) OR true) AND ssn = $1::text",
        "SELECT id, NULL IN ($1, $2), $2::timestamptz IS NULL FROM app.customers WHERE ssn = right($1::text, 5)",
        "SELECT id, '5' IN ($2, $1), $2::regclass FROM app.customers WHERE ssn = $1::text",
    ] {
        let parsed = say(&mut client, &[parse("", text), sync()]);
        assert_eq!(code(&parsed), "42501", "{text}");
    }
    for (types, text) in [
        (
            "regclass[]",
            "SELECT id FROM app.customers WHERE ssn = ANY ($1::text[])",
        ),
        (
            "regclass",
            "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY[$1]::text[])",
        ),
        (
            "timestamptz[]",
            "SELECT id FROM app.customers WHERE ssn = ANY ($1::varchar(10)[])",
        ),
    ] {
        let prepared = client.query(&format!("PREPARE y({types}) AS {text}"));
        assert_eq!(code(&prepared), "42501", "{types}: {text}");
    }
    // A relation of the open transaction may stand in front of the labelled one.
    let by_column =
        "SELECT c.id FROM app.customers c LEFT JOIN customers a ON a.name IN ($1, $1) WHERE c.ssn = $1::text";
    client.query("SET search_path = app");
    assert_eq!(run(&mut client, by_column, &[], &["a"]), "no error");
    for make in [
        "CREATE TEMP TABLE customers (name regclass)",
        "CREATE VIEW app.customers2 AS SELECT 1 AS a; ALTER VIEW app.customers2 RENAME TO customers3",
    ] {
        client.query("BEGIN");
        assert_eq!(code(&client.query(make)), "no error");
        assert_eq!(
            run(&mut client, by_column, &[], &[&number]),
            "42501",
            "behind {make}"
        );
        client.query("ROLLBACK");
    }
    // Another one does not.
    client.query("BEGIN");
    assert_eq!(
        code(&client.query("CREATE TEMP TABLE other (name text)")),
        "no error"
    );
    assert_eq!(run(&mut client, by_column, &[], &["a"]), "no error");
    client.query("ROLLBACK");
    let honest = [
        ("SELECT id FROM app.customers WHERE ssn = ANY ($1)", vec!["{a,b}"]),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY ($1::text[])",
            vec!["{a,b}"],
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IN ($1, $2)",
            vec!["a", "b"],
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = $1 OR ssn = $1",
            vec!["a"],
        ),
        (
            "SELECT c.id FROM app.customers c, unnest($1::text[]) u WHERE c.ssn = u",
            vec!["{a,b}"],
        ),
    ];
    for (text, values) in honest {
        assert_eq!(run(&mut client, text, &[], &values), "no error", "{text}");
    }
}

#[test]
fn a_function_that_computes_what_it_looks_up_takes_no_list() {
    let functions =
        "SET ROLE app; CREATE FUNCTION app.joined(text, text) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = $1 || $2';
         CREATE FUNCTION app.named(name) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = $1';
         CREATE FUNCTION app.numbered(numeric) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = $1::text';
         CREATE FUNCTION app.plain(text) RETURNS SETOF int LANGUAGE sql STABLE AS
             'SELECT id FROM app.customers WHERE ssn = $1'";
    let under = with(functions);
    let mut client = under.client();
    for (text, answer) in [
        (
            "unnest($1::text[]) a, unnest($1::text[]) b, app.joined(a, b) f",
            "42501",
        ),
        ("(VALUES ('a'), ('b')) v(a), app.joined(a, 'c') f", "42501"),
        ("unnest($1::text[]) a, app.named(a) f", "42501"),
        ("unnest($1::text[]) a, app.numbered(a::numeric) f", "42501"),
        ("unnest($1::text[]) a, app.plain(a) f", "no error"),
        ("app.numbered(7) f", "no error"),
        ("app.joined($1, 'c') f", "no error"),
    ] {
        let values: &[&str] = if text.contains("$1") { &["{a,b}"] } else { &[] };
        let text = format!("SELECT f FROM {text}");
        assert_eq!(run(&mut client, &text, &[], values), answer, "{text}");
    }
}

#[test]
fn casts_make_no_more_values_of_a_list_than_were_paid_for() {
    let (_under, mut client) = masked();
    for text in [
        "SELECT id FROM app.customers WHERE ssn = ANY ($1::varchar(3)[]) OR ssn = ANY ($1::varchar(4)[])",
        "SELECT c.id FROM app.customers c, unnest($1::varchar(3)[]) u WHERE c.ssn = u",
        "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY[$1::varchar(3), $1::varchar(4)])",
    ] {
        let parsed = say(&mut client, &[parse("", text), sync()]);
        assert_eq!(code(&parsed), "42501", "{text}");
        let prepared = client.query(&format!("PREPARE q AS {text}"));
        assert_eq!(code(&prepared), "42501", "{text}");
    }
    let plain = "SELECT id FROM app.customers WHERE ssn = ANY ($1::varchar[])";
    assert_eq!(run(&mut client, plain, &[], &["{a,b}"]), "no error");
}

#[test]
fn elements_of_arrays_of_times_are_charged_each_time() {
    let under = labelled(
        &["app.visits.seen"],
        "CREATE TABLE app.visits (id int, seen timestamptz); ALTER TABLE app.visits OWNER TO app",
    );
    let mut client = under.client();
    let days: Vec<String> = (1..=8).map(|day| format!("2020-01-0{day}")).collect();
    let prepared = format!(
        "PREPARE p AS SELECT id FROM app.visits WHERE seen = ANY ('{{{}}}'::timestamp[])",
        days.join(",")
    );
    assert_eq!(code(&client.query(&prepared)), "no error");
    let mut well = 0;
    while well < ROOM && code(&client.query("EXECUTE p")) == "no error" {
        well += 1;
        client.query(&format!("SET TimeZone = '<x>{}'", well % 12));
    }
    assert!(well * days.len() <= ROOM, "{well} times {}", days.len());
}
