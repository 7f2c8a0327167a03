//! Rows are the same however they are cut, and malformed ones are refused however they are cut.

use proptest::prelude::*;

use super::*;
use crate::postgres::build::backend as build;

type Row = Vec<Option<Vec<u8>>>;
/// Index in the masked columns, declared bytes, bytes.
type Cell = (usize, u32, Vec<u8>);

/// What a sink was told, coalesced: for each cell its index, its declared bytes and the bytes of its pieces.
#[derive(Default)]
struct Cells {
    found: Vec<Cell>,
    pieces: Vec<(usize, Piece)>,
    /// Pieces until the sink says that it is full; 0 never does.
    pieces_max: usize,
}

impl CellSink for Cells {
    fn cell(&mut self, index: usize, piece: Piece) -> bool {
        self.pieces.push((index, piece));
        self.pieces_max == 0 || self.pieces.len() < self.pieces_max
    }
}

impl Cells {
    fn collect(&mut self, bytes: &[u8]) {
        for (index, piece) in self.pieces.drain(..) {
            let part = &bytes[piece.at as usize..][..piece.bytes as usize];
            if piece.cell_at == 0 {
                self.found.push((index, piece.cell_bytes, Vec::new()));
            }
            let (last_index, cell_bytes, cell) = self.found.last_mut().unwrap();
            assert_eq!(
                (*last_index, *cell_bytes, cell.len()),
                (index, piece.cell_bytes, piece.cell_at as usize)
            );
            cell.extend_from_slice(part);
        }
    }
}

fn encode(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.iter().map(Option::as_deref).collect();
        build::data_row(&mut out, &cells);
    }
    out
}

fn expected(rows: &[Row], columns: &[u16]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for row in rows {
        for (index, column) in columns.iter().enumerate() {
            if let Some(cell) = &row[usize::from(*column)] {
                cells.push((index, cell.len() as u32, cell.clone()));
            }
        }
    }
    cells
}

/// Drives `walk` over the bytes as they would arrive, cut at `cuts`; header bytes are carried over.
fn drive(
    bytes: &[u8],
    cuts: &[usize],
    mut walk: impl FnMut(&[u8], &mut Place) -> Result<Hop, PostgresError>,
) -> Result<(u64, u64, Place, Vec<u8>), PostgresError> {
    let mut place = Place::default();
    let (mut rows, mut copy_rows) = (0, 0);
    let mut buffer = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        buffer.extend_from_slice(&bytes[from..cut]);
        from = cut;
        loop {
            let hop = walk(&buffer, &mut place)?;
            rows += hop.rows;
            copy_rows += hop.copy_rows;
            buffer.drain(..hop.bytes);
            match hop.stop {
                Stop::End => {
                    assert!(buffer.is_empty(), "End means that all bytes are passed");
                    break;
                }
                Stop::Header => {
                    assert!(buffer.len() < HEADER_BYTES && place.at_boundary());
                    break;
                }
                Stop::Other(tag) => {
                    assert_eq!(buffer.first(), Some(&tag));
                    assert!(place.at_boundary());
                    break;
                }
                Stop::Full => assert!(hop.bytes > 0 && place.at_boundary(), "a full sink made progress"),
            }
        }
    }
    Ok((rows, copy_rows, place, buffer))
}

fn find_in_pieces(
    bytes: &[u8],
    cuts: &[usize],
    columns: &[u16],
    columns_count: u16,
    pieces_max: usize,
) -> Result<(u64, Vec<Cell>), PostgresError> {
    let mut cells = Cells {
        pieces_max,
        ..Cells::default()
    };
    let (rows, ..) = drive(bytes, cuts, |bytes, place| {
        let hop = find(
            bytes,
            place,
            columns,
            columns_count,
            &mut cells,
            &Limits::STREAMED,
        )?;
        cells.collect(bytes);
        Ok(hop)
    })?;
    Ok((rows, cells.found))
}

fn sample() -> Vec<Row> {
    let cell = |text: &str| Some(text.as_bytes().to_vec());
    vec![
        vec![cell("1"), cell("4111-1111"), None, cell("")],
        vec![None, None, None, None],
        vec![cell(""), cell(""), cell("x"), cell("last cell of the row")],
        vec![cell("12345"), cell("5500-0000-0000-0004"), cell(""), None],
    ]
}

