//! Rows of COPY that outgrow a buffer, taken in piece by piece without the cells that nobody will look at.
//!
//! What is kept is a row again: text and CSV have a cell that is not NULL in place of what is left out, binary an empty one.

use super::{BINARY_HEADER, CopyFormat, CopyPlace, CopyShape, invalid};
use crate::postgres::error::PostgresError;
use crate::postgres::sieve::{Cells, Keep, Room, SOURCE_BYTES_MAX};

/// Where in a cell the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Start,
    Bare,
    /// Behind a backslash, or behind an escape that is no quote.
    Escaped,
    Quoted,
    /// Behind a quote that ends the cell, or is the first of two.
    Quote,
}

/// Cells of text and CSV.
#[derive(Clone, Debug)]
struct Line {
    keeps: Box<[Keep]>,
    room: Room,
    within: Within,
    column: usize,
    /// What a cell begins with, as much as tells whether it is NULL.
    first: Vec<u8>,
    /// Bytes of the cell so far.
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Walk {
    Line(Line),
    /// So many bytes of the copy's header are left.
    Cells(usize, Cells),
}

/// The payload of one CopyData message of any size.
#[derive(Clone, Debug)]
pub struct CopySieve {
    walk: Walk,
    left: usize,
    row: Vec<u8>,
}

impl CopySieve {
    /// Begins a row whose message has so many bytes of payload. What is kept has at most `max` bytes that are shown.
    pub fn begin(shape: &CopyShape, place: &CopyPlace, payload: usize, keeps: Box<[Keep]>, max: u32) -> Self {
        let header = if place.has_begun { 0 } else { BINARY_HEADER.len() };
        let walk = match shape.format {
            CopyFormat::Binary => Walk::Cells(header, Cells::new(keeps, max)),
            CopyFormat::Text | CopyFormat::Csv => Walk::Line(Line {
                keeps,
                room: Room::new(max),
                within: Within::Start,
                column: 0,
                first: Vec::new(),
                bytes: 0,
            }),
        };
        Self {
            walk,
            left: payload,
            row: Vec::new(),
        }
    }

    /// Takes what comes next; the bytes that are this row's, and whether it is whole.
    pub fn take(&mut self, shape: &CopyShape, bytes: &[u8]) -> Result<(usize, bool), PostgresError> {
        let own = &bytes[..self.left.min(bytes.len())];
        self.left -= own.len();
        let is_whole = self.left == 0;
        match &mut self.walk {
            Walk::Cells(header, cells) => {
                let (first, rest) = own.split_at((*header).min(own.len()));
                self.row.extend_from_slice(first);
                *header -= first.len();
                cells.take(rest, &mut self.row)?;
                if is_whole && !cells.is_whole() {
                    return Err(invalid("the end of a row"));
                }
            }
            Walk::Line(line) => {
                let ends = usize::from(is_whole);
                let Some((cells, end)) = own.split_at_checked(own.len().saturating_sub(ends)) else {
                    return Err(invalid("the end of a row"));
                };
                for byte in cells {
                    line.take(shape, *byte, &mut self.row)?;
                }
                if is_whole {
                    if end != b"\n" {
                        return Err(invalid("the end of a row"));
                    }
                    line.end_cell(shape, &mut self.row)?;
                    self.row.push(b'\n');
                }
            }
        }
        Ok((own.len(), is_whole))
    }

    /// The row with what was kept of it, once it is whole.
    pub fn row(&self) -> &[u8] {
        &self.row
    }
}

impl Line {
    fn take(&mut self, shape: &CopyShape, byte: u8, out: &mut Vec<u8>) -> Result<(), PostgresError> {
        let is_csv = shape.format == CopyFormat::Csv;
        let may_end = matches!(self.within, Within::Start | Within::Bare | Within::Quote);
        if may_end && byte == shape.delimiter {
            self.end_cell(shape, out)?;
            out.push(byte);
            return Ok(());
        }
        self.within = match self.within {
            Within::Start if is_csv && byte == shape.quote => Within::Quoted,
            Within::Start | Within::Bare if !is_csv && byte == b'\\' => Within::Escaped,
            Within::Start | Within::Bare => Within::Bare,
            Within::Escaped if is_csv => Within::Quoted,
            Within::Escaped => Within::Bare,
            Within::Quoted if byte == shape.quote => Within::Quote,
            Within::Quoted if byte == shape.escape => Within::Escaped,
            Within::Quoted => Within::Quoted,
            Within::Quote if byte == shape.quote && shape.quote == shape.escape => Within::Quoted,
            Within::Quote => return Err(invalid("what follows a quoted cell")),
        };
        self.bytes += 1;
        match self.keep()? {
            Keep::Shown => {
                self.room.take(1)?;
                out.push(byte);
            }
            Keep::Source if self.bytes <= SOURCE_BYTES_MAX => out.push(byte),
            Keep::Source if self.bytes == SOURCE_BYTES_MAX + 1 => {
                out.truncate(out.len() - SOURCE_BYTES_MAX);
                out.extend_from_slice(&shape.null);
            }
            Keep::Null if self.first.len() <= shape.null.len() => self.first.push(byte),
            Keep::Source | Keep::Null => {}
        }
        Ok(())
    }

