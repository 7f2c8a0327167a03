//! What a client sets while it logs in: startup parameters, and the switches of `options`.
//!
//! Source: PostgreSQL manual, "Message Formats", StartupMessage; "Connection Settings", `options`, for how switches are cut.
//! How dates, numbers and names look passes as it is. Everything else stands for `SET name = 'value'`: policy decides it as
//! that statement before the server hears of it, and it is on record as that statement.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use linegate_policy::{Decision, Verdict, is_temporary};
use linegate_recording::{Entry, Protocol, SessionId, VerdictKind, digest_hex};

use super::Ended;
use crate::clock;
use crate::core::Core;
use crate::policy_service::Standing;
use crate::rt;
use crate::shared::CatalogCell;

/// Parameters that change how values look and which names are meant, and nothing else.
const PASSED: [&str; 6] = [
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "IntervalStyle",
    "extra_float_digits",
    "search_path",
];
/// These load code or take effect in no other way than at the start, so that no `SET` could stand for them.
const START_ONLY: [&str; 3] = [
    "local_preload_libraries",
    "session_preload_libraries",
    "ignore_system_indexes",
];
/// Policies that are loaded while a client logs in are asked anew, so often at most.
const TRIES_MAX: usize = 3;
/// How long a masked client waits for its database's first catalog, and how often it looks.
const CATALOG_WAIT: Duration = Duration::from_secs(5);
const CATALOG_POLL: Duration = Duration::from_millis(5);

/// What a client set, and what was decided about it.
#[derive(Default)]
pub struct Settings {
    /// In the order in which the server applies them: `options` first.
    pub pairs: Vec<(String, String)>,
    decided: Vec<(String, Arc<Decision>)>,
}

impl Settings {
    /// Reads the parameters of a startup packet. `application_name` is linegate's own towards the server.
    pub fn read(parameters: &[(String, String)]) -> Result<Self, Ended> {
        let options = parameters.iter().filter(|(name, _)| name == "options");
        let mut pairs = Vec::new();
        for (_, options) in options {
            pairs.extend(switches(options)?);
        }
        let others = parameters.iter().filter(|(name, _)| name != "options");
        pairs.extend(others.cloned());
        pairs.retain(|(name, _)| !name.eq_ignore_ascii_case("application_name"));
        for (name, value) in &pairs {
            if name.eq_ignore_ascii_case("client_encoding") && !is_utf8(value) {
                return Err(Ended::saying(b"22023", "linegate: client_encoding must be UTF8"));
            }
        }
        Ok(Self {
            pairs,
            decided: Vec::new(),
        })
    }

    /// Lets policy decide what does not simply pass. The first refusal ends the login.
    pub async fn decide(
        &mut self,
        core: &Rc<Core>,
        standing: &Arc<Standing>,
        catalog: &CatalogCell,
    ) -> Result<(), Ended> {
        for (name, value) in &self.pairs {
            if PASSED.iter().any(|passed| passed.eq_ignore_ascii_case(name)) {
                continue;
            }
            let refused = |why: &str| {
                Ended::saying(
                    b"42501",
                    format!("linegate: the startup parameter {name} is refused: {why}"),
                )
            };
            if START_ONLY.iter().any(|only| only.eq_ignore_ascii_case(name)) {
                return Err(refused("it cannot be set with SET either"));
            }
            let text = statement(name, value).ok_or_else(|| refused("its name is none"))?;
            let decision = decide(core, standing, catalog, &text).await?;
            let why = match &decision.verdict {
                Verdict::Allow => None,
                Verdict::Deny(reason) => Some(reason.public()),
                Verdict::Hold(_) => Some("a person would have to approve it; use SET".to_owned()),
            };
            if let Some(why) = why {
                return Err(refused(&why));
            }
            self.decided.push((text, decision));
        }
        Ok(())
    }

    /// Whether names without a schema are looked up or made elsewhere than where the administrator has it.
    pub fn move_path(&self) -> bool {
        let mut names = self.pairs.iter().map(|(name, _)| name);
        names.any(|name| {
            ["search_path", "role"]
                .iter()
                .any(|moves| name.eq_ignore_ascii_case(moves))
        })
    }

    /// Whether what the session makes without a schema may be temporary, or names mean what is.
    pub fn may_make_temporary(&self) -> bool {
        let is_path = |name: &str| name.eq_ignore_ascii_case("search_path");
        let mut paths = self.pairs.iter().filter(|(name, _)| is_path(name));
        paths.any(|(_, path)| linegate_policy::words(path).any(|word| is_temporary(&word)))
    }

    /// How many statements these count as.
    pub fn count(&self) -> u64 {
        self.decided.len() as u64
    }

    /// Puts them on record as the session's first statements.
    pub async fn record(self, core: &Rc<Core>, session: SessionId) {
        for (number, (text, decision)) in (1..).zip(self.decided) {
            let digest = digest_hex(&[text.as_bytes()]);
            let statement = Entry::Statement {
                statement: number,
                text,
                redacted: false,
                protocol: Protocol::Simple,
                digest,
            };
            let verdict = Entry::Verdict {
                statement: number,
                verdict: VerdictKind::Allow,
                reason: None,
                policies: decision.policies.clone(),
                effects: decision.effects.names().map(str::to_owned).collect(),
                relations: Vec::new(),
            };
            core.record(session, statement).await;
            core.record(session, verdict).await;
        }
    }
}

