//! The writer: one stream's recorder, from entries to sealed segments on disk.
//!
//! Entries gather in blocks in memory; [`Recorder::commit`] writes and syncs them. When that may happen is the caller's
//! timing (group commit). Whatever was not synced stays in memory, so a full disk or a failed sync loses nothing: the
//! same call is made again later, and it first cuts off what the failed one left behind. A failed `fdatasync` may have
//! dropped pages, so everything since the last good one is then written again.
//!
//! After a crash, [`Recorder::open`] (in `recover`) cuts the last segment back to its last whole block, keeps the cut bytes in a
//! `.torn` file, says so in the next segment's first entry, and seals.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::pages::{Direct, Pages};
use crate::begun::Rendered;
use crate::block::{self, BLOCK_HEADER_BYTES, CONTENT_BYTES, Hash};
use crate::entry::{
    ENTRY_HEADER_BYTES, Entry, EntryKind, PAYLOAD_BYTES_MAX, ROWS_HEADER_BYTES, SessionId, entry_header,
};
use crate::scan::segment_name;
use crate::seal::{
    Head, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, SigningKey, is_stream_name, sync_directory,
};

/// Held in memory at most, but for one more call's bytes, before an append commits by itself.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
/// A block with less room than this is closed rather than filled with a sliver of rows.
const SLIVER_BYTES: usize = 4 << 10;

/// When a segment is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// At this size, at the next commit.
    pub segment_bytes_max: u64,
    /// At this age, at the next commit or [`Recorder::tick`].
    pub segment_ms_max: u64,
}

impl Default for Options {
    /// 64 MiB or an hour.
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            segment_ms_max: 60 * 60 * 1000,
        }
    }
}

/// What a commit made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Every entry up to this sequence is on disk.
    pub sequence: u64,
    /// Bytes that this commit wrote.
    pub bytes: u64,
}

/// Where the live segment is on its way to the next one. Each step can fail on a full disk and is then done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Entries are welcome.
    Live,
    /// The Sealed entry is appended; the seal is not yet written.
    Sealing,
    /// Sealed; this is the seal's hash. The next segment is made when something is to be appended.
    Sealed(Hash),
}

/// One stream's writer.
pub struct Recorder {
    directory: PathBuf,
    stream: String,
    key: SigningKey,
    options: Options,
    /// Held for its lock: one recorder a stream.
    _lock: File,
    phase: Phase,
    segment: Option<Segment>,
    /// Number of the newest segment.
    number: u64,
    /// Whole blocks that are not yet synced, then the open block.
    unsynced: Pages,
    /// Where the open block starts in `unsynced`.
    open_at: usize,
    /// Entries in the open block.
    open_entries: u32,
    /// Bytes of `unsynced` that are written.
    written: usize,
    /// A write failed: the file may be longer than it should be.
    stray: bool,
    /// The sequence of the next entry.
    next: u64,
    /// Entries below this are durable.
    durable: u64,
    /// The caller's time, as last heard, unix milliseconds.
    now: u64,
    cut_bytes: u64,
    scratch: Vec<u8>,
    /// Bytes that the pretended disk still takes.
    #[cfg(test)]
    room: Option<usize>,
}

/// The live segment.
struct Segment {
    file: File,
    direct: Direct,
    first: u64,
    opened_at: u64,
    /// Synced bytes.
    bytes: u64,
    blocks: u64,
    chain: Hash,
}

impl Recorder {
    /// Opens (or makes) the stream's directory under the recording root, repairs and seals what a crash left, and
    /// starts a new segment. `InvalidData` means that segments are missing or damaged in a way no crash explains: verify
    /// the directory and move it aside. `WouldBlock` means that another recorder has it open.
    pub fn open(root: &Path, stream: &str, key: &SigningKey, now: u64) -> io::Result<Self> {
        Self::open_with(root, stream, key, now, Options::default())
    }

