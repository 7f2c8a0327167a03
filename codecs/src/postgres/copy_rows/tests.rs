//! Rows as a server writes them, and what it never writes.

use proptest::prelude::*;

use super::*;

fn shape(format: CopyFormat, columns_count: u16) -> CopyShape {
    let is_csv = format == CopyFormat::Csv;
    CopyShape {
        format,
        delimiter: if is_csv { b',' } else { b'\t' },
        null: Box::from(if is_csv { &b""[..] } else { &b"\\N"[..] }),
        quote: b'"',
        escape: b'"',
        quotes_all: false,
        has_header: false,
        columns_count,
    }
}

type Cells = Vec<Option<Vec<u8>>>;

/// The values of one row, by having every cell replaced by itself, and what that writes.
fn read(shape: &CopyShape, row: &[u8]) -> Result<(Cells, Vec<u8>), PostgresError> {
    let (mut cells, mut out) = (Cells::new(), Vec::new());
    let mut place = CopyPlace {
        has_begun: shape.format == CopyFormat::Binary,
        ..CopyPlace::default()
    };
    let columns: Vec<u16> = (0..shape.columns_count).collect();
    shape.rewrite(&mut place, row, &columns, &mut out, &mut |_, value, out| {
        cells.push(value.map(<[u8]>::to_vec));
        out.extend_from_slice(value.unwrap_or_default());
        CellOut::Written
    })?;
    Ok((cells, out))
}

/// The second cell becomes `other`.
fn with_other(shape: &CopyShape, row: &[u8], other: Option<&[u8]>) -> Result<Vec<u8>, PostgresError> {
    let mut out = Vec::new();
    let mut place = CopyPlace::default();
    shape.rewrite(&mut place, row, &[1], &mut out, &mut |index, _, out| {
        assert_eq!(index, 0);
        match other {
            Some(other) => {
                out.extend_from_slice(other);
                CellOut::Written
            }
            None => CellOut::Null,
        }
    })?;
    Ok(out)
}

#[test]
fn text_is_read_and_written_with_its_escapes() {
    let text = shape(CopyFormat::Text, 3);
    let row = b"a\\tb\\\\c\t\\N\t\\b\\f\\n\\r\\v \n";
    let (cells, again) = read(&text, row).expect("a row");
    assert_eq!(
        cells,
        [
            Some(b"a\tb\\c".to_vec()),
            None,
            Some(b"\x08\x0c\n\r\x0b ".to_vec())
        ]
    );
    assert_eq!(again, row);
    let other = with_other(&text, b"x\\ty\tsecret\t\\N\n", Some(b"*\t\\N\n")).expect("a row");
    assert_eq!(other, b"x\\ty\t*\\t\\\\N\\n\t\\N\n");
    let null = with_other(&text, b"\tsecret\t\n", None).expect("a row");
    assert_eq!(null, b"\t\\N\t\n");
    let stays = with_other(&text, b"\t\\N\t\n", Some(b"shown")).expect("a row");
    assert_eq!(stays, b"\t\\N\t\n", "NULL stays NULL");
    let bars = CopyShape {
        delimiter: b'|',
        null: Box::from(&b""[..]),
        ..shape(CopyFormat::Text, 2)
    };
    let (cells, again) = read(&bars, b"a\\|b|\n").expect("a row");
    assert_eq!(cells, [Some(b"a|b".to_vec()), None]);
    assert_eq!(again, b"a\\|b|\n");
}

#[test]
fn csv_is_read_and_written_with_its_quotes() {
    let csv = shape(CopyFormat::Csv, 3);
    let row = b"a\\b,\"x \"\"y\"\", z\n\",\"\"\n";
    let (cells, again) = read(&csv, row).expect("a row");
    assert_eq!(
        cells,
        [
            Some(b"a\\b".to_vec()),
            Some(b"x \"y\", z\n".to_vec()),
            Some(Vec::new())
        ]
    );
    assert_eq!(again, row);
    for (other, written) in [
        (&b"***"[..], &b"***"[..]),
        (b"", b"\"\""),
        (b"\\.", b"\"\\.\""),
        (b"a,b", b"\"a,b\""),
        (b"a\"b", b"\"a\"\"b\""),
        (b"a\rb", b"\"a\rb\""),
    ] {
        let out = with_other(&csv, b"\"1\",secret,\n", Some(other)).expect("a row");
        assert_eq!(out, [b"\"1\",", written, b",\n"].concat());
    }
    let out = with_other(&csv, b"1,\"secret\",\n", None).expect("a row");
    assert_eq!(out, b"1,,\n");
    let odd = CopyShape {
        escape: b'\\',
        quote: b'\'',
        delimiter: b';',
        null: Box::from(&b"NULL"[..]),
        ..shape(CopyFormat::Csv, 3)
    };
    let (cells, again) = read(&odd, b"'it\\'s \\\\ \"; ';NULL;'NULL'\n").expect("a row");
    let quoted = Some(b"NULL".to_vec());
    assert_eq!(cells, [Some(b"it's \\ \"; ".to_vec()), None, quoted]);
    assert_eq!(again, b"'it\\'s \\\\ \"; ';NULL;'NULL'\n");
    let all = CopyShape {
        quotes_all: true,
        ..shape(CopyFormat::Csv, 2)
    };
    assert_eq!(
        with_other(&all, b"\"1\",\"2\"\n", Some(b"*")),
        Ok(b"\"1\",\"*\"\n".to_vec())
    );
}

