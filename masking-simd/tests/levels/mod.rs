//! Every level beside the reference, over a corpus.

use masking_simd::{Detectors, Hit, Level, Span, detect_cells_with, detect_reference};

/// Puts the texts into one buffer, and fails where a level finds other than the reference does in each of them.
pub fn find_what_the_reference_finds<'t>(texts: impl Iterator<Item = &'t str>) {
    let (mut buffer, mut spans, mut expect) = (Vec::new(), Vec::new(), Vec::new());
    for (index, text) in texts.map(str::as_bytes).enumerate() {
        buffer.extend_from_slice(&(text.len() as u32).to_be_bytes()); // may look like text to a filter
        let at = buffer.len() as u32;
        spans.push(Span {
            at,
            bytes: text.len() as u32,
        });
        buffer.extend_from_slice(text);
        let mut hits = Vec::new();
        detect_reference(text, Detectors::ALL, &mut hits);
        expect.extend(hits.into_iter().map(|hit| Hit {
            cell: index as u32,
            at: hit.at + at,
            ..hit
        }));
    }
    expect.sort_unstable();
    assert!(expect.len() > 200, "the corpus has something to find");
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        let mut hits = Vec::new();
        detect_cells_with(level, &buffer, &spans, Detectors::ALL, &mut hits);
        hits.sort_unstable();
        assert_eq!(hits, expect, "{level:?}");
    }
}