#[test]
fn cells_are_the_same_however_the_rows_are_cut() {
    let rows = sample();
    let bytes = encode(&rows);
    for columns in [&[][..], &[0], &[1], &[3], &[1, 3], &[0, 1, 2, 3]] {
        let whole = (4, expected(&rows, columns));
        for one in 0..=bytes.len() {
            for two in [
                one,
                (one + 1).min(bytes.len()),
                (one + 9).min(bytes.len()),
                bytes.len(),
            ] {
                let pieces = find_in_pieces(&bytes, &[one, two], columns, 4, 0).unwrap();
                assert_eq!(pieces, whole, "cut at bytes {one} and {two}, columns {columns:?}");
            }
        }
        let each: Vec<_> = (0..bytes.len()).collect();
        assert_eq!(
            find_in_pieces(&bytes, &each, columns, 4, 0).unwrap(),
            whole,
            "byte by byte, {columns:?}"
        );
    }
}

#[test]
fn a_full_sink_stops_after_its_row() {
    let bytes = encode(&sample());
    let first = FrameSize::checked(
        u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]),
        &Limits::STREAMED,
    );
    let mut cells = Cells {
        pieces_max: 1,
        ..Cells::default()
    };
    let mut place = Place::default();
    let hop = find(&bytes, &mut place, &[0, 1], 4, &mut cells, &Limits::STREAMED).unwrap();
    let expected = Hop {
        bytes: first.unwrap().with_tag(),
        rows: 1,
        copy_rows: 0,
        stop: Stop::Full,
    };
    assert_eq!(hop, expected);
    assert_eq!(cells.pieces.len(), 2, "the rest of the row is told");
}

#[test]
fn hops_are_the_same_however_the_frames_are_cut() {
    let mut bytes = encode(&sample());
    build::copy_data(&mut bytes, b"1\t2\n");
    build::copy_data(&mut bytes, b"");
    let passed = bytes.len();
    build::command_complete(&mut bytes, "SELECT 4");
    for cut in 0..bytes.len() {
        let (rows, copy_rows, place, rest) = drive(&bytes, &[cut], |bytes, place| {
            hop(bytes, place, &Limits::STREAMED)
        })
        .unwrap();
        assert_eq!((rows, copy_rows), (4, 2), "cut at byte {cut}");
        assert!(place.at_boundary());
        assert_eq!(rest, bytes[passed..]);
    }
}

#[test]
fn a_frame_larger_than_every_buffer_is_passed() {
    let mut place = Place::default();
    let header = b"D\x40\0\0\0";
    let hopped = hop(header, &mut place, &Limits::STREAMED).unwrap();
    assert_eq!(
        hopped,
        Hop {
            bytes: 5,
            rows: 1,
            copy_rows: 0,
            stop: Stop::End
        }
    );
    let buffer = vec![0; 1 << 16];
    let mut left = (1_u32 << 30) - 4;
    while left > 0 {
        assert_eq!(place.frame_left(), left);
        let piece = &buffer[..buffer.len().min(left as usize)];
        let hopped = hop(piece, &mut place, &Limits::STREAMED).unwrap();
        assert_eq!(
            hopped,
            Hop {
                bytes: piece.len(),
                rows: 0,
                copy_rows: 0,
                stop: Stop::End
            }
        );
        left -= piece.len() as u32;
    }
    assert!(place.at_boundary());
}

#[test]
fn the_client_describes_and_does_not_send_rows() {
    let mut place = Place::default();
    let mut bytes = Vec::new();
    build::copy_data(&mut bytes, b"1\n");
    let passed = bytes.len();
    bytes.extend_from_slice(b"D\0\0\0\x06S\0");
    let hopped = hop_copy(&bytes, &mut place, &Limits::STREAMED).unwrap();
    assert_eq!(
        hopped,
        Hop {
            bytes: passed,
            rows: 0,
            copy_rows: 1,
            stop: Stop::Other(b'D')
        }
    );
}

#[test]
fn copy_data_is_not_walked_for_columns() {
    let mut bytes = Vec::new();
    build::copy_data(&mut bytes, b"1\n");
    let mut place = Place::default();
    let hop = find(
        &bytes,
        &mut place,
        &[0],
        1,
        &mut Cells::default(),
        &Limits::STREAMED,
    )
    .unwrap();
    assert_eq!(
        hop,
        Hop {
            bytes: 0,
            rows: 0,
            copy_rows: 0,
            stop: Stop::Other(b'd')
        }
    );
}

