//! Every level against the meaning, and the meaning against its promises.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{CELLS_MAX, Cell, Cells, Level, MASK, Redaction, apply, apply_with};

/// A fixed text with printable, control, space and multi-byte characters, `bytes` long.
fn text(bytes: usize) -> Vec<u8> {
    "4111-1111 Zoë\t🔑 o'Neil~!\u{7f}\n07"
        .bytes()
        .cycle()
        .take(bytes)
        .collect()
}

fn masked(level: Level, mut buffer: Vec<u8>, cells: &[Cell]) -> Vec<u8> {
    apply_with(level, &mut buffer, cells);
    buffer
}

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

fn redactions() -> impl Iterator<Item = Redaction> {
    [0, 1, 2, 4, 8, 100, 255]
        .into_iter()
        .map(Redaction::KeepLast)
        .chain([Redaction::Blank])
}

#[track_caller]
fn check(cell: &str, redaction: Redaction, expect: &str) {
    for level in levels() {
        let got = masked(
            level,
            cell.into(),
            &[Cell::whole(0, cell.len() as u32, redaction)],
        );
        assert_eq!(std::str::from_utf8(&got), Ok(expect), "{cell:?} at {level:?}");
    }
}

#[test]
fn the_meaning() {
    check("4111111111111111", Redaction::Blank, "****************");
    check("4111111111111111", Redaction::KeepLast(4), "************1111");
    check("078-05-1120", Redaction::KeepLast(4), "*******1120");
    check("", Redaction::KeepLast(4), "");
    check("1234", Redaction::KeepLast(4), "****");
    check("12345", Redaction::KeepLast(4), "***45");
    check("1234567", Redaction::KeepLast(4), "****567");
    check("12345678", Redaction::KeepLast(4), "****5678");
    check("abc d e", Redaction::KeepLast(3), "****d*e");
    check("Anna Zoë7", Redaction::KeepLast(4), "******o**7");
    check("secret", Redaction::KeepLast(0), "******");
}

#[test]
fn every_length_agrees_with_the_meaning_and_nothing_else_changes() {
    for bytes in 0..=300 {
        for redaction in redactions() {
            let buffer = text(bytes + 140);
            let cells = [Cell::whole(70, bytes as u32, redaction)];
            let expect = masked(Level::Scalar, buffer.clone(), &cells);
            assert_eq!(expect[..70], buffer[..70]);
            assert_eq!(expect[70 + bytes..], buffer[70 + bytes..]);
            let shown = redaction.shown_bytes(bytes as u32) as usize;
            assert!(shown * 2 <= bytes);
            assert!(expect[70..70 + bytes - shown].iter().all(|byte| *byte == MASK));
            for level in levels() {
                assert_eq!(
                    masked(level, buffer.clone(), &cells),
                    expect,
                    "{bytes} bytes, {redaction:?}, {level:?}"
                );
            }
        }
    }
}

#[test]
fn cells_mask_the_same_however_they_are_cut() {
    for cell_bytes in [0, 1, 2, 5, 8, 9, 16, 17, 40, 64, 65, 100, 300_u32] {
        for redaction in redactions() {
            let buffer = text(cell_bytes as usize);
            let whole = masked(
                Level::Scalar,
                buffer.clone(),
                &[Cell::whole(0, cell_bytes, redaction)],
            );
            for (cut, level) in (0..=cell_bytes).flat_map(|cut| levels().map(move |level| (cut, level))) {
                let (mut first, mut second) = (buffer.clone(), buffer[cut as usize..].to_vec());
                first.truncate(cut as usize);
                apply_with(
                    level,
                    &mut first,
                    &[Cell {
                        at: 0,
                        bytes: cut,
                        cell_at: 0,
                        cell_bytes,
                        redaction,
                    }],
                );
                let rest = cell_bytes - cut;
                apply_with(
                    level,
                    &mut second,
                    &[Cell {
                        at: 0,
                        bytes: rest,
                        cell_at: cut,
                        cell_bytes,
                        redaction,
                    }],
                );
                first.extend(second);
                assert_eq!(
                    first, whole,
                    "cut at byte {cut} of {cell_bytes}, {redaction:?}, {level:?}"
                );
            }
        }
    }
}

