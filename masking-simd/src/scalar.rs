//! What a redaction means, byte by byte. Every other level must give the same bytes.

use crate::cell::{Cell, MASK};

/// Overwrites all cells.
pub(crate) fn apply(buffer: &mut [u8], cells: &[Cell]) {
    for cell in cells {
        let (piece, blank_bytes) = cell.of(buffer);
        let (blank, tail) = piece.split_at_mut(blank_bytes);
        blank.fill(MASK);
        keep_printable(tail);
    }
}

/// Overwrites what is not a printable ASCII character. Bytes of a multi-byte character always go, so what is left is
/// ASCII and a character that a buffer or the tail's start cut in two leaves nothing behind.
#[inline(always)]
pub(crate) fn keep_printable(tail: &mut [u8]) {
    for byte in tail {
        *byte = if byte.is_ascii_graphic() { *byte } else { MASK };
    }
}