#[test]
fn malformed_rows_are_refused_however_they_are_cut() {
    let row = |columns: i16, cells: &[u8]| {
        let size = 6 + cells.len() as u32;
        [&b"D"[..], &size.to_be_bytes(), &columns.to_be_bytes(), cells].concat()
    };
    let mismatch = |column| PostgresError::ChainMismatch { column };
    let cases: [(Vec<u8>, PostgresError); 9] = [
        (
            row(1, b"\0\0\0\x01a"),
            PostgresError::ColumnsCount {
                declared: 1,
                expected: 2,
            },
        ),
        (
            row(-1, b""),
            PostgresError::ColumnsCount {
                declared: 65535,
                expected: 2,
            },
        ),
        (
            row(2, b"\xff\xff\xff\xfe\0\0\0\0"),
            PostgresError::CellLength { column: 0 },
        ),
        (
            row(2, b"\xff\xff\xff\xff\x80\0\0\0"),
            PostgresError::CellLength { column: 1 },
        ),
        (row(2, b"\0\0\0\x09abcd\0\0\0\0"), mismatch(0)),
        (row(2, b"\0\0\0\0\x7f\xff\xff\xffa"), mismatch(1)),
        (row(2, b"\0\0\0\0\0\0\0\x01ab"), mismatch(1)),
        (row(2, b"\0\0\0\0"), mismatch(0)),
        (
            b"D\0\0\0\x05\0".to_vec(),
            PostgresError::FrameTooShort { declared: 5 },
        ),
    ];
    for (bytes, error) in cases {
        for cut in 0..=bytes.len() {
            let found = find_in_pieces(&bytes, &[cut], &[1], 2, 0);
            assert_eq!(found, Err(error.clone()), "{bytes:?} cut at byte {cut}");
        }
        assert!(nullify(&bytes, &[1], 2, &mut Vec::new()).is_err(), "{bytes:?}");
    }
    assert_eq!(
        find_in_pieces(b"D\0\0\0\x07\0\0x", &[], &[], 0, 0),
        Err(mismatch(0)),
        "a row without columns has nothing after them"
    );
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits { frame_bytes_max: 100 };
    let mut place = Place::default();
    let long = PostgresError::FrameTooLong {
        declared: 101,
        max: 100,
    };
    assert_eq!(hop(b"D\0\0\0\x65", &mut place, &limits), Err(long.clone()));
    assert_eq!(
        find(b"D\0\0\0\x65", &mut place, &[], 1, &mut Cells::default(), &limits),
        Err(long)
    );
    assert!(hop(b"d\0\0\0\x03", &mut place, &limits).is_err());
    assert!(
        hop(
            b"D\xff\xff\xff\xff",
            &mut place,
            &Limits {
                frame_bytes_max: u32::MAX
            }
        )
        .is_err()
    );
}

