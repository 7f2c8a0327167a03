//! Rows that are larger than linegate holds, under a mask: whether they are shown depends on what is shown of them.

use std::time::Duration;

use linegate_tests::shop::{self, SSNS};
use linegate_tests::under::{self, Under, assert_nothing_raw, behind, code, say};
use linegate_tests::wire::{bind, error_of, execute, parse, rows, sync};
use linegate_tests::{Message, Options, RawClient, eventually};

/// Bytes of a row that are held.
const MAX: usize = 1 << 20;

/// A shop with large texts, of which linegate holds rows of one megabyte.
fn large() -> (Under, RawClient) {
    limited(shop::POLICIES)
}

fn limited(policies: &str) -> (Under, RawClient) {
    with(policies, Options::default())
}

fn with(policies: &str, options: Options) -> (Under, RawClient) {
    let texts = format!(
        "SET ROLE app; CREATE TABLE app.large (id int PRIMARY KEY, body text);
         INSERT INTO app.large VALUES (1, repeat('x', {MAX} - 10)), (2, repeat('x', {MAX} + 1)), (3, 'small'), (4, 'small')"
    );
    let options = Options {
        target: "row_bytes_max_mb = 1\nstatement_bytes_max_mb = 1".to_owned(),
        policies: policies.to_owned(),
        ..options
    };
    let under = behind(options, &texts);
    let client = under.client();
    (under, client)
}

fn of(body: u32, computed: &str) -> String {
    format!(
        "SELECT b.body, c.ssn, {computed} FROM app.large b, app.customers c WHERE b.id = {body} AND c.id = 1"
    )
}

#[track_caller]
fn is_too_large(under: &Under, sql: &str) {
    let mut client = under.client();
    client.send_query(sql);
    let (sqlstate, words) = error_of(&client.read_to_end()).expect("an error");
    assert_eq!(sqlstate, "54000");
    assert_eq!(
        words,
        "linegate: a row of more than 1 MB cannot be looked into; this session ends"
    );
}

#[test]
fn what_is_left_out_of_a_row_does_not_count() {
    let (under, mut client) = large();
    // However long the value is that nobody sees, the row is the same.
    for computed in [
        "c.ssn || 'x'",
        "c.ssn || b.body",
        "c.ssn || b.body || b.body || b.body",
    ] {
        let answer = client.query(&of(1, computed));
        let found = rows(&answer);
        assert_eq!(found.len(), 1, "{computed}: {}", code(&answer));
        assert!(found[0][0] == "x".repeat(MAX - 10), "{computed}: another text");
        assert_eq!(found[0][1].len(), SSNS[0].len());
        assert_eq!(found[0][2], "NULL");
        assert_nothing_raw(computed, &answer);
        // Behind it, the session goes on, with small rows beside large ones.
        let mixed = of(1, computed).replace("b.id = 1", "b.id IN (1, 3)");
        let answer = client.query(&format!("{mixed} ORDER BY b.id"));
        assert_eq!(rows(&answer).len(), 2, "{computed}");
        assert_nothing_raw(computed, &answer);
    }
    let binary = [
        parse("", &of(1, "c.ssn || b.body")),
        bind("", "", &[], 1),
        execute("", 0),
        sync(),
    ];
    let answer = say(&mut client, &binary);
    assert_eq!(rows(&answer)[0][0].len(), MAX - 10);
    assert_eq!(rows(&answer)[0][2], "NULL");
    for computed in ["c.ssn || 'x'", "c.ssn || b.body"] {
        is_too_large(&under, &of(2, computed));
    }
    under.linegate.assert_unharmed();
}

#[test]
fn nor_of_a_row_of_copy() {
    let (under, mut client) = large();
    let copied = |answer: &[Message]| -> Vec<u8> {
        let rows = answer.iter().filter(|message| message.tag == b'd');
        rows.flat_map(|message| message.body.clone()).collect()
    };
    for format in ["text", "csv", "binary"] {
        let copy = |body, computed: &str| {
            format!(
                "COPY ({}) TO STDOUT (FORMAT {format})",
                of(body, computed).replace("c.ssn, ", "")
            )
        };
        let answers = ["c.ssn || 'x'", "c.ssn || b.body"].map(|computed| client.query(&copy(1, computed)));
        for answer in &answers {
            assert_eq!(code(answer), "no error", "{format}");
            assert_nothing_raw(format, answer);
            let bytes = copied(answer);
            let shown = bytes.iter().filter(|byte| **byte == b'x').count();
            assert_eq!(shown, MAX - 10, "{format}");
        }
        assert!(copied(&answers[0]) == copied(&answers[1]), "{format}");
        is_too_large(&under, &copy(2, "c.ssn || b.body"));
    }
    under.linegate.assert_unharmed();
}

