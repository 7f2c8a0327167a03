//! A grammar of bad input, from seeds: what no driver sends, in every phase of a connection.
//!
//! Source: PostgreSQL manual, "Message Formats" and "Message Flow"; RFC 5802 (SCRAM), RFC 8446 (TLS records).
//! [`made`] gives the case of a number; [`play`](player::play) plays it and says how it ended. `opening` makes what comes
//! before a login, `messages` what comes after it; `tests/corpus` holds recorded conversations that are changed.

pub mod answers;
mod messages;
mod opening;
pub mod player;

use std::path::Path;

use crate::chance::Chance;
use crate::places::repository;

/// Where the bytes of a case are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// From the first byte of a connection.
    First,
    /// After `S` answered an SSLRequest, in place of the handshake.
    Handshake,
    /// Within TLS, from the first byte of what it carries.
    InTls,
    /// After linegate asked for SASL; the second part, if there is one, after it was asked to go on.
    Sasl,
    /// In a session of a principal under a mask who may read.
    Reader,
    /// In a session of one who may do anything.
    Owner,
}

/// What follows the bytes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sync and a Query that must be answered, unless the connection ends.
    Answer,
    /// The client says no more: the connection must end.
    HalfClose,
    /// The client is gone at once.
    Reset,
}

/// One malformed input.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its number within its seed.
    pub number: u64,
    /// What is wrong, in words.
    pub what: &'static str,
    /// Where it is sent.
    pub door: Door,
    /// What is sent, in pieces.
    pub pieces: Vec<Vec<u8>>,
    /// What follows.
    pub end: End,
}

/// Recorded conversations, which cases change.
pub struct Corpus {
    /// First packets of clients.
    pub startup: Vec<Vec<u8>>,
    /// What clients sent after their login, whole sessions.
    pub frontend: Vec<Vec<u8>>,
}

impl Corpus {
    /// What is in `tests/corpus`.
    pub fn load() -> Self {
        let corpus = repository().join("tests/corpus");
        Self {
            startup: files(&corpus.join("startup")),
            frontend: files(&corpus.join("frontend")),
        }
    }
}

/// Every file of a folder, by name.
pub fn files(folder: &Path) -> Vec<Vec<u8>> {
    let listed = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect()
}

/// What a part of the grammar makes: what is wrong, the bytes, and whether linegate has to do something about them without
/// hearing more.
struct Bad {
    what: &'static str,
    bytes: Vec<u8>,
    is_whole: bool,
}

impl Bad {
    /// Linegate has all it needs to answer or to end the connection.
    fn whole(what: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            what,
            bytes,
            is_whole: true,
        }
    }

    /// Linegate may wait for more.
    fn open(what: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            what,
            bytes,
            is_whole: false,
        }
    }
}

/// The case of that number.
pub fn made(seed: u64, number: u64, corpus: &Corpus) -> Case {
    let mut chance = Chance::new(seed, number);
    let door = match chance.below(100) {
        0..22 => Door::First,
        22..28 => Door::Handshake,
        28..33 => Door::InTls,
        33..47 => Door::Sasl,
        47..85 => Door::Reader,
        _ => Door::Owner,
    };
    let bad = match door {
        Door::First | Door::InTls => opening::first(&mut chance, corpus),
        Door::Handshake => opening::handshake(&mut chance),
        Door::Sasl => opening::sasl(&mut chance),
        Door::Reader | Door::Owner => messages::bad(&mut chance, corpus, door),
    };
    let is_session = matches!(door, Door::Reader | Door::Owner);
    let end = match chance.below(20) {
        0 => End::Reset,
        1..14 if bad.is_whole && is_session => End::Answer,
        _ => End::HalfClose,
    };
    let pieces = match door {
        // The second part of SASL is a message of its own.
        Door::Sasl => split_sasl(bad.bytes),
        _ => chance.pieces(&bad.bytes),
    };
    Case {
        number,
        what: bad.what,
        door,
        pieces,
        end,
    }
}

/// `opening::sasl` marks where the second part begins.
fn split_sasl(bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let mark = opening::NEXT_PART;
    match bytes.windows(mark.len()).position(|window| window == mark) {
        Some(at) => vec![bytes[..at].to_vec(), bytes[at + mark.len()..].to_vec()],
        None => vec![bytes],
    }
}
