//! Recorded rows as a table.
//!
//! Shape of the input: frames (tag u8 | size i32, counting itself | body) that may be cut anywhere. DataRow (`D`) bodies are
//! columns i16 | { length i32, bytes }*; CopyData (`d`) bodies are shown as they are. Only the first bytes of a frame are kept
//! and only the first characters of a cell are shown.

use std::fmt::Write as _;
use std::io;

/// Bytes kept of one frame.
const FRAME_BYTES_KEPT: usize = 64 << 10;
/// Characters shown of one cell.
const CELL_CHARS_MAX: usize = 120;
/// Columns a DataRow can have.
const COLUMNS_MAX: usize = i16::MAX as usize;

const BOOL: u32 = 16;
const INTEGERS: [u32; 3] = [20, 21, 23];
/// int8, int2, int4, oid, float4, float8, numeric: shown on the right.
const NUMBERS: [u32; 7] = [20, 21, 23, 26, 700, 701, 1700];
/// name, text, json, bpchar, varchar: the binary format is the text.
const TEXTS: [u32; 5] = [19, 25, 114, 1042, 1043];

/// The rows of one result, as far as they are shown.
#[derive(Default)]
pub(super) struct Table {
    names: Vec<String>,
    types: Vec<u32>,
    formats: Vec<u8>,
    has_masked: bool,
    cells: Vec<Vec<String>>,
    rows: u64,
    frames: Frames,
    note: Option<&'static str>,
}

/// Takes frames apart that come in pieces.
#[derive(Default)]
struct Frames {
    /// Where the next piece must start; `None` before the first.
    next_offset: Option<u64>,
    /// Tag, size and the kept start of the body.
    frame: Vec<u8>,
    /// Bytes of the body that were seen.
    seen: usize,
    is_lost: bool,
}

impl Table {
    pub(super) fn columns(&mut self, names: Vec<String>, types: Vec<u32>, masked: &[u16], formats: Vec<u8>) {
        self.has_masked = !masked.is_empty();
        self.names = names.iter().take(COLUMNS_MAX).map(|name| escape(name)).collect();
        for index in masked {
            if let Some(name) = self.names.get_mut(usize::from(*index)) {
                name.push('*');
            }
        }
        (self.types, self.formats) = (types, formats);
    }

    pub(super) fn rows(&mut self, offset: u64, bytes: &[u8], rows_max: usize) {
        if self.frames.is_lost {
            return;
        }
        if self.frames.next_offset.is_some_and(|next| next != offset) {
            // Where the next frame starts is not known.
            self.frames.is_lost = true;
            self.note = Some("rows after this were not recorded");
            return;
        }
        self.frames.next_offset = Some(offset.saturating_add(bytes.len() as u64));
        let mut left = bytes;
        while !left.is_empty() {
            match self.frames.take(&mut left) {
                Ok(true) => self.row(rows_max),
                Ok(false) => {}
                Err(()) => {
                    self.frames.is_lost = true;
                    self.note = Some("rows after this cannot be told apart");
                    return;
                }
            }
        }
    }

    /// Takes up the frame that just became whole.
    fn row(&mut self, rows_max: usize) {
        let (tag, body, size) = self.frames.whole();
        let is_shown = self.cells.len() < rows_max;
        let cells = match tag {
            b'D' if is_shown => self.data_row(body, size),
            b'd' if is_shown => vec![shorten(
                escape_bytes(body.strip_suffix(b"\n").unwrap_or(body)),
                size > body.len(),
            )],
            b'D' | b'd' => Vec::new(),
            _ => return self.frames.clear(),
        };
        self.rows += 1;
        if is_shown {
            self.cells.push(cells);
        }
        self.frames.clear();
    }