#[test]
fn a_header_passes_once() {
    let named = CopyShape {
        has_header: true,
        ..shape(CopyFormat::Csv, 2)
    };
    let (mut place, mut out) = (CopyPlace::default(), Vec::new());
    for row in [&b"id,ssn\n"[..], b"1,secret\n", b"2,secret\n"] {
        let mask = &mut |_: usize, _: Option<&[u8]>, out: &mut Vec<u8>| {
            out.push(b'*');
            CellOut::Written
        };
        named
            .rewrite(&mut place, row, &[1], &mut out, mask)
            .expect("a row");
    }
    assert_eq!(out, b"id,ssn\n1,*\n2,*\n");
    let mut place = CopyPlace::default();
    let three = named.rewrite(&mut place, b"id,ssn,x\n", &[1], &mut out, &mut |_, _, _| {
        CellOut::Null
    });
    assert!(three.is_err(), "a header of another shape");
}

fn tuple(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        bytes.extend(cell.map_or(-1, |cell| cell.len() as i32).to_be_bytes());
        bytes.extend(cell.unwrap_or_default());
    }
    bytes
}

#[test]
fn a_binary_copy_has_one_signature_and_one_end() {
    let binary = shape(CopyFormat::Binary, 2);
    let first = [
        &BINARY_HEADER[..],
        &tuple(&[Some(b"\0\0\0\x01"), Some(b"secret")]),
    ]
    .concat();
    let rows = [first, tuple(&[None, None]), BINARY_TRAILER.to_vec()];
    let (mut place, mut out) = (CopyPlace::default(), Vec::new());
    let mut mask = |_: usize, value: Option<&[u8]>, out: &mut Vec<u8>| {
        out.resize(value.map_or(0, <[u8]>::len), b'*');
        CellOut::Written
    };
    for row in &rows {
        binary
            .rewrite(&mut place, row, &[1], &mut out, &mut mask)
            .expect("a row");
    }
    let expected = [
        &BINARY_HEADER[..],
        &tuple(&[Some(b"\0\0\0\x01"), Some(b"******")]),
        &tuple(&[None, None]),
        &BINARY_TRAILER,
    ];
    assert_eq!(out, expected.concat());
    assert!(
        binary
            .rewrite(&mut place, &rows[1], &[1], &mut out, &mut mask)
            .is_err(),
        "behind the end"
    );
    let empty = [&BINARY_HEADER[..], &BINARY_TRAILER].concat();
    let mut place = CopyPlace::default();
    assert_eq!(
        binary.rewrite(&mut place, &empty, &[1], &mut Vec::new(), &mut mask),
        Ok(())
    );
    for bad in [
        tuple(&[None, None]),
        BINARY_HEADER.to_vec(),
        [&BINARY_HEADER[..], &tuple(&[None])].concat(),
        [&BINARY_HEADER[..], &tuple(&[None, None]), b"x"].concat(),
        [&BINARY_HEADER[..], b"\0\x02\xff\xff\xff\xfe\0\0\0\0"].concat(),
        [&BINARY_HEADER[..], b"\0\x02\0\0\0\x09\0\0\0\0"].concat(),
    ] {
        let mut place = CopyPlace::default();
        let read = binary.rewrite(&mut place, &bad, &[1], &mut Vec::new(), &mut mask);
        assert!(read.is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn what_a_server_never_writes_is_an_error() {
    let text = shape(CopyFormat::Text, 2);
    for bad in [
        &b""[..],
        b"a\tb",
        b"a\n",
        b"a\tb\tc\n",
        b"a\tb\\\n",
        b"a\t\\x41\n",
        b"a\t\\101\n",
        b"a\nb\tc\n",
        b"a\t\\N \n",
    ] {
        assert!(read(&text, bad).is_err(), "{}", bad.escape_ascii());
    }
    let csv = shape(CopyFormat::Csv, 2);
    for bad in [
        &b"a,b"[..],
        b"a\n",
        b"a,b,c\n",
        b"a,\"b\n",
        b"a,\"b\"c\n",
        b"a,b\"c\n",
        b"a,b\rc\n",
        b"a\n,b\n",
        b"a,\"b\"\"\n",
    ] {
        assert!(read(&csv, bad).is_err(), "{}", bad.escape_ascii());
    }
}

/// A row as the server writes it, written by other code than what is tested.
fn written(shape: &CopyShape, cells: &Cells) -> Vec<u8> {
    let mut row = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            row.push(shape.delimiter);
        }
        let Some(value) = cell else {
            row.extend_from_slice(&shape.null);
            continue;
        };
        if shape.format == CopyFormat::Text {
            let letters = [
                (8, b'b'),
                (12, b'f'),
                (10, b'n'),
                (13, b'r'),
                (9, b't'),
                (11, b'v'),
            ];
            for byte in value {
                match letters.iter().find(|(control, _)| control == byte) {
                    Some((_, letter)) => row.extend([b'\\', *letter]),
                    None if [b'\\', shape.delimiter].contains(byte) => row.extend([b'\\', *byte]),
                    None => row.push(*byte),
                }
            }
            continue;
        }
        let special = [shape.delimiter, shape.quote, b'\n', b'\r'];
        let quotes = shape.quotes_all
            || value[..] == *shape.null
            || value == b"\\."
            || value.iter().any(|byte| special.contains(byte));
        row.extend(quotes.then_some(shape.quote));
        for byte in value {
            let is_escaped = quotes && [shape.quote, shape.escape].contains(byte);
            row.extend(is_escaped.then_some(shape.escape));
            row.push(*byte);
        }
        row.extend(quotes.then_some(shape.quote));
    }
    row.push(b'\n');
    row
}

fn shapes() -> impl Strategy<Value = CopyShape> {
    let text = (prop::sample::select(b"\t|,;~".to_vec()), any::<bool>()).prop_map(|(delimiter, has_null)| {
        let null: &[u8] = if has_null { b"\\N" } else { b"\\NULL" };
        CopyShape {
            delimiter,
            null: Box::from(null),
            ..shape(CopyFormat::Text, 0)
        }
    });
    let marks = prop::sample::select(vec![(b'"', b'"'), (b'"', b'\\'), (b'\'', b'"'), (b'$', b'$')]);
    let nulls = prop::sample::select(vec!["", "NULL", "\\N", "x"]);
    let csv = (
        prop::sample::select(b",;\t|".to_vec()),
        marks,
        nulls,
        any::<bool>(),
    )
        .prop_map(|(delimiter, (quote, escape), null, quotes_all)| CopyShape {
            delimiter,
            null: Box::from(null.as_bytes()),
            quote,
            escape,
            quotes_all,
            ..shape(CopyFormat::Csv, 0)
        });
    prop_oneof![text, csv]
}

fn values() -> impl Strategy<Value = Cells> {
    let byte = prop_oneof![
        prop::sample::select(b"\t\n\r\x08\x0b\x0c\\,;|\"'$~.Nx ".to_vec()),
        any::<u8>().prop_filter("no NUL", |byte| *byte != 0),
    ];
    let value = prop_oneof![
        prop::collection::vec(byte, 0..12),
        prop::sample::select(vec![
            b"\\.".to_vec(),
            b"\\N".to_vec(),
            b"NULL".to_vec(),
            Vec::new()
        ]),
    ];
    prop::collection::vec(prop::option::weighted(0.8, value), 1..6)
}

proptest! {
    #[test]
    fn a_row_is_read_as_it_was_meant_and_written_as_it_was(mut shape in shapes(), cells in values()) {
        shape.columns_count = cells.len() as u16;
        let row = written(&shape, &cells);
        let (found, again) = read(&shape, &row).expect("a row");
        prop_assert_eq!(&found, &cells);
        prop_assert_eq!(&again, &row);
        let (mut place, mut out) = (CopyPlace::default(), Vec::new());
        shape.rewrite(&mut place, &row, &[], &mut out, &mut |_, _, _| CellOut::Null).expect("a row");
        prop_assert_eq!(&out, &row);
    }

    #[test]
    fn other_cells_read_back_as_they_are(mut shape in shapes(), cells in values(), others in values()) {
        shape.columns_count = cells.len() as u16;
        let row = written(&shape, &cells);
        let columns: Vec<u16> = (0..shape.columns_count).step_by(2).collect();
        let (mut place, mut out) = (CopyPlace::default(), Vec::new());
        let other = |index: usize| others[index % others.len()].clone();
        shape.rewrite(&mut place, &row, &columns, &mut out, &mut |index, _, out| match other(index) {
            Some(value) => {
                out.extend_from_slice(&value);
                CellOut::Written
            }
            None => CellOut::Null,
        }).expect("a row");
        let expected: Cells = cells.iter().enumerate().map(|(index, cell)| match index % 2 {
            0 => cell.as_ref().and_then(|_| other(index / 2)),
            _ => cell.clone(),
        }).collect();
        let (found, _) = read(&shape, &out).expect("what was written is a row");
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(mut shape in shapes(), row in prop::collection::vec(any::<u8>(), 0..60)) {
        shape.columns_count = 2;
        let _ = read(&shape, &row);
        let binary = super::tests::shape(CopyFormat::Binary, 2);
        let _ = read(&binary, &row);
    }
}
