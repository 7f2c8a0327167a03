//! Rows that outgrow a buffer, taken in piece by piece without the cells that nobody will look at.
//!
//! Whether such a row fits must not depend on what is left out of it: only cells that are shown count.

use super::backend::tag;
use super::error::PostgresError;
use super::frame::{FrameSize, HEADER_BYTES, Limits};

/// What is kept of the cells of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it; these count together.
    Shown,
    /// All of it, for something else to be made of it, up to [`SOURCE_BYTES_MAX`]; a larger cell becomes NULL. Each counts for
    /// itself: what is beside it must not tell how long it is.
    Source,
    /// Whether it is NULL; a cell that is not becomes an empty one.
    Null,
}

/// Bytes of a cell that something else is made of, in rows that outgrow a buffer.
pub const SOURCE_BYTES_MAX: usize = 64 << 10;

/// How much is shown.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    shown: usize,
    max: u32,
}

impl Room {
    pub(crate) fn new(max: u32) -> Self {
        Self { shown: 0, max }
    }

    /// Takes so many bytes of a cell that is shown.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), PostgresError> {
        self.shown = self.shown.saturating_add(bytes);
        if self.shown > self.max as usize {
            return Err(PostgresError::FrameTooLong {
                declared: u32::try_from(self.shown).unwrap_or(u32::MAX),
                max: self.max,
            });
        }
        Ok(())
    }
}

/// The length of a cell that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Count,
    Length,
    Cell,
    End,
}

/// Cells as DataRow and binary COPY have them: columns i16 | { length i32, bytes }*.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    keeps: Box<[Keep]>,
    room: Room,
    walk: Walk,
    word: [u8; 4],
    word_bytes: usize,
    column: u16,
    cell_left: usize,
    is_kept: bool,
}

impl Cells {
    pub(crate) fn new(keeps: Box<[Keep]>, max: u32) -> Self {
        Self {
            keeps,
            room: Room::new(max),
            walk: Walk::Count,
            word: [0; 4],
            word_bytes: 0,
            column: 0,
            cell_left: 0,
            is_kept: false,
        }
    }

    /// Takes the next bytes of the row, none of another, and appends what is kept of them.
    pub(crate) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), PostgresError> {
        while !bytes.is_empty() {
            match self.walk {
                Walk::Count => {
                    if let Some([count @ .., _, _]) = self.word(&mut bytes, 2) {
                        let declared = u16::from_be_bytes(count);
                        let expected = u16::try_from(self.keeps.len()).unwrap_or(u16::MAX);
                        if declared != expected {
                            return Err(PostgresError::ColumnsCount { declared, expected });
                        }
                        out.extend_from_slice(&count);
                        self.next_cell(0);
                    }
                }
                Walk::Length => {
                    if let Some(length) = self.word(&mut bytes, 4) {
                        self.begin_cell(length, out)?;
                    }
                }
                Walk::Cell => {
                    let (piece, rest) = bytes.split_at(self.cell_left.min(bytes.len()));
                    if self.is_kept {
                        out.extend_from_slice(piece);
                    }
                    bytes = rest;
                    self.cell_left -= piece.len();
                    if self.cell_left == 0 {
                        self.next_cell(self.column + 1);
                    }
                }
                Walk::End => return Err(PostgresError::ChainMismatch { column: self.column }),
            }
        }
        Ok(())
    }

    /// Whether the row is whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.walk == Walk::End
    }

    fn word(&mut self, bytes: &mut &[u8], size: usize) -> Option<[u8; 4]> {
        while self.word_bytes < size {
            let (first, rest) = bytes.split_first()?;
            self.word[self.word_bytes] = *first;
            self.word_bytes += 1;
            *bytes = rest;
        }
        self.word_bytes = 0;
        Some(self.word)
    }

    fn begin_cell(&mut self, length: [u8; 4], out: &mut Vec<u8>) -> Result<(), PostgresError> {
        let column = self.column;
        let bytes = match i32::from_be_bytes(length) {
            -1 => {
                out.extend_from_slice(&length);
                self.next_cell(column + 1);
                return Ok(());
            }
            bytes => usize::try_from(bytes).map_err(|_| PostgresError::CellLength { column })?,
        };
        let (is_kept, length) = match self.keeps[usize::from(column)] {
            Keep::Shown => {
                self.room.take(bytes)?;
                (true, length)
            }
            Keep::Source if bytes <= SOURCE_BYTES_MAX => (true, length),
            Keep::Source => (false, NULL),
            Keep::Null => (false, [0; 4]),
        };
        self.is_kept = is_kept;
        out.extend_from_slice(&length);
        self.cell_left = bytes;
        self.walk = Walk::Cell;
        if bytes == 0 {
            self.next_cell(column + 1);
        }
        Ok(())
    }

    fn next_cell(&mut self, column: u16) {
        self.column = column;
        self.walk = match usize::from(column) == self.keeps.len() {
            true => Walk::End,
            false => Walk::Length,
        };
    }
}

/// One DataRow of any size.
#[derive(Clone, Debug)]
pub struct RowSieve {
    cells: Cells,
    left: usize,
    row: Vec<u8>,
}