    fn data_row(&self, body: &[u8], size: usize) -> Vec<String> {
        let mut cells = Vec::new();
        let Some((count, mut left)) = body.split_first_chunk::<2>() else {
            return cells;
        };
        let count = usize::try_from(i16::from_be_bytes(*count)).unwrap_or(0);
        let is_cut = size > body.len();
        for index in 0..count {
            let Some((length, rest)) = left.split_first_chunk::<4>() else {
                cells.push(if is_cut { "…" } else { "(malformed)" }.to_owned());
                break;
            };
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                cells.push("NULL".to_owned());
                left = rest;
                continue;
            };
            let cell = &rest[..length.min(rest.len())];
            left = &rest[cell.len()..];
            cells.push(shorten(self.cell(index, cell), cell.len() < length));
        }
        cells
    }

    fn cell(&self, index: usize, cell: &[u8]) -> String {
        // As in Bind: no formats is all text, one is for all.
        let format = match &self.formats[..] {
            [one] => *one,
            formats => formats.get(index).copied().unwrap_or(0),
        };
        let kind = self.types.get(index).copied().unwrap_or(0);
        if format == 0 || TEXTS.contains(&kind) {
            return escape_bytes(cell);
        }
        match cell {
            [0 | 1] if kind == BOOL => if cell == [1] { "t" } else { "f" }.to_owned(),
            [_, _] | [_, _, _, _] | [_, _, _, _, _, _, _, _] if INTEGERS.contains(&kind) => {
                let sign = if cell[0] & 0x80 == 0 { 0 } else { -1 };
                cell.iter()
                    .fold(sign, |value: i64, byte| value << 8 | i64::from(*byte))
                    .to_string()
            }
            _ => {
                let kept = &cell[..cell.len().min(CELL_CHARS_MAX)];
                format!("\\x{}", hex::encode(kept))
            }
        }
    }

    /// Prints what there is; `rows` is the number of rows that the result's end told.
    pub(super) fn write(self, out: &mut dyn io::Write, rows: Option<u64>) -> io::Result<()> {
        let shown = self.cells.len() as u64;
        if self.names.is_empty() && self.rows == 0 && self.note.is_none() {
            return Ok(());
        }
        let columns = self
            .cells
            .iter()
            .map(Vec::len)
            .chain([self.names.len()])
            .max()
            .unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in self.cells.iter().chain([&self.names]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |cells: &[String]| {
            let mut line = String::from(" ");
            for (index, width) in widths.iter().enumerate() {
                let cell = cells.get(index).map_or("", String::as_str);
                let is_number = self.types.get(index).is_some_and(|kind| NUMBERS.contains(kind));
                let pad = width - cell.chars().count();
                let (left, right) = if is_number { (pad, 0) } else { (0, pad) };
                let bar = if index == 0 { "" } else { "|" };
                let _ = write!(line, "{bar} {:left$}{cell}{:right$} ", "", "");
            }
            line.truncate(line.trim_end().len());
            line
        };
        if !self.names.is_empty() {
            writeln!(out, " {}", line(&self.names))?;
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            writeln!(out, "  {}", rules.join("+"))?;
        }
        for row in &self.cells {
            writeln!(out, " {}", line(row))?;
        }
        let more = rows.unwrap_or(self.rows).max(self.rows).saturating_sub(shown);
        if more > 0 && self.rows > 0 {
            writeln!(out, "  … {more} more")?;
        }
        if self.has_masked {
            writeln!(out, "  * masked")?;
        }
        self.note.iter().try_for_each(|note| writeln!(out, "  -- {note}"))
    }
}

impl Frames {
    /// Takes bytes of at most one frame from `left`; whether that made it whole. An error is a size no frame can have.
    fn take(&mut self, left: &mut &[u8]) -> Result<bool, ()> {
        const HEADER_BYTES: usize = 5;
        if self.frame.len() < HEADER_BYTES {
            let (head, rest) = left.split_at(left.len().min(HEADER_BYTES - self.frame.len()));
            self.frame.extend_from_slice(head);
            *left = rest;
            if self.frame.len() < HEADER_BYTES {
                return Ok(false);
            }
        }
        let size = self.body_bytes().ok_or(())?;
        let (body, rest) = left.split_at(left.len().min(size - self.seen));
        let kept = self.frame.len() - HEADER_BYTES;
        self.frame
            .extend_from_slice(&body[..body.len().min(FRAME_BYTES_KEPT - kept)]);
        self.seen += body.len();
        *left = rest;
        Ok(self.seen == size)
    }

    /// Bytes that the whole frame's body has.
    fn body_bytes(&self) -> Option<usize> {
        let size = self.frame.get(1..5)?;
        let size = size
            .iter()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        usize::try_from(i32::try_from(size).ok()?.checked_sub(4)?).ok()
    }

    /// Tag, kept start of the body, and size of the whole body.
    fn whole(&self) -> (u8, &[u8], usize) {
        (self.frame[0], &self.frame[5..], self.seen)
    }

