//! Entries: what a recording says, one event each.
//!
//! Shape on disk, little-endian: payload bytes u32 | kind u8 | flags u8 (0) | reserved u16 (0) | sequence u64 |
//! unix milliseconds u64 | session 16 bytes, zero-padded text | payload.
//! The payload is JSON for every kind but Rows, whose payload is: statement u64 | offset u64 | raw bytes.
//! Entries live in blocks (`block`), blocks in segments (`segment`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of an entry before its payload.
pub(crate) const ENTRY_HEADER_BYTES: usize = 40;
/// Bytes of a Rows payload before the raw bytes.
pub(crate) const ROWS_HEADER_BYTES: usize = 16;
/// The longest payload that can be recorded; a statement that needs more is refused by its session.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// A session's id as text, `s_` and 14 lower-case base32 characters, small enough for every entry to carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; SessionId::BYTES]);

impl SessionId {
    /// The longest id, in bytes.
    pub const BYTES: usize = 16;
    /// What entries about the segment itself carry.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// The id of a new session, from 70 of the random bits.
    pub fn from_random(random: [u8; 16]) -> Self {
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = u128::from_le_bytes(random);
        let mut id = [0; Self::BYTES];
        id[..2].copy_from_slice(b"s_");
        for character in &mut id[2..] {
            *character = BASE32[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(id)
    }

    /// The id with that text; `None` unless it is 1–16 printable ASCII characters without spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; Self::BYTES];
        id.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Self(id))
    }

    /// The id as an entry header holds it; `None` if the bytes cannot be one.
    pub(crate) fn from_bytes(id: [u8; Self::BYTES]) -> Option<Self> {
        let text = id.iter().take_while(|byte| **byte != 0).count();
        let well_formed =
            id[..text].iter().all(u8::is_ascii_graphic) && id[text..].iter().all(|byte| *byte == 0);
        well_formed.then_some(Self(id))
    }

    /// The id as an entry header holds it.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// The id as text; empty for [`SessionId::NONE`].
    pub fn as_str(&self) -> &str {
        let text = self.0.iter().take_while(|byte| **byte != 0).count();
        std::str::from_utf8(&self.0[..text]).unwrap_or_default() // constructors admit ASCII only
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How much of a target's sessions is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Statements and verdicts.
    Statements,
    /// And the size and digest of each result.
    Shape,
    /// And every row as the client saw it.
    Rows,
}

/// How a statement reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A Query message.
    Simple,
    /// Parse, Bind, Execute.
    Extended,
    /// A FunctionCall message.
    FastPath,
}

impl Protocol {
    /// `simple`, `extended` or `fastpath`, as entries say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::FastPath => "fastpath",
        }
    }
}

/// What was decided about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// It may reach the server.
    Allow,
    /// It may not.
    Deny,
    /// It waits for a person.
    Hold,
}

impl VerdictKind {
    /// `allow`, `deny` or `hold`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

/// The kind of an entry, as its header holds it. Numbers are part of the format and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// See [`Entry::SegmentOpened`].
    SegmentOpened = 1,
    /// See [`Entry::Sealed`].
    Sealed = 2,
    /// See [`Entry::SessionOpened`].
    SessionOpened = 16,
    /// See [`Entry::Statement`].
    Statement = 17,
    /// See [`Entry::Verdict`].
    Verdict = 18,
    /// See [`Entry::Hold`].
    Hold = 19,
    /// See [`Entry::Approval`].
    Approval = 20,
    /// See [`Entry::HoldEnded`].
    HoldEnded = 21,
    /// See [`Entry::Columns`].
    Columns = 22,
    /// See [`Entry::Rows`].
    Rows = 23,
    /// See [`Entry::Shape`].
    Shape = 24,
    /// See [`Entry::Error`].
    Error = 25,
    /// See [`Entry::Downgraded`].
    Downgraded = 26,
    /// See [`Entry::LeaseEnded`].
    LeaseEnded = 27,
    /// See [`Entry::SessionEnded`].
    SessionEnded = 28,
}

impl EntryKind {
    /// Every kind that exists.
    pub const ALL: &'static [Self] = &[
        Self::SegmentOpened,
        Self::Sealed,
        Self::SessionOpened,
        Self::Statement,
        Self::Verdict,
        Self::Hold,
        Self::Approval,
        Self::HoldEnded,
        Self::Columns,
        Self::Rows,
        Self::Shape,
        Self::Error,
        Self::Downgraded,
        Self::LeaseEnded,
        Self::SessionEnded,
    ];

    /// The kind with that number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == byte)
    }
}

