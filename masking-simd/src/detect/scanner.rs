//! A cell that no buffer holds as a whole: found the same wherever it is cut.

use crate::dispatch::Level;

use super::entity::{Detectors, HitSink};
use super::grammar::BEHIND;
use super::scan::{self, CellState, Place};

/// Looks through one cell after the other, each given in pieces, and keeps only as much of a cell as a hit may still
/// need: at most three times the longest hit looked for ([`Entity::bytes_max`](crate::Entity::bytes_max)) and 64 bytes.
///
/// To overwrite hits, hold back what is not [`settled`](Self::settled): no later hit starts before that. A hit that
/// was reported may reach past it.
#[derive(Debug)]
pub struct Scanner {
    wanted: Detectors,
    level: Level,
    /// How far a hit and its boundary reach.
    ahead: usize,
    /// The end of what was pushed, from `BEHIND` bytes before `settled` or earlier.
    held: Vec<u8>,
    /// Where it starts in the cell.
    held_at: usize,
    settled: usize,
    state: CellState,
}

impl Scanner {
    /// A scanner at the start of a cell. Its only allocation is here.
    pub fn new(wanted: Detectors) -> Self {
        Self::with_level(wanted, Level::detect())
    }

    /// The same at one level, for tests and figures.
    pub fn with_level(wanted: Detectors, level: Level) -> Self {
        let ahead = wanted.bytes_ahead();
        Self {
            wanted,
            level: level.or_scalar(),
            ahead,
            held: Vec::with_capacity(3 * (ahead + BEHIND)),
            held_at: 0,
            settled: 0,
            state: CellState::new(),
        }
    }

    /// Every hit that starts in the cell before this place has been reported.
    pub const fn settled(&self) -> usize {
        self.settled
    }

    /// The next piece of the cell.
    ///
    /// # Panics
    /// When a cell passes 4 GiB, which no protocol's length allows.
    pub fn push(&mut self, piece: &[u8], sink: &mut impl HitSink) {
        if self.wanted.is_empty() {
            return;
        }
        let margin = self.ahead + BEHIND;
        let piece_at = self.held_at + self.held.len();
        assert!(piece_at + piece.len() <= u32::MAX as usize, "a cell passes 4 GiB");
        if self.held.len() + piece.len() < 2 * margin {
            self.held.extend_from_slice(piece);
            return;
        }
        if !self.held.is_empty() {
            let join = piece.len().min(margin);
            self.held.extend_from_slice(&piece[..join]);
            let held = std::mem::take(&mut self.held);
            self.look(&held, self.held_at, self.ahead, sink);
            self.held = held;
            if join == piece.len() {
                let passed = self.settled.saturating_sub(BEHIND) - self.held_at;
                self.held.drain(..passed);
                self.held_at += passed;
                return;
            }
        }
        self.look(piece, piece_at, self.ahead, sink);
        let keep_at = self.settled.saturating_sub(BEHIND);
        self.held.clear();
        self.held.extend_from_slice(&piece[keep_at - piece_at..]);
        self.held_at = keep_at;
    }

    /// The cell ends here; the next push starts another one.
    pub fn finish(&mut self, sink: &mut impl HitSink) {
        let mut held = std::mem::take(&mut self.held);
        self.look(&held, self.held_at, 0, sink);
        held.clear();
        (self.held, self.held_at, self.settled, self.state) = (held, 0, 0, CellState::new());
    }

    /// Reports what starts from `settled` on, up to the last `ahead` bytes of a piece.
    fn look(&mut self, piece: &[u8], piece_at: usize, ahead: usize, sink: &mut dyn HitSink) {
        let end = (piece_at + piece.len()).saturating_sub(ahead);
        if end <= self.settled {
            return;
        }
        let place = Place {
            cell: piece,
            index: 0,
            hits_at: piece_at as u32,
            cell_at: piece_at as u32,
            starts: self.settled - piece_at..end - piece_at,
        };
        self.state.in_piece();
        scan::piece(self.level, self.wanted, &place, &mut self.state, sink);
        self.settled = end;
    }
}