    fn end_cell(&mut self, shape: &CopyShape, out: &mut Vec<u8>) -> Result<(), PostgresError> {
        if matches!(self.within, Within::Escaped | Within::Quoted) {
            return Err(invalid("the end of a cell"));
        }
        if self.keep()? == Keep::Null {
            let is_null = *self.first == *shape.null;
            match (is_null, shape.format) {
                (true, _) => out.extend_from_slice(&shape.null),
                (false, CopyFormat::Csv) => out.extend_from_slice(&[shape.quote, shape.quote]),
                // Nothing that has a meaning of its own, and no delimiter may be a digit.
                (false, _) if *shape.null == *b"0" => out.extend_from_slice(b"00"),
                (false, _) => out.push(b'0'),
            }
        }
        self.first.clear();
        self.bytes = 0;
        self.within = Within::Start;
        self.column += 1;
        Ok(())
    }

    fn keep(&self) -> Result<Keep, PostgresError> {
        let expected = u16::try_from(self.keeps.len()).unwrap_or(u16::MAX);
        self.keeps
            .get(self.column)
            .copied()
            .ok_or(PostgresError::ColumnsCount {
                declared: expected.saturating_add(1),
                expected,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::rows::CellOut;

    const KEEPS: [Keep; 3] = [Keep::Shown, Keep::Null, Keep::Source];

    fn shape(format: CopyFormat) -> CopyShape {
        let is_text = format == CopyFormat::Text;
        CopyShape {
            format,
            delimiter: if is_text { b'\t' } else { b',' },
            null: if is_text { b"\\N".as_slice() } else { b"" }.into(),
            quote: b'"',
            escape: b'"',
            quotes_all: false,
            has_header: false,
            columns_count: 3,
        }
    }

    fn sieved(shape: &CopyShape, row: &[u8], cut: usize, max: u32) -> Result<Vec<u8>, PostgresError> {
        let mut sieve = CopySieve::begin(shape, &CopyPlace::default(), row.len(), KEEPS.into(), max);
        let mut at = 0;
        for end in [cut, row.len()] {
            let (taken, is_whole) = sieve.take(shape, &row[at..end])?;
            at += taken;
            assert_eq!(is_whole, at == row.len());
        }
        Ok(sieve.row().to_vec())
    }

    #[track_caller]
    fn becomes(shape: &CopyShape, row: &[u8], kept: &[u8]) {
        for cut in 0..row.len() {
            assert_eq!(
                sieved(shape, row, cut, 8).as_deref(),
                Ok(kept),
                "{:?} cut at {cut}",
                String::from_utf8_lossy(row)
            );
        }
        // What is kept is a row with the same shape, NULL where there was NULL.
        let mut nulls = Vec::new();
        for row in [row, kept] {
            let (mut out, mut found) = (Vec::new(), Vec::new());
            let mut cell = |_: usize, cell: Option<&[u8]>, _: &mut Vec<u8>| {
                found.push(cell.is_none());
                CellOut::Null
            };
            shape
                .rewrite(&mut CopyPlace::default(), row, &[1], &mut out, &mut cell)
                .expect("a row");
            nulls.push((out, found));
        }
        assert_eq!(nulls[0], nulls[1]);
    }

    #[test]
    fn text() {
        let shape = shape(CopyFormat::Text);
        becomes(&shape, b"a\\tb\tlong long long\tc\n", b"a\\tb\t0\tc\n");
        becomes(&shape, b"\\N\t\\N\t\\N\n", b"\\N\t\\N\t\\N\n");
        becomes(&shape, b"\\\\\t\\\\N and more\t\n", b"\\\\\t0\t\n");
        becomes(&shape, b"\t\t\n", b"\t0\t\n");
        let zero = CopyShape {
            null: (*b"0").into(),
            ..shape
        };
        becomes(&zero, b"0\t0\t0\n", b"0\t0\t0\n");
        becomes(&zero, b"0\t01\t0\n", b"0\t00\t0\n");
    }

    #[test]
    fn csv() {
        let shape = shape(CopyFormat::Csv);
        becomes(&shape, b"a,\"b,\n\"\"x\"\"\",c\n", b"a,\"\",c\n");
        becomes(&shape, b",,\n", b",,\n");
        becomes(&shape, b"\"a,\",\"\",\n", b"\"a,\",\"\",\n");
        becomes(&shape, b"a,some text,\"\"\"\"\n", b"a,\"\",\"\"\"\"\n");
        let slash = CopyShape {
            escape: b'\\',
            ..shape
        };
        becomes(&slash, b"a,\"b\\\",\\\\\",c\n", b"a,\"\",c\n");
        becomes(&slash, b"\"\\\"\",b,c\n", b"\"\\\"\",\"\",c\n");
    }

    #[test]
    fn binary() {
        let shape = shape(CopyFormat::Binary);
        let cells = |cells: [Option<&[u8]>; 3]| {
            let mut row = BINARY_HEADER.to_vec();
            row.extend_from_slice(&3_u16.to_be_bytes());
            for cell in cells {
                let bytes = cell.map_or(-1, |cell| cell.len() as i32);
                row.extend_from_slice(&bytes.to_be_bytes());
                row.extend_from_slice(cell.unwrap_or_default());
            }
            row
        };
        becomes(
            &shape,
            &cells([Some(b"a"), Some(b"long long"), Some(b"c")]),
            &cells([Some(b"a"), Some(b""), Some(b"c")]),
        );
        becomes(&shape, &cells([None; 3]), &cells([None; 3]));
    }

    #[test]
    fn only_what_is_shown_decides_whether_it_fits() {
        let shape = shape(CopyFormat::Text);
        let fits = |row: &str| sieved(&shape, row.as_bytes(), 0, 3).is_ok();
        for dropped in ["", "x", &"x".repeat(1000)] {
            assert!(fits(&format!("123\t{dropped}\t123\n")));
            assert!(!fits(&format!("1234\t{dropped}\t\n")));
            assert!(
                fits(&format!("\t{dropped}\t1234\n")),
                "sources count for themselves"
            );
        }
    }

    #[test]
    fn a_source_that_is_too_large_is_null_whatever_is_beside_it() {
        let (fits, not) = ("x".repeat(SOURCE_BYTES_MAX), "x".repeat(SOURCE_BYTES_MAX + 9));
        for format in [CopyFormat::Text, CopyFormat::Csv] {
            let shape = shape(format);
            let delimiter = char::from(shape.delimiter);
            let row = |cell: &str| format!("a{delimiter}b{delimiter}{cell}\n").into_bytes();
            let kept = |cell: &str| sieved(&shape, &row(cell), 0, 3).expect("a row");
            assert!(kept(&fits).ends_with(b"xx\n"));
            let null = [&[shape.delimiter][..], &shape.null, b"\n"].concat();
            assert!(kept(&not).ends_with(&null) && kept(&not).len() < 12, "{format:?}");
        }
    }

    #[test]
    fn what_a_server_never_writes_is_a_fault() {
        let text = shape(CopyFormat::Text);
        let csv = shape(CopyFormat::Csv);
        assert!(sieved(&text, b"a\tb\tc", 0, 8).is_err(), "no end");
        assert!(sieved(&text, b"a\tb\tc\\\n", 0, 8).is_err(), "a backslash");
        assert!(sieved(&text, b"a\tb\tc\td\n", 0, 8).is_err(), "four cells");
        assert!(sieved(&csv, b"a,\"b\"x,c\n", 0, 8).is_err());
        assert!(sieved(&csv, b"a,b,\"c\n", 0, 8).is_err());
        assert!(sieved(&csv, b"", 0, 8).is_err());
    }
}
