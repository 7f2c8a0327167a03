//! Writing to standard output: aligned columns for people, JSON for programs.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::failure::Failure;

/// The widest cell in a table; longer text is cut with `…` so that a row stays a row.
const CELL_CHARS_MAX: usize = 72;

/// Writes text to standard output. A reader that has gone (`| head`) is not a failure.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document and a newline.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    write(&format!("{value:#}\n"))
}

/// A heading and rows, padded so that columns line up.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(&heading)
        .chain(rows)
        .map(|row| row.iter().map(|cell| flat(cell)).collect())
        .collect();
    let mut widths = vec![0usize; heading.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(cell);
            row.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.chars().count()) + 2,
            ));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A character as it may be shown: a space for a control character, a mark for one by which a text could be shown as another.
pub(crate) fn printable(c: char) -> char {
    match c {
        c if c.is_control() => ' ',
        c if linegate_identity::is_unprintable(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// One line of printable text: a statement's newlines and any terminal control sequence become spaces.
pub(crate) fn flat(text: &str) -> String {
    let mut line = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == CELL_CHARS_MAX {
            line.push('…');
            break;
        }
        line.push(printable(c));
    }
    line
}

/// A JSON value as a cell: strings without quotes, lists joined, nothing for null.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Rows of cells taken from a list of JSON objects, by field name.
pub(crate) fn rows(list: &[Value], fields: &[&str]) -> Vec<Vec<String>> {
    list.iter()
        .map(|item| fields.iter().map(|field| cell(&item[*field])).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_script() {
        let text = table(
            &["ID", "CHAIN"],
            &[
                vec!["1".into(), "é → b".into()],
                vec!["long-id".into(), "c".into()],
            ],
        );
        assert_eq!(text, "ID       CHAIN\n1        é → b\nlong-id  c\n");
    }

    #[test]
    fn a_statement_cannot_drive_the_terminal_or_break_the_row() {
        assert_eq!(flat("DROP\n\u{1b}[2J x"), "DROP  [2J x");
        assert_eq!(flat("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(flat(&"x".repeat(100)).chars().count(), CELL_CHARS_MAX + 1);
    }
}
