//! How labelled cells are overwritten, in place and at the speed of memory, and how private text is found in others.
//!
//! Knows `&mut [u8]` and no protocol. The caller walks a buffer first and collects [`Cell`]s, then [`apply`] overwrites
//! them all: finding and filling in two phases keeps wide stores away from the length loads of the next row, which
//! would wait for them.
//!
//! `scalar` defines what a redaction means; `avx2` and `avx512` must agree with it byte for byte (the tests compare
//! them), and `dispatch` asks the CPU once. Redactions that change a cell's length (NULL, tokens) are not made here.
//! `detect` looks for cards, addresses, credentials and their like in cells of free text.

mod cell;
mod detect;
mod dispatch;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

pub use cell::{CELLS_MAX, Cell, Cells, MASK, Redaction};
pub use detect::{
    Detectors, Entity, Hit, HitCounts, HitSink, Scanner, Span, detect, detect_cells, detect_cells_with,
    detect_reference, redact_hits,
};
pub use dispatch::{Level, apply, apply_with};
