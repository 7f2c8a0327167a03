//! Whether the server cuts text into tokens the way the reader of statements does.
//!
//! Source: PostgreSQL manual, "Lexical Structure": String Constants; "Character Set Support"; "Message Flow":
//! Asynchronous Operations (ParameterStatus). Two settings decide: `client_encoding` and `standard_conforming_strings`.
//! The server reports both, at the latest right before ReadyForQuery. A masked session ends when they leave what the
//! reader reads. Elsewhere a statement is decided as one that cannot be read, until they are back; so it is between a
//! statement that may change them and the ReadyForQuery that tells. A third, `server_encoding`, is the database's own and
//! never changes: where it is not UTF8, statements with names beyond ASCII cannot be read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use codecs::postgres::backend::ParameterStatus;
use linegate_identity::Effects;
use linegate_policy::Statement;

use crate::rarely::Rarely;

/// Text that no reader reads: what a statement is decided as while it is not known how the server will read it.
pub const UNREADABLE: &[u8] = b"'";

/// The two settings as last reported, and what may have happened to them since.
#[derive(Default)]
pub struct Lexing {
    foreign_encoding: Cell<bool>,
    foreign_strings: Cell<bool>,
    /// The database keeps names in another encoding than UTF8: it may cut and fold those beyond ASCII in its own way.
    foreign_names: Cell<bool>,
    /// It was foreign before: a rollback or a reset may bring that back at any time.
    was_foreign: Cell<bool>,
    /// Something was forwarded that may change a setting, and no ReadyForQuery has come since.
    is_open: Cell<bool>,
    values: Values,
    /// Settings that the session may have changed, by name.
    changed: RefCell<Rarely<BTreeSet<String>>>,
}

/// The settings by which a literal means another value, as last reported.
#[derive(Default)]
struct Values {
    /// One behind the other, with zeros between; nothing before the first report.
    reported: RefCell<Box<[u8]>>,
    /// One of them may be another by now: something was forwarded that may change it, and no ReadyForQuery has come since.
    is_open: Cell<bool>,
    /// One that the server does not report was changed.
    is_unknown: Cell<bool>,
}

/// Those that the server reports, and those that it does not.
const REPORTED: [&str; 3] = ["timezone", "datestyle", "intervalstyle"];
const UNREPORTED: [&str; 2] = ["lc_monetary", "lc_numeric"];
/// Settings that drivers set and that give no text another meaning. `client_encoding` is UTF8 throughout.
const MEANS_NOTHING: [&str; 8] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "work_mem",
];
/// Settings that are remembered by name, and bytes of such a name.
const CHANGED_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 128;
/// Bytes of a value that are told apart; zones are shorter.
const VALUE_BYTES_MAX: usize = 512;

impl Values {
    fn report(&self, place: usize, value: &[u8]) {
        let before = self.reported.take();
        let mut values = [&[][..]; REPORTED.len()];
        for (kept, known) in values.iter_mut().zip(before.split(|byte| *byte == 0)) {
            *kept = known;
        }
        values[place] = value;
        self.reported.replace(values.join(&0).into());
    }
}

impl Lexing {
    /// Whether text reads here as it does at the server.
    pub fn is_known(&self) -> bool {
        !self.is_foreign() && !self.is_open.get()
    }

    /// Whether this text's names are the same here and at the server.
    pub fn reads_names_of(&self, text: &[u8]) -> bool {
        !self.foreign_names.get() || has_ascii_names(text)
    }

    /// Whether the server has reported that it reads otherwise.
    pub fn is_foreign(&self) -> bool {
        self.foreign_encoding.get() || self.foreign_strings.get()
    }

    /// What literals mean goes by these settings' values. `None` where they are not known now.
    pub fn values_go_by(&self) -> Option<Vec<u8>> {
        let is_known = !self.values.is_open.get() && !self.values.is_unknown.get();
        is_known.then(|| self.values.reported.borrow().to_vec())
    }

