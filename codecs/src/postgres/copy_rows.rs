//! Rows of COPY TO STDOUT: one CopyData message is one row, read cell by cell and written again with other cells.
//!
//! Source: PostgreSQL manual, "COPY", File Formats; "Message Flow", COPY Operations; `copyto.c`.
//! Text: cells between delimiters, control characters, backslash and delimiter behind a backslash, a newline at the end.
//! CSV: the same with quotes instead; a cell that would read as the null string is quoted.
//! Binary, big-endian: columns i16 | { length i32, bytes }*; the first message begins with the signature, the last is -1.
//! Cells that nobody asks for keep the server's own bytes. What a server never writes is an error here.

mod sieve;

use super::error::PostgresError;
use super::rows::CellOut;
pub use sieve::CopySieve;

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

    fn line(
        &self,
        place: &mut CopyPlace,
        line: &[u8],
        columns: &[u16],
        out: &mut Vec<u8>,
        cell: &mut CopyCell<'_>,
    ) -> Result<(), PostgresError> {
        let (mut at, mut count, mut masked) = (0, 0_usize, 0);
        if self.columns_count == 0 && line.is_empty() {
            return Ok(());
        }
        loop {
            place.value.clear();
            let (end, is_null) = match self.format {
                CopyFormat::Csv => self.csv_cell(line, at, &mut place.value)?,
                _ => self.text_cell(line, at, &mut place.value)?,
            };
            if columns
                .get(masked)
                .is_some_and(|column| usize::from(*column) == count)
            {
                place.other.clear();
                let value = (!is_null).then_some(&place.value[..]);
                match (value, cell(masked, value, &mut place.other)) {
                    (Some(_), CellOut::Written) => self.write(&place.other, out),
                    _ => out.extend_from_slice(&self.null),
                }
                masked += 1;
            } else {
                out.extend_from_slice(&line[at..end]);
            }
            count += 1;
            if end == line.len() {
                break;
            }
            out.push(self.delimiter);
            at = end + 1;
        }
        if count != usize::from(self.columns_count) {
            return Err(PostgresError::ColumnsCount {
                declared: u16::try_from(count).unwrap_or(u16::MAX),
                expected: self.columns_count,
            });
        }
        Ok(())
    }

    /// Where the cell at `at` ends, and whether it is NULL; its value is appended.
    fn text_cell(&self, line: &[u8], at: usize, value: &mut Vec<u8>) -> Result<(usize, bool), PostgresError> {
        let mut end = at;
        while let Some(byte) = line.get(end) {
            match byte {
                b'\\' => end += 2,
                b'\n' | b'\r' => return Err(invalid("a line break within a row")),
                byte if *byte == self.delimiter => break,
                _ => end += 1,
            }
        }
        let raw = line.get(at..end).ok_or(invalid("a backslash"))?;
        if *raw == *self.null {
            return Ok((end, true));
        }
        let mut bytes = raw.iter();
        while let Some(byte) = bytes.next() {
            value.push(match byte {
                b'\\' => match bytes.next() {
                    Some(b'b') => 0x08,
                    Some(b'f') => 0x0c,
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'v') => 0x0b,
                    Some(byte) if *byte == b'\\' || *byte == self.delimiter => *byte,
                    _ => return Err(invalid("a backslash")),
                },
                byte => *byte,
            });
        }
        Ok((end, false))
    }

    fn csv_cell(&self, line: &[u8], at: usize, value: &mut Vec<u8>) -> Result<(usize, bool), PostgresError> {
        if line.get(at) != Some(&self.quote) {
            let rest = &line[at..];
            let bytes = rest.iter().position(|byte| *byte == self.delimiter);
            let raw = &rest[..bytes.unwrap_or(rest.len())];
            if raw.iter().any(|byte| self.is_quoted_for(*byte)) {
                return Err(invalid("a cell without quotes"));
            }
            value.extend_from_slice(raw);
            return Ok((at + raw.len(), *raw == *self.null));
        }
        let mut end = at + 1;
        loop {
            let (Some(byte), next) = (line.get(end), line.get(end + 1)) else {
                return Err(invalid("the end of a quoted cell"));
            };
            let is_special = |byte: &u8| *byte == self.quote || *byte == self.escape;
            match next.filter(|next| *byte == self.escape && is_special(next)) {
                Some(next) => {
                    value.push(*next);
                    end += 2;
                }
                None if *byte == self.quote => {
                    end += 1;
                    break;
                }
                None if *byte == self.escape => return Err(invalid("an escape")),
                None => {
                    value.push(*byte);
                    end += 1;
                }
            }
        }
        match line.get(end) {
            Some(byte) if *byte != self.delimiter => Err(invalid("what follows a quoted cell")),
            _ => Ok((end, false)),
        }
    }

    /// Whether a cell with that byte has quotes around it.
    fn is_quoted_for(&self, byte: u8) -> bool {
        byte == self.delimiter || byte == self.quote || byte == b'\n' || byte == b'\r'
    }

    /// Appends a value as the server writes it.
    fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        if self.format == CopyFormat::Csv {
            let is_bare = !self.quotes_all
                && *value != *self.null
                && value != END_OF_DATA
                && !value.iter().any(|byte| self.is_quoted_for(*byte));
            if is_bare {
                return out.extend_from_slice(value);
            }
            out.push(self.quote);
            for byte in value {
                if *byte == self.quote || *byte == self.escape {
                    out.push(self.escape);
                }
                out.push(*byte);
            }
            return out.push(self.quote);
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
