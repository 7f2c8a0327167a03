//! What the crate's tests share.

use std::path::Path;

use crate::{Entry, Level, Protocol, Reader, SessionId, SigningKey, VerdictKind};

/// 2026-03-01 12:00:00 UTC.
pub(crate) const NOW: u64 = 1_772_366_400_000;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

pub(crate) fn session(number: u64) -> SessionId {
    SessionId::parse(&format!("s_{number}")).unwrap()
}

pub(crate) fn error(statement: u64) -> Entry {
    Entry::Error {
        statement,
        sqlstate: "42601".into(),
        message: "syntax error".into(),
    }
}

pub(crate) fn opened(principal: &str) -> Entry {
    Entry::SessionOpened {
        lease: "lg_aaaa".into(),
        chain: vec![principal.into(), "build/4711".into(), "migrate".into()],
        principal_kind: "workload".into(),
        target: "prod".into(),
        database: "shop".into(),
        role: "app".into(),
        client_addr: "127.0.0.1:40000".into(),
        application: None,
        level: Level::Rows,
    }
}

pub(crate) fn statement(statement: u64, text: &str) -> Entry {
    let digest = crate::digest_hex(&[text.as_bytes()]);
    Entry::Statement {
        statement,
        text: text.into(),
        redacted: false,
        protocol: Protocol::Simple,
        digest,
    }
}

pub(crate) fn verdict(statement: u64, verdict: VerdictKind, reason: Option<&str>) -> Entry {
    Entry::Verdict {
        statement,
        verdict,
        reason: reason.map(str::to_owned),
        policies: vec!["policy0".into()],
        effects: vec!["select".into()],
        relations: vec!["app.customers".into()],
    }
}

/// A DataRow frame in text format.
pub(crate) fn data_row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (cells.len() as i16).to_be_bytes().to_vec();
    for cell in cells {
        body.extend_from_slice(&cell.map_or(-1, |cell| cell.len() as i32).to_be_bytes());
        body.extend_from_slice(cell.unwrap_or_default());
    }
    let mut frame = vec![b'D'];
    frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

pub(crate) fn rows_of(root: &Path, session: SessionId, statement: u64) -> Vec<u8> {
    let mut rows = Vec::new();
    for record in Reader::open(root).unwrap().session(session) {
        if let Entry::Rows {
            statement: of,
            offset,
            bytes,
        } = record.unwrap().entry
            && of == statement
        {
            assert_eq!(offset, rows.len() as u64);
            rows.extend_from_slice(&bytes);
        }
    }
    rows
}