    fn clear(&mut self) {
        self.frame.clear();
        self.seen = 0;
    }
}

/// Text that does nothing to a terminal: controls, C1 included, line and direction marks and invisible characters are
/// written out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        push_escaped(&mut out, character);
    }
    out
}

fn push_escaped(out: &mut String, character: char) {
    let _ = match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", character as u32),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => write!(out, "\\u{{{:x}}}", character as u32),
        _ => out.write_char(character),
    };
}

/// As [`escape`]; bytes that are not UTF-8 are written as `\xNN`. Stops soon after what is shown of a cell.
fn escape_bytes(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(4 * CELL_CHARS_MAX + 4)];
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut out, character);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Cuts a cell to what is shown of one.
fn shorten(text: String, is_cut: bool) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None if is_cut => format!("{text}…"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::data_row;

    fn shown(table: Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn of(pieces: &[&[u8]]) -> String {
        let mut table = Table::default();
        let names = ["a", "b"].map(str::to_owned).to_vec();
        table.columns(names, vec![23, 25], &[], vec![0, 0]);
        let mut offset = 0;
        for piece in pieces {
            table.rows(offset, piece, 3);
            offset += piece.len() as u64;
        }
        shown(table)
    }

    #[test]
    fn rows_read_the_same_however_they_are_cut() {
        let rows: Vec<u8> = (0..5)
            .flat_map(|n| data_row(&[Some(format!("{n}").as_bytes()), Some("x\u{e9}\ny".as_bytes())]))
            .collect();
        let whole = of(&[&rows]);
        assert_eq!(whole.lines().count(), 6, "{whole}");
        assert!(whole.contains("… 2 more"), "{whole}");
        for cut in 0..rows.len() {
            assert_eq!(of(&[&rows[..cut], &rows[cut..]]), whole, "cut at byte {cut}");
        }
        assert_eq!(of(&rows.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn binary_cells_are_numbers_text_or_hex() {
        let mut table = Table::default();
        let names = ["i2", "i4", "i8", "b", "t", "uuid", "odd"]
            .map(str::to_owned)
            .to_vec();
        table.columns(names, vec![21, 23, 20, 16, 25, 2950, 23], &[], vec![1]);
        let cells: [&[u8]; 7] = [
            &[0xff, 0xfe],
            &[0, 0, 1, 0],
            &[0xff; 8],
            &[1],
            b"text",
            &[0xde, 0xad],
            &[1, 2, 3],
        ];
        table.rows(0, &data_row(&cells.map(Some)), 10);
        let text = shown(table);
        let row: Vec<_> = text.lines().nth(2).unwrap().split('|').map(str::trim).collect();
        assert_eq!(row, ["-2", "256", "-1", "t", "text", "\\xdead", "\\x010203"]);
    }

    #[test]
    fn a_gap_stops_the_table_and_says_so() {
        let row = data_row(&[Some(b"1"), Some(b"x")]);
        let mut table = Table::default();
        table.rows(0, &row, 10);
        table.rows(row.len() as u64 + 5, &row, 10);
        let text = shown(table);
        assert!(text.contains("-- rows after this were not recorded"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_huge_cell_is_shortened_and_copy_lines_are_shown() {
        let huge = vec![b'h'; 1 << 20];
        let rows = [
            data_row(&[Some(&huge), Some(b"after")]),
            data_row(&[Some(b"2"), Some(b"next")]),
        ]
        .concat();
        let text = of(&[&rows]);
        assert!(
            text.contains(&format!("{}…", "h".repeat(CELL_CHARS_MAX))) && text.contains("next"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() < 300));
        let mut table = Table::default();
        table.rows(0, b"d\x00\x00\x00\x081\t2\n", 10);
        assert_eq!(shown(table), "   1\\t2\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_without_controls(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
            starts_well: bool,
        ) {
            let row = data_row(&[Some(b"1"), None]);
            let mut all: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            if starts_well {
                all.insert(0, &row[..row.len() - 3]);
            }
            let text = of(&all);
            prop_assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
        }

        #[test]
        fn escaped_text_has_no_controls(text: String) {
            let escaped = escape(&text);
            prop_assert!(!escaped.chars().any(char::is_control));
        }
    }
}