#[test]
fn what_a_redaction_is_made_of_does_not_count() {
    let (under, mut client) = limited(shop::POLICIES);
    let mut shown = Vec::new();
    for options in [
        "FORMAT csv, QUOTE '4', DELIMITER '|'",
        "FORMAT csv, QUOTE '9', DELIMITER '|'",
        "DELIMITER '|'",
    ] {
        // Where a quote is doubled or not, the row has the same room.
        let text = format!(
            "COPY (SELECT b.body, c.card_number, c.ssn, c.id FROM app.large b, app.customers c WHERE b.id = 1) TO STDOUT ({options})"
        );
        let answer = client.query(&text);
        assert_eq!(code(&answer), "no error", "{options}");
        assert_nothing_raw(options, &answer);
        shown.push(answer.iter().filter(|message| message.tag == b'd').count());
    }
    assert!(
        shown[0] > 1 && shown.iter().all(|count| *count == shown[0]),
        "{shown:?}"
    );
    under.linegate.assert_unharmed();
}

#[test]
fn a_server_that_dies_within_a_row_ends_the_session_and_nothing_else() {
    let (mut under, mut client) = large();
    let mut other = under.client();
    under.postgres.sql("CHECKPOINT"); // the tests' server does not wait for its log to be written
    assert_eq!(rows(&client.query(&of(1, "c.ssn || 'x'"))).len(), 1);
    client.send_query("SELECT repeat('x', 500000), c.ssn || repeat(b.body, 300) FROM app.large b, app.customers c WHERE b.id = 1 AND c.id = 1");
    std::thread::sleep(std::time::Duration::from_millis(60)); // some hundred megabytes are on their way
    under.postgres.crash();
    let answer = client.read_to_end();
    assert_nothing_raw("a broken row", &answer);
    assert!(rows(&answer).len() <= 1, "no part of a row");
    other.read_to_end();
    under.postgres.start_again();
    let mut later = under.client();
    eventually("rows are shown again", || {
        (rows(&later.query(&of(1, "c.ssn || 'x'"))).len() == 1).then_some(())
    });
    under.linegate.assert_unharmed();
}

/// So many rows of a megabyte to be shown, each with three that nobody sees.
fn many(count: usize) -> String {
    of(1, "c.ssn || b.body || b.body || b.body")
        .replace("FROM", &format!("FROM generate_series(1, {count}) n,"))
}

#[test]
fn a_full_disk_within_large_rows_pauses_them_and_loses_none() {
    let options = Options {
        disk_megabytes: Some(8),
        data: "memory_mb = 16\nrecording_buffer = 64".to_owned(),
        ..Options::default()
    };
    let (under, mut client) = with(shop::POLICIES, options);
    let count = 400;
    client.send_query(&many(count));
    let mut seen = Vec::new();
    while !client.is_quiet_for(Duration::from_secs(3)) {
        let Ok(message) = client.read() else { continue };
        assert_ne!(message.tag, b'C', "400 MB cannot be on record on a disk of 8 MB");
        seen.push(message);
    }
    assert!(rows(&seen).len() < count, "it waits");
    under.linegate.enlarge_disk(1024);
    seen.extend(client.read_to_ready());
    assert_eq!(code(&seen), "no error");
    assert_nothing_raw("the rows", &seen);
    let found = rows(&seen);
    assert_eq!(found.len(), count, "no row was lost");
    assert!(
        found
            .iter()
            .all(|row| row[0].len() == MAX - 10 && row[2] == "NULL")
    );
    assert_eq!(rows(&client.query("SELECT 7")), [["7"]]);
    under.linegate.assert_unharmed();
}

#[test]
fn a_client_that_stops_reading_within_a_large_row_holds_up_nobody() {
    let (under, mut client) = large();
    let mut other = under.client();
    let before = under.linegate.resident_kilobytes();
    client.send_query(&many(100));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(rows(&other.query(&of(1, "c.ssn || 'x'"))).len(), 1);
    }
    let grown = under.linegate.resident_kilobytes().saturating_sub(before);
    assert!(
        grown < 64 * 1024,
        "400 MB wait at the server; the data plane grew by {grown} KiB"
    );
    let answer = client.read_to_ready();
    assert_nothing_raw("the rows", &answer);
    assert_eq!(rows(&answer).len(), 100);
    under.linegate.assert_unharmed();
}