    /// Takes a report; answers with the setting when it has just become foreign.
    pub fn reported(&self, status: &ParameterStatus<'_>) -> Option<&'static str> {
        let name = String::from_utf8_lossy(status.name).to_ascii_lowercase();
        if let Some(place) = REPORTED.iter().position(|known| *known == name) {
            let value = &status.value[..status.value.len().min(VALUE_BYTES_MAX)];
            self.values.report(place, value);
            return None;
        }
        let value = String::from_utf8_lossy(status.value);
        let (cell, name) = match status.name {
            b"client_encoding" => (&self.foreign_encoding, "client_encoding"),
            b"server_encoding" => {
                self.foreign_names.set(status.value != b"UTF8");
                return None;
            }
            b"standard_conforming_strings" => (&self.foreign_strings, "standard_conforming_strings"),
            _ => return None,
        };
        let is_foreign = !is_read(name, &value);
        cell.set(is_foreign);
        self.was_foreign.set(self.was_foreign.get() || is_foreign);
        is_foreign.then_some(name)
    }

    /// A statement is about to run.
    pub fn forwarded(&self, statement: &Statement) {
        if self.was_foreign.get() || may_change(statement) {
            self.is_open.set(true);
        }
        let names = statement.settings.iter();
        for (name, value) in names.map(|setting| setting.split_once('=').unwrap_or((setting, ""))) {
            let is_any = name == "*";
            if !(is_any && statement.leads.only_resets) {
                self.note_changed(name, value);
            }
            if is_any || REPORTED.contains(&name) {
                self.values.is_open.set(true);
            }
            if (is_any && !statement.leads.only_resets) || UNREPORTED.contains(&name) {
                self.values.is_unknown.set(true);
            }
        }
        // The end of a transaction gives back what it changed.
        if !statement.opaque.is_empty() || statement.leads.ends {
            self.values.is_open.set(true);
        }
    }

    /// A setting may have been changed, `*` for any. `value`: empty where it is not known.
    pub fn note_changed(&self, name: &str, value: &str) {
        // With as many digits as drivers ask for, a number is written as what it is.
        let is_exact = name == "extra_float_digits" && matches!(value, "1" | "2" | "3");
        if is_exact || !may_mean_more(name) {
            return;
        }
        let mut changed = self.changed.borrow_mut();
        let changed = changed.made();
        let has_room = changed.len() < CHANGED_MAX && name.len() <= NAME_BYTES_MAX;
        let name = if has_room { name } else { "*" };
        if !changed.contains(name) {
            changed.insert(name.to_ascii_lowercase());
        }
    }

    /// Names of settings that the session may have changed since it began, `*` for any.
    pub fn changed(&self) -> Vec<String> {
        self.changed
            .borrow()
            .get()
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// ReadyForQuery, with nothing else on its way to the server: whatever changed has been reported.
    pub fn settled(&self) {
        self.is_open.set(false);
        self.values.is_open.set(false);
    }
}

/// Whether a setting, with or without its value, may give names or texts another meaning.
pub fn may_mean_more(setting: &str) -> bool {
    let name = setting.split('=').next().unwrap_or_default();
    !MEANS_NOTHING.contains(&name)
}

/// Whether a text has nothing beyond ASCII but in plain string literals. Where comments, dollar quotes or backslashes might
/// hide where a literal ends, the answer is no, as it is where a name is written in Unicode escapes.
fn has_ascii_names(text: &[u8]) -> bool {
    let escapes_names = |three: &[u8]| three.eq_ignore_ascii_case(b"u&\"");
    if text.windows(3).any(escapes_names) {
        return false;
    }
    if text.is_ascii() {
        return true;
    }
    let hides = text.windows(2).any(|two| match two {
        b"--" | b"/*" => true,
        [b'$', next] => !next.is_ascii_digit(),
        [byte, _] => *byte == b'\\',
        _ => false,
    });
    if hides {
        return false;
    }
    let mut quote = None;
    text.iter().all(|byte| {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
        byte.is_ascii() || quote == Some(b'\'')
    })
}

/// Whether the reader reads text under that value. Under `SQL_ASCII` the server takes the bytes as they are, as it does
/// under UTF8.
fn is_read(setting: &str, value: &str) -> bool {
    let value: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    match setting {
        "client_encoding" | "names" => matches!(value.as_str(), "utf8" | "unicode" | "sqlascii"),
        "standard_conforming_strings" => matches!(value.as_str(), "on" | "true" | "yes" | "1"),
        _ => true,
    }
}

/// Whether a statement's own text may change one of the two. RESET ALL and DISCARD ALL go back to what the login
/// reported; a computed name may be any.
fn may_change(statement: &Statement) -> bool {
    statement.settings.iter().any(|setting| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        match name {
            "*" => {
                let mut functions = statement.functions.iter();
                statement.effects.contains(Effects::FUNCTION_CALL)
                    || functions.any(|function| function.name == "set_config")
            }
            _ => !is_read(name, value),
        }
    })
}

#[cfg(test)]
mod tests {
    use linegate_policy::Name;

    use super::*;

    fn setting(setting: &str) -> Statement {
        Statement {
            settings: vec![setting.into()],
            ..Statement::empty()
        }
    }

