//! Rows that come in small pieces: PostgreSQL sends them as its buffer of 8 KiB fills.
//!
//! Each piece costs the server a wake-up of linegate, and linegate one of the client and a packet. While the pieces of a long
//! result follow each other fast, a moment between two reads lets several become one; the rows arrive sooner for it, the last
//! one included (`bench/records`). Rows that come slowly are read as they come.

/// From so many bytes on a result is a long one; in simulations and fuzzing most are.
const LONG_RESULT_BYTES: u64 = if cfg!(any(test, fuzzing)) { 64 } else { 128 << 10 };
/// Reads that hold so much are large enough: the server is fast by itself.
const LARGE_READ_BYTES: usize = 128 << 10;
/// PostgreSQL's buffer, and a half.
const PIECE_BYTES: usize = 12 << 10;
/// So many pieces in a row are no chance.
const PIECES_MIN: u8 = 3;
/// Reads without a moment before them, after one that gathered no more than a piece.
const PATIENCE: u8 = 32;

/// What the last reads of a result were like.
#[derive(Default)]
pub(super) struct Pieces {
    /// The last read came after a moment.
    has_waited: bool,
    /// Reads in a row, without a moment before them, that brought no more than a piece.
    pieces: u8,
    /// Reads to come that do not wait.
    patience: u8,
}

impl Pieces {
    /// Whether the next read is better done in a moment: `bytes` were read last, `result_bytes` have passed of the result that
    /// goes on.
    pub(super) fn wait(&mut self, bytes: usize, result_bytes: u64) -> bool {
        let is_piece = bytes <= PIECE_BYTES;
        match (std::mem::take(&mut self.has_waited), is_piece) {
            (true, true) => (self.pieces, self.patience) = (0, PATIENCE),
            (true, false) if bytes >= LARGE_READ_BYTES => self.pieces = 0,
            (true, false) => {}
            (false, true) => self.pieces = self.pieces.saturating_add(1),
            (false, false) => self.pieces = 0,
        }
        let is_patient = self.patience > 0;
        self.patience = self.patience.saturating_sub(1);
        result_bytes >= LONG_RESULT_BYTES && self.pieces >= PIECES_MIN && !is_patient
    }

    /// A moment has passed before the read that comes.
    pub(super) fn waited(&mut self) {
        self.has_waited = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_results_in_small_pieces_wait() {
        let mut pieces = Pieces::default();
        assert!((0..9).all(|_| !pieces.wait(8192, LONG_RESULT_BYTES - 1)));
        assert!(pieces.wait(8192, 1 << 20));
        pieces.waited();
        assert!(pieces.wait(64 << 10, 1 << 20), "eight pieces in a moment");
        pieces.waited();
        assert!(!pieces.wait(256 << 10, 1 << 20), "the server is fast by itself");
        assert!(
            !pieces.wait(8192, 1 << 20) && !pieces.wait(8192, 1 << 20),
            "by chance"
        );
        assert!(!pieces.wait(256 << 10, 1 << 20));
        assert!(!pieces.wait(8192, 1 << 20) && !pieces.wait(8192, 1 << 20));
        assert!(pieces.wait(8192, 1 << 20));
    }

    #[test]
    fn rows_that_come_slowly_are_hardly_waited_for() {
        let mut pieces = Pieces::default();
        let mut waits = 0;
        for _ in 0..1000 {
            if pieces.wait(100, 1 << 20) {
                pieces.waited();
                waits += 1;
            }
        }
        assert!((1..=1000 / usize::from(PATIENCE) + 1).contains(&waits), "{waits}");
    }
}
