//! Rows of COPY: a row that is read is written again byte for byte; what is put into other cells is read back, and every cell
//! beside them is what it was.

use codecs::postgres::copy_rows::{CopyFormat, CopyPlace, CopyShape, CopySieve};
use codecs::postgres::rows::CellOut;
use codecs::postgres::sieve::Keep;

use super::Head;

type Cells = Vec<Option<Vec<u8>>>;
/// What becomes of one cell.
type Change<'c> = dyn FnMut(Option<&[u8]>, &mut Vec<u8>) -> CellOut + 'c;

/// Six numbers: the format, the delimiter, the null string, what CSV has around cells, the columns and those that are masked.
/// Then a row; behind its first 0xff 0xfe, another one.
pub fn check(data: &[u8]) {
    let mut head = Head(data);
    let shape = CopyShape {
        format: [CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary][usize::from(head.byte() % 3)],
        delimiter: [b'\t', b',', b';', b'|'][usize::from(head.byte() % 4)],
        null: [&b"\\N"[..], b"", b"NULL"][usize::from(head.byte() % 3)].into(),
        quote: b'"',
        ..around(head.byte())
    };
    let shape = CopyShape {
        columns_count: u16::from(head.byte() % 5),
        ..shape
    };
    let masked = head.byte();
    let rows: Vec<&[u8]> = match head.0.windows(2).position(|pair| pair == [0xff, 0xfe]) {
        Some(at) => vec![&head.0[..at], &head.0[at + 2..]],
        None => vec![head.0],
    };
    let Some(cells) = same(&shape, &rows) else { return };
    let all: Vec<u16> = (0..shape.columns_count).collect();
    let some: Vec<u16> = all
        .iter()
        .copied()
        .filter(|column| masked >> column & 1 == 1)
        .collect();
    let step = usize::from(masked % 61) + 1;
    for columns in [&all, &some] {
        are_sieved(&shape, &rows, columns, step);
        let written = write(&shape, &rows, columns, &mut |value, out| match value {
            Some(value) if masked & 0x80 == 0 => {
                out.extend_from_slice(value);
                CellOut::Written
            }
            Some(_) if masked & 0x40 == 0 => {
                out.extend_from_slice(b"#,\"\\\t\n");
                CellOut::Written
            }
            _ => CellOut::Null,
        });
        let written = written.expect("what was read is read again");
        let written: Vec<&[u8]> = written.iter().map(Vec::as_slice).collect();
        let found = read(&shape, &written).expect("what is written can be read");
        assert_eq!(found.len(), cells.len());
        for (at, (before, after)) in cells.iter().zip(&found).enumerate() {
            let column = (at % all.len().max(1)) as u16;
            let expected = match before {
                Some(_) if columns.contains(&column) && masked & 0xc0 == 0x80 => Some(&b"#,\"\\\t\n"[..]),
                Some(_) if columns.contains(&column) && masked & 0xc0 == 0xc0 => None,
                before => before.as_deref(),
            };
            // In text, a value that is written like the null string is NULL.
            let is_null = shape.format == CopyFormat::Text
                && !shape.null.contains(&b'\\')
                && expected == Some(&*shape.null);
            assert_eq!(after.as_deref(), expected.filter(|_| !is_null));
        }
    }
}

/// Taken in by pieces without the cells in `columns`, rows whose cells become NULL there are what they are when they are held.
fn are_sieved(shape: &CopyShape, rows: &[&[u8]], columns: &[u16], step: usize) {
    let keeps: Box<[Keep]> = (0..shape.columns_count)
        .map(|column| match columns.contains(&column) {
            true => Keep::Null,
            false => Keep::Shown,
        })
        .collect();
    let mut place = CopyPlace::default();
    let mut ignored = Vec::new();
    for row in rows {
        let ends = shape.format == CopyFormat::Binary && row.ends_with(&[0xff, 0xff]);
        if ends || shape.columns_count == 0 {
            return; // never large
        }
        let mut sieve = CopySieve::begin(shape, &place, row.len(), keeps.clone(), u32::MAX);
        let mut whole = row.is_empty();
        for piece in row.chunks(step) {
            let (taken, ends) = sieve.take(shape, piece).expect("a row that was read");
            assert_eq!(taken, piece.len());
            whole |= ends;
        }
        assert!(whole);
        let mut found = [Vec::new(), Vec::new()];
        for (row, out) in [*row, sieve.row()].into_iter().zip(&mut found) {
            let mut place = place.clone();
            let mut cell = |_: usize, value: Option<&[u8]>, out: &mut Vec<u8>| match value {
                Some(_) => {
                    out.extend_from_slice(b"#");
                    CellOut::Written
                }
                None => CellOut::Null,
            };
            let read = shape.rewrite(&mut place, row, columns, out, &mut cell);
            read.expect("a row that was read");
        }
        assert_eq!(found[0], found[1]);
        let mut next = |_: usize, _: Option<&[u8]>, _: &mut Vec<u8>| CellOut::Null;
        let read = shape.rewrite(&mut place, row, &[], &mut ignored, &mut next);
        read.expect("a row that was read");
    }
}

fn around(choice: u8) -> CopyShape {
    CopyShape {
        format: CopyFormat::Text,
        delimiter: 0,
        null: Box::default(),
        quote: 0,
        escape: if choice & 1 == 0 { b'"' } else { b'\\' },
        quotes_all: choice & 2 == 2,
        has_header: false,
        columns_count: 0,
    }
}

/// The rows as they are without masked columns, which must be what they were; `None` where they are none. Their cells.
fn same(shape: &CopyShape, rows: &[&[u8]]) -> Option<Cells> {
    let cells = read(shape, rows)?;
    let written = write(shape, rows, &[], &mut |_, _| CellOut::Null);
    assert_eq!(written.expect("a row that was read"), rows);
    Some(cells)
}

fn read(shape: &CopyShape, rows: &[&[u8]]) -> Option<Cells> {
    let all: Vec<u16> = (0..shape.columns_count).collect();
    let mut cells = Cells::new();
    write(shape, rows, &all, &mut |value, _| {
        cells.push(value.map(<[u8]>::to_vec));
        CellOut::Null
    })?;
    Some(cells)
}

fn write(shape: &CopyShape, rows: &[&[u8]], columns: &[u16], cell: &mut Change<'_>) -> Option<Vec<Vec<u8>>> {
    let mut place = CopyPlace::default();
    let mut written = Vec::new();
    for row in rows {
        let mut out = Vec::new();
        let mut cell = |_: usize, value: Option<&[u8]>, out: &mut Vec<u8>| cell(value, out);
        shape
            .rewrite(&mut place, row, columns, &mut out, &mut cell)
            .ok()?;
        written.push(out);
    }
    Some(written)
}