/// One event. Text is what may be kept: the caller redacts secrets before it gets here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// The first entry of every segment.
    SegmentOpened {
        /// The segment's number.
        segment: u64,
        /// Bytes of an unfinished write that were cut off the segment before, after a crash; they are kept in a `.torn` file.
        cut_bytes: u64,
    },
    /// The last entry of a sealed segment.
    Sealed {
        /// The segment's number.
        segment: u64,
        /// `size`, `age`, `shutdown` or `recovered`.
        why: String,
    },
    /// A client was let in.
    SessionOpened {
        /// The lease it runs under.
        lease: String,
        /// The principal who started it, then every agent since, outermost first.
        chain: Vec<String>,
        /// `user` or `workload`.
        principal_kind: String,
        /// The target's name.
        target: String,
        /// The database that was opened.
        database: String,
        /// The role at the target.
        role: String,
        /// Where the client came from, `address:port`.
        client_addr: String,
        /// What the client calls itself (`application_name`), if it said.
        application: Option<String>,
        /// How much is recorded.
        level: Level,
    },
    /// A statement arrived.
    Statement {
        /// Its number within the session, from 1.
        statement: u64,
        /// Its text, redacted when it carries secrets.
        text: String,
        /// Whether `text` was redacted.
        redacted: bool,
        /// How it arrived.
        protocol: Protocol,
        /// BLAKE3 of the exact bytes, hex.
        digest: String,
    },
    /// It was decided. May stand before the statement's own entry.
    Verdict {
        /// The statement.
        statement: u64,
        /// What was decided.
        verdict: VerdictKind,
        /// Why, for a refusal or hold.
        reason: Option<String>,
        /// The policies that decided.
        policies: Vec<String>,
        /// Effect classes.
        effects: Vec<String>,
        /// Relations read or written.
        relations: Vec<String>,
    },
    /// It waits for a person.
    Hold {
        /// The hold, `h_…`.
        hold: String,
        /// The statement.
        statement: u64,
        /// Groups that may approve.
        approvers: Vec<String>,
        /// What an approval is bound to, hex.
        digest: String,
        /// When it ends as refused, unix milliseconds.
        expires_at: u64,
    },
    /// A person decided.
    Approval {
        /// The hold.
        hold: String,
        /// Approved or refused.
        approved: bool,
        /// Who.
        by: String,
        /// Their reason.
        reason: Option<String>,
    },
    /// The hold ended without a person.
    HoldEnded {
        /// The hold.
        hold: String,
        /// `cancelled`, `disconnected`, `expired`, `lease-ended`.
        why: String,
    },
    /// The columns of a result (RowDescription). The four lists have one entry a column, `masked` holds indices.
    Columns {
        /// The statement.
        statement: u64,
        /// Column names.
        names: Vec<String>,
        /// Type OIDs.
        types: Vec<u32>,
        /// Indices of the columns that were masked.
        masked: Vec<u16>,
        /// 0 text, 1 binary.
        formats: Vec<u8>,
    },
    /// Frames as the client saw them (DataRow, CopyData); may start and end in the middle of one.
    #[serde(skip)]
    Rows {
        /// The statement.
        statement: u64,
        /// Where `bytes` starts in the statement's recorded bytes.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A result ended.
    Shape {
        /// The statement.
        statement: u64,
        /// Rows in it.
        rows: u64,
        /// Bytes sent to the client for it.
        bytes: u64,
        /// The command tag.
        tag: String,
        /// BLAKE3 of the rows as the client saw them, hex.
        digest: Option<String>,
    },
    /// The client was told of an error.
    Error {
        /// The statement, 0 for none.
        statement: u64,
        /// SQLSTATE.
        sqlstate: String,
        /// The message as the client saw it.
        message: String,
    },
    /// From here on rows are missing: the recorder fell behind and the operator chose to go on.
    Downgraded {
        /// Why.
        reason: String,
    },
    /// The lease ended under the session.
    LeaseEnded {
        /// The lease that ended (an ancestor's, or the session's own).
        lease: String,
        /// `expired` or `revoked`.
        why: String,
        /// Who revoked it.
        by: Option<String>,
    },
    /// The session ended.
    SessionEnded {
        /// Why.
        why: String,
        /// Statements that arrived.
        statements: u64,
        /// Rows that were sent to the client.
        rows: u64,
        /// Bytes from the client.
        bytes_in: u64,
        /// Bytes to the client.
        bytes_out: u64,
    },
}

