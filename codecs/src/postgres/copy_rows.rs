//! Rows of COPY TO STDOUT: one CopyData message is one row, read cell by cell and written again with other cells.
//!
//! Source: PostgreSQL manual, "COPY", File Formats; "Message Flow", COPY Operations; `copyto.c`.
//! Text: cells between delimiters, control characters, backslash and delimiter behind a backslash, a newline at the end.
//! CSV: the same with quotes instead; a cell that would read as the null string is quoted.
//! Binary, big-endian: columns i16 | { length i32, bytes }*; the first message begins with the signature, the last is -1.
//! Cells that nobody asks for keep the server's own bytes, and are looked at for where they end only. What a server never writes is an
//! error there and in the cells that are asked for.

mod sieve;
mod stops;

use super::error::PostgresError;
use super::rows::CellOut;
pub use sieve::CopySieve;
use stops::{Kinds, Stops};

/// What a binary copy begins with: the signature, flags u32, bytes of an extension u32.
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of a binary copy.
const BINARY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// What ends the data of a text copy in files: quoted, it is a value.
const END_OF_DATA: &[u8] = b"\\.";

/// How cells are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// FORMAT text.
    Text,
    /// FORMAT csv.
    Csv,
    /// FORMAT binary.
    Binary,
}

/// How the rows of one COPY are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyShape {
    /// How cells are written.
    pub format: CopyFormat,
    /// Between cells, in text and CSV.
    pub delimiter: u8,
    /// What stands for NULL, in text and CSV.
    pub null: Box<[u8]>,
    /// Around cells, in CSV.
    pub quote: u8,
    /// Before a quote within a cell, in CSV.
    pub escape: u8,
    /// Cells are quoted whether they must be or not, in CSV.
    pub quotes_all: bool,
    /// The first row holds the names of the columns.
    pub has_header: bool,
    /// Columns of every row.
    pub columns_count: u16,
}

/// Where in the rows of one COPY the last one ended. Useless after an error.
#[derive(Clone, Debug, Default)]
pub struct CopyPlace {
    has_begun: bool,
    has_ended: bool,
    value: Vec<u8>,
    other: Vec<u8>,
}

/// Takes one cell of the columns that were asked for: its index among them, its value, and where another goes.
pub type CopyCell<'c> = dyn FnMut(usize, Option<&[u8]>, &mut Vec<u8>) -> CellOut + 'c;

impl CopyShape {
    /// Appends one row, the payload of a CopyData message, to `out`, with other cells in `columns`, which ascend.
    pub fn rewrite(
        &self,
        place: &mut CopyPlace,
        row: &[u8],
        columns: &[u16],
        out: &mut Vec<u8>,
        cell: &mut CopyCell<'_>,
    ) -> Result<(), PostgresError> {
        let is_first = !std::mem::replace(&mut place.has_begun, true);
        if place.has_ended {
            return Err(invalid("a row behind the last"));
        }
        if self.format == CopyFormat::Binary {
            return self.binary(place, is_first, row, columns, out, cell);
        }
        let Some((b'\n', line)) = row.split_last() else {
            return Err(invalid("the end of a row"));
        };
        let start = out.len();
        match is_first && self.has_header {
            true => self.line(place, line, &[], out, cell)?,
            false => self.line(place, line, columns, out, cell)?,
        }
        debug_assert!(!columns.is_empty() || out[start..] == *line);
        out.push(b'\n');
        Ok(())
    }