#[test]
fn a_slice_that_is_not_one_row_is_not_rewritten() {
    let bytes = encode(&sample()[..1]);
    let mut out = b"before".to_vec();
    assert!(nullify(&bytes[..bytes.len() - 1], &[0], 4, &mut out).is_err());
    assert!(nullify(&[&bytes[..], b"Z"].concat(), &[0], 4, &mut out).is_err());
    assert!(nullify(&bytes[..3], &[0], 4, &mut out).is_err());
    assert!(nullify(&bytes, &[0], 3, &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn what_fails_half_way_leaves_nothing_behind() {
    let bytes = b"D\0\0\0\x10\0\x02\0\0\0\x01a\0\0\0\x09b";
    let (mut out, mut told) = (b"before".to_vec(), 0);
    let rewritten = rewrite(bytes, &[0, 1], 2, &mut out, &mut |_, _, out| {
        told += 1;
        out.extend_from_slice(b"more");
        CellOut::Written
    });
    assert!(rewritten.is_err());
    assert_eq!((told, out.as_slice()), (1, &b"before"[..]));
}

#[test]
fn an_empty_cell_is_not_null() {
    let frame = encode(&[vec![Some(b"x".to_vec()), None]]);
    let mut out = Vec::new();
    rewrite(&frame, &[0, 1], 2, &mut out, &mut |_, _, _| CellOut::Written).unwrap();
    assert_eq!(out, encode(&[vec![Some(Vec::new()), Some(Vec::new())]]));
}

/// Rows of up to six columns, and some of the columns.
fn table() -> impl Strategy<Value = (Vec<Row>, Vec<u16>, u16)> {
    (1_usize..7).prop_flat_map(|width| {
        let cell = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12));
        let rows = proptest::collection::vec(proptest::collection::vec(cell, width), 0..8);
        let columns = proptest::collection::vec(any::<bool>(), width).prop_map(|chosen| {
            (0_u16..)
                .zip(chosen)
                .filter(|(_, yes)| *yes)
                .map(|(column, _)| column)
                .collect()
        });
        (rows, columns, Just(width as u16))
    })
}

proptest! {
    #[test]
    fn any_rows_cut_anywhere_tell_the_same_cells(
        (rows, columns, width) in table(),
        cuts: Vec<prop::sample::Index>,
        pieces_max in 0_usize..4,
    ) {
        let bytes = encode(&rows);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let found = find_in_pieces(&bytes, &cuts, &columns, width, pieces_max).unwrap();
        prop_assert_eq!(found, (rows.len() as u64, expected(&rows, &columns)));
        let hopped = drive(&bytes, &cuts, |bytes, place| hop(bytes, place, &Limits::STREAMED)).unwrap();
        prop_assert_eq!(hopped, (rows.len() as u64, 0, Place::default(), Vec::new()));
    }

    #[test]
    fn nullified_rows_are_rows_with_nulls((mut rows, columns, width) in table()) {
        for row in &mut rows {
            let frame = encode(std::slice::from_ref(row));
            let mut out = b"before".to_vec();
            nullify(&frame, &columns, width, &mut out).unwrap();
            columns.iter().for_each(|column| row[usize::from(*column)] = None);
            prop_assert_eq!(&out[6..], &encode(std::slice::from_ref(row))[..]);
        }
    }

    #[test]
    fn rewritten_rows_are_rows_with_other_cells(
        (mut rows, columns, width) in table(),
        cells: Vec<Option<Vec<u8>>>,
    ) {
        for row in &mut rows {
            let frame = encode(std::slice::from_ref(row));
            let mut out = b"before".to_vec();
            let mut told = Vec::new();
            let new = |index: usize| cells.get(index).cloned().flatten();
            rewrite(&frame, &columns, width, &mut out, &mut |index, old, out| {
                told.push((index, old.map(<[u8]>::to_vec)));
                match new(index) {
                    Some(cell) => {
                        out.extend_from_slice(&cell);
                        CellOut::Written
                    }
                    None => {
                        out.extend_from_slice(b"taken back");
                        CellOut::Null
                    }
                }
            })
            .unwrap();
            let wanted: Vec<_> = columns.iter().map(|column| row[usize::from(*column)].clone()).enumerate().collect();
            prop_assert_eq!(told, wanted);
            for (index, column) in columns.iter().enumerate() {
                row[usize::from(*column)] = new(index);
            }
            prop_assert_eq!(&out[6..], &encode(std::slice::from_ref(row))[..]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_fail_alike(
        cells in proptest::collection::vec(0_u8..5, 0..40),
        count in 0_u8..4,
        cut: prop::sample::Index,
    ) {
        let size = 6 + cells.len() as u8;
        let bytes = [&[b'D', 0, 0, 0, size, 0, count][..], &cells].concat();
        let cut = cut.index(bytes.len());
        for columns in [&[][..], &[0], &[1, 2]] {
            let whole = find_in_pieces(&bytes, &[], columns, 3, 0);
            prop_assert_eq!(find_in_pieces(&bytes, &[cut], columns, 3, 0), whole);
            let _ = nullify(&bytes, columns, 3, &mut Vec::new());
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        let bytes = [&b"D\0\0"[..], &bytes].concat();
        let _ = hop(&bytes, &mut Place::default(), &Limits::STREAMED);
        let _ = find(&bytes, &mut Place::default(), &[0], 1, &mut Cells::default(), &Limits::STREAMED);
        let _ = nullify(&bytes, &[0], 1, &mut Vec::new());
    }
}
