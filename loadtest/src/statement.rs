//! What the client says: one statement as a batch, and the end of its answer.
//!
//! Source: PostgreSQL manual, "Message Flow": Simple Query, Extended Query.

use clap::ValueEnum;
use codecs::postgres::backend::tag;
use codecs::postgres::build::frontend as tell;
use codecs::postgres::frame::{self, HEADER_BYTES};
use codecs::postgres::{Limits, PostgresError};

/// The name of the prepared statement.
const PREPARED: &[u8] = b"s1";

/// How a statement is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// One Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync every time.
    Extended,
    /// Parse once; Bind, Execute, Sync every time.
    Prepared,
}

/// A statement, ready to be sent.
pub struct Batch {
    /// Sent once on every connection, before anything is timed.
    pub first: Option<Vec<u8>>,
    /// Sent every time.
    pub each: Vec<u8>,
}

impl Batch {
    /// Builds both parts.
    pub fn new(protocol: Protocol, sql: &str) -> Self {
        let mut each = Vec::new();
        match protocol {
            Protocol::Simple => tell::query(&mut each, sql.as_bytes()),
            Protocol::Extended => {
                tell::parse(&mut each, b"", sql.as_bytes());
                tell::bind(&mut each, b"", b"", &[]);
                tell::describe_portal(&mut each, b"");
                tell::execute(&mut each, b"", 0);
                tell::sync(&mut each);
            }
            Protocol::Prepared => {
                tell::bind(&mut each, b"", PREPARED, &[]);
                tell::execute(&mut each, b"", 0);
                tell::sync(&mut each);
            }
        }
        let first = (protocol == Protocol::Prepared).then(|| {
            let mut first = Vec::new();
            tell::parse(&mut first, PREPARED, sql.as_bytes());
            tell::sync(&mut first);
            first
        });
        Self { first, each }
    }

    /// One whose rows come in binary: the extended protocol every time.
    pub fn binary(sql: &str) -> Self {
        let mut each = Vec::new();
        tell::parse(&mut each, b"", sql.as_bytes());
        tell::bind_formatted(&mut each, b"", b"", &[], &[], &[1]);
        tell::describe_portal(&mut each, b"");
        tell::execute(&mut each, b"", 0);
        tell::sync(&mut each);
        Self { first: None, each }
    }
}

/// Watches an answer go by, however it is cut, and counts what matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the current payload still to come.
    left: usize,
    /// ReadyForQuery messages whose last byte went by.
    pub ready: u64,
    /// ErrorResponse messages.
    pub errors: u64,
}

impl Watch {
    /// Takes the next bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) -> Result<(), PostgresError> {
        while !bytes.is_empty() {
            if self.header_bytes < HEADER_BYTES {
                let taken = (HEADER_BYTES - self.header_bytes).min(bytes.len());
                let (head, rest) = bytes.split_at(taken);
                self.header[self.header_bytes..][..taken].copy_from_slice(head);
                self.header_bytes += taken;
                bytes = rest;
                let Some(frame) = frame::header(&self.header[..self.header_bytes], &Limits::STREAMED)? else {
                    return Ok(());
                };
                self.left = frame.size.with_tag() - HEADER_BYTES;
            }
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                match self.header[0] {
                    tag::READY_FOR_QUERY => self.ready += 1,
                    tag::ERROR_RESPONSE => self.errors += 1,
                    _ => {}
                }
                self.header_bytes = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use codecs::postgres::backend::TransactionStatus;
    use codecs::postgres::build::backend as answer;

    use super::*;

    #[test]
    fn an_answer_ends_where_it_ends_however_it_is_cut() {
        let mut bytes = Vec::new();
        answer::bind_complete(&mut bytes);
        answer::data_row(&mut bytes, &[Some(b"ZZZZZZ"), None]);
        answer::error_response(&mut bytes, "ERROR", b"22012", "Z", None, None);
        answer::ready_for_query(&mut bytes, TransactionStatus::Idle);
        for cut in 0..bytes.len() {
            let mut watch = Watch::default();
            watch.pass(&bytes[..cut]).expect("well formed");
            assert_eq!(watch.ready, 0, "cut at byte {cut}");
            watch.pass(&bytes[cut..]).expect("well formed");
            assert_eq!((watch.ready, watch.errors), (1, 1), "cut at byte {cut}");
        }
        assert!(Watch::default().pass(b"Z\0\0\0\x01").is_err());
    }

    #[test]
    fn only_a_prepared_statement_is_parsed_ahead() {
        assert!(Batch::new(Protocol::Simple, "SELECT 1").first.is_none());
        assert!(Batch::new(Protocol::Extended, "SELECT 1").first.is_none());
        let prepared = Batch::new(Protocol::Prepared, "SELECT 1");
        assert_eq!(prepared.first.as_deref().and_then(<[u8]>::first), Some(&b'P'));
        assert_eq!(prepared.each.first(), Some(&b'B'));
    }

    #[test]
    fn binary_differs_by_its_one_result_format() {
        let (text, binary) = (
            Batch::new(Protocol::Extended, "SELECT 1"),
            Batch::binary("SELECT 1"),
        );
        assert!(binary.first.is_none());
        assert_eq!(binary.each.len(), text.each.len() + 2, "one format of two bytes");
        let mut bind = Vec::new();
        tell::bind_formatted(&mut bind, b"", b"", &[], &[], &[1]);
        assert!(bind.ends_with(&[0, 1, 0, 1]), "one format, and it is binary");
        assert_eq!(
            binary
                .each
                .windows(bind.len())
                .filter(|part| *part == bind)
                .count(),
            1
        );
    }
}