impl RowSieve {
    /// Begins with the header of the row, and answers with the bytes that it has. What is kept has at most `max` bytes that are
    /// shown.
    pub fn begin(
        header: [u8; HEADER_BYTES],
        keeps: Box<[Keep]>,
        max: u32,
    ) -> Result<(Self, usize), PostgresError> {
        let [tag, a, b, c, d] = header;
        debug_assert_eq!(tag, tag::DATA_ROW);
        let size = FrameSize::checked(u32::from_be_bytes([a, b, c, d]), &Limits::STREAMED)?;
        let sieve = Self {
            cells: Cells::new(keeps, max),
            left: size.with_tag() - HEADER_BYTES,
            row: vec![tag, 0, 0, 0, 0],
        };
        Ok((sieve, HEADER_BYTES))
    }

    /// Takes what comes next; the bytes that are this row's, and whether it is whole.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), PostgresError> {
        let own = &bytes[..self.left.min(bytes.len())];
        self.cells.take(own, &mut self.row)?;
        self.left -= own.len();
        if self.left > 0 {
            return Ok((own.len(), false));
        }
        if !self.cells.is_whole() {
            return Err(PostgresError::ChainMismatch {
                column: self.cells.column,
            });
        }
        let size = u32::try_from(self.row.len() - 1).unwrap_or(u32::MAX);
        self.row[1..HEADER_BYTES].copy_from_slice(&size.to_be_bytes());
        Ok((own.len(), true))
    }

    /// The row with what was kept of it, once it is whole.
    pub fn row(&mut self) -> &mut [u8] {
        &mut self.row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::build::backend as say;

    const KEEPS: [Keep; 3] = [Keep::Shown, Keep::Null, Keep::Source];

    fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        say::data_row(&mut bytes, cells);
        bytes
    }

    fn sieved(row: &[u8], cut: usize, max: u32) -> Result<Vec<u8>, PostgresError> {
        let header = row[..HEADER_BYTES].try_into().expect("a header");
        let (mut sieve, mut at) = RowSieve::begin(header, KEEPS.into(), max)?;
        for end in [cut.max(at), row.len()] {
            let (taken, is_whole) = sieve.take(&row[at..end])?;
            at += taken;
            assert_eq!(is_whole, at == row.len());
        }
        Ok(sieve.row().to_vec())
    }

    #[test]
    fn what_nobody_looks_at_is_left_out_wherever_the_row_is_cut() {
        let given = row(&[Some(b"shown"), Some(&[b'x'; 1000]), Some(b"own")]);
        let kept = row(&[Some(b"shown"), Some(b""), Some(b"own")]);
        let null = row(&[None, None, None]);
        for cut in 0..given.len() {
            assert_eq!(sieved(&given, cut, 5), Ok(kept.clone()), "cut at {cut}");
        }
        for cut in 0..null.len() {
            assert_eq!(sieved(&null, cut, 0), Ok(null.clone()));
        }
    }

    #[test]
    fn only_what_is_shown_decides_whether_it_fits() {
        for bytes in [0, 1, 70_000] {
            let dropped = vec![b'x'; bytes];
            let too_long = row(&[Some(b"123456"), Some(&dropped), Some(b"")]);
            let fits = row(&[Some(b"12345"), Some(&dropped), Some(b"12345")]);
            let error = PostgresError::FrameTooLong { declared: 6, max: 5 };
            assert_eq!(sieved(&too_long, 0, 5), Err(error));
            assert!(sieved(&fits, 0, 5).is_ok());
            let largest = vec![b'x'; SOURCE_BYTES_MAX];
            let source = row(&[Some(b"12345"), Some(&dropped), Some(&largest)]);
            let kept = row(&[Some(b"12345"), Some(b""), Some(&largest)]);
            assert_eq!(sieved(&source, 0, 5), Ok(kept), "sources count for themselves");
            let source = row(&[Some(b""), Some(&dropped), Some(&vec![b'x'; SOURCE_BYTES_MAX + 1])]);
            let kept = row(&[Some(b""), Some(b""), None]);
            assert_eq!(sieved(&source, 0, 5), Ok(kept));
        }
    }

    #[test]
    fn rows_that_contradict_themselves_are_faults() {
        let two = row(&[Some(b"a"), Some(b"b")]);
        let count = PostgresError::ColumnsCount {
            declared: 2,
            expected: 3,
        };
        assert_eq!(sieved(&two, 0, 5), Err(count));
        let mut long = row(&[Some(b"a"), None, None]);
        long.push(b'x');
        let size = long.len() as u32 - 1;
        long[1..5].copy_from_slice(&size.to_be_bytes());
        assert_eq!(
            sieved(&long, 0, 5),
            Err(PostgresError::ChainMismatch { column: 3 })
        );
        let mut short = row(&[Some(b"a"), None, Some(b"abc")]);
        short.pop();
        let size = short.len() as u32 - 1;
        short[1..5].copy_from_slice(&size.to_be_bytes());
        assert_eq!(
            sieved(&short, 0, 5),
            Err(PostgresError::ChainMismatch { column: 2 })
        );
        let mut negative = row(&[Some(b"a"), None, None]);
        negative[7..11].copy_from_slice(&(-2_i32).to_be_bytes());
        assert_eq!(
            sieved(&negative, 0, 5),
            Err(PostgresError::CellLength { column: 0 })
        );
    }
}