/// Cells that do not overlap, as (bytes between, bytes before the piece, bytes, bytes after it, redaction).
fn laid_out(parts: &[(u32, u32, u32, u32, Redaction)]) -> (u32, Vec<Cell>) {
    let mut at = 0;
    let mut cells = Vec::new();
    for &(gap, before, bytes, after, redaction) in parts {
        at += gap;
        cells.push(Cell {
            at,
            bytes,
            cell_at: before,
            cell_bytes: before + bytes + after,
            redaction,
        });
        at += bytes;
    }
    (at, cells)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_levels_are_byte_identical(
        parts in vec(
            (0..40_u32, 0..80_u32, 0..300_u32, 0..80_u32, prop_oneof![
                Just(Redaction::Blank),
                (0..=12_u8).prop_map(Redaction::KeepLast),
                any::<u8>().prop_map(Redaction::KeepLast),
            ]),
            0..24,
        ),
        noise in vec(any::<u8>(), 1..997),
        behind in 0..70_usize,
    ) {
        let (bytes, cells) = laid_out(&parts);
        let buffer: Vec<u8> = noise.iter().copied().cycle().take(bytes as usize + behind).collect();
        let expect = masked(Level::Scalar, buffer.clone(), &cells);
        for level in levels() {
            prop_assert_eq!(&masked(level, buffer.clone(), &cells), &expect, "{:?}", level);
        }
        let mut best = buffer.clone();
        apply(&mut best, &cells);
        prop_assert_eq!(&best, &expect);
        let mut inside = vec![false; buffer.len()];
        for cell in &cells {
            let range = cell.at as usize..(cell.at + cell.bytes) as usize;
            prop_assert!(expect[range.clone()].is_ascii());
            inside[range].fill(true);
        }
        for (index, inside) in inside.into_iter().enumerate() {
            prop_assert!(inside || expect[index] == buffer[index], "byte {} changed outside of all cells", index);
        }
    }

    #[test]
    fn a_masked_cell_of_any_text_leaves_valid_text(
        before in ".{0,20}", cell in ".{0,60}", after in ".{0,20}", last in 0..=255_u8,
    ) {
        let mut buffer = [before.as_bytes(), cell.as_bytes(), after.as_bytes()].concat();
        apply(&mut buffer, &[Cell::whole(before.len() as u32, cell.len() as u32, Redaction::KeepLast(last))]);
        let got = String::from_utf8(buffer).expect("masked text is valid UTF-8");
        prop_assert!(got.starts_with(&before) && got.ends_with(&after));
    }

    #[test]
    fn a_cell_outside_its_buffer_or_cell_panics_and_touches_nothing(
        at in 0..=u32::MAX, bytes in 1..=u32::MAX, cell_at in 0..=u32::MAX, cell_bytes in 0..=u32::MAX,
    ) {
        let cell = Cell { at, bytes, cell_at, cell_bytes, redaction: Redaction::Blank };
        let is_inside = u64::from(at) + u64::from(bytes) <= 64 && u64::from(cell_at) + u64::from(bytes) <= cell_bytes.into();
        for level in levels() {
            let mut buffer = text(64);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| apply_with(level, &mut buffer, &[cell])));
            prop_assert_eq!(ended.is_ok(), is_inside);
            prop_assert!(is_inside || buffer == text(64));
        }
    }
}

#[test]
#[should_panic(expected = "a cell passes the end of its buffer")]
fn one_byte_past_the_buffer_is_refused() {
    apply(&mut [0; 16], &[Cell::whole(9, 8, Redaction::Blank)]);
}

#[test]
#[should_panic(expected = "a piece passes the end of its cell")]
fn one_byte_past_the_cell_is_refused() {
    let cell = Cell {
        at: 0,
        bytes: 8,
        cell_at: 9,
        cell_bytes: 16,
        redaction: Redaction::KeepLast(4),
    };
    apply(&mut [0; 16], &[cell]);
}

#[test]
fn a_collector_says_when_it_is_full_and_starts_again() {
    let mut cells = Cells::new();
    assert!(cells.is_empty());
    for count in 1..=CELLS_MAX as u32 {
        assert_eq!(
            cells.push(Cell::whole(count, 1, Redaction::Blank)),
            (count as usize) < CELLS_MAX
        );
    }
    assert_eq!(cells.len(), CELLS_MAX);
    assert_eq!(cells.as_slice()[CELLS_MAX - 1].at, CELLS_MAX as u32);
    cells.clear();
    assert!(cells.as_slice().is_empty());
    assert!(cells.push(Cell::whole(7, 1, Redaction::Blank)));
    assert_eq!(cells.as_slice(), [Cell::whole(7, 1, Redaction::Blank)]);
}

#[test]
#[should_panic(expected = "past a full collector")]
fn a_full_collector_forgets_no_cell() {
    let mut cells = Cells::new();
    (0..=CELLS_MAX as u32).for_each(|at| _ = cells.push(Cell::whole(at, 1, Redaction::Blank)));
}
