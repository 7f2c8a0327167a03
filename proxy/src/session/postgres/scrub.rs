//! What else the server says beside rows, as a masked session may read it: errors, notices, notifications, settings.
//!
//! Source: PostgreSQL manual, "Message Formats": ErrorResponse, NoticeResponse, NotificationResponse, ParameterStatus;
//! "Message Flow": Asynchronous Operations. The words for a problem are `linegate_policy::problems`.
//!
//! A notification comes from any session of the database, one that reads raw included, or from a trigger: its channel is
//! one that this session asked for by name, its payload is emptied. A setting passes when it is one that PostgreSQL
//! reports and its value is as short as such values are.

use std::borrow::Cow;

use codecs::postgres::backend::{ErrorFields, NotificationResponse, ParameterStatus, tag};
use codecs::postgres::build::backend as say;
use codecs::postgres::{Limits, PostgresError, Step, frame};
use linegate_identity::Effects;
use linegate_policy::Problem;
use linegate_recording::Entry;

use super::asked::Asked;
use super::pipeline::Expect;
use super::{Ended, Session};

/// What PostgreSQL 14 to 18 report of themselves (GUC_REPORT). `application_name` is linegate's own.
const REPORTED: &[&[u8]] = &[
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"application_name",
    b"client_encoding",
    b"default_transaction_read_only",
    b"in_hot_standby",
    b"integer_datetimes",
    b"is_superuser",
    b"scram_iterations",
    b"search_path",
    b"server_encoding",
    b"server_version",
    b"session_authorization",
    b"standard_conforming_strings",
];
/// The longest value of a setting that passes. A list of names may be longer, and what a build calls itself.
const VALUE_BYTES_MAX: usize = 64;
const LONG_VALUE_BYTES_MAX: usize = 1024;

/// The server's asides for one session.
pub struct Scrub<'s> {
    /// The session.
    pub session: &'s Session,
    /// A masked label was touched in the transaction that is open: deferred checks may speak of it.
    pub transaction_touched: bool,
}

impl Scrub<'_> {
    /// What replaces a message that is none of an answer's own; `None` when it passes as it is, empty when it is left out.
    pub fn aside(&self, message: u8, payload: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(match message {
            tag::ERROR_RESPONSE | tag::NOTICE_RESPONSE => self.problem(message, payload)?,
            tag::NOTIFICATION_RESPONSE => self.notification(payload)?,
            tag::PARAMETER_STATUS => self.setting(payload)?,
            _ => None,
        })
    }

    /// Whether a problem's words are withheld: they may quote values of what is running, of what the open transaction
    /// touched, or of whatever stored code has read.
    fn withholds(&self, problem: &Problem<'_>) -> bool {
        if !self.is_masked() {
            return false;
        }
        let pipeline = self.session.pipeline.borrow();
        let asked = pipeline.head_asked();
        // What a statement is about that is described by itself is not looked up again.
        let is_described = matches!(pipeline.head(), Some(Expect::DescribeStatement { .. }));
        let about_label = is_described || asked.is_some_and(|asked| asked.touches_mask(self.session));
        let copies_in = asked.is_some_and(|asked| asked.effects().contains(Effects::COPY_IN));
        about_label || self.transaction_touched || problem.is_from_stored_code(copies_in)
    }

    /// Whether something is masked: now, or when what runs was decided.
    fn is_masked(&self) -> bool {
        let pipeline = self.session.pipeline.borrow();
        let asked = pipeline.head_asked();
        asked.map_or_else(|| self.session.is_masked(), |asked| asked.is_masked(self.session))
    }

    fn problem(&self, message: u8, payload: &[u8]) -> Result<Option<Vec<u8>>, PostgresError> {
        if !self.is_masked() {
            return Ok(None);
        }
        let fields = ErrorFields::read(payload)?;
        let problem = read(&fields);
        if !self.withholds(&problem) {
            return Ok(None);
        }
        let catalog = self.session.catalog.latest();
        let told = problem.tell(
            catalog.as_deref().map(|view| &view.labels),
            self.statement_bytes(),
        );
        let kept: Vec<(u8, &[u8])> = told
            .fields
            .iter()
            .map(|(code, value)| (*code, value.as_bytes()))
            .collect();
        let mut bytes = Vec::new();
        say::scrub(&mut bytes, message, payload, &told.message, &kept)?;
        Ok(Some(bytes))
    }

    fn statement_bytes(&self) -> usize {
        let pipeline = self.session.pipeline.borrow();
        pipeline.head_asked().map_or(0, |asked| asked.text.len())
    }

    fn notification(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, PostgresError> {
        if !self.session.is_masked() {
            return Ok(None);
        }
        let notification = NotificationResponse::read(payload)?;
        if notification.payload.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        say::notification_response(&mut bytes, notification.process_id, notification.channel, b"");
        Ok(Some(bytes))
    }

    /// The last line of defence for the two settings by which text is cut into tokens, then what may be told.
    fn setting(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let session = self.session;
        let status = ParameterStatus::read(payload)?;
        session.parting.reported(&status);
        if let Some(name) = session.lexing.reported(&status) {
            session.core.counters.lexing_surprises.one();
            if session.is_masked() {
                tracing::error!(session = %session.id, setting = name, "the server left the syntax that statements are read by");
                return Err(Fault::Lexing(name));
            }
            tracing::warn!(session = %session.id, setting = name, "statements cannot be read until the setting is back");
        }
        let leaves_out = session.is_masked() && !may_be_told(&status);
        Ok(leaves_out.then(Vec::new))
    }

    /// The record's entry for an error, in the words that the client reads.
    pub fn record(&self, payload: &[u8], running: Option<&Asked>) -> Option<Entry> {
        let fields = ErrorFields::read(payload).ok()?;
        let problem = read(&fields);
        let message = if self.withholds(&problem) {
            let catalog = self.session.catalog.latest();
            let labels = catalog.as_deref().map(|view| &view.labels);
            problem.tell(labels, self.statement_bytes()).message
        } else {
            Cow::Owned(String::from_utf8_lossy(fields.message()).into_owned())
        };
        Some(Entry::Error {
            statement: running.map_or(0, |asked| asked.number),
            sqlstate: String::from_utf8_lossy(&problem.sqlstate).into_owned(),
            message: message.into_owned(),
        })
    }
}

