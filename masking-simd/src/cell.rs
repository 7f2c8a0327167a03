//! What to overwrite: a redaction, a piece of a cell, and a collector of pieces that is reused.
//! Units: every number is a count of bytes or an offset in bytes.

/// What an overwritten byte becomes. ASCII, so a text cell stays valid in every server encoding that contains ASCII.
pub const MASK: u8 = b'*';

/// How many cells a [`Cells`] holds before they must be applied.
pub const CELLS_MAX: usize = 256;

/// How one cell is overwritten. The length never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redaction {
    /// Every byte becomes [`MASK`].
    Blank,
    /// Every byte becomes [`MASK`] but the printable ASCII characters (no space) among the last so many bytes. At most
    /// half of a cell stays readable, and nothing of one that has no more bytes than that.
    KeepLast(u8),
}

impl Redaction {
    /// How many bytes at the end of a cell of `cell_bytes` may stay readable.
    #[inline]
    pub const fn shown_bytes(self, cell_bytes: u32) -> u32 {
        match self {
            Self::Blank => 0,
            Self::KeepLast(last) => {
                let last = last as u32;
                if cell_bytes <= last {
                    0
                } else if last < cell_bytes / 2 {
                    last
                } else {
                    cell_bytes / 2
                }
            }
        }
    }
}

/// A piece of a cell: `bytes[at..at + bytes]` of the buffer are the bytes `[cell_at, cell_at + bytes)` of a cell that
/// has `cell_bytes` in all. A cell that no buffer cuts is one piece, [`Cell::whole`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Where the piece starts in the buffer.
    pub at: u32,
    /// How many bytes of the buffer belong to it.
    pub bytes: u32,
    /// Where the piece starts in its cell.
    pub cell_at: u32,
    /// How many bytes the whole cell has.
    pub cell_bytes: u32,
    /// How the cell is overwritten.
    pub redaction: Redaction,
}

impl Cell {
    /// A cell that lies in the buffer as a whole.
    #[inline]
    pub const fn whole(at: u32, bytes: u32, redaction: Redaction) -> Self {
        Self {
            at,
            bytes,
            cell_at: 0,
            cell_bytes: bytes,
            redaction,
        }
    }

    /// The piece's bytes, and how many of them lie before the readable tail of the cell.
    ///
    /// # Panics
    /// When the piece passes the end of the buffer or of its cell: the walker broke its promise, and a cell that was
    /// not overwritten must not be sent.
    #[inline(always)]
    pub(crate) fn of<'b>(&self, buffer: &'b mut [u8]) -> (&'b mut [u8], usize) {
        let left_in_cell = self.cell_bytes.checked_sub(self.cell_at);
        assert!(
            left_in_cell.is_some_and(|left| self.bytes <= left),
            "a piece passes the end of its cell"
        );
        let piece = buffer
            .get_mut(self.at as usize..)
            .and_then(|rest| rest.get_mut(..self.bytes as usize));
        let Some(piece) = piece else {
            panic!("a cell passes the end of its buffer")
        };
        let tail_at = self.cell_bytes - self.redaction.shown_bytes(self.cell_bytes);
        (
            piece,
            tail_at.saturating_sub(self.cell_at).min(self.bytes) as usize,
        )
    }
}

/// A collector of cells for one buffer: allocated once, then filled, applied and cleared.
#[derive(Debug)]
pub struct Cells {
    cells: Box<[Cell]>,
    count: usize,
}

impl Cells {
    /// An empty collector; the only allocation of its life.
    pub fn new() -> Self {
        Self {
            cells: vec![Cell::whole(0, 0, Redaction::Blank); CELLS_MAX].into_boxed_slice(),
            count: 0,
        }
    }

    /// Adds a cell. Says whether there is room for one more: after `false`, apply and [`clear`](Self::clear).
    ///
    /// # Panics
    /// When the collector was full already: a cell that is forgotten would be sent in the clear.
    #[inline]
    pub fn push(&mut self, cell: Cell) -> bool {
        assert!(self.count < CELLS_MAX, "cells were pushed past a full collector");
        self.cells[self.count] = cell;
        self.count += 1;
        self.count < CELLS_MAX
    }

    /// Forgets all cells.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// The cells in the order they were pushed.
    #[inline]
    pub fn as_slice(&self) -> &[Cell] {
        &self.cells[..self.count]
    }

    /// How many cells wait.
    #[inline]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether no cell waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self::new()
    }
}
