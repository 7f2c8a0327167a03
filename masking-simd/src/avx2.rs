//! Short fills as two stores that overlap: no loop, no call, and one well-predicted branch per length class.
//!
//! The classes 8..16, 16..32, 32..64 … are filled from both ends with arrays of fixed size, which this target feature
//! turns into 16- and 32-byte stores; nothing here needs a pointer. Long cells are memset's own case.

use crate::cell::{Cell, MASK};
use crate::scalar;

/// Overwrites all cells.
#[target_feature(enable = "avx2")]
pub(crate) fn apply(buffer: &mut [u8], cells: &[Cell]) {
    for cell in cells {
        let (piece, blank_bytes) = cell.of(buffer);
        let (blank, tail) = piece.split_at_mut(blank_bytes);
        fill(blank);
        scalar::keep_printable(tail);
    }
}

/// Fills `piece` with [`MASK`]; inlined into callers of any target feature.
#[inline(always)]
pub(crate) fn fill(piece: &mut [u8]) {
    match piece.len() {
        0 => {}
        1 => both_ends::<1>(piece),
        2..4 => both_ends::<2>(piece),
        4..8 => both_ends::<4>(piece),
        8..16 => both_ends::<8>(piece),
        16..32 => both_ends::<16>(piece),
        32..64 => both_ends::<32>(piece),
        64..=128 => both_ends::<64>(piece),
        _ => piece.fill(MASK),
    }
}

/// Fills the first and the last `N` bytes; from `N` to `2 * N` bytes that is all of them.
#[inline(always)]
fn both_ends<const N: usize>(piece: &mut [u8]) {
    if let Some(first) = piece.first_chunk_mut::<N>() {
        *first = [MASK; N];
    }
    if let Some(last) = piece.last_chunk_mut::<N>() {
        *last = [MASK; N];
    }
}