/// What the server sends right after its login, as this session may read it.
pub fn greeting(session: &Session, greeting: &[u8]) -> Result<Vec<u8>, Ended> {
    let scrub = Scrub {
        session,
        transaction_touched: false,
    };
    let mut told = Vec::with_capacity(greeting.len());
    let mut rest = greeting;
    while let Ok(Step::Frame(frame)) = frame::step(rest, &Limits::STREAMED) {
        let (whole, after) = rest.split_at(frame.size.with_tag());
        let aside = scrub.aside(frame.tag, frame.payload(whole));
        match aside.map_err(|fault| fault.ended(session))? {
            Some(bytes) => told.extend_from_slice(&bytes),
            None => told.extend_from_slice(whole),
        }
        rest = after;
    }
    Ok(told)
}

/// Why a session cannot go on after what the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The message is none.
    Protocol(PostgresError),
    /// Text is no longer cut into tokens as it is read here; the setting.
    Lexing(&'static str),
}

impl From<PostgresError> for Fault {
    fn from(error: PostgresError) -> Self {
        Self::Protocol(error)
    }
}

impl Fault {
    /// The end of the session.
    pub fn ended(self, session: &Session) -> Ended {
        match self {
            Self::Protocol(error) => {
                session.core.counters.server_faults.one();
                Ended {
                    why: format!("the server broke the protocol: {error}"),
                    say: Some((*b"08P01", "the server broke the protocol".into())),
                }
            }
            Self::Lexing(setting) => {
                let must = if setting == "client_encoding" {
                    "UTF8"
                } else {
                    "on"
                };
                Ended::saying(
                    b"22023",
                    format!("linegate: {setting} must be {must} in a session with masked columns; it ends"),
                )
            }
        }
    }
}

fn read<'a>(fields: &ErrorFields<'a>) -> Problem<'a> {
    Problem {
        sqlstate: fields.sqlstate().unwrap_or(*b"XX000"),
        message: fields.message(),
        position: fields.get(b'P'),
        schema: fields.get(b's'),
        table: fields.get(b't'),
        column: fields.get(b'c'),
        constraint: fields.get(b'n'),
        data_type: fields.get(b'd'),
        context: fields.get(b'W'),
        internal: fields.get(b'q').is_some() || fields.get(b'p').is_some(),
    }
}

fn may_be_told(status: &ParameterStatus<'_>) -> bool {
    let most = match status.name {
        b"search_path" | b"server_version" => LONG_VALUE_BYTES_MAX,
        _ => VALUE_BYTES_MAX,
    };
    REPORTED.contains(&status.name) && status.value.len() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, value: &str) -> bool {
        may_be_told(&ParameterStatus {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
    }

    #[test]
    fn settings_that_drivers_read_are_told_and_others_are_not() {
        assert!(told("server_version", "17.2 (Debian 17.2-1.pgdg120+1)"));
        assert!(told("TimeZone", "Europe/Stockholm"));
        assert!(told("search_path", &"a_schema, ".repeat(20)));
        assert!(!told("search_path", &"x".repeat(1025)));
        assert!(!told("app.last_card", "4111111111111111"));
        assert!(!told("application_name", &"x".repeat(65)));
    }

    #[test]
    fn every_field_of_a_problem_is_looked_at() {
        let payload = b"SERROR\0VERROR\0C23505\0Mm\0Dd\0P7\0p1\0qselect\0Ww\0ss\0tt\0cc\0dd\0nn\0\0";
        let fields = ErrorFields::read(payload).expect("an error");
        let problem = read(&fields);
        assert_eq!(problem.sqlstate, *b"23505");
        assert_eq!(
            (problem.position, problem.context),
            (Some(&b"7"[..]), Some(&b"w"[..]))
        );
        assert_eq!(
            (problem.schema, problem.table),
            (Some(&b"s"[..]), Some(&b"t"[..]))
        );
        assert_eq!(
            (problem.column, problem.data_type),
            (Some(&b"c"[..]), Some(&b"d"[..]))
        );
        assert_eq!(problem.constraint, Some(&b"n"[..]));
        assert!(problem.internal);
    }
}
