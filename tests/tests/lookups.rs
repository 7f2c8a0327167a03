//! What a look-up of a labelled column costs: every value that it may be compared with, each time that this may be another one.

use linegate_tests::under::{self, Under, assert_nothing_raw, code, say};
use linegate_tests::wire::{bind, execute, framed, parse, parse_typed, rows, sync};
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
fn what_a_name_stands_for_now_counts() {
    let (_under, mut client) = masked();
    let well = until_refused(&mut client, |client, number| {
        client.query("DEALLOCATE ALL");
        let prepared =
            format!("PREPARE p(text) AS SELECT id FROM app.customers WHERE ssn = $1 || '{number}'");
        match code(&client.query(&prepared)).as_str() {
            "no error" => code(&client.query("EXECUTE p('000-00-000')")),
            refused => refused.to_owned(),
        }
    });
    assert!(well <= ROOM, "{well}");
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
fn what_was_prepared_before_a_mask_came_is_asked_again() {
    let masked = under::with("");
    let reads =
        "@id(\"reads\") permit (principal in Group::\"ci\", action == Action::\"read_raw\", resource);";
    let mut under = under::under(&under::with(reads));
    let number = under.postgres.sql("SELECT 'app.customers'::regclass::oid");
    let mut client = under.client();
    let text = "SELECT id FROM app.customers WHERE ssn = $1::text";
    assert_eq!(
        code(&say(&mut client, &[parse_typed("s", text, &[2205]), sync()])),
        "no error"
    );
    let run = [bind("", "s", &[&number], 0), execute("", 0), sync()];
    assert_eq!(code(&say(&mut client, &run)), "no error");
    // Bound without the mask, and run with it.
    client.query("BEGIN");
    assert_eq!(
        code(&say(&mut client, &[bind("kept", "s", &[&number], 0), sync()])),
        "no error"
    );
    let mut other = under.client();
    under.reload(&masked, || {
        code(&other.query("SELECT id FROM app.customers WHERE ssn > 'a'")) == "42501"
    });
    assert_eq!(code(&say(&mut client, &[execute("kept", 0), sync()])), "42501");
    client.query("ROLLBACK");
    assert_eq!(code(&say(&mut client, &run)), "42501");
    assert_eq!(
        code(&say(&mut client, &[parse_typed("t", text, &[2205]), sync()])),
        "42501"
    );
    assert_eq!(
        code(&client.query(&format!("EXECUTE s ('{number}')"))),
        "42501",
        "SQL's EXECUTE runs what the protocol prepared"
    );
    assert_eq!(code(&client.query("DEALLOCATE s")), "no error");
    drop(client);

    under.linegate.stop();
    let told = under.linegate.cli(&["audit", "statements", "--json"]).good().out;
    let refusals = told.matches("types that the catalog spells").count();
    assert_eq!(
        refusals, 3,
        "those of Parse, Bind and EXECUTE are verdicts: {told}"
    );
    let ended = told.matches("\"sqlstate\": \"42501\"").count();
    assert_eq!(
        ended, 1,
        "that of Execute is how an allowed statement ended: {told}"
    );
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

#[test]
fn a_setting_changes_when_its_portal_runs() {
    let under = labelled(
        &["app.visits.seen"],
        "CREATE TABLE app.visits (id int, seen tstzrange); ALTER TABLE app.visits OWNER TO app",
    );
    let mut client = under.client();
    client.query("BEGIN");
    for zone in 0..ROOM {
        let set = format!("SET LOCAL TimeZone = '<x>{zone}'");
        let bound = [parse("", &set), bind(&format!("s{zone}"), "", &[], 0)];
        client.send_bytes(&bound.concat());
    }
    assert_eq!(code(&say(&mut client, &[sync()])), "no error");
    let look_up = "SELECT id FROM app.visits WHERE seen = '[2020-01-01 00:00,)'";
    let mut messages = Vec::new();
    for zone in 0..ROOM {
        messages.push(execute(&format!("s{zone}"), 0));
        messages.extend([parse("", look_up), bind("", "", &[], 0), execute("", 0)]);
    }
    messages.push(sync());
    assert_eq!(
        code(&say(&mut client, &messages)),
        "54000",
        "each is another value"
    );
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

#[test]
fn a_portal_that_is_decided_again_keeps_its_parameters() {
    let under = labelled(
        &["app.visits.seen"],
        "CREATE TABLE app.visits (id int, seen timestamptz); ALTER TABLE app.visits OWNER TO app",
    );
    let mut client = under.client();
    let other = under.linegate.lease("workload:ci-runner", &[], "all");
    let mut other = under.linegate.client(&other);
    client.query("BEGIN");
    let text = "SELECT v.id, g FROM generate_series(1, 100) g LEFT JOIN app.visits v ON v.seen = ANY ($1::timestamp[])";
    let days: Vec<String> = (0..10).map(|day| format!("2020-01-1{day}")).collect();
    let days = format!("{{{}}}", days.join(","));
    let bound = say(
        &mut client,
        &[parse("s", text), bind("p", "s", &[&days], 0), sync()],
    );
    assert_eq!(code(&bound), "no error");
    let mut well = 1;
    while well < ROOM {
        client.query(&format!("SET LOCAL TimeZone = '<x>{}'", well % 12));
        other.query(&format!("CREATE TABLE app.t{well} (a int)")); // with another catalog, it is decided again
        match code(&say(&mut client, &[execute("p", 1), sync()])).as_str() {
            "no error" => well += 1,
            "54000" => break,
            other => panic!("number {well}: {other}"),
        }
    }
    assert_eq!(
        well, 1,
        "its ten days were charged when it was bound, and there is no room for ten more"
    );
}

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

fn many() -> String {
    let values: Vec<String> = (0..ROOM * 2).map(|number| format!("v{number}")).collect();
    values.join(",")
}

#[test]
fn what_the_protocol_prepared_is_charged_when_sql_runs_it() {
    let find = format!(
        "SELECT id FROM app.customers WHERE ssn = ANY ('{{{}}}'::text[])",
        many()
    );
    for (text, how) in [
        (find.clone(), "EXECUTE n"),
        (format!("DECLARE cu CURSOR WITH HOLD FOR {find}"), "EXECUTE n"),
        (format!("CREATE TEMP VIEW seen AS {find}"), "EXECUTE n"),
        (format!("CREATE TEMP TABLE found AS {find}"), "EXECUTE n"),
        (format!("PREPARE z AS {find}"), "EXECUTE n"),
        (
            find.replace("SELECT id FROM app.customers", "UPDATE app.customers SET id = id"),
            "EXECUTE n",
        ),
    ] {
        let (_under, mut client) = masked();
        assert_eq!(
            code(&say(&mut client, &[parse("n", &text), sync()])),
            "no error",
            "{text}"
        );
        assert_eq!(code(&client.query(how)), "54000", "{how}: {text}");
        let nested = [parse("m", how), bind("", "m", &[], 0), execute("", 0), sync()];
        assert_ne!(code(&say(&mut client, &nested)), "no error", "{how}: {text}");
    }
    // A portal of EXECUTE runs what its name stands for by then.
    let (_under, mut client) = masked();
    client.query("BEGIN");
    let bound = [
        parse("n", "SELECT 1"),
        parse("m", "EXECUTE n"),
        bind("pp", "m", &[], 0),
        bind("qq", "m", &[], 0),
        framed(b'C', b"Sn\0"),
        parse("n", &find),
        sync(),
    ];
    assert_eq!(code(&say(&mut client, &bound)), "no error");
    assert_eq!(code(&client.query("FETCH ALL FROM qq")), "54000");
    client.query("ROLLBACK");
    let at_once = [
        parse("n2", "SELECT 1"),
        parse("m2", "EXECUTE n2"),
        bind("pp", "m2", &[], 0),
        framed(b'C', b"Sn2\0"),
        parse("n2", &find),
        execute("pp", 0),
        sync(),
    ];
    assert_eq!(code(&say(&mut client, &at_once)), "54000");
    // One value costs one, however often it runs.
    let (_under, mut client) = masked();
    say(
        &mut client,
        &[parse("n", "SELECT id FROM app.customers WHERE ssn = 'a'"), sync()],
    );
    for _ in 0..ROOM * 2 {
        assert_eq!(code(&client.query("EXECUTE n")), "no error");
    }
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
    let options = Options {
        policies: policies(),
        ..Options::default()
    };
    let under = under::behind(options, functions);
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
