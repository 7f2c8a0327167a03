//! DataRow (tag `D`) and CopyData (tag `d`) from the server, passed over or walked in pieces of any size.
//!
//! Source: PostgreSQL manual, "Message Formats", DataRow (B) and CopyData.
//! Shape, big-endian: tag u8 | size i32, counting itself but not the tag | columns i16 | { length i32, bytes }*.
//! A length of -1 is NULL and has no bytes. A row may outgrow any buffer, so a [`Place`] remembers where the bytes
//! were cut. `hop` looks at headers only; `find` reports the cells of some columns; `rewrite` gives one row other
//! cells.
//! Rows are advanced by the size of their frame, never through the column chain, which is checked against it. Which
//! cells are masked and what with is decided elsewhere.

use super::ahead::Ahead;
use super::backend::tag;
use super::error::PostgresError;
use super::frame::{self, FrameSize, HEADER_BYTES, Limits};

/// Bytes of the number of columns.
const COUNT_BYTES: usize = 2;
/// Bytes of a cell's length.
const LENGTH_BYTES: usize = 4;
/// The length of NULL.
const NULL: [u8; LENGTH_BYTES] = (-1_i32).to_be_bytes();
/// The size of a DataRow without columns.
const ROW_SIZE_MIN: u32 = 6;

const _: () = assert!(usize::BITS >= 64, "an offset and a 32-bit length have a sum");

/// What a cut row waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Walk {
    /// The end of the frame; nobody looks at what comes before it.
    #[default]
    Pass,
    /// The number of columns.
    Count,
    /// The length of a cell.
    Length,
    /// The bytes of a cell.
    Cell,
}

/// Where in the server's byte stream the last piece ended. Useless after an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the current frame still to come.
    frame_left: u32,
    walk: Walk,
    /// The part of a cut number that has arrived.
    word: [u8; LENGTH_BYTES],
    word_bytes: u8,
    /// Index of the current column, and of the next masked one in the list.
    column: u16,
    masked: u16,
    /// Bytes that the cells still to come have among them, lengths not counted.
    slack: u32,
    cell_left: u32,
    cell_bytes: u32,
}

/// Where and why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Bytes passed.
    pub bytes: usize,
    /// DataRows whose header was passed.
    pub rows: u64,
    /// CopyData frames whose header was passed.
    pub copy_rows: u64,
    /// Why no further.
    pub stop: Stop,
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All bytes are passed; the place knows whether a frame was cut.
    End,
    /// The next frame has this tag and is somebody else's.
    Other(u8),
    /// Fewer than [`HEADER_BYTES`] are left: carry them over.
    Header,
    /// The sink took no more, and its row is passed.
    Full,
}

/// A part of a cell, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the piece in the bytes that were given.
    pub at: u32,
    /// Bytes of the piece; none only for an empty cell, where `at` may be the end of the bytes.
    pub bytes: u32,
    /// Offset of the piece in its cell.
    pub cell_at: u32,
    /// Bytes of the whole cell.
    pub cell_bytes: u32,
}

/// Takes the pieces of masked cells.
pub trait CellSink {
    /// Takes a piece of a cell that is not NULL; `index` counts in the list of masked columns. `false` asks to stop after
    /// this row, whose other pieces still come: at most one for each masked column. A row that the bytes cut ends
    /// the walk anyway, by [`Stop::End`].
    fn cell(&mut self, index: usize, piece: Piece) -> bool;
}

/// Passes over DataRow and CopyData frames, whole or cut, by their headers. For bytes from the server only.
pub fn hop(bytes: &[u8], place: &mut Place, limits: &Limits) -> Result<Hop, PostgresError> {
    pass::<true>(bytes, place, limits)
}

/// Passes over CopyData frames only: for bytes from the client, where the tag `D` means Describe.
pub fn hop_copy(bytes: &[u8], place: &mut Place, limits: &Limits) -> Result<Hop, PostgresError> {
    pass::<false>(bytes, place, limits)
}

