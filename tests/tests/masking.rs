//! Nothing raw: every road on which a labelled value could reach a principal under a mask.

use linegate_tests::shop::{CARDS, SSNS};
use linegate_tests::wire::{self, error_of, rows};
use linegate_tests::{Masked, Message};

fn assert_nothing_raw(what: &str, messages: &[Message]) {
    for message in messages {
        let text = String::from_utf8_lossy(&message.body);
        for raw in CARDS
            .iter()
            .chain(&SSNS)
            .chain(&["open sesame", "4242", "987654321"])
        {
            assert!(
                !text.contains(raw),
                "{what}: message {:?} shows {raw}",
                char::from(message.tag)
            );
        }
        let binary = 987_654_321i32.to_be_bytes();
        assert!(
            !message.body.windows(4).any(|four| four == binary),
            "{what}: a binary integer is raw"
        );
    }
}

#[test]
fn text_rows_are_masked_in_every_shape_of_query() {
    let mut under = Masked::start();
    for sql in [
        "SELECT * FROM app.customers ORDER BY id",
        "SELECT c.card_number FROM app.customers AS c WHERE id = 1",
        "WITH x AS (SELECT card_number FROM app.customers) SELECT * FROM x",
        "SELECT s.card_number FROM (SELECT * FROM app.customers) s",
        "SELECT * FROM app.customer_cards",
        "SELECT secret_int, secret_text, secret_json FROM app.typed",
        "TABLE app.customers",
        "INSERT INTO app.typed VALUES (2, 987654321, 'open sesame', '{}') RETURNING *",
        "SELECT card_number || '' FROM app.customers",
        "SELECT upper(card_number) FROM app.customers",
        "SELECT (SELECT card_number FROM app.customers WHERE id = 1)",
        "SELECT customers FROM app.customers",
        "SELECT row_to_json(c) FROM app.customers c",
        "SELECT string_agg(card_number, ',') FROM app.customers",
        "SELECT card_number FROM app.customers UNION SELECT 'x'",
        "SELECT max(card_number) FROM app.customers",
        "SELECT md5(card_number), length(card_number), left(card_number, 6) FROM app.customers",
        "SELECT query_to_xml('SELECT * FROM app.customers', true, true, '')",
        "SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'customers'",
        "SELECT * FROM pg_statistic",
    ] {
        assert_nothing_raw(sql, &under.client.query(sql));
    }
    let still = under.client.query("SELECT 'usable'");
    assert_eq!(rows(&still), [["usable"]], "refusals leave the session usable");
}

#[test]
fn what_is_not_labelled_comes_through_unchanged() {
    let mut under = Masked::start();
    let names = rows(
        &under
            .client
            .query("SELECT id, name, email, credit_limit FROM app.customers ORDER BY id LIMIT 1"),
    );
    assert_eq!(names, [["1", "first customer", "one@example.com", "1000"]]);
    let masked = rows(
        &under
            .client
            .query("SELECT card_number, name FROM app.customers WHERE id = 1"),
    );
    assert!(
        masked[0][0].ends_with("1111") && masked[0][0].len() == 16,
        "{masked:?}"
    );
    assert_eq!(masked[0][1], "first customer");
    let counted = rows(&under.client.query("SELECT count(*) FROM app.orders"));
    assert_eq!(counted, [["1000"]]);
}

#[test]
fn types_that_cannot_hold_a_redaction_become_null_in_text_and_binary() {
    let mut under = Masked::start();
    for format in [0, 1] {
        let sql = "SELECT id, secret_int, secret_text, secret_json FROM app.typed WHERE id = 1";
        let conversation = [
            wire::parse("", sql),
            wire::bind("", "", &[], format),
            wire::describe(b'P', ""),
            wire::execute("", 0),
            wire::sync(),
        ];
        under.client.send_bytes(&conversation.concat());
        let answer = under.client.read_to_ready();
        assert_nothing_raw("extended", &answer);
        let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
        assert_eq!(row.cells()[1..], [None, None, None], "format {format}");
    }
}

#[test]
fn binary_text_cells_are_masked_too() {
    let mut under = Masked::start();
    let sql = "SELECT card_number, id FROM app.customers WHERE id = $1::text::int";
    let conversation = [
        wire::parse("s", sql),
        wire::bind("", "s", &["1"], 1),
        wire::describe(b'P', ""),
        wire::execute("", 0),
        wire::sync(),
    ];
    under.client.send_bytes(&conversation.concat());
    let answer = under.client.read_to_ready();
    assert_nothing_raw("binary", &answer);
    let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
    let cells = row.cells();
    let card = cells[0].as_deref().expect("a redacted card");
    assert!(card.ends_with(b"1111") && card.len() == 16, "{card:?}");
    assert_eq!(
        cells[1].as_deref(),
        Some(&[0, 0, 0, 1][..]),
        "the other column is untouched"
    );
}