    fn report(lexing: &Lexing, name: &str, value: &str) -> Option<&'static str> {
        lexing.reported(&ParameterStatus {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
    }

    #[test]
    fn settings_that_may_mean_something_are_known_by_name() {
        let lexing = Lexing::default();
        let mut statement = Statement::empty();
        statement.settings = vec!["timezone=utc".into(), "work_mem=1MB".into()];
        lexing.forwarded(&statement);
        lexing.note_changed("DateStyle", "");
        lexing.note_changed("extra_float_digits", "3");
        assert_eq!(lexing.changed(), ["datestyle", "timezone"]);
        statement.settings = vec!["*".into()];
        statement.leads.only_resets = true;
        lexing.forwarded(&statement);
        assert_eq!(lexing.changed().len(), 2);
        statement.leads.only_resets = false;
        lexing.forwarded(&statement);
        assert_eq!(lexing.changed()[0], "*");
        lexing.note_changed(&"x".repeat(NAME_BYTES_MAX + 1), "");
        assert_eq!(lexing.changed().len(), 3);
        (0..CHANGED_MAX).for_each(|number| lexing.note_changed(&format!("a.s{number}"), ""));
        assert_eq!(lexing.changed().len(), CHANGED_MAX);
    }

    #[test]
    fn names_beyond_ascii_are_the_servers_own_where_it_keeps_them_in_another_encoding() {
        let lexing = Lexing::default();
        assert!(lexing.reads_names_of("SELECT é".as_bytes()));
        assert_eq!(report(&lexing, "server_encoding", "SQL_ASCII"), None);
        for text in [
            "SELECT 'é', $1, 'it''s ä'",
            "SELECT a FROM \"b\"",
            "SELECT U&'ü'",
            "SELECT a&b",
        ] {
            assert!(lexing.reads_names_of(text.as_bytes()), "{text}");
        }
        for text in [
            "SELECT é",
            "SELECT 1 AS \"é\"",
            "SELECT 'a' AS \"it's é\"",
            "SELECT 'é' -- '",
            "SELECT $a$ ' $a$ AS é, '",
            "SELECT E'\\' AS é, '",
            "SELECT /* ' */ é, '",
            "SELECT U&\"\\00e4\"",
            "SELECT 1 AS u&\"!00e4\" UESCAPE '!'",
        ] {
            assert!(!lexing.reads_names_of(text.as_bytes()), "{text}");
        }
        report(&lexing, "server_encoding", "UTF8");
        assert!(lexing.reads_names_of("SELECT é".as_bytes()));
    }

    #[test]
    fn what_the_server_reports_decides() {
        let lexing = Lexing::default();
        assert!(lexing.is_known());
        assert_eq!(report(&lexing, "client_encoding", "UTF8"), None);
        assert_eq!(report(&lexing, "client_encoding", "SQL_ASCII"), None);
        assert_eq!(report(&lexing, "TimeZone", "LATIN1"), None);
        assert_eq!(
            report(&lexing, "client_encoding", "SJIS"),
            Some("client_encoding")
        );
        assert_eq!(report(&lexing, "standard_conforming_strings", "on"), None);
        assert!(!lexing.is_known(), "one setting does not excuse the other");
        assert_eq!(report(&lexing, "client_encoding", "UTF8"), None);
        assert!(lexing.is_known());
    }

    #[test]
    fn between_a_change_and_its_report_nothing_is_known() {
        for text in [
            "standard_conforming_strings=off",
            "client_encoding=SJIS",
            "client_encoding",
        ] {
            let lexing = Lexing::default();
            lexing.forwarded(&setting(text));
            assert!(!lexing.is_known(), "{text}");
            lexing.settled();
            assert!(lexing.is_known());
        }
        for text in [
            "standard_conforming_strings=on",
            "client_encoding='utf-8'",
            "*",
            "timezone=UTC",
        ] {
            let lexing = Lexing::default();
            lexing.forwarded(&setting(text));
            assert!(lexing.is_known(), "{text}");
        }
        let lexing = Lexing::default();
        let mut computed = setting("*");
        computed.functions.push(Name {
            schema: None,
            name: "set_config".into(),
        });
        lexing.forwarded(&computed);
        assert!(!lexing.is_known());
    }

    #[test]
    fn what_was_foreign_can_come_back_with_a_rollback() {
        let lexing = Lexing::default();
        report(&lexing, "standard_conforming_strings", "off");
        report(&lexing, "standard_conforming_strings", "on");
        lexing.settled();
        assert!(lexing.is_known());
        lexing.forwarded(&Statement::empty());
        assert!(!lexing.is_known());
        lexing.settled();
        assert!(lexing.is_known());
    }
}
