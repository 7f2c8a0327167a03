//! An answer, ready to be sent as often as it is asked for.
//!
//! The amplified form: `SELECT * FROM narrow_1024` and `COPY narrow_1024 TO STDOUT` give the rows that the real table has, again and
//! again, until 1,024 MiB of them were sent, and a CommandComplete that counts them. RowDescription is the real server's.

use std::rc::Rc;

use codecs::postgres::backend::{CommandComplete, ReadyForQuery, tag};
use codecs::postgres::build::backend as tell;
use codecs::postgres::{Limits, PostgresError, Step, frame};

use crate::failure::Failure;

/// Rows are repeated in one buffer until it has this size, so that one write moves this much.
const BLOCK_BYTES_MIN: usize = 1 << 20;
/// The longest amplified answer.
const MIB_MAX: u64 = 1 << 16;

/// The same bytes, end to end, as often as `bytes` needs them.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What is repeated.
    pub block: Rc<[u8]>,
    /// How many bytes are sent in all.
    pub bytes: u64,
}

impl Piece {
    /// Bytes that are sent once.
    pub fn once(bytes: &[u8]) -> Self {
        Self {
            block: bytes.into(),
            bytes: bytes.len() as u64,
        }
    }

    /// What comes after `sent` bytes, as far as it lies in one piece.
    pub fn after(&self, sent: u64) -> &[u8] {
        let left = usize::try_from(self.bytes - sent).unwrap_or(usize::MAX);
        let at = (sent % self.block.len().max(1) as u64) as usize; // below the block's length
        let rest = &self.block[at..];
        &rest[..rest.len().min(left)]
    }
}

/// What a batch is answered with.
#[derive(Debug)]
pub struct Answer {
    /// In order.
    pub pieces: Vec<Piece>,
    /// The transaction status of its ReadyForQuery; none where the batch ended in Flush.
    pub status: Option<u8>,
    /// Whether it holds an ErrorResponse.
    pub is_error: bool,
    /// Whether batch and answer leave a session as it was, when it is outside a transaction.
    pub changes_nothing: bool,
}

impl Answer {
    /// Reads what the real server sent; with `mib`, its rows are repeated.
    pub fn read(reply: &[u8], mib: Option<u64>) -> Result<Self, Failure> {
        let (mut status, mut is_error) = (None, false);
        for message in messages(reply) {
            let (tag, _, payload) = message?;
            match tag {
                tag::READY_FOR_QUERY => status = Some(ReadyForQuery::read(payload)?.byte()),
                tag::ERROR_RESPONSE => is_error = true,
                _ => {}
            }
        }
        let pieces = match mib {
            Some(mib) if !is_error => amplified_reply(reply, mib << 20)?,
            _ => vec![Piece::once(reply)],
        };
        Ok(Self {
            pieces: pieces.into_iter().filter(|piece| piece.bytes > 0).collect(),
            status,
            is_error,
            changes_nothing: false,
        })
    }

    /// Bytes that it holds in memory.
    pub fn bytes_held(&self) -> usize {
        self.pieces.iter().map(|piece| piece.block.len()).sum()
    }
}

/// How many MiB a statement asks for by the name of its relation; `None` for every other statement.
pub fn mib_asked(sql: &[u8]) -> Option<u64> {
    let sql = std::str::from_utf8(sql)
        .ok()?
        .trim_end_matches([';', ' ', '\n', '\t', '\r']);
    let lower = sql.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    let name = match words.as_slice() {
        ["select", "*", "from", name] | ["copy", name, "to", "stdout"] => *name,
        _ => return None,
    };
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    {
        return None;
    }
    let (base, number) = name.rsplit_once('_')?;
    let is_named = base.bytes().next_back().is_some_and(|byte| byte != b'.');
    let mib = number.parse::<u64>().ok()?;
    (is_named && (1..=MIB_MAX).contains(&mib)).then_some(mib)
}

/// Messages one after the other: tag, the whole message, its payload.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8], &[u8]), PostgresError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || match frame::step(rest, &Limits::STREAMED) {
        Ok(Step::Frame(frame)) => {
            let (whole, payload) = (frame.whole(rest), frame.payload(rest));
            rest = &rest[whole.len()..];
            Some(Ok((frame.tag, whole, payload)))
        }
        Ok(Step::Need { .. }) => None,
        Err(error) => {
            rest = &[];
            Some(Err(error))
        }
    })
}

