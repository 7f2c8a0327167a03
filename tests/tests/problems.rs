//! What the server says beside rows, to a principal under a mask: errors, notices, notifications, settings.

use linegate_tests::shop::CARDS;
use linegate_tests::wire::{error_of, rows};
use linegate_tests::{Masked, Message};

fn error(messages: &[Message]) -> &Message {
    messages
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error")
}

fn assert_shows_no_card(what: &str, messages: &[Message]) {
    for message in messages {
        let text = String::from_utf8_lossy(&message.body);
        assert!(
            !CARDS.iter().any(|card| text.contains(card)),
            "{what}: {:?} {text}",
            char::from(message.tag)
        );
    }
}

#[test]
fn a_violation_on_a_labelled_column_keeps_code_and_names_and_not_the_value() {
    let mut under = Masked::start();
    let answer = under.client.query(
        "INSERT INTO app.customers VALUES (9, 'x', 'nine@example.com', '000-00-0000', '4111111111111111')",
    );
    assert_shows_no_card("a duplicate", &answer);
    let problem = error(&answer);
    let field = |code| problem.field(code).unwrap_or_default();
    assert_eq!(
        (field(b'C').as_str(), field(b'M').as_str()),
        (
            "23505",
            "duplicate key value violates unique constraint \"one_card\""
        )
    );
    assert_eq!(
        (field(b's'), field(b't'), field(b'n')),
        ("app".into(), "customers".into(), "one_card".into())
    );
    for code in *b"DHWqpFLR" {
        assert_eq!(problem.field(code), None, "{:?}", char::from(code));
    }
    let answer = under
        .client
        .query("INSERT INTO app.customers VALUES (9, 'x', 'nine@example.com', '4111', '4')");
    assert_eq!(
        error_of(&answer),
        Some((
            "23514".into(),
            "new row for relation \"customers\" violates check constraint \"ssn_shape\"".into()
        ))
    );
    let answer = under
        .client
        .query("INSERT INTO app.customers (id, name, email, card_number) VALUES (9, 'x', 'y', '4')");
    assert_eq!(
        error_of(&answer),
        Some((
            "23502".into(),
            "null value in column \"ssn\" of relation \"customers\" violates not-null constraint".into()
        ))
    );
}

#[test]
fn a_mistake_in_the_text_is_explained_in_the_servers_words() {
    let mut under = Masked::start();
    let answer = under.client.query("SELECT nothing FROM app.customers");
    let problem = error(&answer);
    assert_eq!(problem.field(b'C').as_deref(), Some("42703"));
    assert_eq!(
        problem.field(b'M').as_deref(),
        Some("column \"nothing\" does not exist")
    );
    assert_eq!(problem.field(b'P').as_deref(), Some("8"));
    // The same SQLSTATEs at run time would quote a value.
    for sql in [
        "SELECT card_number::regclass FROM app.customers",
        "SELECT to_tsquery(card_number || ' &') FROM app.customers",
        "SELECT card_number::jsonpath FROM app.customers",
    ] {
        let answer = under.client.query(sql);
        assert_shows_no_card(sql, &answer);
        assert!(error_of(&answer).is_some(), "{sql}");
    }
}

#[test]
fn what_stored_code_says_is_withheld_even_where_no_label_is_named() {
    let mut under = Masked::start();
    under.postgres.sql(
        "CREATE FUNCTION app.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE NOTICE 'the first card is %', (SELECT min(card_number) FROM app.customers);
             PERFORM pg_notify('cards', (SELECT min(card_number) FROM app.customers));
             IF NEW.id = 13 THEN
                 RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = (SELECT max(card_number) FROM app.customers),
                     CONSTRAINT = (SELECT max(card_number) FROM app.customers);
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER tell BEFORE INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.tell();
         GRANT ALL ON app.scratch TO PUBLIC",
    );
    under.client.query("LISTEN cards");
    let answer = under.client.query("INSERT INTO app.scratch VALUES (1)");
    assert_shows_no_card("a trigger's notice and notification", &answer);
    let told: Vec<u8> = answer.iter().map(|message| message.tag).collect();
    assert_eq!(
        error_of(&answer),
        None,
        "the trigger's words are withheld, not its work"
    );
    assert!(
        told.contains(&b'N') && told.contains(&b'A'),
        "both are told without their words: {:?}",
        String::from_utf8_lossy(&told)
    );
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM app.scratch WHERE id = 1"),
        "1"
    );
    let answer = under.client.query("INSERT INTO app.scratch VALUES (13)");
    assert_shows_no_card("a trigger's error", &answer);
    assert!(error_of(&answer).is_some());
    let still = rows(&under.client.query("SELECT 'usable'"));
    assert_eq!(still, [["usable"]]);
}

