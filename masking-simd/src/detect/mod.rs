//! Private text in cells that no label covers: what it is, where it stands, and how it is overwritten.
//!
//! `grammar` and the files behind it define every [`Entity`] by a plain function; [`detect_reference`] tries them all
//! at every byte and is the meaning of a scan. The fast way classifies 64 bytes at a time (`masks`, with a kernel per
//! level), finds candidates by arithmetic on the masks (`filter`), and asks the same functions on the cell that a
//! candidate lies in (`scan`). [`Scanner`] does it for a cell in pieces.
//! Text is UTF-8 or another encoding whose multi-byte characters have no ASCII bytes.

mod entity;
mod filter;
mod grammar;
mod iban;
#[cfg(target_arch = "x86_64")]
mod level;
mod masks;
mod network;
mod numbers;
mod scan;
mod scanner;
mod secrets;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

pub use entity::{Detectors, Entity, Hit, HitCounts, HitSink, Span};
pub use scanner::Scanner;

use crate::cell::{Cell, Redaction};
use crate::dispatch::{Level, apply};

/// Finds what is wanted in one cell of text; hits are offsets in it.
pub fn detect(cell: &[u8], wanted: Detectors, sink: &mut impl HitSink) {
    let whole = [Span {
        at: 0,
        bytes: cell.len() as u32,
    }];
    detect_cells(cell, &whole, wanted, sink);
}

/// Finds what is wanted in the text cells of a buffer, which is scanned once; hits are offsets in the buffer. What lies
/// between cells is never reported.
///
/// # Panics
/// When cells do not ascend, overlap, or pass the end of the buffer or 4 GiB.
pub fn detect_cells(buffer: &[u8], cells: &[Span], wanted: Detectors, sink: &mut impl HitSink) {
    detect_cells_with(Level::detect(), buffer, cells, wanted, sink);
}

/// The same at one level, for tests and figures. A level that this CPU lacks runs as [`Level::Scalar`], which here is
/// the portable filter.
///
/// # Panics
/// As [`detect_cells`].
pub fn detect_cells_with(
    level: Level,
    buffer: &[u8],
    cells: &[Span],
    wanted: Detectors,
    sink: &mut impl HitSink,
) {
    assert!(buffer.len() <= u32::MAX as usize, "a buffer passes 4 GiB");
    scan::cells(level.or_scalar(), wanted, buffer, cells, sink);
}

/// The meaning of [`detect`]: every kind is tried at every byte that no earlier hit of it covers. For tests and
/// figures; far too slow for traffic.
pub fn detect_reference(cell: &[u8], wanted: Detectors, sink: &mut impl HitSink) {
    let place = scan::Place {
        cell,
        index: 0,
        hits_at: 0,
        cell_at: 0,
        starts: 0..usize::MAX,
    };
    let mut state = scan::CellState::new();
    for at in 0..cell.len() {
        for entity in wanted.iter() {
            place.confirm(entity, wanted, at, &mut state, sink);
        }
    }
}

/// Overwrites hits that lie in a buffer, each as `redaction` overwrites a cell; lengths stay.
///
/// # Panics
/// When a hit passes the end of the buffer.
pub fn redact_hits(buffer: &mut [u8], hits: &[Hit], redaction: Redaction) {
    for hit in hits {
        apply(buffer, &[Cell::whole(hit.at, hit.bytes, redaction)]);
    }
}
