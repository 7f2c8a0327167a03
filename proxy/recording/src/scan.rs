//! Walks one segment file from its header to its seal or its open end, checking every hash on the way.
//!
//! Shared by recovery (`segment`), `verify` and `read`. Signatures and the links between segments are `verify`'s. The
//! length of the file is taken once, so a segment that grows meanwhile is read as it was.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::block::{self, BLOCK_HEADER_BYTES, BlockHeader, Hash};
use crate::seal::{SEAL_BYTES, SEAL_MAGIC, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, is_stream_name};

/// What stands at the scan's place.
#[derive(Debug)]
pub(crate) enum Part {
    /// A whole block; its content is in [`Scan::content`].
    Block(BlockHeader),
    /// The seal, and nothing after it.
    Seal {
        seal: Seal,
        hash: Hash,
        bytes: Box<[u8; SEAL_BYTES]>,
    },
    /// The end of a segment without a seal, with this many bytes of an unfinished write.
    Tail { bytes: u64 },
}

/// Why a scan cannot go on.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The file cannot be read.
    Io(io::Error),
    /// It is not what was written.
    Damaged { offset: u64, what: &'static str },
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A scan's place in one segment.
pub(crate) struct Scan {
    file: File,
    file_bytes: u64,
    pub(crate) header: SegmentHeader,
    pub(crate) header_hash: Hash,
    /// Where the next part starts.
    pub(crate) offset: u64,
    /// Hash of the last block.
    pub(crate) chain: Hash,
    /// Blocks so far.
    pub(crate) blocks: u64,
    /// The sequence that the next entry must have.
    pub(crate) next: u64,
    content: Vec<u8>,
}

impl Scan {
    /// Reads the header.
    pub(crate) fn open(path: &Path) -> Result<Self, ScanError> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        if file_bytes < SEGMENT_HEADER_BYTES as u64 {
            return Err(ScanError::Damaged {
                offset: 0,
                what: "the segment header is cut off",
            });
        }
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let (header, header_hash) =
            SegmentHeader::decode(&bytes).map_err(|what| ScanError::Damaged { offset: 0, what })?;
        Ok(Self {
            file,
            file_bytes,
            offset: SEGMENT_HEADER_BYTES as u64,
            chain: header_hash,
            blocks: 0,
            next: header.first,
            header,
            header_hash,
            content: Vec::new(),
        })
    }

    /// The content of the block that [`Scan::step`] just returned.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The next part. After a seal, a tail or an error there is none.
    pub(crate) fn step(&mut self) -> Result<Part, ScanError> {
        let offset = self.offset;
        let damaged = |what| Err(ScanError::Damaged { offset, what });
        let left = self.file_bytes - offset;
        let mut magic = [0; 4];
        if left < 4 {
            return Ok(Part::Tail { bytes: left });
        }
        self.file.read_exact_at(&mut magic, offset)?;
        if magic == SEAL_MAGIC {
            if left < SEAL_BYTES as u64 {
                return Ok(Part::Tail { bytes: left });
            }
            return self.seal(left);
        }
        if magic != block::MAGIC {
            return damaged("no block or seal starts here");
        }
        if left < BLOCK_HEADER_BYTES as u64 {
            return Ok(Part::Tail { bytes: left });
        }
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.file.read_exact_at(&mut head, offset)?;
        let header = match block::header(&head, &self.chain) {
            Ok(header) => header,
            Err(what) => return damaged(what),
        };
        if header.first != self.next {
            return damaged("the sequence has a gap");
        }
        let Some(next) = header.last.checked_add(1) else {
            return damaged("the sequence has run out");
        };
        let content_bytes = u64::from(header.content_bytes);
        if left - (BLOCK_HEADER_BYTES as u64) < content_bytes {
            return Ok(Part::Tail { bytes: left });
        }
        self.content.resize(header.content_bytes as usize, 0); // bounded by `block` and by the file's length
        self.file
            .read_exact_at(&mut self.content, offset + BLOCK_HEADER_BYTES as u64)?;
        if !block::holds(&head, &self.content, &self.chain) {
            return damaged("a block was changed");
        }
        self.chain = header.hash;
        self.blocks += 1;
        self.next = next;
        self.offset += BLOCK_HEADER_BYTES as u64 + content_bytes;
        Ok(Part::Block(header))
    }

    fn seal(&self, left: u64) -> Result<Part, ScanError> {
        let damaged = |what| {
            Err(ScanError::Damaged {
                offset: self.offset,
                what,
            })
        };
        let mut bytes = Box::new([0; SEAL_BYTES]);
        self.file.read_exact_at(&mut bytes[..], self.offset)?;
        let Some((seal, hash)) = Seal::decode(&bytes) else {
            return damaged("the seal was changed");
        };
        let expected = Seal {
            number: self.header.number,
            blocks: self.blocks,
            first: self.header.first,
            last: self.next.wrapping_sub(1),
            sealed_at: seal.sealed_at,
            chain: self.chain,
        };
        if seal != expected {
            return damaged("the seal does not fit the segment");
        }
        if left != SEAL_BYTES as u64 {
            return damaged("bytes follow the seal");
        }
        Ok(Part::Seal { seal, hash, bytes })
    }
}

/// The seal at the end of a file whose blocks cannot all be read, to go on after it; unchecked.
pub(crate) fn seal_at_end(path: &Path) -> Option<(Seal, Hash)> {
    let file = File::open(path).ok()?;
    let at = file.metadata().ok()?.len().checked_sub(SEAL_BYTES as u64)?;
    let mut bytes = [0; SEAL_BYTES];
    file.read_exact_at(&mut bytes, at).ok()?;
    Seal::decode(&bytes)
}

/// The streams under a recording root: name and directory, sorted.
pub(crate) fn streams(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut streams = Vec::new();
    for item in fs::read_dir(root)? {
        let item = item?;
        if let Ok(name) = item.file_name().into_string()
            && is_stream_name(&name)
            && item.path().is_dir()
        {
            streams.push((name, item.path()));
        }
    }
    // `core-2` before `core-10`
    streams.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
    Ok(streams)
}

/// What a stream's directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Numbers of the segments, sorted.
    pub(crate) segments: Vec<u64>,
    /// Names that end like a segment's and are none.
    pub(crate) strange: Vec<String>,
    /// Files with what was cut off after a crash.
    pub(crate) torn: u64,
}

/// Lists a stream's directory.
pub(crate) fn listing(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for item in fs::read_dir(directory)? {
        let name = item?.file_name().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".seg") {
            match stem.parse::<u64>() {
                Ok(number) if number > 0 && segment_name(number) == name => listing.segments.push(number),
                _ => listing.strange.push(name),
            }
        } else if name.ends_with(".torn") {
            listing.torn += 1;
        }
    }
    listing.segments.sort_unstable();
    listing.strange.sort_unstable();
    Ok(listing)
}

/// `00000001.seg`.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:08}.seg")
}
