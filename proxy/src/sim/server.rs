//! A simulated PostgreSQL: it knows a few statements, transactions, and how errors skip to Sync.
//!
//! Source: PostgreSQL manual, "Message Flow". What it hears is kept: a statement that linegate refused must not be there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend::{self as say, FieldSpec};
use codecs::postgres::frontend::{Kind, Message};

use super::net::{Stream, knock};
use super::talk::Talk;

/// The table that holds what is labelled: number, name and the labelled third column.
pub const TABLE_OID: u32 = 16_390;
/// Its rows.
pub const PEOPLE: [[&str; 3]; 5] = [
    ["1", "one", "536-90-4399"],
    ["2", "two", "219-09-9999"],
    ["3", "three", "457-55-5462"],
    ["4", "four", "001-23-4567"],
    ["5", "five", "987-65-4320"],
];

/// A statement that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All people.
    People,
    /// The number seven.
    Seven,
    /// Fails when it runs.
    Division,
    Begin,
    Commit,
    Rollback,
    /// Refused by linegate: never heard here.
    Delete,
}

impl Known {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::People,
        Self::Seven,
        Self::Division,
        Self::Begin,
        Self::Commit,
        Self::Rollback,
        Self::Delete,
    ];

    /// Its text.
    pub fn text(self) -> &'static str {
        match self {
            Self::People => "SELECT id, name, ssn FROM app.people",
            Self::Seven => "SELECT 7",
            Self::Division => "SELECT 1/0",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Delete => "DELETE FROM app.people WHERE id = 1",
        }
    }

    /// Its rows, where it has any.
    pub fn rows(self) -> Option<Vec<Vec<&'static str>>> {
        match self {
            Self::People => Some(PEOPLE.iter().map(|row| row.to_vec()).collect()),
            Self::Seven => Some(vec![vec!["7"]]),
            Self::Division => Some(Vec::new()),
            _ => None,
        }
    }

    /// Whether it runs in a failed transaction.
    pub fn ends_transaction(self) -> bool {
        matches!(self, Self::Commit | Self::Rollback)
    }

    fn describe(self, out: &mut Vec<u8>) {
        let field = |name: &'static str, attribute, type_oid| FieldSpec {
            name: name.as_bytes(),
            table_oid: if attribute > 0 { TABLE_OID } else { 0 },
            attribute,
            type_oid,
            type_size: -1,
            modifier: -1,
            format: 0,
        };
        match self {
            Self::People => {
                let fields = [field("id", 1, 23), field("name", 2, 25), field("ssn", 3, 25)];
                say::row_description(out, &fields);
            }
            Self::Seven | Self::Division => say::row_description(out, &[field("?column?", 0, 23)]),
            _ => say::no_data(out),
        }
    }
}

/// What the server has heard of statements.
pub type Heard = Rc<RefCell<Vec<String>>>;

/// Takes connections for as long as the simulation lasts.
pub async fn listen(heard: Heard) {
    loop {
        while let Some(stream) = knock() {
            super::spawn(serve(stream, heard.clone()));
        }
        super::sleep(Duration::from_millis(1)).await;
    }
}

struct Server {
    heard: Heard,
    status: TransactionStatus,
    skipping: bool,
    statements: HashMap<Vec<u8>, Known>,
    portals: HashMap<Vec<u8>, (Known, usize)>,
    out: Vec<u8>,
}