#[test]
fn a_notification_arrives_without_its_payload() {
    let mut under = Masked::start();
    under.client.query("LISTEN work");
    under.postgres.sql("NOTIFY work, '4111111111111111'");
    let answer = under.client.query("SELECT 1");
    assert_shows_no_card("a notification", &answer);
    let body = &answer
        .iter()
        .find(|message| message.tag == b'A')
        .expect("a notification")
        .body;
    assert_eq!(&body[4..], b"work\0\0");

    let lease = under.linegate.lease("user:dba", &[], "all");
    let mut raw = under.linegate.client(&lease);
    raw.query("LISTEN work");
    under.postgres.sql("NOTIFY work, 'job 7'");
    let answer = raw.query("SELECT 1");
    let body = &answer
        .iter()
        .find(|message| message.tag == b'A')
        .expect("a notification")
        .body;
    assert_eq!(&body[4..], b"work\0job 7\0", "who reads raw reads payloads");
}

#[test]
fn settings_that_change_how_text_is_read_do_not_pass_a_masked_session_by() {
    let mut under = Masked::start();
    let answer = under.client.query("SET TimeZone = 'Europe/Stockholm'");
    let reported = answer
        .iter()
        .find(|message| message.tag == b'S')
        .expect("a report");
    assert_eq!(reported.body, b"TimeZone\0Europe/Stockholm\0");
    // The role's default is another: linegate pins it at the login, and the reader is not fooled.
    under
        .postgres
        .sql("ALTER ROLE app SET standard_conforming_strings = off");
    let lease = under.linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut client = under.linegate.client(&lease);
    assert_eq!(rows(&client.query("SHOW standard_conforming_strings")), [["on"]]);
    under.postgres.sql("ALTER ROLE app RESET ALL");
    // Stored code changes it behind the statement's back: the report ends the session.
    under.postgres.sql(
        "CREATE FUNCTION app.turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM set_config('standard_conforming_strings', 'off', false);
             RETURN NEW;
         END $$;
         CREATE TRIGGER turn BEFORE INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.turn();
         GRANT ALL ON app.scratch TO PUBLIC",
    );
    client.send(b'Q', b"INSERT INTO app.scratch VALUES (1)\0");
    let end = client.read_to_end();
    assert!(
        !end.iter().any(|message| message.tag == b'Z'),
        "the client is never told that the server is ready"
    );
    let last = error(&end);
    assert_eq!(last.field(b'V').as_deref(), Some("FATAL"));
    assert_eq!(
        error_of(&end),
        Some((
            "22023".into(),
            "linegate: standard_conforming_strings must be on in a session with masked columns; it ends"
                .into()
        ))
    );
    under.linegate.assert_unharmed();
}

#[test]
fn an_unmasked_session_may_leave_the_syntax_and_is_read_again_when_it_is_back() {
    let under = Masked::start();
    let lease = under.linegate.lease("user:dba", &[], "all");
    let mut raw = under.linegate.client(&lease);
    raw.query("SET standard_conforming_strings = off");
    // Its policy permits what cannot be read.
    assert_eq!(rows(&raw.query(r"SELECT 'it\'s'")), [["it's"]]);
    raw.query("SET standard_conforming_strings = on");
    assert_eq!(rows(&raw.query(r"SELECT 'a\'")), [[r"a\"]]);

    let lease = under.linegate.lease("user:oncall", &[], "all");
    let mut reader = under.linegate.client(&lease);
    reader.query("SET standard_conforming_strings = off");
    let answer = reader.query(r"SELECT '\'; DELETE FROM app.scratch; --'");
    assert!(
        error_of(&answer).is_some(),
        "what is read another way at the server is refused"
    );
}
