//! What an answer depends on beside its batch: the session's startup parameters, settings, prepared statements and transaction.
//!
//! The digest of a context and a batch's bytes together name an answer. The log says how a fresh session of the real server is
//! brought into the same state. For loads that read: what a batch wrote is not looked at, and a
//! SET is taken to outlive its transaction.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::rc::Rc;

use codecs::postgres::frontend::{Kind, Message};

use super::answer::{Answer, messages, mib_asked};
use crate::failure::Failure;

/// Batches that bring a fresh session into this state; more end the session.
const LOG_MAX: usize = 4096;
/// The status outside a transaction.
const IDLE: u8 = b'I';

/// What a setting or a prepared statement is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Statement(Vec<u8>),
    Setting(String),
}

struct Logged {
    bytes: Rc<[u8]>,
    /// What it set; empty for what ends with its transaction.
    keys: Vec<Key>,
}

/// The state of one session.
pub struct Context {
    parameters: u64,
    status: u8,
    set: BTreeMap<Key, Vec<u8>>,
    log: Vec<Logged>,
    digest: u64,
}

impl Context {
    /// A fresh session's.
    pub fn new(parameters: &[(String, String)]) -> Self {
        let mut hash = DefaultHasher::new();
        parameters.hash(&mut hash);
        let mut context = Self {
            parameters: hash.finish(),
            status: IDLE,
            set: BTreeMap::new(),
            log: Vec::new(),
            digest: 0,
        };
        context.update_digest();
        context
    }

    /// Names this state.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The batches that lead here, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &[u8]> {
        self.log.iter().map(|logged| &*logged.bytes)
    }

    /// How many MiB the batch asks for, when it is one amplified statement.
    pub fn mib_asked(&self, batch: &[u8]) -> Option<u64> {
        let mut asked = None;
        let mut executed = 0;
        for (tag, _, payload) in messages(batch).flatten() {
            match Message::read(tag, payload).ok()? {
                Message::Query { text } => {
                    executed += 1;
                    asked = mib_asked(text);
                }
                Message::Parse { text, .. } => asked = mib_asked(text),
                Message::Bind { statement, .. } if !statement.is_empty() => {
                    asked = self
                        .set
                        .get(&Key::Statement(statement.to_vec()))
                        .and_then(|text| mib_asked(text));
                }
                Message::Execute { rows_max, .. } => {
                    executed += 1;
                    if rows_max > 0 {
                        return None;
                    }
                }
                _ => {}
            }
        }
        asked.filter(|_| executed == 1)
    }

    /// Takes note of a batch and of how it was answered.
    pub fn after(&mut self, batch: &[u8], answer: &Answer) -> Result<(), Failure> {
        if answer.changes_nothing && self.status == IDLE && self.is_settled() {
            return Ok(()); // the usual case
        }
        let status = answer.status.unwrap_or(self.status);
        let changes = if answer.is_error {
            Vec::new()
        } else {
            changes(batch)
        };
        let is_part = answer.status.is_none();
        let mut keys = Vec::new();
        let mut is_news = false;
        for change in changes {
            match change {
                Change::Set(key, value) => {
                    is_news |= self.set.get(&key) != Some(&value);
                    self.set.insert(key.clone(), value);
                    keys.push(key);
                }
                Change::Unset(key) => {
                    self.set.remove(&key);
                    self.log.retain(|logged| logged.keys != [key.clone()]);
                }
                Change::Clear => {
                    self.set.clear();
                    self.log.retain(|logged| logged.keys.is_empty());
                }
            }
        }
        if !keys.is_empty() && is_news {
            self.log.retain(|logged| logged.keys != keys);
        }
        if is_part || status != IDLE || is_news {
            self.log.push(Logged {
                bytes: batch.into(),
                keys,
            });
        }
        if status == IDLE && !is_part {
            self.log.retain(|logged| !logged.keys.is_empty());
        }
        if self.log.len() > LOG_MAX {
            return Err(Failure::new(
                "a transaction or a session's settings are too long to be remembered",
            ));
        }
        self.status = status;
        self.update_digest();
        Ok(())
    }

    /// Whether a session outside a transaction is the same afterwards.
    pub fn is_unchanged_by(batch: &[u8], answer: &Answer) -> bool {
        answer.status == Some(IDLE) && (answer.is_error || changes(batch).is_empty())
    }

    /// Whether nothing in the log ends with a transaction.
    fn is_settled(&self) -> bool {
        self.log.iter().all(|logged| !logged.keys.is_empty())
    }

    fn update_digest(&mut self) {
        let mut hash = DefaultHasher::new();
        (self.parameters, self.status, &self.set).hash(&mut hash);
        for logged in self.log.iter().filter(|logged| logged.keys.is_empty()) {
            logged.bytes.hash(&mut hash);
        }
        self.digest = hash.finish();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Set(Key, Vec<u8>),
    Unset(Key),
    Clear,
}