#[test]
fn behind_a_cut_nobody_looks_at_rows() {
    let (_under, mut client) =
        limited(&shop::POLICIES.replace("@id(\"ci-works\")", "@id(\"ci-works\") @budget_rows(\"1/hour\")"));
    // The third row would end the session, were they not cut off at the second.
    let both = of(3, "c.ssn || 'x'").replace("b.id = 3", "b.id >= 2");
    let answer = client.query(&format!("{both} ORDER BY b.id DESC"));
    let (sqlstate, words) = error_of(&answer).expect("an error");
    assert_eq!(sqlstate, "54000");
    assert!(words.contains("the budget of 1 rows per hour"), "{words}");
    assert_eq!(rows(&answer).len(), 1);
    assert_eq!(code(&client.query("SET TimeZone = 'UTC'")), "no error");
}

#[test]
fn failures_for_size_are_few() {
    let (under, mut client) = large();
    // One column more than a result may have.
    let columns = |first: &str| format!("SELECT {first}{} FROM app.customers", ", 1".repeat(1664));
    for _ in 0..10 {
        assert_eq!(code(&client.query(&columns("name"))), "54011", "nothing labelled");
    }
    for _ in 0..5 {
        assert_eq!(code(&client.query(&columns("ssn || 'x'"))), "54011");
    }
    let (sqlstate, words) = error_of(&client.query(&columns("ssn || 'x'"))).expect("an error");
    assert_eq!(sqlstate, "54000");
    assert_eq!(
        words,
        "the budget of 5 failures for size per hour is used up, by policy \"linegate-oversized\""
    );
    // Other sessions of the lease share it; what does not compute goes on.
    let mut other = under.client();
    assert_eq!(
        code(&other.query("SELECT ssn || 'x' FROM app.customers")),
        "54000"
    );
    assert_eq!(
        code(&other.query("SELECT ssn, upper(name) FROM app.customers")),
        "no error"
    );
    let prepared = say(
        &mut other,
        &[
            parse("", "SELECT ssn || 'x' FROM app.customers"),
            bind("", "", &[], 0),
            execute("", 0),
            sync(),
        ],
    );
    assert_eq!(code(&prepared), "54000");
}

#[test]
fn large_parameters_do_not_go_with_computed_labelled_values() {
    let under = under::under(shop::POLICIES);
    let mut client = under.client();
    let run = |sql: &str, bytes: usize| {
        let value = "x".repeat(bytes);
        [parse("", sql), bind("", "", &[&value], 0), execute("", 0), sync()]
    };
    let computes = "SELECT $1::text, ssn || 'x' FROM app.customers WHERE id = 1";
    assert_eq!(code(&say(&mut client, &run(computes, 1000))), "no error");
    let refused = error_of(&say(&mut client, &run(computes, MAX + 1))).expect("an error");
    assert_eq!(refused.0, "42501");
    assert!(refused.1.contains("parameters are too large"), "{}", refused.1);
    let shows = "SELECT length($1::text), ssn FROM app.customers WHERE id = 1";
    assert_eq!(code(&say(&mut client, &run(shows, MAX + 1))), "no error");
    under.linegate.assert_unharmed();
}

#[test]
fn failures_of_what_runs_by_name_count_as_well() {
    let (under, mut client) = large();
    // More different words than fit into a text search vector.
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE app.words AS
         SELECT 1 AS id, string_agg(md5(n::text), ' ') AS body FROM generate_series(1, 60000) n",
    );
    let columns = "c.ssn || 'x', to_tsvector('simple', w.body) FROM app.customers c, app.words w";
    let prepare = format!("PREPARE p AS SELECT {columns}");
    let declare = format!("DECLARE cur CURSOR FOR SELECT {columns}");
    let hold = declare.replace("CURSOR", "CURSOR WITH HOLD");
    for step in ["SELECT id FROM app.words", &prepare] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    for steps in [
        &[prepare.as_str(), "EXECUTE p"][..],
        &["BEGIN", &declare, "FETCH ALL FROM cur"],
        &[&prepare, "EXECUTE p"],
        &["BEGIN", &hold, "COMMIT"],
        &["BEGIN", &declare, "FETCH ALL FROM cur"],
    ] {
        assert_eq!(fails_at_the_server(&under, steps), "54000", "{steps:?}");
    }
    let (_, words) = error_of(&client.query("EXECUTE p")).expect("an error");
    assert!(words.contains("5 failures for size"), "{words}");
    under.linegate.assert_unharmed();
}

