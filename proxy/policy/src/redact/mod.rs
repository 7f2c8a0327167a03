//! What a masked cell becomes when it is not simply overwritten: another value of the same type, in text and binary.
//!
//! `spec` is what a label can ask for, `action` what of it a type can hold, and a [`Redactor`] does it: cell in, cell
//! out. `key` derives what stands for a value; `text`, `digits`, `number`, `calendar`, `uuid`, `json` and `constant` know
//! how values of their types are written. What cannot be read as a value of its type becomes NULL.
//!
//! Units: bytes. A redacted cell is not longer than the old one or 64 bytes, whichever is more. Exceptions: a constant has
//! up to [`Constant::BYTES_MAX`], and a document may grow to four times its bytes and 64. Text is expected in an encoding
//! in which ASCII bytes mean nothing but ASCII; documents must be UTF-8.

mod action;
mod calendar;
mod constant;
mod digits;
mod json;
mod key;
mod number;
mod spec;
mod text;
mod uuid;

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use masking_simd::{Cell, Redaction};

pub use action::{Action, Fill, Kind, action, action_at_paths};
pub use calendar::iso_date;
pub use json::EVERY as EVERY_ELEMENT;
pub use spec::{Constant, DateUnit, Kept, RedactSpec};

use action::Form;
use json::{Filler, Paths};
use key::{Key, Use};

/// What became of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redacted {
    /// It is NULL, and nothing was appended.
    Null,
    /// Its bytes were appended.
    Written,
}

/// Redacts the cells of one column of one result. Made once for a result; a cell costs no allocation but the growth of
/// the buffer that takes it.
#[derive(Clone, Debug)]
pub struct Redactor {
    form: Form,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    Null,
    Overwrite(Redaction),
    KeepDomain,
    Digits(Kept, Key),
    Date(DateUnit),
    Round(NonZeroU64),
    Token(Key),
    Cell(Box<[u8]>),
    Document(Filler, Option<Paths>),
}

impl Redactor {
    /// A redactor for cells of that type and format (0 text, 1 binary). `key` is the deployment's: with the same one,
    /// equal values have equal pseudonyms everywhere. [`Action::Paths`] needs [`Redactor::at`] as well.
    pub fn new(action: Action, type_oid: u32, format: i16, key: &[u8; 32]) -> Self {
        Self::of_kind(action, Kind::of(type_oid), format, key)
    }

    /// As [`Redactor::new`], for a type that has no fixed object identifier, such as citext, which is [`Kind::Text`].
    pub fn of_kind(action: Action, kind: Kind, format: i16, key: &[u8; 32]) -> Self {
        let Some(form) = Form::of(kind, format) else {
            let form = Form {
                kind: Kind::Other,
                is_binary: false,
            };
            return Self {
                form,
                work: Work::Null,
            };
        };
        let is_number = kind.is_integer() || kind == Kind::Numeric;
        let work = match action {
            Action::Blank if kind.is_text() => Work::Overwrite(Redaction::Blank),
            Action::KeepLast(count) if kind.is_text() => Work::Overwrite(Redaction::KeepLast(count)),
            Action::KeepDomain if kind.is_text() => Work::KeepDomain,
            Action::Digits(kept) if kind.is_text() || is_number => {
                Work::Digits(kept, Key::derive(key, Use::Digits))
            }
            Action::Date(unit) => Work::Date(unit),
            Action::Round(step) => Work::Round(step),
            Action::Pseudonym if kind == Kind::Char => Work::Null, // one byte is no token
            Action::Pseudonym if kind.is_text() => Work::Token(Key::derive(key, Use::Text)),
            Action::Pseudonym if is_number => Work::Token(Key::derive(key, Use::Number)),
            Action::Pseudonym if kind == Kind::Uuid => Work::Token(Key::derive(key, Use::Uuid)),
            Action::Pseudonym if kind == Kind::Bytea => Work::Token(Key::derive(key, Use::Bytea)),
            Action::Constant(text) => constant::encode(text, form).map_or(Work::Null, Work::Cell),
            Action::Paths(fill) if matches!(kind, Kind::Json | Kind::Jsonb) => {
                let filler = match fill {
                    Fill::Null | Fill::Blank => Filler::Plain(fill),
                    Fill::Pseudonym => Filler::Token(Key::derive(key, Use::Text)),
                    Fill::Constant(text) => Filler::constant(text.text()),
                };
                Work::Document(filler, None)
            }
            _ => Work::Null,
        };
        Self { form, work }
    }

    /// The paths that [`Action::Paths`] is about, each a list of names and `[*]`. Without paths, or with more than can
    /// be followed, the whole cell becomes NULL.
    #[must_use]
    pub fn at(self, paths: &[Vec<String>]) -> Self {
        let work = match self.work {
            Work::Document(filler, _) => Work::Document(filler, Paths::new(paths)),
            other => other,
        };
        Self { work, ..self }
    }

    /// Whether what stands for a cell depends on what is in it.
    pub fn looks_at_cells(&self) -> bool {
        !matches!(self.work, Work::Null | Work::Cell(_))
    }

    /// Appends what stands for a cell that is not NULL.
    pub fn redact(&self, cell: &[u8], out: &mut Vec<u8>) -> Redacted {
        let start = out.len();
        if self.write(cell, out).is_some() {
            return Redacted::Written;
        }
        out.truncate(start);
        Redacted::Null
    }

    fn write(&self, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let form = self.form;
        match &self.work {
            Work::Null => return None,
            Work::Overwrite(redaction) => {
                let (start, bytes) = (out.len(), u32::try_from(cell.len()).ok()?);
                out.extend_from_slice(cell);
                masking_simd::apply(&mut out[start..], &[Cell::whole(0, bytes, *redaction)]);
            }
            Work::KeepDomain => text::keep_domain(cell, out),
            Work::Digits(kept, key) if form.kind.is_text() => {
                digits::write_text(key, *kept, false, cell, out)
            }
            Work::Digits(kept, key) => digits::write_number(form, key, *kept, cell, out)?,
            Work::Date(unit) => match form.kind {
                Kind::Date | Kind::Timestamp | Kind::TimestampTz => {
                    calendar::generalise(form, *unit, cell, out)?;
                }
                _ => return None,
            },
            Work::Round(step) => number::round(form, *step, cell, out)?,
            Work::Token(key) => match form.kind {
                Kind::Uuid => uuid::pseudonym(form, key, cell, out)?,
                Kind::Bytea => text::pseudonym_bytea(form, key, cell, out)?,
                kind if kind.is_text() => text::pseudonym(kind, key, cell, out),
                _ => number::pseudonym(form, key, cell, out)?,
            },
            Work::Cell(bytes) => out.extend_from_slice(bytes),
            Work::Document(filler, paths) => json::redact(form, paths.as_ref()?, filler, cell, out)?,
        }
        Some(())
    }
}