#[test]
fn an_execute_without_describe_is_masked_and_nothing_extra_is_seen() {
    let mut under = Masked::start();
    let sql = "SELECT card_number FROM app.customers ORDER BY id";
    let conversation = [
        wire::parse("", sql),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::sync(),
    ];
    under.client.send_bytes(&conversation.concat());
    let answer = under.client.read_to_ready();
    assert_nothing_raw("no Describe", &answer);
    assert_eq!(
        wire::tags(&answer),
        "12DDDCZ",
        "the client sees what it asked for and nothing else"
    );
}

#[test]
fn rows_in_portions_cursors_and_prepared_statements_stay_masked() {
    let mut under = Masked::start();
    let sql = "SELECT card_number FROM app.customers ORDER BY id";
    under.client.query("BEGIN");
    let conversation = [
        wire::parse("p", sql),
        wire::bind("c", "p", &[], 0),
        wire::execute("c", 1),
        wire::sync(),
    ];
    under.client.send_bytes(&conversation.concat());
    assert_nothing_raw("the first portion", &under.client.read_to_ready());
    under
        .client
        .send_bytes(&[wire::execute("c", 0), wire::sync()].concat());
    assert_nothing_raw("the rest", &under.client.read_to_ready());
    under.client.query("ROLLBACK");
    under.client.query("BEGIN");
    under
        .client
        .query("DECLARE walk CURSOR FOR SELECT card_number, ssn FROM app.customers");
    assert_nothing_raw("FETCH", &under.client.query("FETCH ALL FROM walk"));
    under.client.query("ROLLBACK");
    under
        .client
        .query("PREPARE peek AS SELECT card_number FROM app.customers");
    assert_nothing_raw("EXECUTE", &under.client.query("EXECUTE peek"));
    assert_nothing_raw(
        "two statements",
        &under
            .client
            .query("SELECT 1; SELECT ssn FROM app.customers; SELECT 2"),
    );
}

#[test]
fn copy_of_a_labelled_relation_is_masked_and_of_others_works() {
    let mut under = Masked::start();
    for sql in [
        "COPY app.customers TO STDOUT",
        "COPY app.customers (card_number) TO STDOUT WITH BINARY",
        "COPY (SELECT card_number FROM app.customers) TO STDOUT",
        "COPY (SELECT * FROM app.customer_cards) TO STDOUT",
    ] {
        let answer = under.client.query(sql);
        assert_nothing_raw(sql, &answer);
        assert_eq!(error_of(&answer), None, "{sql}");
        let text: Vec<u8> = answer
            .iter()
            .filter(|message| message.tag == b'd')
            .flat_map(|message| message.body.clone())
            .collect();
        let kept = b"************1111";
        assert!(text.windows(kept.len()).any(|bytes| bytes == kept), "{sql}");
    }
    let answer = under.client.query("COPY app.orders TO STDOUT");
    assert_eq!(answer.iter().filter(|message| message.tag == b'd').count(), 1000);
}

#[test]
fn errors_and_notices_lose_their_data_and_keep_their_code() {
    let mut under = Masked::start();
    for (sql, state) in [
        (
            "INSERT INTO app.customers VALUES (9, 'x', 'nine@example.com', '000-00-0000', '4111111111111111')",
            "23505",
        ),
        ("UPDATE app.customers SET ssn = card_number WHERE id = 1", ""),
        ("SELECT card_number::date FROM app.customers", ""),
        ("SELECT 1 FROM app.customers WHERE card_number::int = 1", ""),
        ("UPDATE app.customers SET id = 2 WHERE id = 1", "23505"),
    ] {
        let answer = under.client.query(sql);
        assert_nothing_raw(sql, &answer);
        let (code, _) = error_of(&answer).unwrap_or_else(|| panic!("{sql} is an error"));
        assert!(
            state.is_empty() || code == state || code.starts_with("42"),
            "{sql}: {code}"
        );
    }
    assert_nothing_raw(
        "a DO block",
        &under
            .client
            .query("DO $$ BEGIN RAISE NOTICE '%', (SELECT card_number FROM app.customers LIMIT 1); END $$"),
    );
    let honest = under.client.query("SELECT nothing FROM app.orders");
    let (code, message) = error_of(&honest).expect("an error");
    assert!(
        code == "42703" && message.contains("nothing"),
        "errors without labels speak plainly: {code} {message}"
    );
}

#[test]
fn roads_around_statements_are_closed() {
    let mut under = Masked::start();
    // FunctionCall of md5(text): no argument formats, one argument, text result.
    let mut body = 2311u32.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0]);
    under.client.send(b'F', &body);
    let answer = under.client.read_to_ready();
    assert!(
        error_of(&answer).is_some(),
        "FunctionCall is refused under a mask"
    );
    for sql in [
        "COPY app.customers TO '/tmp/out'",
        "COPY app.customers TO PROGRAM 'cat'",
        "CREATE VIEW v AS SELECT 1; CREATE TABLE app.copy AS SELECT * FROM app.customers",
    ] {
        let answer = under.client.query(sql);
        assert!(error_of(&answer).is_some(), "{sql} is refused");
        assert_nothing_raw(sql, &under.client.query("SELECT * FROM app.copy"));
    }
    under.linegate.assert_unharmed();
}