/// The SQLSTATE that the last of these ends with, whether or not the session ends with it.
fn fails_at_the_server(under: &Under, steps: &[&str]) -> String {
    let mut client = under.client();
    let (last, first) = steps.split_last().expect("steps");
    for step in first {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    client.send_query(last);
    let mut answer = Vec::new();
    while let Ok(message) = client.read() {
        if message.tag == b'Z' {
            break;
        }
        answer.push(message);
    }
    code(&answer)
}

#[test]
fn statements_that_compute_wait_for_those_before_them() {
    let (_under, mut client) = large();
    let series = |sql: &str| [parse("", sql), bind("", "", &[], 0), execute("", 0), sync()].concat();
    // Nothing fails: all of a long pipeline is answered in order.
    let fine = "SELECT c.ssn || 'x' FROM app.customers c WHERE c.id = 1";
    client.send_bytes(&series(fine).repeat(20));
    for _ in 0..20 {
        assert_eq!(rows(&client.read_to_ready()), [["NULL"]]);
    }
    let too_many = format!("SELECT c.ssn || 'x'{} FROM app.customers c", ", 1".repeat(1664));
    client.send_bytes(&under::query(&too_many).repeat(12));
    let answers: Vec<String> = (0..12).map(|_| code(&client.read_to_ready())).collect();
    let at_the_server = answers.iter().filter(|code| *code == "54011").count();
    assert!((5..=8).contains(&at_the_server), "{answers:?}");
    assert!(answers.iter().skip(8).all(|code| code == "54000"), "{answers:?}");
}

#[test]
fn arguments_that_nobody_can_count_do_not_look_up() {
    let under = under::under(shop::POLICIES);
    let mut client = under.client();
    let prepare =
        "PREPARE look(text[]) AS SELECT c.id, u.x FROM unnest($1) u(x), app.customers c WHERE c.ssn = u.x";
    assert_eq!(code(&client.query(prepare)), "no error");
    for arguments in [
        "string_to_array('1 2 3', ' ')",
        "regexp_split_to_array('1 2 3', ' ')",
        "current_setting('my.list')::text[]",
        "ARRAY[lower('A')]",
    ] {
        let answer = client.query(&format!("EXECUTE look({arguments})"));
        assert_eq!(code(&answer), "0A000", "{arguments}");
    }
    for arguments in ["'{a,b}'", "ARRAY['a', 'b']", "ARRAY['a']::text[]"] {
        let answer = client.query(&format!("EXECUTE look({arguments})"));
        assert_eq!(code(&answer), "no error", "{arguments}");
    }
    let by_schema = "SELECT id FROM app.customers WHERE ssn = current_schema";
    assert_eq!(code(&client.query(by_schema)), "42501");
}

#[test]
fn portals_that_were_bound_before_do_not_run_when_there_is_no_room_left() {
    let (under, mut client) = large();
    // Nested more deeply than the server's stack is high.
    under
        .postgres
        .sql("SET ROLE app; CREATE TABLE app.deep AS SELECT repeat('[', 200000) AS body");
    let sql = "SELECT c.ssn || 'x', d.body::json FROM app.customers c, app.deep d";
    assert_eq!(
        code(&client.query("SELECT length(body) FROM app.deep")),
        "no error"
    );
    assert_eq!(code(&client.query("BEGIN")), "no error");
    for portal in 0..8 {
        let bound = say(
            &mut client,
            &[parse("", sql), bind(&portal.to_string(), "", &[], 0), sync()],
        );
        assert_eq!(code(&bound), "no error");
    }
    assert_eq!(code(&client.query("SAVEPOINT s")), "no error");
    let mut answers = Vec::new();
    for portal in 0..8 {
        answers.push(code(&say(
            &mut client,
            &[execute(&portal.to_string(), 0), sync()],
        )));
        assert_eq!(code(&client.query("ROLLBACK TO s")), "no error");
    }
    let expected: Vec<&str> = [vec!["54001"; 5], vec!["54000"; 3]].concat();
    assert_eq!(answers, expected);
    under.linegate.assert_unharmed();
}
