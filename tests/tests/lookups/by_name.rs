//! Look-ups by what was prepared, bound or declared before.

use linegate_tests::under::{self, code, say};
use linegate_tests::wire::{bind, execute, framed, parse, parse_typed, sync};

use super::{ROOM, labelled, many, masked, until_refused};

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
