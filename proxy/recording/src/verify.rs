//! The verifier: proves that a recording is what was written, all of it, in order.
//!
//! Per stream: `HEAD` is signed and names the newest segment; segments are numbered from 1 without gaps, each in the file
//! of its number and the directory of its stream; each header names the seal before it; blocks are chained by hash and
//! entries numbered without gaps; every segment but the newest is sealed, and every seal is signed. A newest segment
//! without a seal is *open*: it is being written, or was when the process died.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::block::Hash;
use crate::entry;
use crate::read::{problem, scan_problem};
use crate::scan::{Listing, Part, Scan, listing, seal_at_end, segment_name, streams};
use crate::seal::{Head, PublicKey, Seal};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the recording root.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, byte {}: {}", self.file, self.offset, self.what)
    }
}

/// What was found in one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub stream: String,
    /// Segments read.
    pub segments: u64,
    /// Blocks that hold.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// The last sequence.
    pub last_sequence: u64,
    /// Whether the newest segment is not sealed.
    pub open: bool,
    /// Bytes at the open end that are not yet a whole block.
    pub tail_bytes: u64,
    /// Files with bytes that were cut off after crashes.
    pub torn: u64,
}

/// What was found in a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each stream.
    pub streams: Vec<StreamReport>,
    /// Segments read.
    pub segments: u64,
    /// Blocks that hold.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// The key that everything was checked with, hex. When the caller gave none it is the first segment's own, which
    /// proves only that the recording agrees with itself.
    pub public_key: Option<String>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Verifies every stream under the root. `public_key` is hex, from a place that whoever can write here cannot change.
/// An error means that the root itself cannot be listed or the key is malformed; everything else is a problem.
pub fn verify(root: &Path, public_key: Option<&str>) -> io::Result<Report> {
    let mut key: Option<PublicKey> = None;
    if let Some(text) = public_key {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a public key is 64 hex digits"))?;
        key = Some(bytes);
    }
    let mut report = Report::default();
    for (stream, directory) in streams(root)? {
        let mut check = StreamCheck {
            root,
            directory: &directory,
            key: &mut key,
            report: StreamReport {
                stream,
                ..StreamReport::default()
            },
            problems: &mut report.problems,
        };
        check.run();
        let stream = check.report;
        report.segments += stream.segments;
        report.blocks += stream.blocks;
        report.entries += stream.entries;
        report.streams.push(stream);
    }
    report.public_key = key.map(hex::encode);
    Ok(report)
}

struct StreamCheck<'run> {
    root: &'run Path,
    directory: &'run Path,
    key: &'run mut Option<PublicKey>,
    report: StreamReport,
    problems: &'run mut Vec<Problem>,
}

/// What the segments so far ask of the next one; `None` is not known, because of a problem already reported.
struct Link {
    seal_before: Option<Hash>,
    first: Option<u64>,
}

/// A segment as `HEAD` may name it.
struct Seen {
    header: Hash,
    seal: Option<(Hash, u64)>,
    first: u64,
}