fn pass<const ROWS: bool>(bytes: &[u8], place: &mut Place, limits: &Limits) -> Result<Hop, PostgresError> {
    let (mut rows, mut copy_rows) = (0, 0);
    place.walk = Walk::Pass;
    let mut at = place.frame_left as usize; // may lie beyond the bytes; the loop's one check covers it
    let mut ahead = Ahead::from(at);
    while let Some(&[tag, a, b, c, d]) = bytes.get(at..at + HEADER_BYTES) {
        ahead.reach(bytes, at);
        if ROWS && tag == tag::DATA_ROW {
            rows += 1;
        } else if tag == tag::COPY_DATA {
            copy_rows += 1;
        } else {
            place.frame_left = 0;
            return Ok(Hop {
                bytes: at,
                rows,
                copy_rows,
                stop: Stop::Other(tag),
            });
        }
        at += FrameSize::checked(u32::from_be_bytes([a, b, c, d]), limits)?.with_tag();
    }
    let (left, stop) = match at.checked_sub(bytes.len()) {
        Some(left) => (left as u32, Stop::End), // at most one frame's size, or what was left before
        None => (0, Stop::Header),
    };
    place.frame_left = left;
    Ok(Hop {
        bytes: at - left as usize,
        rows,
        copy_rows,
        stop,
    })
}

/// Passes over DataRow frames, whole or cut, and tells `sink` the pieces of the cells in `columns`. A CopyData frame is
/// [`Stop::Other`].
///
/// A row's columns must be as many as `columns_count`, and their lengths must agree with the frame's size as far as the
/// last masked column.
///
/// # Panics
/// When `columns` is not ascending and below `columns_count`, or `bytes` is longer than 4 GiB.
pub fn find(
    bytes: &[u8],
    place: &mut Place,
    columns: &[u16],
    columns_count: u16,
    sink: &mut impl CellSink,
    limits: &Limits,
) -> Result<Hop, PostgresError> {
    assert!(u32::try_from(bytes.len()).is_ok(), "a piece's offset has 32 bits");
    assert_masked(columns, columns_count);
    let mut room = true;
    let mut at = place.resume(bytes, 0, columns, columns_count, sink, &mut room)?;
    let mut rows = 0;
    let stop = loop {
        if !room && place.at_boundary() {
            break Stop::Full;
        }
        let Some(&[tag, a, b, c, d]) = bytes.get(at..at + HEADER_BYTES) else {
            break if at == bytes.len() {
                Stop::End
            } else {
                Stop::Header
            };
        };
        if tag != tag::DATA_ROW {
            break Stop::Other(tag);
        }
        let declared = u32::from_be_bytes([a, b, c, d]);
        let size = FrameSize::checked(declared, limits)?;
        if declared < ROW_SIZE_MIN {
            return Err(PostgresError::FrameTooShort { declared });
        }
        rows += 1;
        let (start, end) = (at + HEADER_BYTES, at + size.with_tag());
        let Some(row) = bytes.get(start..end) else {
            place.begin(size);
            at = place.resume(bytes, start, columns, columns_count, sink, &mut room)?;
            break Stop::End;
        };
        masked_cells(row, columns, columns_count, |index, cell_at, cell_bytes| {
            // Both lie within `bytes`, whose length was checked above.
            let piece = Piece {
                at: (start + cell_at) as u32,
                bytes: cell_bytes,
                cell_at: 0,
                cell_bytes,
            };
            room &= sink.cell(index, piece);
        })?;
        at = end;
    };
    Ok(Hop {
        bytes: at,
        rows,
        copy_rows: 0,
        stop,
    })
}

/// What stands in a cell of a rewritten row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellOut {
    /// NULL; whatever was appended is taken back.
    Null,
    /// What was appended, be it nothing.
    Written,
}

