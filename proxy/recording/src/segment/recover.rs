//! Recovery: takes a stream up where it ended, repairing only what a crash can explain.
//!
//! A crash leaves at most an unsynced tail behind the last commit, or a seal that `HEAD` does not name yet. Anything else
//! (a missing newest segment, another key, a damaged header) is refused, so that a restart does not paper over it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::pages::Direct;
use super::{Phase, Recorder, Segment, private};
use crate::scan::{Part, Scan, ScanError, listing, segment_name};
use crate::seal::{Head, Seal, invalid};

impl Recorder {
    /// Takes up the stream where it ended, sealing what a crash left open.
    pub(super) fn recover(&mut self) -> io::Result<()> {
        let head = match fs::read(self.directory.join(Head::FILE)) {
            Ok(bytes) => Some(
                Head::decode(&bytes, &self.stream, &self.key.public()).ok_or_else(|| {
                    invalid(format!(
                        "{}: HEAD is not signed by this key",
                        self.directory.display()
                    ))
                })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let newest = listing(&self.directory)?.segments.last().copied();
        let number = match (newest, head) {
            (None, None) => return Ok(()), // a new stream
            (Some(number), Some(head))
                if number == head.number || (head.sealed && number == head.number + 1) =>
            {
                number
            }
            (Some(1), None) => 1, // ended between the first segment's creation and its HEAD
            _ => {
                return Err(invalid(format!(
                    "{}: HEAD and segments disagree",
                    self.directory.display()
                )));
            }
        };
        let path = self.directory.join(segment_name(number));
        let refuse = |what: &str| Err(invalid(format!("{}: {what}", path.display())));
        let mut scan = match Scan::open(&path) {
            Ok(scan) => scan,
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Damaged { what, .. }) => return refuse(what),
        };
        if scan.header.key != self.key.public() || scan.header.stream != self.stream {
            return refuse("the segment belongs to another key or stream");
        }
        let cut_from = loop {
            match scan.step() {
                Ok(Part::Block(_)) => {}
                Ok(Part::Seal { hash, bytes, .. }) => {
                    if !Seal::is_signed(&bytes, &self.key.public()) {
                        return refuse("the seal is not signed by this key");
                    }
                    if head.is_some_and(|head| head.sealed && head.number == number && head.hash != hash) {
                        return refuse("the seal is not the one that HEAD names");
                    }
                    (self.number, self.next, self.durable) = (number, scan.next, scan.next);
                    self.phase = Phase::Sealed(hash);
                    return Ok(());
                }
                // Blocks past the last sync may be anything after a power loss, so damage counts as a torn tail here.
                Ok(Part::Tail { .. }) | Err(ScanError::Damaged { .. }) => break scan.offset,
                Err(ScanError::Io(error)) => return Err(error),
            }
        };
        if head.is_some_and(|head| head.sealed && head.number == number) {
            return refuse("the segment was sealed and no longer is");
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        self.cut_bytes = cut(&file, cut_from, &path.with_extension("torn"))?;
        (self.number, self.next, self.durable) = (number, scan.next, scan.next);
        self.unsynced.start_at(cut_from, 0);
        self.segment = Some(Segment {
            file,
            direct: Direct::open(&path),
            first: scan.header.first,
            opened_at: scan.header.opened_at,
            bytes: cut_from,
            blocks: scan.blocks,
            chain: scan.chain,
        });
        self.phase = Phase::Live;
        self.seal_as("recovered")
    }
}

/// Moves the bytes from `from` on into `torn`, and returns how many they were.
fn cut(file: &File, from: u64, torn: &Path) -> io::Result<u64> {
    let file_bytes = file.metadata()?.len();
    if file_bytes > from {
        let kept = private(true).open(torn)?;
        let mut piece = vec![0; 64 << 10];
        let mut at = from;
        while at < file_bytes {
            let bytes = file.read_at(&mut piece, at)?;
            if bytes == 0 {
                break;
            }
            kept.write_all_at(&piece[..bytes], at - from)?;
            at += bytes as u64;
        }
        kept.sync_all()?;
        file.set_len(from)?;
        file.sync_all()?;
    }
    Ok(file_bytes.saturating_sub(from))
}
