//! Rows from a server: cells are found in the same places however the bytes are cut, only cells are reported, and a row that is
//! written again is a row.

use codecs::postgres::rows::{CellOut, CellSink, Piece, Place, Stop, find, hop, nullify, rewrite};
use codecs::postgres::sieve::{Keep, RowSieve};
use codecs::postgres::{HEADER_BYTES, Limits, PostgresError, Step, frame};

use super::Head;

const LIMITS: Limits = Limits {
    frame_bytes_max: 1 << 20,
};

/// Pieces by cell: index in the masked columns, the cell's bytes, what came of them.
#[derive(Default)]
struct Cells {
    pieces: Vec<(usize, Piece)>,
    found: Vec<(usize, u32, Vec<u8>)>,
}

impl CellSink for Cells {
    fn cell(&mut self, index: usize, piece: Piece) -> bool {
        self.pieces.push((index, piece));
        true
    }
}

impl Cells {
    fn collect(&mut self, bytes: &[u8]) {
        for (index, piece) in self.pieces.drain(..) {
            let part = &bytes[piece.at as usize..][..piece.bytes as usize];
            assert!(piece.cell_at + piece.bytes <= piece.cell_bytes);
            if piece.cell_at == 0 {
                self.found.push((index, piece.cell_bytes, Vec::new()));
            }
            let (last, cell_bytes, cell) = self.found.last_mut().expect("a cell began");
            assert_eq!((*last, *cell_bytes), (index, piece.cell_bytes));
            assert_eq!(cell.len(), piece.cell_at as usize);
            cell.extend_from_slice(part);
        }
    }
}

type Walked = (u64, usize, Vec<(usize, u32, Vec<u8>)>);

/// Finds in pieces of `step` bytes; a step of 0 is all at once.
fn walk(data: &[u8], step: usize, columns: &[u16], count: u16) -> Result<Walked, PostgresError> {
    let (mut place, mut cells) = (Place::default(), Cells::default());
    let (mut rows, mut passed, mut given) = (0, 0, 0);
    let step = if step == 0 { data.len().max(1) } else { step };
    while given < data.len() {
        given = (given + step).min(data.len());
        let bytes = &data[passed..given];
        let found = find(bytes, &mut place, columns, count, &mut cells, &LIMITS);
        cells.collect(bytes);
        let found = found?;
        rows += found.rows;
        passed += found.bytes;
        assert!(passed <= given);
        match found.stop {
            Stop::End => assert_eq!(passed, given),
            Stop::Header => assert!(given - passed < HEADER_BYTES && place.at_boundary()),
            Stop::Other(_) => break,
            Stop::Full => panic!("the sink has room"),
        }
    }
    Ok((rows, passed, cells.found))
}

/// Four numbers (columns, which are masked, the cut, the filling), then a server's byte stream.
pub fn check(data: &[u8]) {
    let mut head = Head(data);
    let count = u16::from(head.byte() % 8) + 1;
    let mask = head.byte();
    let step = usize::from(head.byte() % 61) + 1;
    let filling = usize::from(head.byte());
    let data = head.0;
    let columns: Vec<u16> = (0..count).filter(|column| mask & (1 << column) != 0).collect();

    let whole = walk(data, 0, &columns, count);
    let cut = walk(data, step, &columns, count);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "cut every {step} bytes"),
        (Err(_), Err(_)) => {}
        _ => panic!("whole {whole:?}, cut every {step} bytes {cut:?}"),
    }

    let mut place = Place::default();
    if let Ok(passed) = hop(data, &mut place, &LIMITS) {
        assert!(passed.bytes <= data.len());
        if let (Ok((rows, _, _)), 0) = (&whole, passed.copy_rows) {
            assert!(passed.rows >= *rows);
        }
    }

    let mut at = 0;
    while let Ok(Step::Frame(found)) = frame::step(&data[at..], &LIMITS) {
        let row = found.whole(&data[at..]);
        at += row.len();
        let mut out = b"before".to_vec();
        let mut seen = 0;
        let rewritten = rewrite(row, &columns, count, &mut out, &mut |_, cell, out| {
            seen += 1;
            match cell {
                Some(cell) if cell.len() % 3 != 0 => {
                    out.extend(std::iter::repeat_n(b'*', filling));
                    CellOut::Written
                }
                Some(cell) => {
                    out.extend_from_slice(cell);
                    CellOut::Written
                }
                None => CellOut::Null,
            }
        });
        if rewritten.is_err() {
            assert_eq!(out, b"before");
            continue;
        }
        assert_eq!(seen, columns.len());
        let again = &out[6..];
        let Ok(Step::Frame(frame)) = frame::step(again, &Limits::STREAMED) else {
            panic!("a rewritten row is a frame")
        };
        assert_eq!(frame.size.with_tag(), again.len());
        let (rows, passed, _) = walk(again, 0, &columns, count).expect("a rewritten row is a row");
        assert_eq!((rows, passed), (1, again.len()));
        let mut nulls = Vec::new();
        nullify(row, &columns, count, &mut nulls).expect("it was rewritten before");
        let all: Vec<u16> = (0..count).collect();
        if nullify(row, &all, count, &mut Vec::new()).is_err() {
            continue; // cells behind the last masked one are not looked at
        }
        let sieved = sieved(row, &columns, count, step);
        let mut again = Vec::new();
        nullify(&sieved, &columns, count, &mut again).expect("what is kept of a row is one");
        assert_eq!(nulls, again, "without the cells that become NULL");
        let (_, _, left) = walk(&nulls, 0, &columns, count).expect("a row of NULLs is a row");
        assert!(left.is_empty(), "a cell is left");
    }
}

/// A row that is taken in by pieces without the cells in `columns`.
fn sieved(row: &[u8], columns: &[u16], count: u16, step: usize) -> Vec<u8> {
    let keeps = (0..count).map(|column| match columns.contains(&column) {
        true => Keep::Null,
        false => Keep::Source,
    });
    let header = *row.first_chunk().expect("a frame has a header");
    let begun = RowSieve::begin(header, keeps.collect(), u32::MAX);
    let (mut sieve, at) = begun.expect("a frame's header");
    let mut is_whole = false;
    for piece in row[at..].chunks(step) {
        let (taken, ends) = sieve.take(piece).expect("a row that was rewritten");
        assert_eq!(taken, piece.len());
        is_whole = ends;
    }
    assert!(is_whole);
    sieve.row().to_vec()
}