/// Replaces the first run of rows by as many repetitions as make up `bytes_min`, cut after a whole row.
fn amplified_reply(reply: &[u8], bytes_min: u64) -> Result<Vec<Piece>, Failure> {
    let (mut head, mut run, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    let mut lengths = Vec::new();
    for message in messages(reply) {
        let (tag, whole, _) = message?;
        if matches!(tag, tag::DATA_ROW | tag::COPY_DATA) && tail.is_empty() {
            run.extend_from_slice(whole);
            lengths.push(whole.len());
        } else if run.is_empty() {
            head.extend_from_slice(whole);
        } else {
            tail.extend_from_slice(whole);
        }
    }
    if run.is_empty() {
        return Ok(vec![Piece::once(reply)]);
    }
    let times = BLOCK_BYTES_MIN.div_ceil(run.len());
    let block: Rc<[u8]> = run.repeat(times).into();
    let block_bytes = block.len() as u64;
    let (full, rest) = (bytes_min / block_bytes, bytes_min % block_bytes);
    let (mut cut, mut cut_rows) = (0, 0);
    for length in lengths.iter().cycle() {
        if cut >= rest {
            break;
        }
        cut += *length as u64;
        cut_rows += 1;
    }
    let rows = full * (lengths.len() * times) as u64 + cut_rows;
    let bytes = full * block_bytes + cut;
    Ok(vec![
        Piece::once(&head),
        Piece { block, bytes },
        Piece::once(&counted(&tail, rows)?),
    ])
}

/// The end of an answer with another count in its first CommandComplete.
fn counted(tail: &[u8], rows: u64) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut is_counted = false;
    for message in messages(tail) {
        let (tag, whole, payload) = message?;
        if tag == tag::COMMAND_COMPLETE && !is_counted {
            CommandComplete::read(payload)?;
            let command = String::from_utf8_lossy(payload.strip_suffix(&[0]).unwrap_or(payload)).into_owned();
            let (words, _) = command
                .rsplit_once(' ')
                .ok_or_else(|| Failure::new("a command without a count"))?;
            tell::command_complete(&mut out, &format!("{words} {rows}"));
            is_counted = true;
        } else {
            out.extend_from_slice(whole);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use codecs::postgres::backend::TransactionStatus;

    use super::*;

    #[test]
    fn only_whole_relations_are_amplified() {
        for (sql, expected) in [
            ("SELECT * FROM narrow_1024", Some(1024)),
            ("select  *\nfrom bench.wide_7 ;", Some(7)),
            ("COPY narrow_64 TO STDOUT", Some(64)),
            ("SELECT * FROM narrow", None),
            ("SELECT * FROM narrow_0", None),
            ("SELECT * FROM narrow_65537", None),
            ("SELECT * FROM bench._5", None),
            ("SELECT * FROM narrow_5 WHERE true", None),
            ("SELECT * FROM \"narrow_5\"", None),
            ("COPY narrow_5 TO STDOUT (FORMAT binary)", None),
            ("SELECT * FROM narrow_5; DROP TABLE narrow_5", None),
        ] {
            assert_eq!(mib_asked(sql.as_bytes()), expected, "{sql}");
        }
    }

    fn sent(answer: &Answer) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &answer.pieces {
            let mut sent = 0;
            while sent < piece.bytes {
                let next = piece.after(sent);
                out.extend_from_slice(&next[..next.len().min(65_536)]);
                sent += next.len().min(65_536) as u64;
            }
        }
        out
    }

    #[test]
    fn rows_are_repeated_whole_and_counted() {
        let mut reply = Vec::new();
        tell::row_description(&mut reply, &[]);
        let head = reply.len();
        for size in [10, 20_000, 333] {
            tell::data_row(&mut reply, &[Some(&vec![b'x'; size])]);
        }
        let run = reply.len() - head;
        tell::command_complete(&mut reply, "SELECT 3");
        tell::ready_for_query(&mut reply, TransactionStatus::Idle);
        let answer = Answer::read(&reply, Some(3)).expect("well formed");
        assert_eq!(answer.status, Some(b'I'));
        let bytes = sent(&answer);
        let (mut rows, mut row_bytes, mut counted) = (0_u64, 0, None);
        for message in messages(&bytes) {
            let (tag, whole, payload) = message.expect("well formed");
            if tag == tag::DATA_ROW {
                rows += 1;
                row_bytes += whole.len();
            }
            if tag == tag::COMMAND_COMPLETE {
                counted = CommandComplete::read(payload).expect("well formed").rows();
            }
        }
        assert!(row_bytes >= 3 << 20 && row_bytes < (3 << 20) + run, "{row_bytes}");
        assert_eq!(counted, Some(rows));
        assert_eq!(sent(&Answer::read(&reply, None).expect("well formed")), reply);
    }
}
