//! Bytes on their way to a file, in memory as they will lie in the file's pages, and their way around the page cache.
//!
//! A recording is written once and seldom read. Through the page cache each of its bytes is copied once more and evicts
//! something that is read again; where memory is scarce, finding the pages costs more than the writing. So whole pages
//! go straight to the disk (`O_DIRECT`: file offset, length and memory aligned to a page), and only the cut pages at
//! both ends go through the cache. A file system that takes no direct writes gets ordinary ones.
//!
//! Source: open(2), "O_DIRECT"; mixing both is coherent on one host, because a direct write flushes and drops the cached
//! pages that it covers. Units: bytes, and file offsets in bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use aligned_vec::{AVec, ConstAlign};
use rustix::fs::OFlags;

/// What disks and kernels agree on: no device that one would record to has larger blocks.
const PAGE_BYTES: usize = 4096;
/// Fewer bytes than this are cheaper through the cache.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// A buffer whose first byte lies in its page where it will lie in the file's.
pub(super) struct Pages {
    bytes: AVec<u8, ConstAlign<PAGE_BYTES>>,
    skip: usize,
}

impl Pages {
    /// Nothing yet, for the start of a file.
    pub(super) fn new() -> Self {
        Self {
            bytes: AVec::new(PAGE_BYTES),
            skip: 0,
        }
    }

    /// Empties the buffer: what comes now will be written from the file offset `at` on. Memory beyond `keep` is given back.
    pub(super) fn start_at(&mut self, at: u64, keep: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > keep + PAGE_BYTES {
            self.bytes = AVec::new(PAGE_BYTES);
        }
        self.skip = (at % PAGE_BYTES as u64) as usize;
        self.bytes.resize(self.skip, 0);
    }

    /// Appends.
    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros up to `bytes` in all.
    pub(super) fn grow_to(&mut self, bytes: usize) {
        self.bytes.resize(self.skip + bytes, 0);
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..]
    }
}

/// A second way into a segment's file, for whole pages.
pub(super) struct Direct(Option<File>);

impl Direct {
    /// Opens the file again; without a way around the cache, everything goes through it.
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::DIRECT.bits() as i32; // a flag of open(2), which has an int of them
        Self(OpenOptions::new().write(true).custom_flags(flags).open(path).ok())
    }

    /// Writes `bytes` at `at`: the whole pages among them directly, the rest through `file`.
    pub(super) fn write_all_at(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let (head, rest) = bytes.split_at(cut_bytes(at).min(bytes.len()));
        let (whole, tail) = rest.split_at(rest.len() / PAGE_BYTES * PAGE_BYTES);
        let is_aligned = whole.as_ptr().addr().is_multiple_of(PAGE_BYTES);
        if whole.len() < DIRECT_BYTES_MIN || !is_aligned {
            return file.write_all_at(bytes, at);
        }
        let Some(direct) = &self.0 else {
            return file.write_all_at(bytes, at);
        };
        file.write_all_at(head, at)?;
        let whole_at = at + head.len() as u64;
        match direct.write_all_at(whole, whole_at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.0 = None; // this file system wants another alignment, or none of it
                file.write_all_at(whole, whole_at)?;
            }
            Err(error) => return Err(error),
        }
        file.write_all_at(tail, whole_at + whole.len() as u64)
    }

    /// Whether whole pages go around the cache.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }
}

/// Bytes from `at` to the next page.
fn cut_bytes(at: u64) -> usize {
    let into = (at % PAGE_BYTES as u64) as usize;
    (PAGE_BYTES - into) % PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize, seed: u8) -> Vec<u8> {
        (0..count)
            .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed))
            .collect()
    }

    #[test]
    fn a_file_holds_what_was_written_whatever_the_offsets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let mut direct = Direct::open(&path);
        let (mut pages, mut expected) = (Pages::new(), Vec::new());
        pages.start_at(0, 1 << 20);
        for (turn, count) in [1, 4095, 4096, 70_000, 64 << 10, 200_001, 3, 300_000]
            .into_iter()
            .enumerate()
        {
            let piece = bytes(count, turn as u8);
            pages.extend_from_slice(&piece);
            assert_eq!(&pages[..], piece);
            direct.write_all_at(&file, &pages, expected.len() as u64).unwrap();
            expected.extend_from_slice(&piece);
            assert_eq!(std::fs::read(&path).unwrap(), expected, "after {count} bytes");
            pages.start_at(expected.len() as u64, if turn == 5 { 0 } else { 1 << 20 });
            assert!(pages.is_empty());
        }
    }

    #[test]
    fn whole_pages_lie_on_pages() {
        let mut pages = Pages::new();
        for at in [0, 1, 4095, 4096, 10_000] {
            pages.start_at(at, 1 << 20);
            pages.grow_to(20_000);
            let first_whole = pages[cut_bytes(at)..].as_ptr().addr();
            assert_eq!(first_whole % PAGE_BYTES, 0, "from {at}");
        }
    }

    #[test]
    fn without_direct_writes_everything_goes_through_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        let mut direct = Direct::open(&directory.path().join("missing"));
        assert!(!direct.is_open());
        let piece = bytes(100_000, 7);
        direct.write_all_at(&file, &piece, 0).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), piece);
    }
}