async fn serve(stream: Stream, heard: Heard) {
    let mut talk = Talk::new(stream);
    let Some(first) = talk.packet().await else { return };
    if first.get(4..8) == Some(&80_877_103u32.to_be_bytes()) {
        talk.say(b"N".to_vec()).await;
        return;
    }
    let mut server = Server {
        heard,
        status: TransactionStatus::Idle,
        skipping: false,
        statements: HashMap::new(),
        portals: HashMap::new(),
        out: Vec::new(),
    };
    say::authentication_ok(&mut server.out);
    for (name, value) in [
        ("server_version", "17.0"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
    ] {
        say::parameter_status(&mut server.out, name, value);
    }
    let id = u32::try_from(super::below(1 << 20)).expect("small");
    say::backend_key_data(&mut server.out, id, &[1, 2, 3, 4]);
    say::ready_for_query(&mut server.out, server.status);
    loop {
        if !talk.say(std::mem::take(&mut server.out)).await {
            return;
        }
        // As a server does, it may hold back what Sync or Flush will ask for.
        loop {
            let Some((tag, payload)) = talk.message().await else {
                return;
            };
            let Ok(message) = Message::read(tag, &payload) else {
                return;
            };
            if matches!(message, Message::Terminate) {
                return;
            }
            let must_say = matches!(message, Message::Sync | Message::Flush | Message::Query { .. });
            server.take(&message);
            if must_say || super::below(3) == 0 {
                break;
            }
        }
    }
}

impl Server {
    fn known(&self, text: &[u8]) -> Option<Known> {
        self.heard
            .borrow_mut()
            .push(String::from_utf8_lossy(text).into_owned());
        Known::ALL
            .into_iter()
            .find(|known| known.text().as_bytes() == text)
    }

    fn take(&mut self, message: &Message<'_>) {
        match message {
            Message::Query { text } => {
                match self.known(text) {
                    _ if self.forgets(text) => {}
                    Some(known) => self.run(known, &mut 0, 0, true),
                    None => self.fail(b"42601"),
                }
                self.skipping = false;
                self.ready();
            }
            Message::Sync => {
                self.skipping = false;
                self.ready();
            }
            _ if self.skipping => {}
            Message::Parse { name, text, .. } => match self.known(text) {
                None => self.fail_series(b"42601"),
                Some(known) if self.is_failed_for(known) => self.fail_series(b"25P02"),
                Some(known) => {
                    self.statements.insert(name.to_vec(), known);
                    say::parse_complete(&mut self.out);
                }
            },
            Message::Bind {
                portal, statement, ..
            } => match self.statements.get(*statement).copied() {
                None => self.fail_series(b"26000"),
                Some(known) if self.is_failed_for(known) => self.fail_series(b"25P02"),
                Some(known) => {
                    self.portals.insert(portal.to_vec(), (known, 0));
                    say::bind_complete(&mut self.out);
                }
            },
            Message::Describe { kind, name } => {
                let found = match kind {
                    Kind::Statement => self.statements.get(*name).copied(),
                    Kind::Portal => self.portals.get(*name).map(|(known, _)| *known),
                };
                match found {
                    None => self.fail_series(b"34000"),
                    Some(known) => {
                        if *kind == Kind::Statement {
                            say::parameter_description(&mut self.out, &[]);
                        }
                        known.describe(&mut self.out);
                    }
                }
            }
            Message::Execute { portal, rows_max } => match self.portals.get(*portal).copied() {
                None => self.fail_series(b"34000"),
                Some((known, mut at)) => {
                    let most = usize::try_from(*rows_max).unwrap_or(0);
                    self.run(known, &mut at, most, false);
                    if let Some(portal) = self.portals.get_mut(*portal) {
                        portal.1 = at;
                    }
                }
            },
            Message::Close { .. } => say::close_complete(&mut self.out),
            _ => {}
        }
    }

    /// What linegate says between two sessions.
    fn forgets(&mut self, text: &[u8]) -> bool {
        match text {
            b"DISCARD ALL" if self.status == TransactionStatus::Idle => {
                self.statements.clear();
                self.portals.clear();
                say::command_complete(&mut self.out, "DISCARD ALL");
            }
            b"RESET ROLE" => say::command_complete(&mut self.out, "RESET"),
            text if text
                .starts_with(b"SELECT COALESCE(pg_catalog.current_setting('idle_session_timeout'") =>
            {
                self.out.extend_from_slice(b"T\0\0\0\x06\0\0");
                say::data_row(&mut self.out, &[Some(b"t")]);
                say::command_complete(&mut self.out, "SELECT 1");
            }
            _ => return false,
        }
        true
    }

    fn is_failed_for(&self, known: Known) -> bool {
        self.status == TransactionStatus::Failed && !known.ends_transaction()
    }

    fn fail(&mut self, code: &[u8; 5]) {
        say::error_response(&mut self.out, "ERROR", code, "simulated", None, None);
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }

    fn fail_series(&mut self, code: &[u8; 5]) {
        self.fail(code);
        self.skipping = true;
    }

    fn ready(&mut self) {
        if self.status == TransactionStatus::Idle {
            self.portals.clear();
        }
        say::ready_for_query(&mut self.out, self.status);
    }

    fn run(&mut self, known: Known, at: &mut usize, most: usize, is_simple: bool) {
        if self.is_failed_for(known) {
            self.fail(b"25P02");
            self.skipping = true;
            return;
        }
        match known {
            Known::Begin => self.status = TransactionStatus::InTransaction,
            Known::Commit | Known::Rollback => self.status = TransactionStatus::Idle,
            Known::Division => {
                if is_simple {
                    known.describe(&mut self.out);
                }
                self.fail(b"22012");
                self.skipping = true;
                return;
            }
            Known::People | Known::Seven | Known::Delete => {}
        }
        let Some(rows) = known.rows() else {
            return say::command_complete(&mut self.out, known.text());
        };
        if is_simple {
            known.describe(&mut self.out);
        }
        let left = &rows[(*at).min(rows.len())..];
        let count = if most > 0 {
            most.min(left.len())
        } else {
            left.len()
        };
        for row in &left[..count] {
            let cells: Vec<Option<&[u8]>> = row.iter().map(|cell| Some(cell.as_bytes())).collect();
            say::data_row(&mut self.out, &cells);
        }
        *at += count;
        if most > 0 && count == most {
            say::portal_suspended(&mut self.out);
        } else {
            say::command_complete(&mut self.out, &format!("SELECT {count}"));
        }
    }
}