/// Appends one whole DataRow again with other cells in `columns`, which may be longer or shorter.
///
/// `cell` is told the index in `columns` and the cell's bytes (`None` for NULL) and appends what stands there instead.
/// It may do nothing but append. What lies between these cells is copied as it is. On an error `out` is as it was.
///
/// # Panics
/// When `columns` is not ascending and below `columns_count`.
pub fn rewrite(
    frame: &[u8],
    columns: &[u16],
    columns_count: u16,
    out: &mut Vec<u8>,
    cell: &mut impl FnMut(usize, Option<&[u8]>, &mut Vec<u8>) -> CellOut,
) -> Result<(), PostgresError> {
    assert_masked(columns, columns_count);
    let start = out.len();
    let rewritten = rewrite_from(start, frame, columns, columns_count, out, cell);
    if rewritten.is_err() {
        out.truncate(start);
    }
    rewritten
}

fn rewrite_from(
    start: usize,
    frame: &[u8],
    columns: &[u16],
    columns_count: u16,
    out: &mut Vec<u8>,
    cell: &mut impl FnMut(usize, Option<&[u8]>, &mut Vec<u8>) -> CellOut,
) -> Result<(), PostgresError> {
    let given = frame.len();
    let Some(header) = frame::header(frame, &Limits::STREAMED)? else {
        return Err(PostgresError::FrameNotWhole {
            declared: HEADER_BYTES,
            given,
        });
    };
    let declared = header.size.with_tag();
    if header.tag != tag::DATA_ROW {
        return Err(PostgresError::UnknownTag { tag: header.tag });
    }
    if declared != given {
        return Err(PostgresError::FrameNotWhole { declared, given });
    }
    out.reserve(given);
    let mut copied = 0;
    walk_cells(
        header.payload(frame),
        columns,
        columns_count,
        |index, cell_at, cell_bytes| {
            let cell_at = HEADER_BYTES + cell_at;
            let cell_end = cell_at + cell_bytes.unwrap_or(0) as usize;
            out.extend_from_slice(&frame[copied..cell_at - LENGTH_BYTES]);
            out.extend_from_slice(&NULL);
            let new_at = out.len();
            copied = cell_end;
            match cell(index, cell_bytes.map(|_| &frame[cell_at..cell_end]), out) {
                CellOut::Null => out.truncate(new_at),
                CellOut::Written => {
                    // Not above what the whole row is checked for below.
                    let length = (out.len() - new_at) as u32;
                    out[new_at - LENGTH_BYTES..new_at].copy_from_slice(&length.to_be_bytes());
                }
            }
        },
    )?;
    out.extend_from_slice(&frame[copied..]);
    let size = u32::try_from(out.len() - start - 1).unwrap_or(u32::MAX);
    FrameSize::checked(size, &Limits::STREAMED)?;
    out[start + 1..start + HEADER_BYTES].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

/// Appends one whole DataRow again with `columns` as NULL.
///
/// # Panics
/// When `columns` is not ascending and below `columns_count`.
pub fn nullify(
    frame: &[u8],
    columns: &[u16],
    columns_count: u16,
    out: &mut Vec<u8>,
) -> Result<(), PostgresError> {
    rewrite(frame, columns, columns_count, out, &mut |_, _, _| CellOut::Null)
}

fn assert_masked(columns: &[u16], columns_count: u16) {
    assert!(columns.is_sorted_by(|a, b| a < b), "masked columns ascend");
    assert!(
        columns.last().is_none_or(|last| *last < columns_count),
        "masked columns exist"
    );
}

/// Tells the masked cells of a whole row that are not NULL: index in `columns`, offset in the payload, bytes.
#[inline(always)]
fn masked_cells(
    row: &[u8],
    columns: &[u16],
    columns_count: u16,
    mut each: impl FnMut(usize, usize, u32),
) -> Result<(), PostgresError> {
    walk_cells(row, columns, columns_count, |index, at, bytes| {
        if let Some(bytes) = bytes {
            each(index, at, bytes);
        }
    })
}

/// Tells the masked cells of a whole row: index in `columns`, offset in the payload behind the length, bytes if not NULL.
///
/// What a cut row has checked at each cell is checked here once, behind the last masked one: the offset and the least
/// that the rest needs only grow together. Whatever is wrong is then named by [`row_error`], off the hot path.
#[inline(always)]
fn walk_cells(
    row: &[u8],
    columns: &[u16],
    columns_count: u16,
    mut each: impl FnMut(usize, usize, Option<u32>),
) -> Result<(), PostgresError> {
    let wrong = || row_error(row, columns, columns_count);
    let Some((count, _)) = row.split_first_chunk() else {
        return Err(wrong());
    };
    if u16::from_be_bytes(*count) != columns_count {
        return Err(wrong());
    }
    let mut at = COUNT_BYTES;
    let mut column = 0;
    for (index, masked) in columns.iter().enumerate() {
        for _ in column..*masked {
            let Some(word) = word_at(row, at) else {
                return Err(wrong());
            };
            let bytes = if word == NULL { 0 } else { u32::from_be_bytes(word) };
            at += LENGTH_BYTES + bytes as usize; // a length below -1 leads beyond every row
        }
        column = masked + 1; // below the number of columns, or equal
        let Some(word) = word_at(row, at) else {
            return Err(wrong());
        };
        at += LENGTH_BYTES;
        if word == NULL {
            each(index, at, None);
            continue;
        }
        let bytes = u32::from_be_bytes(word);
        if bytes as usize > row.len() - at {
            return Err(wrong());
        }
        each(index, at, Some(bytes));
        at += bytes as usize;
    }
    let rest = usize::from(columns_count - column) * LENGTH_BYTES;
    let agrees = if rest == 0 {
        at == row.len()
    } else {
        at + rest <= row.len()
    };
    if agrees { Ok(()) } else { Err(wrong()) }
}

/// The four bytes of a cell's length, if the row has them.
#[inline(always)]
fn word_at(row: &[u8], at: usize) -> Option<[u8; LENGTH_BYTES]> {
    row.get(at..at + LENGTH_BYTES)?.try_into().ok()
}

/// What is wrong with a whole row: the walk of a cut row finds it.
#[cold]
fn row_error(row: &[u8], columns: &[u16], columns_count: u16) -> PostgresError {
    struct Nobody;
    impl CellSink for Nobody {
        fn cell(&mut self, _index: usize, _piece: Piece) -> bool {
            true
        }
    }
    // A payload is below 2 GiB.
    let mut place = Place {
        frame_left: row.len() as u32,
        walk: Walk::Count,
        ..Place::default()
    };
    let walked = place.resume(row, 0, columns, columns_count, &mut Nobody, &mut true);
    walked.err().unwrap_or(PostgresError::Truncated {
        message: "DataRow",
        field: "the number of columns",
    })
}

/// Checks the number of columns; the bytes that are left for the cells themselves when each has its length.
fn open_row(count: [u8; COUNT_BYTES], expected: u16, left: u32) -> Result<u32, PostgresError> {
    let declared = u16::from_be_bytes(count);
    if declared != expected {
        return Err(PostgresError::ColumnsCount { declared, expected });
    }
    match left.checked_sub(u32::from(declared) * LENGTH_BYTES as u32) {
        Some(slack) if declared > 0 || slack == 0 => Ok(slack),
        _ => Err(PostgresError::ChainMismatch { column: 0 }),
    }
}

/// A cell's length, `None` for NULL, taken from what is left; the last cell must leave nothing.
fn cell_length(
    word: [u8; LENGTH_BYTES],
    column: u16,
    columns_count: u16,
    slack: &mut u32,
) -> Result<Option<u32>, PostgresError> {
    let length = i32::from_be_bytes(word);
    if length < -1 {
        return Err(PostgresError::CellLength { column });
    }
    let bytes = length.max(0).unsigned_abs();
    match slack.checked_sub(bytes) {
        Some(left) if left == 0 || column + 1 < columns_count => *slack = left,
        _ => return Err(PostgresError::ChainMismatch { column }),
    }
    Ok((length >= 0).then_some(bytes))
}

impl Place {
    /// Whether the next byte starts a frame.
    pub fn at_boundary(&self) -> bool {
        self.frame_left == 0
    }

    /// Bytes of the current frame still to come.
    pub fn frame_left(&self) -> u32 {
        self.frame_left
    }

    /// The header of a row was passed and not all of the row is there.
    fn begin(&mut self, size: FrameSize) {
        *self = Self {
            frame_left: size.payload(),
            walk: Walk::Count,
            ..Self::default()
        };
    }

    /// Walks on in the current frame from `at`; the offset where the frame or the bytes end.
    fn resume(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        columns: &[u16],
        columns_count: u16,
        sink: &mut impl CellSink,
        room: &mut bool,
    ) -> Result<usize, PostgresError> {
        while self.frame_left > 0 && at < bytes.len() {
            let there = (bytes.len() - at).min(self.frame_left as usize);
            let here = &bytes[at..at + there];
            let taken = match self.walk {
                Walk::Pass => there,
                Walk::Count => self.gather(here, COUNT_BYTES),
                Walk::Length => self.gather(here, LENGTH_BYTES),
                Walk::Cell => there.min(self.cell_left as usize),
            };
            // `taken` is at most `frame_left`, which has 32 bits.
            self.frame_left -= taken as u32;
            match self.walk {
                Walk::Count if usize::from(self.word_bytes) == COUNT_BYTES => {
                    let [a, b, ..] = self.word;
                    self.slack = open_row([a, b], columns_count, self.frame_left)?;
                    self.word_bytes = 0;
                    self.walk = if columns.is_empty() {
                        Walk::Pass
                    } else {
                        Walk::Length
                    };
                }
                Walk::Length if usize::from(self.word_bytes) == LENGTH_BYTES => {
                    let length = cell_length(self.word, self.column, columns_count, &mut self.slack)?;
                    self.word_bytes = 0;
                    self.cell_bytes = length.unwrap_or(0);
                    self.cell_left = self.cell_bytes;
                    if length == Some(0) {
                        self.tell(columns, at + taken, 0, sink, room);
                    }
                    if self.cell_left > 0 {
                        self.walk = Walk::Cell;
                    } else {
                        self.next_column(columns);
                    }
                }
                Walk::Cell => {
                    self.tell(columns, at, taken, sink, room);
                    self.cell_left -= taken as u32;
                    if self.cell_left == 0 {
                        self.next_column(columns);
                    }
                }
                Walk::Pass | Walk::Count | Walk::Length => {}
            }
            at += taken;
        }
        Ok(at)
    }

    /// Takes what is missing of a number of `whole` bytes, or as much as is there.
    fn gather(&mut self, here: &[u8], whole: usize) -> usize {
        let have = usize::from(self.word_bytes);
        let taken = here.len().min(whole - have);
        self.word[have..have + taken].copy_from_slice(&here[..taken]);
        self.word_bytes += taken as u8; // at most LENGTH_BYTES
        taken
    }

    fn tell(&self, columns: &[u16], at: usize, bytes: usize, sink: &mut impl CellSink, room: &mut bool) {
        let index = usize::from(self.masked);
        if columns.get(index) == Some(&self.column) {
            let cell_at = self.cell_bytes - self.cell_left;
            // `find` checked that the offset fits, and the piece is part of a cell.
            let piece = Piece {
                at: at as u32,
                bytes: bytes as u32,
                cell_at,
                cell_bytes: self.cell_bytes,
            };
            *room &= sink.cell(index, piece);
        }
    }

    fn next_column(&mut self, columns: &[u16]) {
        if columns.get(usize::from(self.masked)) == Some(&self.column) {
            self.masked += 1;
        }
        self.column += 1;
        self.walk = if usize::from(self.masked) < columns.len() {
            Walk::Length
        } else {
            Walk::Pass
        };
    }
}

#[cfg(test)]
mod tests;