impl Entry {
    /// The kind that its header names.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::SegmentOpened { .. } => EntryKind::SegmentOpened,
            Self::Sealed { .. } => EntryKind::Sealed,
            Self::SessionOpened { .. } => EntryKind::SessionOpened,
            Self::Statement { .. } => EntryKind::Statement,
            Self::Verdict { .. } => EntryKind::Verdict,
            Self::Hold { .. } => EntryKind::Hold,
            Self::Approval { .. } => EntryKind::Approval,
            Self::HoldEnded { .. } => EntryKind::HoldEnded,
            Self::Columns { .. } => EntryKind::Columns,
            Self::Rows { .. } => EntryKind::Rows,
            Self::Shape { .. } => EntryKind::Shape,
            Self::Error { .. } => EntryKind::Error,
            Self::Downgraded { .. } => EntryKind::Downgraded,
            Self::LeaseEnded { .. } => EntryKind::LeaseEnded,
            Self::SessionEnded { .. } => EntryKind::SessionEnded,
        }
    }

    /// What is on record of it when its payload would be that long: that it was, and what a person needs most.
    pub(crate) fn cut(&self, bytes: usize) -> Self {
        let note = format!("(left out: {bytes} bytes are too long to be recorded)");
        match self {
            Self::Statement {
                statement,
                protocol,
                digest,
                ..
            } => Self::Statement {
                statement: *statement,
                text: note,
                redacted: true,
                protocol: *protocol,
                digest: digest.clone(),
            },
            Self::Verdict {
                statement,
                verdict,
                reason,
                ..
            } => Self::Verdict {
                statement: *statement,
                verdict: *verdict,
                reason: Some(match reason {
                    Some(reason) => format!("{} {note}", beginning(reason)),
                    None => note,
                }),
                policies: Vec::new(),
                effects: Vec::new(),
                relations: Vec::new(),
            },
            Self::Error {
                statement,
                sqlstate,
                message,
            } => Self::Error {
                statement: *statement,
                sqlstate: sqlstate.chars().take(5).collect(),
                message: format!("{} {note}", beginning(message)),
            },
            Self::Shape {
                statement,
                rows,
                bytes,
                ..
            } => Self::Shape {
                statement: *statement,
                rows: *rows,
                bytes: *bytes,
                tag: String::new(),
                digest: None,
            },
            other => Self::Downgraded {
                reason: format!("an entry of the kind {:?} {note}", other.kind()),
            },
        }
    }

    /// The entry of that kind with that payload; `None` if the payload is not one.
    pub(crate) fn from_payload(kind: EntryKind, payload: &[u8]) -> Option<Self> {
        if kind == EntryKind::Rows {
            let (head, bytes) = payload.split_first_chunk::<ROWS_HEADER_BYTES>()?;
            let (statement, offset) = (u64_at(head, 0), u64_at(head, 8));
            return Some(Self::Rows {
                statement,
                offset,
                bytes: bytes.to_vec(),
            });
        }
        let entry: Self = serde_json::from_slice(payload).ok()?;
        (entry.kind() == kind).then_some(entry)
    }
}

/// What a person reads first of words that are too long.
fn beginning(words: &str) -> String {
    words.chars().take(1000).collect()
}

/// The header of an entry.
pub(crate) fn entry_header(
    kind: EntryKind,
    payload_bytes: u32,
    sequence: u64,
    at: u64,
    session: SessionId,
) -> [u8; ENTRY_HEADER_BYTES] {
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[..4].copy_from_slice(&payload_bytes.to_le_bytes());
    header[4] = kind as u8;
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..24].copy_from_slice(&at.to_le_bytes());
    header[24..].copy_from_slice(&session.to_bytes());
    header
}

/// An entry within its block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEntry<'block> {
    pub(crate) kind: EntryKind,
    pub(crate) sequence: u64,
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) session: SessionId,
    pub(crate) payload: &'block [u8],
}

