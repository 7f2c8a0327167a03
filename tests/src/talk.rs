//! A conversation whose every message is known: what comes over a line with faults must be a beginning of it.

use crate::wire::{self, bind, describe, execute, framed, parse, sync};
use crate::{Message, RawClient};

/// What is said, part by part; each is answered up to ReadyForQuery.
pub fn parts() -> Vec<Vec<u8>> {
    let query = |text: &str| framed(b'Q', &wire::c_string(text));
    vec![
        query("SELECT id, name, ssn, card_number FROM app.customers ORDER BY id"),
        [
            parse(
                "",
                "SELECT id, note FROM app.orders WHERE id <= $1::int ORDER BY id",
            ),
            bind("", "", &["30"], 0),
            describe(b'P', ""),
            execute("", 7),
            execute("", 0),
            sync(),
        ]
        .concat(),
        query("COPY (SELECT id, note FROM app.orders ORDER BY id LIMIT 50) TO STDOUT"),
        [
            query("COPY app.scratch FROM STDIN"),
            framed(b'd', b"1\n2\n"),
            framed(b'd', b"3\n"),
            framed(b'c', b""),
        ]
        .concat(),
        query("BEGIN; SELECT 1/0"),
        query("ROLLBACK"),
        query("SELECT 'the last part'"),
    ]
}

/// What came of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Every message, in order.
    pub messages: Vec<Message>,
    /// All parts were answered.
    pub is_whole: bool,
}

/// Holds the conversation to its end, or to the connection's.
pub fn hold(client: &mut RawClient) -> Heard {
    let mut heard = Heard::default();
    for part in parts() {
        let _gone = client.try_send_bytes(&part);
        loop {
            let Ok(message) = client.read() else { return heard };
            let is_ready = message.tag == b'Z';
            heard.messages.push(message);
            if is_ready {
                break;
            }
        }
    }
    heard.is_whole = true;
    heard
}

/// Whether what was heard is a beginning of what there is to hear, with at most one error behind it that ends the session.
pub fn check(what: &str, heard: &Heard, all: &Heard) {
    let same = heard
        .messages
        .iter()
        .zip(&all.messages)
        .take_while(|(left, right)| left == right)
        .count();
    let rest = &heard.messages[same..];
    match rest {
        [] => {}
        [last] if last.tag == b'E' => {
            let code = last.field(b'C').unwrap_or_default();
            let said = last.field(b'M').unwrap_or_default();
            assert!(
                code.starts_with("08") || code.starts_with("57"),
                "{what}: the error says {code} {said}"
            );
        }
        _ => panic!(
            "{what}: after {same} messages came {:?} in place of {:?}",
            rest.iter().take(3).collect::<Vec<_>>(),
            all.messages.get(same)
        ),
    }
    assert!(
        !heard.is_whole || heard == all,
        "{what}: a conversation that is whole is the same"
    );
}
