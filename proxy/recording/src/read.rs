//! The reader: entries of a recording, stream by stream, in order.
//!
//! Every block's hash is checked on the way, so what is returned is what was written; links and signatures are `verify`'s.
//! A session lives on one core, so all of it is in one stream. An open tail is the end, not an error; damage is reported
//! once and the reader goes on with the next segment.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::{self, Entry, EntryKind, SessionId};
use crate::scan::{Part, Scan, ScanError, listing, segment_name, streams};
use crate::verify::Problem;

/// An entry with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The stream that holds it.
    pub stream: Arc<str>,
    /// Its place in the stream.
    pub sequence: u64,
    /// When, unix milliseconds.
    pub at: u64,
    /// The session it is about.
    pub session: SessionId,
    /// What happened.
    pub entry: Entry,
}

/// Iterates over the entries under a recording root. Holds one block in memory.
pub struct Reader {
    root: PathBuf,
    files: VecDeque<(Arc<str>, PathBuf)>,
    session: Option<SessionId>,
    without_rows: bool,
    current: Option<(Arc<str>, PathBuf, Scan)>,
    /// Where the next entry starts in the current block.
    at: usize,
}

impl Reader {
    /// Lists the segments of every stream.
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut files = VecDeque::new();
        for (stream, directory) in streams(root)? {
            let stream: Arc<str> = stream.into();
            let segments = listing(&directory)?.segments;
            files.extend(
                segments
                    .into_iter()
                    .map(|number| (stream.clone(), directory.join(segment_name(number)))),
            );
        }
        Ok(Self {
            root: root.to_owned(),
            files,
            session: None,
            without_rows: false,
            current: None,
            at: 0,
        })
    }

    /// Only this session's entries.
    #[must_use]
    pub fn session(self, session: SessionId) -> Self {
        Self {
            session: Some(session),
            ..self
        }
    }

    /// Leaves out Rows entries.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self {
            without_rows: true,
            ..self
        }
    }

    /// The next entry of the current block that is asked for.
    fn next_in_block(&mut self) -> Option<Result<Record, Problem>> {
        let (stream, path, scan) = self.current.as_ref()?;
        while self.at < scan.content().len() {
            let problem = |what| Some(Err(problem(&self.root, path, scan.offset, what)));
            let raw = match entry::step(&scan.content()[self.at..]) {
                Ok((raw, used)) => {
                    self.at += used;
                    raw
                }
                Err(what) => {
                    self.at = usize::MAX;
                    return problem(what);
                }
            };
            let is_asked = self.session.is_none_or(|session| session == raw.session)
                && !(self.without_rows && raw.kind == EntryKind::Rows);
            if !is_asked {
                continue;
            }
            let Some(entry) = Entry::from_payload(raw.kind, raw.payload) else {
                return problem("an entry's payload is not of its kind");
            };
            let (stream, session) = (stream.clone(), raw.session);
            return Some(Ok(Record {
                stream,
                sequence: raw.sequence,
                at: raw.at,
                session,
                entry,
            }));
        }
        None
    }
}

impl Iterator for Reader {
    type Item = Result<Record, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.next_in_block() {
                return Some(item);
            }
            let (_, path, scan) = match &mut self.current {
                Some(current) => current,
                None => {
                    let (stream, path) = self.files.pop_front()?;
                    match Scan::open(&path) {
                        Ok(scan) => self.current.insert((stream, path, scan)),
                        Err(error) => return Some(Err(scan_problem(&self.root, &path, 0, error))),
                    }
                }
            };
            self.at = 0;
            match scan.step() {
                Ok(Part::Block(_)) => {}
                Ok(Part::Seal { .. } | Part::Tail { .. }) => self.current = None,
                Err(error) => {
                    let problem = scan_problem(&self.root, path, scan.offset, error);
                    self.current = None;
                    return Some(Err(problem));
                }
            }
        }
    }
}

/// A problem at a place under `root`.
pub(crate) fn problem(root: &Path, path: &Path, offset: u64, what: impl Into<String>) -> Problem {
    let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Problem {
        file,
        offset,
        what: what.into(),
    }
}

/// A scan's error as a problem; `offset` is where it stood if the file could not be read.
pub(crate) fn scan_problem(root: &Path, path: &Path, offset: u64, error: ScanError) -> Problem {
    match error {
        ScanError::Io(error) => problem(root, path, offset, format!("cannot be read: {error}")),
        ScanError::Damaged { offset, what } => problem(root, path, offset, what),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::Recorder;
    use crate::testing::{NOW, error, key, session};

    #[test]
    fn sessions_are_told_apart_across_streams() {
        let root = tempfile::tempdir().unwrap();
        for stream in ["core-10", "core-2"] {
            let mut recorder = Recorder::open(root.path(), stream, &key(), NOW).unwrap();
            for number in 0..4 {
                recorder.append(NOW, session(number % 2), &error(number)).unwrap();
                recorder
                    .append_rows(NOW, session(number % 2), 1, 0, b"x")
                    .unwrap();
            }
            recorder.commit().unwrap();
        }
        let of_one = Reader::open(root.path())
            .unwrap()
            .session(session(1))
            .without_rows();
        let seen: Vec<_> = of_one
            .map(|record| record.unwrap())
            .map(|r| (r.stream.to_string(), r.entry))
            .collect();
        let expected = ["core-2", "core-10"]
            .map(|stream| [1, 3].map(|n| (stream.to_owned(), error(n))))
            .concat();
        assert_eq!(seen, expected);
    }

    #[test]
    fn damage_is_reported_and_the_next_segment_still_read() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..3 {
            let mut recorder = Recorder::open(root.path(), "core-0", &key(), NOW).unwrap();
            recorder.append(NOW, session(1), &error(number)).unwrap();
            recorder.seal(NOW).unwrap();
        }
        let file = root.path().join("core-0").join(segment_name(2));
        let mut bytes = fs::read(&file).unwrap();
        bytes[300] ^= 1;
        fs::write(&file, bytes).unwrap();
        let items: Vec<_> = Reader::open(root.path()).unwrap().session(session(1)).collect();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].as_ref().unwrap().entry, error(0));
        assert_eq!(items[1].as_ref().unwrap_err().file, "core-0/00000002.seg");
        assert_eq!(items[2].as_ref().unwrap().entry, error(2));
    }

    proptest! {
        #[test]
        fn any_file_is_an_answer(tail in proptest::collection::vec(any::<u8>(), 0..400), keep in 0_usize..600) {
            let root = tempfile::tempdir().unwrap();
            let mut recorder = Recorder::open(root.path(), "core-0", &key(), NOW).unwrap();
            recorder.append(NOW, session(1), &error(1)).unwrap();
            recorder.seal(NOW).unwrap();
            let file = root.path().join("core-0").join(segment_name(1));
            let mut bytes = fs::read(&file).unwrap();
            bytes.truncate(keep);
            bytes.extend_from_slice(&tail);
            fs::write(&file, bytes).unwrap();
            prop_assert!(Reader::open(root.path()).unwrap().count() <= 4);
        }
    }
}
