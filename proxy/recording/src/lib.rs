//! What happened: the recording format, its writer, verifier, reader, audit answers and replay.
//!
//! A *stream* is one worker core's record, a directory of numbered *segments*. A segment is a header, hash-chained
//! *blocks* of entries, and a signed seal; each header names the seal before it, and a signed `HEAD` file names the
//! newest segment. So a changed byte, a missing, moved or reordered block or segment, and a gap in the sequence all show.
//! Two things a directory cannot show by itself: that all of it was rolled back to an older state (keep the newest seal
//! elsewhere for that), and that blocks were cut off the end of a segment that is not sealed yet.
//!
//! Pure but for files: no threads, no clock, no randomness; times and random bytes are arguments. Rings and threads are
//! in the data plane, which calls [`Recorder`] from its recorder thread.

pub mod audit;
pub mod begun;
mod block;
pub mod entry;
pub mod read;
pub mod replay;
mod scan;
pub mod seal;
pub mod segment;
pub mod verify;

#[cfg(test)]
mod testing;

pub use begun::{Begun, Rendered};
pub use entry::{Digest, Entry, EntryKind, Level, Protocol, SessionId, VerdictKind, digest_hex};
pub use read::{Reader, Record};
pub use seal::SigningKey;
pub use segment::{Committed, Options, Recorder};
pub use verify::{Problem, Report, verify};
