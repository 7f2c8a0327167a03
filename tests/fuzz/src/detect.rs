//! Detectors: every tier and every cut finds what the reference finds, and hits lie in their cell.

use masking_simd::{Detectors, Hit, HitSink, Level, Scanner, Span, detect_cells_with, detect_reference};

use super::Head;

#[derive(Default)]
struct Hits(Vec<Hit>);

impl HitSink for Hits {
    fn hit(&mut self, hit: Hit) {
        self.0.push(hit);
    }
}

fn sorted(mut hits: Hits) -> Vec<String> {
    hits.0.sort_by_key(|hit| (hit.at, hit.bytes, hit.entity.name()));
    hits.0
        .iter()
        .map(|hit| format!("{} {}+{}", hit.entity.name(), hit.at, hit.bytes))
        .collect()
}

/// One number (the cut), then a cell.
pub fn check(data: &[u8]) {
    let mut head = Head(data);
    let step = usize::from(head.byte()) + 1;
    let cell = head.0;
    let wanted = Detectors::ALL;
    let mut reference = Hits::default();
    detect_reference(cell, wanted, &mut reference);
    for hit in &reference.0 {
        assert!(hit.bytes > 0 && hit.at as usize + hit.bytes as usize <= cell.len());
    }
    let reference = sorted(reference);
    let whole = [Span {
        at: 0,
        bytes: cell.len() as u32,
    }];
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        let mut hits = Hits::default();
        detect_cells_with(level, cell, &whole, wanted, &mut hits);
        assert_eq!(sorted(hits), reference, "{}", level.name());
        let mut hits = Hits::default();
        let mut scanner = Scanner::with_level(wanted, level);
        for piece in cell.chunks(step) {
            scanner.push(piece, &mut hits);
        }
        scanner.finish(&mut hits);
        assert_eq!(sorted(hits), reference, "{}, in pieces of {step}", level.name());
    }
}
