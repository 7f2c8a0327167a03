//! Rows that come in small pieces: PostgreSQL sends them as its buffer of 8 KiB fills.
//!
//! Each piece costs the server a wake-up of linegate, and linegate one of the client and a packet. While the pieces of a long
//! result follow each other fast, a moment between two reads lets several become one; the rows arrive sooner for it, the last
//! one included (`bench/records`). Rows that come slowly are read as they come.

/// From so many bytes on a result is a long one; in simulations and fuzzing most are.
const LONG_RESULT_BYTES: u64 = if cfg!(any(test, fuzzing)) { 64 } else { 128 << 10 };
/// Reads that hold so much are large enough.
const LARGE_READ_BYTES: usize = 128 << 10;
/// A moment that gathered no more than this was for nothing: PostgreSQL's buffer, and a half.
const PIECE_BYTES: usize = 12 << 10;
/// Reads without a moment before them, after one that was for nothing.
const PATIENCE: u8 = 32;

/// What the last reads of a result were like.
#[derive(Default)]
pub(super) struct Pieces {
    /// The last read came after a moment.
    has_waited: bool,
    /// Reads to come that do not wait.
    patience: u8,
}

impl Pieces {
    /// Whether the next read is better done in a moment: `bytes` were read last, `result_bytes` have passed of the result that
    /// goes on.
    pub(super) fn wait(&mut self, bytes: usize, result_bytes: u64) -> bool {
        let is_slow = std::mem::take(&mut self.has_waited) && bytes <= PIECE_BYTES;
        if is_slow {
            self.patience = PATIENCE;
        }
        if bytes >= LARGE_READ_BYTES || result_bytes < LONG_RESULT_BYTES {
            return false;
        }
        let waits = self.patience == 0;
        self.patience = self.patience.saturating_sub(1);
        waits
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
        assert!(!pieces.wait(8192, LONG_RESULT_BYTES - 1));
        assert!(!pieces.wait(256 << 10, 1 << 20));
        assert!(pieces.wait(8192, 1 << 20));
        pieces.waited();
        assert!(pieces.wait(32 << 10, 1 << 20), "four pieces in a moment");
        assert!(
            !pieces.wait(256 << 10, 1 << 20),
            "the server is fast enough by itself"
        );
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