impl StreamCheck<'_> {
    fn run(&mut self) {
        let (head, listing) = match self.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return self.problem("", 0, format!("cannot be listed: {error}")),
        };
        for name in &listing.strange {
            self.problem(name, 0, "not the name of a segment");
        }
        self.report.torn = listing.torn;
        let mut link = Link {
            seal_before: Some([0; 32]),
            first: Some(1),
        };
        let mut seen = BTreeMap::new();
        let mut expected = 1;
        for number in &listing.segments {
            if *number != expected {
                self.problem(
                    &segment_name(expected),
                    0,
                    format!("missing, before segment {number}"),
                );
                link = Link {
                    seal_before: None,
                    first: None,
                };
            }
            expected = number + 1;
            let is_newest = listing.segments.last() == Some(number);
            seen.extend(
                self.segment(*number, &mut link, is_newest)
                    .map(|segment| (*number, segment)),
            );
        }
        self.head(head.as_deref(), &listing, &seen);
    }

    /// HEAD and the listing as of one moment: a recorder that turns a segment over meanwhile must not look like a thief.
    fn snapshot(&self) -> io::Result<(Option<Vec<u8>>, Listing)> {
        let read_head = || match fs::read(self.directory.join(Head::FILE)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let mut head = read_head()?;
        for _ in 0..100 {
            let listing = listing(self.directory)?;
            let after = read_head()?;
            if after == head {
                return Ok((head, listing));
            }
            head = after;
        }
        Ok((head, listing(self.directory)?))
    }

    fn segment(&mut self, number: u64, link: &mut Link, is_newest: bool) -> Option<Seen> {
        let name = segment_name(number);
        let path = self.directory.join(&name);
        let asked = std::mem::replace(
            link,
            Link {
                seal_before: None,
                first: None,
            },
        );
        self.report.segments += 1;
        let mut scan = match Scan::open(&path) {
            Ok(scan) => scan,
            Err(error) => {
                self.problems.push(scan_problem(self.root, &path, 0, error));
                self.skip_to_seal(&path, link);
                return None;
            }
        };
        if scan.header.number != number {
            self.problem(&name, 8, format!("renamed: it is segment {}", scan.header.number));
        }
        if scan.header.stream != self.report.stream {
            self.problem(&name, 96, format!("it belongs to stream {}", scan.header.stream));
        }
        let key = *self.key.get_or_insert(scan.header.key);
        if scan.header.key != key {
            self.problem(&name, 64, "it was written under another key");
        }
        if asked
            .seal_before
            .is_some_and(|seal| seal != scan.header.seal_before)
        {
            self.problem(&name, 32, "it does not follow the segment before it");
        }
        if asked.first.is_some_and(|first| first != scan.header.first) {
            self.problem(&name, 16, "the sequence has a gap before it");
        }
        let mut seen = Seen {
            header: scan.header_hash,
            seal: None,
            first: scan.header.first,
        };
        loop {
            match scan.step() {
                Ok(Part::Block(header)) => {
                    self.report.blocks += 1;
                    self.entries(&name, &scan, header.first, header.entries);
                }
                Ok(Part::Seal { seal, hash, bytes }) => {
                    if !Seal::is_signed(&bytes, &key) {
                        self.problem(&name, scan.offset, "the seal's signature is wrong");
                    }
                    *link = Link {
                        seal_before: Some(hash),
                        first: Some(scan.next),
                    };
                    seen.seal = Some((hash, seal.last));
                    break;
                }
                Ok(Part::Tail { bytes }) => {
                    if is_newest {
                        (self.report.open, self.report.tail_bytes) = (true, bytes);
                    } else {
                        self.problem(&name, scan.offset, "its end and seal are missing");
                    }
                    break;
                }
                Err(error) => {
                    self.problems
                        .push(scan_problem(self.root, &path, scan.offset, error));
                    self.skip_to_seal(&path, link);
                    // It may well be sealed; that `HEAD` cannot be compared is part of the problem just reported.
                    return None;
                }
            }
        }
        self.report.last_sequence = scan.next.saturating_sub(1);
        Some(seen)
    }

    /// So that one damaged segment does not make the next look damaged.
    fn skip_to_seal(&mut self, path: &Path, link: &mut Link) {
        if let Some((seal, hash)) = seal_at_end(path) {
            *link = Link {
                seal_before: Some(hash),
                first: seal.last.checked_add(1),
            };
        }
    }

    fn entries(&mut self, name: &str, scan: &Scan, first: u64, count: u32) {
        let block_at = scan.offset - scan.content().len() as u64;
        let (mut at, mut next) = (0, first);
        while at < scan.content().len() {
            match entry::step(&scan.content()[at..]) {
                Ok((raw, _)) if raw.sequence != next => {
                    return self.problem(name, block_at + at as u64, "the sequence has a gap");
                }
                Ok((_, used)) => (at, next) = (at + used, next.saturating_add(1)),
                Err(what) => return self.problem(name, block_at + at as u64, what),
            }
        }
        self.report.entries += next - first;
        if next - first != u64::from(count) {
            self.problem(name, block_at, "a block does not hold as many entries as it says");
        }
    }

    fn head(&mut self, bytes: Option<&[u8]>, listing: &Listing, seen: &BTreeMap<u64, Seen>) {
        let Some(bytes) = bytes else {
            return self.problem(Head::FILE, 0, "missing");
        };
        let key = self.key.unwrap_or_default();
        let Some(head) = Head::decode(bytes, &self.report.stream, &key) else {
            return self.problem(
                Head::FILE,
                0,
                "changed, or not signed by this key for this stream",
            );
        };
        let newest = listing.segments.last().copied().unwrap_or(0);
        if newest < head.number {
            return self.problem(
                &segment_name(head.number),
                0,
                "missing: HEAD names it as the newest segment",
            );
        }
        // A segment comes into being just before HEAD names it.
        if newest > head.number && !(head.sealed && newest == head.number + 1) {
            self.problem(&segment_name(newest), 0, "HEAD does not know this segment");
        }
        let Some(segment) = seen.get(&head.number) else {
            return;
        };
        let agrees = match (head.sealed, segment.seal) {
            (true, seal) => seal == Some((head.hash, head.sequence)),
            (false, _) => (head.hash, head.sequence) == (segment.header, segment.first),
        };
        if !agrees {
            self.problem(
                &segment_name(head.number),
                0,
                "it is not the segment that HEAD names, or lost its end",
            );
        }
    }

    fn problem(&mut self, name: &str, offset: u64, what: impl Into<String>) {
        self.problems
            .push(problem(self.root, &self.directory.join(name), offset, what));
    }
}

#[cfg(test)]
mod tests;