    /// [`Recorder::open`] with other limits.
    pub fn open_with(
        root: &Path,
        stream: &str,
        key: &SigningKey,
        now: u64,
        options: Options,
    ) -> io::Result<Self> {
        if !is_stream_name(stream) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a stream's name is a-z, 0-9, - and _",
            ));
        }
        let directory = root.join(stream);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let lock = private(false).open(directory.join("LOCK"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another recorder has this stream open",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        sync_directory(Some(root))?;
        let mut recorder = Self {
            directory,
            stream: stream.to_owned(),
            key: key.clone(),
            options,
            _lock: lock,
            phase: Phase::Sealed([0; 32]),
            segment: None,
            number: 0,
            unsynced: Pages::new(),
            open_at: 0,
            open_entries: 0,
            written: 0,
            stray: false,
            next: 1,
            durable: 1,
            now,
            cut_bytes: 0,
            scratch: Vec::new(),
            #[cfg(test)]
            room: None,
        };
        recorder.recover()?;
        recorder.ready()?;
        Ok(recorder)
    }

    /// Buffers one entry and returns its sequence. On error nothing was appended: the disk is full or failing, and the
    /// call can be made again later. Of an entry that is longer than any may be, what fits is said instead: a
    /// call that could never succeed would hold up everybody who is recorded here.
    pub fn append(&mut self, now: u64, session: SessionId, entry: &Entry) -> io::Result<u64> {
        if let Entry::Rows {
            statement,
            offset,
            bytes,
        } = entry
        {
            return self.append_rows(now, session, *statement, *offset, bytes);
        }
        let mut payload = std::mem::take(&mut self.scratch);
        let appended = rendered(entry, &mut payload).and_then(|kind| {
            self.hear(now)?;
            Ok(self.push(kind, session, &payload, &[]))
        });
        payload.shrink_to(CONTENT_BYTES);
        self.scratch = payload;
        appended
    }

    /// Buffers a statement and its verdict and returns the verdict's sequence. On error neither was appended, as with
    /// [`Recorder::append`].
    pub fn append_begun(&mut self, now: u64, session: SessionId, begun: &Rendered) -> io::Result<u64> {
        self.hear(now)?;
        for (kind, payload) in begun.payloads() {
            self.push(kind, session, payload, &[]);
        }
        Ok(self.next - 1)
    }

    /// Buffers rows as the client saw them; `offset` is where `bytes` starts in the statement's recorded bytes. Copies
    /// and (a block at a time) hashes, nothing else. On error nothing was appended, as with [`Recorder::append`].
    pub fn append_rows(
        &mut self,
        now: u64,
        session: SessionId,
        statement: u64,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<u64> {
        const OVERHEAD: usize = ENTRY_HEADER_BYTES + ROWS_HEADER_BYTES;
        self.hear(now)?;
        let (mut offset, mut left) = (offset, bytes);
        while !left.is_empty() {
            let room = match CONTENT_BYTES.saturating_sub(self.open_bytes()) {
                room if room >= left.len() + OVERHEAD || room >= SLIVER_BYTES => room,
                _ => CONTENT_BYTES, // push closes the open block
            };
            let (piece, rest) = left.split_at(left.len().min(room - OVERHEAD));
            let mut head = [0; ROWS_HEADER_BYTES];
            head[..8].copy_from_slice(&statement.to_le_bytes());
            head[8..].copy_from_slice(&offset.to_le_bytes());
            self.push(EntryKind::Rows, session, &head, piece);
            offset += piece.len() as u64;
            left = rest;
        }
        Ok(self.next - 1)
    }

    /// Writes and syncs everything appended so far, and seals the segment when it is due. On error nothing is lost: call
    /// again when the disk may have recovered.
    pub fn commit(&mut self) -> io::Result<Committed> {
        if self.phase == Phase::Sealing {
            self.seal_segment()?;
        }
        let bytes = self.flush()?;
        if self.is_due() {
            // What was appended is durable; a seal that fails now is written by the next call, which reports it.
            let why = if self.is_large() { "size" } else { "age" };
            let _ = self.seal_as(why);
        }
        Ok(Committed {
            sequence: self.durable - 1,
            bytes,
        })
    }

    /// Seals a segment that has reached its age although nothing is appended; call it now and then.
    pub fn tick(&mut self, now: u64) -> io::Result<()> {
        self.now = now;
        match self.phase {
            Phase::Sealing => self.seal_segment(),
            Phase::Live if self.has_events() && self.is_due() => self.seal_as("age"),
            Phase::Live | Phase::Sealed(_) => Ok(()),
        }
    }

    /// Commits and seals, for a shutdown. A later append starts another segment.
    pub fn seal(&mut self, now: u64) -> io::Result<()> {
        self.now = now;
        self.seal_as("shutdown")
    }

    /// The sequence of the last appended entry, durable or not.
    pub fn sequence(&self) -> u64 {
        self.next - 1
    }

    /// Bytes that would be lost if the process died now.
    pub fn pending_bytes(&self) -> usize {
        self.unsynced.len()
    }

    /// Whether anything waits for a commit.
    pub fn is_pending(&self) -> bool {
        !self.unsynced.is_empty() || self.phase == Phase::Sealing
    }

    fn hear(&mut self, now: u64) -> io::Result<()> {
        self.now = now;
        self.ready()
    }

    /// Makes room: finishes what an earlier call could not, and writes whole blocks.
    fn ready(&mut self) -> io::Result<()> {
        if self.unsynced.len() >= UNSYNCED_BYTES_MAX {
            self.commit()?;
        } else if self.open_at - self.written >= CONTENT_BYTES {
            self.write()?;
        }
        if self.phase == Phase::Sealing {
            self.seal_segment()?;
        }
        if let Phase::Sealed(before) = self.phase {
            self.next_segment(before)?;
        }
        Ok(())
    }

    /// Bytes of entries in the open block.
    fn open_bytes(&self) -> usize {
        self.unsynced
            .len()
            .saturating_sub(self.open_at + BLOCK_HEADER_BYTES)
    }

    fn push(&mut self, kind: EntryKind, session: SessionId, head: &[u8], body: &[u8]) -> u64 {
        let payload_bytes = head.len() + body.len();
        if self.open_entries > 0 && self.open_bytes() + ENTRY_HEADER_BYTES + payload_bytes > CONTENT_BYTES {
            self.close_block();
        }
        if self.open_entries == 0 {
            self.unsynced.grow_to(self.open_at + BLOCK_HEADER_BYTES);
        }
        let sequence = self.next;
        let header = entry_header(kind, payload_bytes as u32, sequence, self.now, session);
        self.unsynced.extend_from_slice(&header);
        self.unsynced.extend_from_slice(head);
        self.unsynced.extend_from_slice(body);
        self.open_entries += 1;
        self.next += 1;
        if self.open_bytes() >= CONTENT_BYTES {
            self.close_block();
        }
        sequence
    }

    fn close_block(&mut self) {
        let Some(segment) = &mut self.segment else { return };
        if self.open_entries > 0 {
            let first = self.next - u64::from(self.open_entries);
            let block = &mut self.unsynced[self.open_at..];
            segment.chain = block::close(block, first, self.open_entries, &segment.chain);
            segment.blocks += 1;
            self.open_at = self.unsynced.len();
            self.open_entries = 0;
        }
    }

    /// Writes the closed blocks that are not yet written, without a sync.
    fn write(&mut self) -> io::Result<()> {
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        let from = segment.bytes + self.written as u64;
        if self.stray {
            segment.file.set_len(from)?;
            self.stray = false;
        }
        let blocks = &self.unsynced[self.written..self.open_at];
        #[cfg(test)]
        let blocks = match &mut self.room {
            Some(room) if *room < blocks.len() => {
                segment.file.write_all_at(&blocks[..std::mem::take(room)], from)?;
                self.stray = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            room => {
                room.iter_mut().for_each(|room| *room -= blocks.len());
                blocks
            }
        };
        if let Err(error) = segment.direct.write_all_at(&segment.file, blocks, from) {
            self.stray = true;
            return Err(error);
        }
        self.written = self.open_at;
        Ok(())
    }

    /// Closes the open block, writes and syncs; returns the bytes that became durable.
    fn flush(&mut self) -> io::Result<u64> {
        self.close_block();
        if self.unsynced.is_empty() {
            return Ok(0);
        }
        self.write()?;
        let Some(segment) = &mut self.segment else {
            return Ok(0);
        };
        if let Err(error) = segment.file.sync_data() {
            (self.written, self.stray) = (0, true);
            return Err(error);
        }
        let bytes = self.unsynced.len() as u64;
        segment.bytes += bytes;
        self.durable = self.next;
        // Gives back what one very long entry took.
        self.unsynced
            .start_at(segment.bytes, UNSYNCED_BYTES_MAX + 2 * CONTENT_BYTES);
        (self.open_at, self.written) = (0, 0);
        Ok(bytes)
    }

    fn is_large(&self) -> bool {
        self.segment
            .as_ref()
            .is_some_and(|segment| segment.bytes >= self.options.segment_bytes_max)
    }

    fn is_due(&self) -> bool {
        let is_old =
            |segment: &Segment| self.now.saturating_sub(segment.opened_at) >= self.options.segment_ms_max;
        self.phase == Phase::Live && (self.is_large() || self.segment.as_ref().is_some_and(is_old))
    }

    /// Whether the live segment holds more than its own first entry.
    fn has_events(&self) -> bool {
        self.segment
            .as_ref()
            .is_some_and(|segment| self.next - segment.first > 1)
    }

    fn seal_as(&mut self, why: &str) -> io::Result<()> {
        if self.phase == Phase::Live {
            let entry = Entry::Sealed {
                segment: self.number,
                why: why.to_owned(),
            };
            let payload = serde_json::to_vec(&entry).map_err(io::Error::from)?;
            self.push(EntryKind::Sealed, SessionId::NONE, &payload, &[]);
            self.phase = Phase::Sealing;
        }
        if self.phase == Phase::Sealing {
            self.seal_segment()?;
        }
        Ok(())
    }

    /// Sealing → Sealed.
    fn seal_segment(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(segment) = &self.segment else {
            return Ok(());
        };
        let last = self.next - 1;
        let seal = Seal {
            number: self.number,
            blocks: segment.blocks,
            first: segment.first,
            last,
            sealed_at: self.now,
            chain: segment.chain,
        };
        let (bytes, hash) = seal.encode(&self.key);
        #[cfg(test)]
        if self.room.is_some_and(|room| room < bytes.len()) {
            segment.file.write_all_at(&bytes[..40], segment.bytes)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        segment.file.write_all_at(&bytes, segment.bytes)?; // written again over itself if a later step fails
        segment.file.sync_all()?;
        self.write_head(Head {
            number: self.number,
            sealed: true,
            sequence: last,
            hash,
        })?;
        self.segment = None;
        self.phase = Phase::Sealed(hash);
        Ok(())
    }

    /// Sealed → Live.
    fn next_segment(&mut self, seal_before: Hash) -> io::Result<()> {
        let number = self.number + 1;
        let header = SegmentHeader {
            number,
            first: self.next,
            opened_at: self.now,
            seal_before,
            key: self.key.public(),
            stream: self.stream.clone(),
        };
        let (bytes, chain) = header.encode();
        // Renamed into place when complete, so a segment always has its header.
        let unfinished = self.directory.join("next.tmp");
        let file = private(true).open(&unfinished)?;
        #[cfg(test)]
        if self.room.is_some_and(|room| room < bytes.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        let path = self.directory.join(segment_name(number));
        fs::rename(&unfinished, &path)?;
        sync_directory(Some(&self.directory))?;
        self.write_head(Head {
            number,
            sealed: false,
            sequence: self.next,
            hash: chain,
        })?;
        let opened = Entry::SegmentOpened {
            segment: number,
            cut_bytes: self.cut_bytes,
        };
        let payload = serde_json::to_vec(&opened).map_err(io::Error::from)?;
        self.unsynced.start_at(
            SEGMENT_HEADER_BYTES as u64,
            UNSYNCED_BYTES_MAX + 2 * CONTENT_BYTES,
        );
        self.segment = Some(Segment {
            file,
            direct: Direct::open(&path),
            first: self.next,
            opened_at: self.now,
            bytes: SEGMENT_HEADER_BYTES as u64,
            blocks: 0,
            chain,
        });
        (self.number, self.phase, self.cut_bytes, self.stray) = (number, Phase::Live, 0, false);
        self.push(EntryKind::SegmentOpened, SessionId::NONE, &payload, &[]);
        Ok(())
    }

    fn write_head(&self, head: Head) -> io::Result<()> {
        let unfinished = self.directory.join("head.tmp");
        let file = private(true).open(&unfinished)?;
        file.write_all_at(&head.encode(&self.stream, &self.key), 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.directory.join(Head::FILE))?;
        sync_directory(Some(&self.directory))
    }
}

impl Drop for Recorder {
    /// The last chance of what was appended and not committed; a caller that cares has called `seal`.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The payload of an entry, cut where it is too long; answers with its kind.
fn rendered(entry: &Entry, payload: &mut Vec<u8>) -> io::Result<EntryKind> {
    payload.clear();
    serde_json::to_writer(&mut *payload, entry)?;
    if payload.len() <= PAYLOAD_BYTES_MAX {
        return Ok(entry.kind());
    }
    let cut = entry.cut(payload.len());
    payload.clear();
    serde_json::to_writer(payload, &cut)?;
    Ok(cut.kind())
}

fn private(truncate: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600);
    options
}

mod pages;
mod recover;
#[cfg(test)]
mod tests;