/// The entry at the start of `content` and the bytes it takes there; says what is wrong otherwise.
pub(crate) fn step(content: &[u8]) -> Result<(RawEntry<'_>, usize), &'static str> {
    let Some((header, rest)) = content.split_first_chunk::<ENTRY_HEADER_BYTES>() else {
        return Err("an entry header is cut off");
    };
    let payload_bytes = u32_at(header, 0) as usize;
    let payload = rest
        .get(..payload_bytes)
        .ok_or("an entry is longer than its block")?;
    let kind = EntryKind::from_byte(header[4]).ok_or("an entry has an unknown kind")?;
    if header[5..8] != [0; 3] {
        return Err("an entry has unknown flags");
    }
    let mut id = [0; SessionId::BYTES];
    id.copy_from_slice(&header[24..]);
    let session = SessionId::from_bytes(id).ok_or("an entry has a malformed session id")?;
    let entry = RawEntry {
        kind,
        sequence: u64_at(header, 8),
        at: u64_at(header, 16),
        session,
        payload,
    };
    Ok((entry, ENTRY_HEADER_BYTES + payload_bytes))
}

/// The little-endian u32 at `at`, which the caller's fixed shape contains.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// The little-endian u64 at `at`, which the caller's fixed shape contains.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// BLAKE3 over bytes that come in pieces, such as a result's rows.
#[derive(Clone, Debug, Default)]
pub struct Digest(blake3::Hasher);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes; how they are cut does not matter.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest so far, hex.
    pub fn hex(&self) -> String {
        self.0.finalize().to_hex().as_str().to_owned()
    }
}

/// BLAKE3 of several values, hex; each is preceded by its length, so they cannot run into one another.
pub fn digest_hex(parts: &[&[u8]]) -> String {
    let mut digest = Digest::new();
    for part in parts {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.hex()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn session_ids_come_back() {
        let id = SessionId::from_random([7; 16]);
        assert_eq!(id.as_str().len(), 16);
        assert!(id.as_str().starts_with("s_"));
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        assert_eq!(SessionId::from_bytes(id.to_bytes()), Some(id));
        assert_ne!(SessionId::from_random([8; 16]), id);
        for wrong in ["", "s_12345678901234x", "s_ 1", "s_\n", "s_é"] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(
            SessionId::parse("s_1").map(|id| id.to_string()),
            Some("s_1".to_owned())
        );
    }

    #[test]
    fn every_kind_has_its_number() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::from_byte(*kind as u8), Some(*kind));
        }
        assert_eq!(EntryKind::from_byte(0), None);
    }

    #[test]
    fn a_payload_of_another_kind_is_refused() {
        let entry = Entry::Downgraded {
            reason: "ring full".into(),
        };
        let payload = serde_json::to_vec(&entry).unwrap();
        assert_eq!(Entry::from_payload(EntryKind::Downgraded, &payload), Some(entry));
        assert_eq!(Entry::from_payload(EntryKind::Hold, &payload), None);
        assert_eq!(Entry::from_payload(EntryKind::Rows, &payload[..15]), None);
    }

    #[test]
    fn digests_do_not_run_together() {
        assert_ne!(digest_hex(&[b"ab", b"c"]), digest_hex(&[b"a", b"bc"]));
        let mut pieces = Digest::new();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.hex(), blake3::hash(b"abc").to_hex().as_str());
    }

    proptest! {
        #[test]
        fn headers_come_back(payload in proptest::collection::vec(any::<u8>(), 0..64), sequence: u64, at: u64) {
            let session = SessionId::from_random(at.to_le_bytes().repeat(2).try_into().unwrap());
            let mut bytes = entry_header(EntryKind::Rows, payload.len() as u32, sequence, at, session).to_vec();
            bytes.extend_from_slice(&payload);
            let whole = bytes.len();
            bytes.push(9);
            let (entry, used) = step(&bytes).unwrap();
            prop_assert_eq!(used, whole);
            prop_assert_eq!((entry.sequence, entry.at, entry.session), (sequence, at, session));
            prop_assert_eq!(entry.payload, &payload[..]);
            prop_assert!(step(&bytes[..whole - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((entry, used)) = step(&bytes) {
                prop_assert!(used <= bytes.len());
                let _ = Entry::from_payload(entry.kind, entry.payload);
            }
        }
    }
}
