//! Cells of up to 64 bytes with a readable tail as one masked load and one masked store: which bytes to overwrite is a
//! 64-bit number, so there is neither a loop over the tail nor a branch on the length.
//!
//! A cell that is overwritten as a whole gains nothing from a masked store over two overlapping ones (measured), so it is filled
//! as in `avx2`.

use std::arch::x86_64::{
    _mm512_cmplt_epu8_mask, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
    _mm512_sub_epi8,
};

use crate::avx2;
use crate::cell::{Cell, MASK};

/// How many bytes one masked store reaches.
const LANE_BYTES: usize = 64;

/// Overwrites all cells.
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
pub(crate) fn apply(buffer: &mut [u8], cells: &[Cell]) {
    for cell in cells {
        let (piece, blank_bytes) = cell.of(buffer);
        if blank_bytes == piece.len() {
            avx2::fill(piece);
        } else if piece.len() <= LANE_BYTES {
            redact(piece, blank_bytes);
        } else {
            let (blank, tail) = piece.split_at_mut(blank_bytes);
            avx2::fill(blank);
            tail.chunks_mut(LANE_BYTES).for_each(|lane| redact(lane, 0));
        }
    }
}

/// Overwrites the first `blank_bytes` of a lane, and what is not printable ASCII behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn redact(lane: &mut [u8], blank_bytes: usize) {
    assert!(lane.len() <= LANE_BYTES, "a lane is one register");
    let inside = first_lanes(lane.len());
    let blank = first_lanes(blank_bytes);
    let (exclamation, printable, mask) = (
        _mm512_set1_epi8(b'!' as i8),
        _mm512_set1_epi8((b'~' - b'!' + 1) as i8),
        _mm512_set1_epi8(MASK as i8),
    );
    // SAFETY: `inside` selects exactly the lane's initialised bytes; the others are not read and cannot fault.
    let text = unsafe { _mm512_maskz_loadu_epi8(inside, lane.as_ptr().cast()) };
    let from_exclamation = _mm512_sub_epi8(text, exclamation); // wraps, so bytes below '!' become large
    let kept = _mm512_cmplt_epu8_mask(from_exclamation, printable) & !blank;
    // SAFETY: the mask is within `inside`, so only bytes of `lane`, borrowed mutably, are written.
    unsafe { _mm512_mask_storeu_epi8(lane.as_mut_ptr().cast(), inside & !kept, mask) };
}

/// A mask of the first `count` of 64 lanes.
#[inline(always)]
fn first_lanes(count: usize) -> u64 {
    if count >= LANE_BYTES {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}