async fn decide(
    core: &Rc<Core>,
    standing: &Arc<Standing>,
    catalog: &CatalogCell,
    text: &str,
) -> Result<Arc<Decision>, Ended> {
    let mut waited = Duration::ZERO;
    while !standing.masks.is_empty() && catalog.latest().is_none() && waited < CATALOG_WAIT {
        rt::sleep(CATALOG_POLL).await;
        waited += CATALOG_POLL;
    }
    for _ in 0..TRIES_MAX {
        // An epoch of its own: nobody finds this verdict in the cache.
        let epoch = u64::from_le_bytes(clock::random());
        let decided = core
            .decide(epoch, standing, catalog.latest(), None, text.as_bytes())
            .await;
        if let Some(decision) = decided {
            return Ok(decision);
        }
    }
    Err(Ended::saying(
        b"57P03",
        "linegate: its policies are being replaced; connect again",
    ))
}

/// `SET "name" = 'value'`, if the name is one.
fn statement(name: &str, value: &str) -> Option<String> {
    let is_name = |part: &str| {
        let mut characters = part.chars();
        characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    if !name.split('.').all(is_name) {
        return None;
    }
    let quoted: Vec<String> = name
        .split('.')
        .map(|part| format!("\"{}\"", part.to_ascii_lowercase()))
        .collect();
    Some(format!(
        "SET {} = '{}'",
        quoted.join("."),
        value.replace('\'', "''")
    ))
}

/// Whether a startup packet means something of its own by that name: no setting may go by it.
pub fn is_of_the_packet(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "user" | "database" | "options" | "replication") || name.starts_with("_pq_")
}

/// The settings in `options`: `-c name=value`, `-cname=value` and `--name=value`. Words end at white space, a backslash takes the
/// next character as it is, and `-` in a long name stands for `_`. Other switches of the server are refused.
fn switches(options: &str) -> Result<Vec<(String, String)>, Ended> {
    let refused = || {
        Ended::saying(
            b"42501",
            "linegate: of the startup options only -c name=value and --name=value are passed on",
        )
    };
    let mut words = words(options).into_iter();
    let mut pairs = Vec::new();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => long.to_owned(),
            (None, Some("")) => words.next().ok_or_else(refused)?,
            (None, Some(attached)) => attached.to_owned(),
            (None, None) => return Err(refused()),
        };
        let (name, value) = setting.split_once('=').ok_or_else(refused)?;
        let name = name.replace('-', "_");
        if is_of_the_packet(&name) {
            return Err(refused());
        }
        pairs.push((name, value.to_owned()));
    }
    Ok(pairs)
}

fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}') {
            found.extend(word.take());
            continue;
        }
        let taken = if character == '\\' {
            characters.next()
        } else {
            Some(character)
        };
        word.get_or_insert_default().extend(taken);
    }
    found.extend(word);
    found
}

fn is_utf8(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(name.to_ascii_lowercase().as_str(), "utf8" | "unicode" | "auto")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<Vec<(String, String)>, Ended> {
        let parameters: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::read(&parameters).map(|settings| settings.pairs)
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn options_come_first_and_are_cut_as_the_server_cuts_them() {
        let found = read(&[
            ("TimeZone", "UTC"),
            (
                "options",
                "-c a=1  -cb.c=x\\ y --search-path=app\\,\\ public\t-c d='q'",
            ),
        ]);
        let expected = [
            ("a", "1"),
            ("b.c", "x y"),
            ("search_path", "app, public"),
            ("d", "'q'"),
            ("TimeZone", "UTC"),
        ];
        assert_eq!(found.expect("settings"), pairs(&expected));
        assert_eq!(read(&[("options", "  ")]).expect("nothing"), pairs(&[]));
    }

    #[test]
    fn other_switches_are_refused() {
        for options in ["-x", "-c", "-c name", "name=value", "-d 3", "--", "-F", "-- a=b"] {
            assert!(read(&[("options", options)]).is_err(), "{options}");
        }
    }

    #[test]
    fn what_the_packet_itself_says_is_no_setting() {
        for name in ["user", "Database", "options", "replication", "_pq_.x", "-pq-.x"] {
            for options in [
                format!("-c {name}=shop"),
                format!("-c{name}=shop"),
                format!("--{name}=shop"),
            ] {
                assert!(read(&[("options", &options)]).is_err(), "{options}");
            }
        }
    }

    #[test]
    fn the_encoding_is_checked_wherever_it_is_set() {
        assert!(read(&[("client_encoding", "LATIN1")]).is_err());
        assert!(read(&[("options", "-c Client_Encoding=SJIS")]).is_err());
        assert!(read(&[("options", "--client-encoding=utf-8")]).is_ok());
    }

    #[test]
    fn the_clients_own_name_for_itself_stays_here() {
        let found = read(&[
            ("application_name", "a"),
            ("options", "-c application_name=b -c geqo=off"),
        ]);
        assert_eq!(found.expect("settings"), pairs(&[("geqo", "off")]));
    }

    #[test]
    fn a_parameter_is_decided_as_the_statement_it_stands_for() {
        assert_eq!(
            statement("Custom.Thing", "it's").as_deref(),
            Some("SET \"custom\".\"thing\" = 'it''s'")
        );
        for name in ["", ".", "a.", "a b", "a\"b", "1a", "a;b", "ä"] {
            assert_eq!(statement(name, "x"), None, "{name}");
        }
    }
}
