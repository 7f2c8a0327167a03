//! JSON redaction by path: what comes out is a document again, nothing of a redacted value is left, and what is no document is
//! refused whole.

use linegate_policy::redact::{Action, Fill, Redacted, Redactor};

use super::Head;

const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// One number (fill, form and paths), then a document.
pub fn check(data: &[u8]) {
    let mut head = Head(data);
    let choice = head.byte();
    let cell = head.0;
    let fill = match choice % 3 {
        0 => Fill::Null,
        1 => Fill::Blank,
        _ => Fill::Pseudonym,
    };
    let paths = |all: &[&[&str]]| -> Vec<Vec<String>> {
        all.iter()
            .map(|path| path.iter().map(|step| (*step).to_owned()).collect())
            .collect()
    };
    let paths = match choice / 3 % 4 {
        0 => paths(&[&["a"]]),
        1 => paths(&[&["a", "b"], &["c"]]),
        2 => paths(&[&["a", "[*]"], &["[*]", "b"]]),
        _ => paths(&[&["[*]"], &["a", "[*]", "b"], &["\u{e9}"]]),
    };
    let (kind, format) = match choice / 12 % 3 {
        0 => (JSON, 0),
        1 => (JSONB, 0),
        _ => (JSONB, 1),
    };
    let redactor = Redactor::new(Action::Paths(fill), kind, format, &[3; 32]).at(&paths);
    let mut out = b"before".to_vec();
    let redacted = redactor.redact(cell, &mut out);
    assert!(out.starts_with(b"before"));
    let text = &out[6..];
    match redacted {
        Redacted::Null => assert!(text.is_empty()),
        Redacted::Written => {
            assert!(text.len() <= 4 * cell.len() + 64);
            assert!(std::str::from_utf8(if format == 1 { &text[1..] } else { text }).is_ok());
            // Redacted again it stays a document, and with a fill that does not look at the value it stays as it is.
            let mut again = Vec::new();
            assert_eq!(
                redactor.redact(text, &mut again),
                Redacted::Written,
                "not a document any more"
            );
            if matches!(fill, Fill::Null) {
                assert_eq!(again, text);
            }
        }
    }
}