/// What a batch that was answered without an error has changed.
fn changes(batch: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (tag, _, payload) in messages(batch).flatten() {
        match Message::read(tag, payload) {
            Ok(Message::Parse { name, text, .. }) if !name.is_empty() => {
                changes.push(Change::Set(Key::Statement(name.to_vec()), text.to_vec()));
            }
            Ok(Message::Parse { text, .. } | Message::Query { text }) => changes.extend(settings(text)),
            Ok(Message::Close {
                kind: Kind::Statement,
                name,
            }) => changes.push(Change::Unset(Key::Statement(name.to_vec()))),
            _ => {}
        }
    }
    changes
}

/// Statements of one text that outlive their transaction, one a part between semicolons. A semicolon inside a literal only makes
/// the key of a setting odd.
fn settings(text: &[u8]) -> Vec<Change> {
    let text = String::from_utf8_lossy(text);
    let mut changes = Vec::new();
    for part in text.split(';') {
        let spaced = part.replace('=', " = ");
        let words: Vec<String> = spaced
            .split_ascii_whitespace()
            .map(str::to_ascii_lowercase)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let value = part.trim().as_bytes().to_vec();
        match words.as_slice() {
            ["set", "session" | "local", name, ..] | ["set", name, ..] => {
                changes.push(Change::Set(Key::Setting((*name).to_owned()), value));
            }
            ["reset", "all"] | ["discard", "all"] => changes.push(Change::Clear),
            ["reset", name] => changes.push(Change::Unset(Key::Setting((*name).to_owned()))),
            ["prepare", name, ..] => {
                changes.push(Change::Set(Key::Statement(name.as_bytes().to_vec()), value));
            }
            ["deallocate", "all"] => changes.push(Change::Clear),
            ["deallocate", "prepare", name] | ["deallocate", name] => {
                changes.push(Change::Unset(Key::Statement(name.as_bytes().to_vec())));
            }
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use codecs::postgres::backend::TransactionStatus;
    use codecs::postgres::build::{backend as answer, frontend as ask};

    use super::*;

    fn answered(status: TransactionStatus) -> Answer {
        let mut reply = Vec::new();
        answer::command_complete(&mut reply, "OK");
        answer::ready_for_query(&mut reply, status);
        Answer::read(&reply, None).expect("well formed")
    }

    fn say(context: &mut Context, sql: &str, status: TransactionStatus) {
        let mut batch = Vec::new();
        ask::query(&mut batch, sql.as_bytes());
        context.after(&batch, &answered(status)).expect("short");
    }

    #[test]
    fn a_setting_counts_once_and_the_last_one_wins() {
        let mut context = Context::new(&[]);
        let fresh = context.digest();
        say(&mut context, "SET x = 1", TransactionStatus::Idle);
        let first = context.digest();
        assert_ne!(first, fresh);
        say(&mut context, "SET x = 1", TransactionStatus::Idle);
        assert_eq!((context.digest(), context.log().count()), (first, 1));
        say(&mut context, "set X=2", TransactionStatus::Idle);
        assert_ne!(context.digest(), first);
        assert_eq!(context.log().count(), 1);
        say(&mut context, "DISCARD ALL", TransactionStatus::Idle);
        assert_eq!((context.digest(), context.log().count()), (fresh, 0));
    }

    #[test]
    fn a_transaction_is_forgotten_when_it_ends() {
        let mut context = Context::new(&[]);
        let fresh = context.digest();
        say(&mut context, "BEGIN", TransactionStatus::InTransaction);
        say(&mut context, "SELECT 1", TransactionStatus::InTransaction);
        assert_ne!(context.digest(), fresh);
        assert_eq!(context.log().count(), 2);
        say(&mut context, "COMMIT", TransactionStatus::Idle);
        assert_eq!((context.digest(), context.log().count()), (fresh, 0));
    }

    #[test]
    fn prepared_statements_are_known_by_name() {
        let mut context = Context::new(&[]);
        let mut batch = Vec::new();
        ask::parse(&mut batch, b"s", b"SELECT * FROM narrow_9");
        ask::sync(&mut batch);
        context
            .after(&batch, &answered(TransactionStatus::Idle))
            .expect("short");
        let mut run = Vec::new();
        ask::bind(&mut run, b"", b"s", &[]);
        ask::execute(&mut run, b"", 0);
        ask::sync(&mut run);
        assert_eq!(context.mib_asked(&run), Some(9));
        let mut portion = Vec::new();
        ask::bind(&mut portion, b"", b"s", &[]);
        ask::execute(&mut portion, b"", 10);
        ask::sync(&mut portion);
        assert_eq!(
            context.mib_asked(&portion),
            None,
            "portions are the real server's"
        );
        let mut close = Vec::new();
        ask::close(&mut close, Kind::Statement, b"s");
        ask::sync(&mut close);
        context
            .after(&close, &answered(TransactionStatus::Idle))
            .expect("short");
        assert_eq!(context.log().count(), 0);
    }
}
