//! One statement with a long answer: read, counted, forgotten.
//!
//! Rows are hopped by their headers, so the client costs one copy out of the kernel and a few instructions a row.

use std::io::Write as _;
use std::time::Instant;

use codecs::postgres::backend::tag;
use codecs::postgres::rows::{self, Place, Stop};
use codecs::postgres::{Limits, Step, frame};

use crate::client::Client;
use crate::failure::Failure;
use crate::rounds::Sample;
use crate::statement::Batch;
use crate::target::Target;

/// One read; fits the second-level cache.
const READ_BYTES: usize = 256 << 10;

/// Logs in, runs the statement, drains its answer. Only the statement is timed.
pub fn sample(target: &Target, statement: &Batch) -> Result<Sample, Failure> {
    let mut client = Client::open(target)?;
    if !client.is_quiet() {
        return Err(Failure::new("the server spoke before it was asked"));
    }
    let began = Instant::now();
    client.transport.write_all(&statement.each)?;
    let drained = drain(&mut client.transport)?;
    let seconds = began.elapsed().as_secs_f64();
    client.close()?;
    Ok(Sample {
        work: drained.bytes as f64 / 1e9,
        seconds,
        bytes: drained.bytes,
        rows: drained.rows,
        latency: None,
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Drained {
    /// Everything up to and with ReadyForQuery.
    bytes: u64,
    /// DataRow and CopyData messages.
    rows: u64,
}

fn drain(from: &mut impl std::io::Read) -> Result<Drained, Failure> {
    drain_in(from, &mut vec![0; READ_BYTES])
}

fn drain_in(from: &mut impl std::io::Read, buffer: &mut [u8]) -> Result<Drained, Failure> {
    let limits = Limits {
        frame_bytes_max: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
    };
    let mut place = Place::default();
    let mut drained = Drained::default();
    let mut refused = None;
    let mut kept = 0;
    loop {
        let read = match from.read(&mut buffer[kept..]) {
            Ok(0) => {
                return Err(Failure::new(
                    "the connection was closed in the middle of an answer",
                ));
            }
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        drained.bytes += read as u64;
        let end = kept + read;
        let mut bytes = &buffer[..end];
        loop {
            let hop = rows::hop(bytes, &mut place, &Limits::STREAMED)?;
            drained.rows += hop.rows + hop.copy_rows;
            bytes = &bytes[hop.bytes..];
            if !matches!(hop.stop, Stop::Other(_)) {
                break;
            }
            let Step::Frame(frame) = frame::step(bytes, &limits)? else {
                break;
            };
            match frame.tag {
                tag::READY_FOR_QUERY => return refused.map_or(Ok(drained), Err),
                tag::ERROR_RESPONSE => refused = Some(Failure::refused(frame.payload(bytes))),
                tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                    return Err(Failure::new(
                        "the statement asks for data, and a stream only reads",
                    ));
                }
                _ => {}
            }
            bytes = &bytes[frame.size.with_tag()..];
        }
        kept = bytes.len();
        buffer.copy_within(end - kept..end, 0);
    }
}

#[cfg(test)]
mod tests {
    use codecs::postgres::backend::TransactionStatus;
    use codecs::postgres::build::backend as answer;

    use super::*;

    /// Gives a few bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl std::io::Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let taken = self.0.len().min(self.1).min(into.len());
            into[..taken].copy_from_slice(&self.0[..taken]);
            self.0 = &self.0[taken..];
            Ok(taken)
        }
    }

    fn conversation() -> Vec<u8> {
        let mut bytes = Vec::new();
        answer::row_description(&mut bytes, &[]);
        for _ in 0..5 {
            answer::data_row(&mut bytes, &[Some(b"Z Z Z Z Z"), None, Some(&[b'x'; 200])]);
        }
        answer::command_complete(&mut bytes, "SELECT 5");
        answer::ready_for_query(&mut bytes, TransactionStatus::Idle);
        bytes
    }

    #[test]
    fn bytes_and_rows_are_the_same_however_they_are_cut() {
        let bytes = conversation();
        for piece in 1..bytes.len() {
            let drained = drain_in(&mut Pieces(&bytes, piece), &mut [0; 64]).expect("well formed");
            let expected = Drained {
                bytes: bytes.len() as u64,
                rows: 5,
            };
            assert_eq!(drained, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn errors_and_sudden_ends_are_no_samples() {
        let mut bytes = Vec::new();
        answer::error_response(&mut bytes, "ERROR", b"42P01", "no such relation", None, None);
        answer::ready_for_query(&mut bytes, TransactionStatus::Idle);
        let failure = drain(&mut Pieces(&bytes, 9)).expect_err("an error");
        assert_eq!(failure.to_string(), "no such relation (42P01)");
        let cut = &conversation()[..40];
        assert!(drain(&mut Pieces(cut, 9)).is_err());
    }
}