    /// Cells between those in `columns` are copied together.
    fn line(
        &self,
        place: &mut CopyPlace,
        line: &[u8],
        columns: &[u16],
        out: &mut Vec<u8>,
        cell: &mut CopyCell<'_>,
    ) -> Result<(), PostgresError> {
        if self.columns_count == 0 && line.is_empty() {
            return Ok(());
        }
        let mut stops = self.stops(line);
        let (mut at, mut count, mut masked, mut copied) = (0, 0_usize, 0, 0);
        loop {
            let end = match self.format {
                CopyFormat::Csv => self.csv_end(&mut stops, line, at)?,
                _ => self.text_end(&mut stops, line)?,
            };
            let is_asked = |column: &u16| usize::from(*column) == count;
            if columns.get(masked).is_some_and(is_asked) {
                out.extend_from_slice(&line[copied..at]);
                copied = end;
                place.other.clear();
                let value = self.value(&line[at..end], &mut place.value)?;
                match (value, cell(masked, value, &mut place.other)) {
                    (Some(_), CellOut::Written) => self.write(&place.other, out),
                    _ => out.extend_from_slice(&self.null),
                }
                masked += 1;
            }
            count += 1;
            if end == line.len() {
                break;
            }
            at = end + 1;
        }
        out.extend_from_slice(&line[copied..]);
        if count != usize::from(self.columns_count) {
            return Err(PostgresError::ColumnsCount {
                declared: u16::try_from(count).unwrap_or(u16::MAX),
                expected: self.columns_count,
            });
        }
        Ok(())
    }

