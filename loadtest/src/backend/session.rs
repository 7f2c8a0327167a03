//! One client of the backend: its bytes in, cut into batches; pieces of answers out.
//!
//! Source: PostgreSQL manual, "Message Flow". A batch is what lies between one ReadyForQuery and the Query or Sync that asks for the
//! next; a Flush ends a part of one.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as tell;
use codecs::postgres::frontend::tag;
use codecs::postgres::startup::{self, StartupStep, VERSION_3_0};
use codecs::postgres::{Limits, Step, frame};

use super::answer::Piece;
use super::context::Context;
use super::memory::{Memory, Parameters};
use crate::failure::Failure;

/// The longest batch.
const BATCH_BYTES_MAX: usize = 64 << 20;
const LIMITS: Limits = Limits {
    frame_bytes_max: 32 << 20,
};
/// Answers that may wait before the client is read again.
const PIECES_MAX: usize = 128;
/// Bytes written to one client before the others have their turn, and pieces gathered in one write.
const TURN_BYTES: u64 = 8 << 20;
const GATHER: usize = 16;

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It does.
    Open,
    /// It is over once everything is written.
    Close,
}

struct Ready {
    parameters: Parameters,
    context: Context,
}

/// One client.
pub struct Session {
    id: u32,
    /// What came and is not answered; the first `scanned` bytes are whole messages of one batch.
    input: Vec<u8>,
    scanned: usize,
    ready: Option<Ready>,
    out: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    sent: u64,
}

impl Session {
    /// One that has said nothing.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            input: Vec::new(),
            scanned: 0,
            ready: None,
            out: VecDeque::new(),
            sent: 0,
        }
    }

    /// Whether anything waits to be written.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether more input is welcome.
    pub fn is_hungry(&self) -> bool {
        self.out.len() < PIECES_MAX
    }

    /// Takes bytes and answers every batch that is whole. A failure is told to the client and ends the session.
    pub fn take(&mut self, bytes: &[u8], memory: &mut Memory) -> Next {
        self.input.extend_from_slice(bytes);
        self.advance(memory)
    }

    /// Answers what has come before, as far as there is room.
    pub fn advance(&mut self, memory: &mut Memory) -> Next {
        self.step(memory).unwrap_or_else(|failure| {
            let mut words = Vec::new();
            tell::error_response(
                &mut words,
                "FATAL",
                b"58000",
                &format!("backend: {failure}"),
                None,
                None,
            );
            self.out.push_back(Piece::once(&words));
            Next::Close
        })
    }

    fn step(&mut self, memory: &mut Memory) -> Result<Next, Failure> {
        while self.ready.is_none() {
            let mut out = Vec::new();
            let (bytes, ready) = match startup::step(&self.input)? {
                StartupStep::Need { .. } => return Ok(Next::Open),
                StartupStep::SslRequest { bytes } | StartupStep::GssEncRequest { bytes } => {
                    out.push(b'N');
                    (bytes, None)
                }
                // Nothing runs long enough to be cancelled, and there is no TLS here.
                StartupStep::Cancel { .. } | StartupStep::DirectTls => return Ok(Next::Close),
                StartupStep::Startup { bytes, startup } => {
                    let is_own = |name: &str| matches!(name, "user" | "database" | "application_name");
                    let parameters: Parameters = startup
                        .parameters()
                        .filter(|(name, _)| !is_own(name) && !name.starts_with("_pq_."))
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect();
                    if startup.minor > 0 {
                        tell::negotiate_protocol_version(&mut out, VERSION_3_0, &[]);
                    }
                    tell::authentication_ok(&mut out);
                    out.extend_from_slice(&memory.greeting(&parameters, startup.get("application_name"))?);
                    tell::backend_key_data(&mut out, self.id, &self.id.to_be_bytes());
                    tell::ready_for_query(&mut out, TransactionStatus::Idle);
                    let context = Context::new(&parameters);
                    (bytes, Some(Ready { parameters, context }))
                }
            };
            self.ready = ready;
            self.input.drain(..bytes);
            self.out.push_back(Piece::once(&out));
        }
        self.batches(memory)
    }

    fn batches(&mut self, memory: &mut Memory) -> Result<Next, Failure> {
        let Some(ready) = &mut self.ready else {
            return Ok(Next::Open);
        };
        let mut begins = 0;
        let mut next = Next::Open;
        while self.out.len() < PIECES_MAX {
            let rest = &self.input[begins + self.scanned..];
            let Step::Frame(frame) = frame::step(rest, &LIMITS)? else {
                break;
            };
            self.scanned += frame.size.with_tag();
            match frame.tag {
                tag::TERMINATE => {
                    next = Next::Close;
                    break;
                }
                // Left over from a COPY that was refused.
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
                tag::QUERY | tag::SYNC | tag::FUNCTION_CALL | tag::FLUSH => {
                    let batch = &self.input[begins..begins + self.scanned];
                    let answer = memory.answer(&ready.parameters, &ready.context, batch)?;
                    ready.context.after(batch, &answer)?;
                    self.out.extend(answer.pieces.iter().cloned());
                }
                _ => {
                    if self.scanned > BATCH_BYTES_MAX {
                        return Err(Failure::new("a batch is too long"));
                    }
                    continue;
                }
            }
            begins += self.scanned;
            self.scanned = 0;
        }
        self.input.drain(..begins);
        Ok(next)
    }

    /// Writes what waits, up to a turn's worth; `WouldBlock` is not an error.
    pub fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut turn = 0;
        while turn < TURN_BYTES && !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); GATHER];
            let mut count = 0;
            for (piece, slice) in self.out.iter().zip(&mut slices) {
                let sent = if count == 0 { self.sent } else { 0 };
                let next = piece.after(sent);
                *slice = IoSlice::new(next);
                count += 1;
                if (next.len() as u64) < piece.bytes - sent {
                    break; // the same piece goes on
                }
            }
            match to.write_vectored(&slices[..count]) {
                Ok(written) => {
                    turn += written as u64;
                    self.wrote(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.sent += bytes;
        while let Some(piece) = self.out.front() {
            if self.sent < piece.bytes {
                break;
            }
            self.sent -= piece.bytes;
            self.out.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// Takes a few bytes at a time and then refuses once.
    struct Slow(Vec<u8>, usize, bool);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_are_written_whole_and_in_order_however_slow_the_client() {
        for step in 1..40 {
            let mut session = Session::new(1);
            session.out.push_back(Piece::once(b"head"));
            session.out.push_back(Piece {
                block: Rc::from(&b"0123456789"[..]),
                bytes: 33,
            });
            session.out.push_back(Piece::once(b"tail"));
            let mut slow = Slow(Vec::new(), step, false);
            while session.has_output() {
                session.write(&mut slow).expect("only slow");
            }
            assert_eq!(
                slow.0, b"head012345678901234567890123456789012tail",
                "{step} at a time"
            );
        }
    }
}