    /// Bytes at which a cell without quotes may end, or has to be looked at.
    fn stops<'l>(&self, line: &'l [u8]) -> Stops<'l> {
        let special = match self.format {
            CopyFormat::Csv => self.quote,
            _ => b'\\',
        };
        Stops::new(line, Kinds::new(special, self.delimiter))
    }

    /// Where the cell ends that nothing of was looked at.
    fn text_end(&self, stops: &mut Stops<'_>, line: &[u8]) -> Result<usize, PostgresError> {
        while let Some(stop) = stops.next() {
            match line[stop] {
                byte if byte == self.delimiter => return Ok(stop),
                b'\\' if stop + 1 < line.len() => stops.seek(stop + 2),
                b'\\' => return Err(invalid("a backslash")),
                b'\n' | b'\r' => return Err(invalid("a line break within a row")),
                _ => {} // a control character that the server would have escaped
            }
        }
        Ok(line.len())
    }

    fn csv_end(&self, stops: &mut Stops<'_>, line: &[u8], at: usize) -> Result<usize, PostgresError> {
        if line.get(at) == Some(&self.quote) {
            let end = self.quoted_end(line, at)?;
            stops.seek(end + 1);
            return match line.get(end) {
                Some(byte) if *byte != self.delimiter => Err(invalid("what follows a quoted cell")),
                _ => Ok(end),
            };
        }
        for stop in stops {
            match line[stop] {
                byte if byte == self.delimiter => return Ok(stop),
                byte if self.is_written_otherwise(byte) => return Err(invalid("a cell without quotes")),
                _ => {}
            }
        }
        Ok(line.len())
    }

    /// What follows the quote that ends the cell at `at`.
    fn quoted_end(&self, line: &[u8], at: usize) -> Result<usize, PostgresError> {
        let mut end = at + 1;
        loop {
            let (Some(byte), next) = (line.get(end), line.get(end + 1)) else {
                return Err(invalid("the end of a quoted cell"));
            };
            let is_escaped = *byte == self.escape && next.is_some_and(|next| self.is_special(*next));
            match is_escaped {
                true => end += 2,
                false if *byte == self.quote => return Ok(end + 1),
                false if *byte == self.escape => return Err(invalid("an escape")),
                false => end += 1,
            }
        }
    }

    /// What a cell holds, given as it is written; `None` is NULL.
    fn value<'v>(&self, raw: &'v [u8], value: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>, PostgresError> {
        if *raw == *self.null {
            return Ok(None);
        }
        let quoted = raw
            .strip_prefix(&[self.quote])
            .and_then(|rest| rest.strip_suffix(&[self.quote]));
        let (inner, escape) = match (self.format, quoted) {
            (CopyFormat::Csv, Some(inner)) => (inner, self.escape),
            (CopyFormat::Csv, None) => return Ok(Some(raw)),
            _ => (raw, b'\\'),
        };
        if !inner.contains(&escape) {
            return Ok(Some(inner));
        }
        value.clear();
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            value.push(match *byte == escape {
                true => self.escaped(bytes.next())?,
                false => *byte,
            });
        }
        Ok(Some(value))
    }

    /// The byte that stands behind an escape.
    fn escaped(&self, byte: Option<&u8>) -> Result<u8, PostgresError> {
        let byte = *byte.ok_or(invalid("an escape"))?;
        if self.format == CopyFormat::Csv {
            return Ok(byte);
        }
        Ok(match byte {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            byte if byte == b'\\' || byte == self.delimiter => byte,
            _ => return Err(invalid("a backslash")),
        })
    }

    /// Whether a cell with that byte, one of [`CopyShape::stops`], may be written in another way than it is.
    fn is_written_otherwise(&self, byte: u8) -> bool {
        let is_mark = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        is_mark || self.format != CopyFormat::Csv || byte == self.quote
    }

    fn is_special(&self, byte: u8) -> bool {
        byte == self.quote || byte == self.escape
    }

    /// Appends a value as the server writes it.
    fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        let is_bare = !self
            .stops(value)
            .any(|stop| self.is_written_otherwise(value[stop]));
        if self.format == CopyFormat::Csv {
            if is_bare && !self.quotes_all && *value != *self.null && value != END_OF_DATA {
                return out.extend_from_slice(value);
            }
            out.push(self.quote);
            for byte in value {
                if self.is_special(*byte) {
                    out.push(self.escape);
                }
                out.push(*byte);
            }
            return out.push(self.quote);
        }
        if is_bare {
            return out.extend_from_slice(value);
        }
        for byte in value {
            let escaped = match byte {
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                byte if *byte == b'\\' || *byte == self.delimiter => *byte,
                byte => {
                    out.push(*byte);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', escaped]);
        }
    }

    fn binary(
        &self,
        place: &mut CopyPlace,
        is_first: bool,
        row: &[u8],
        columns: &[u16],
        out: &mut Vec<u8>,
        cell: &mut CopyCell<'_>,
    ) -> Result<(), PostgresError> {
        let mut rest = row;
        if is_first {
            rest = row.strip_prefix(BINARY_HEADER).ok_or(invalid("the signature"))?;
            out.extend_from_slice(BINARY_HEADER);
        }
        if rest == BINARY_TRAILER {
            place.has_ended = true;
            out.extend_from_slice(rest);
            return Ok(());
        }
        let (count, mut rest) = rest.split_first_chunk().ok_or(invalid("the number of columns"))?;
        if u16::from_be_bytes(*count) != self.columns_count {
            return Err(PostgresError::ColumnsCount {
                declared: u16::from_be_bytes(*count),
                expected: self.columns_count,
            });
        }
        out.extend_from_slice(count);
        let mut masked = 0;
        for column in 0..self.columns_count {
            let mismatch = PostgresError::ChainMismatch { column };
            let (length, after) = rest.split_first_chunk().ok_or(mismatch.clone())?;
            let value = match i32::from_be_bytes(*length) {
                -1 => None,
                bytes => {
                    let bytes = usize::try_from(bytes).map_err(|_| PostgresError::CellLength { column })?;
                    Some(after.get(..bytes).ok_or(mismatch)?)
                }
            };
            rest = &after[value.map_or(0, <[u8]>::len)..];
            let written = if columns.get(masked) == Some(&column) {
                place.other.clear();
                let written = cell(masked, value, &mut place.other);
                masked += 1;
                (value.is_some() && written == CellOut::Written).then_some(&place.other[..])
            } else {
                value
            };
            let bytes = written.map_or(Ok(-1), |value| i32::try_from(value.len()));
            out.extend_from_slice(
                &bytes
                    .map_err(|_| PostgresError::CellLength { column })?
                    .to_be_bytes(),
            );
            out.extend_from_slice(written.unwrap_or_default());
        }
        match rest.len() {
            0 => Ok(()),
            bytes => Err(PostgresError::Trailing {
                message: "CopyData",
                bytes,
            }),
        }
    }
}

fn invalid(field: &'static str) -> PostgresError {
    PostgresError::Invalid {
        message: "CopyData",
        field,
    }
}

#[cfg(test)]
mod tests;
