//! Which redaction a cell gets: from what a label asks for, the cell's type and its format.
//! Source: `pg_type.dat` for the object identifiers; a domain has its base type's in a RowDescription.
//!
//! A redaction that does not claim a type becomes NULL there. What is claimed, in text and binary format alike:
//!
//! | redaction | types |
//! |---|---|
//! | blank, keep-last, keep-domain | text, varchar, bpchar, name, "char", unknown |
//! | digits | the same, and int2, int4, int8, numeric without fraction |
//! | pseudonym | text, varchar, bpchar, name, unknown; int2, int4, int8, numeric; uuid; bytea |
//! | date | date, timestamp, timestamptz |
//! | round | int2, int4, int8, numeric, float4, float8 |
//! | constant | all of these and bool, json, jsonb, as far as the text is a value of the type |
//! | by paths | json, jsonb |
//!
//! Arrays, ranges, composites, enums, network types, money and everything else: NULL.

use std::num::NonZeroU64;

use super::constant;
use super::spec::{Constant, DateUnit, Kept, RedactSpec};

/// What happens to a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Every character is overwritten, in place.
    Blank,
    /// All but the last so many characters are overwritten, in place.
    KeepLast(u8),
    /// What stands before `@` is overwritten. The length stays, but the cell must be seen whole: the row is rewritten.
    KeepDomain,
    /// Digits become other digits.
    Digits(Kept),
    /// A date becomes the first day of its month or year.
    Date(DateUnit),
    /// A number goes down to a multiple.
    Round(NonZeroU64),
    /// The value becomes a token.
    Pseudonym,
    /// The value becomes the constant.
    Constant(Constant),
    /// The values at some paths of a document are replaced.
    Paths(Fill),
    /// The cell becomes NULL; the row is rewritten.
    Null,
}

/// What stands in a document for a value that was taken out. JSON's null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// `null`.
    Null,
    /// A string of asterisks as long as the string was; `null` for what is not a string.
    Blank,
    /// A token for strings and numbers, the same as in a text column; `null` for anything else.
    Pseudonym,
    /// A string.
    Constant(Constant),
}

impl Action {
    /// Whether cells are overwritten where they stand, however buffers cut them; otherwise rows are rewritten.
    pub fn is_in_place(self) -> bool {
        matches!(self, Self::Blank | Self::KeepLast(_))
    }
}

/// What a type is to redactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Characters, the same in both formats. A type that the catalog knows as text by another name (citext) may be
    /// given as this.
    Text,
    /// Characters with insignificant spaces at the end.
    Bpchar,
    /// At most 63 bytes.
    Name,
    /// One byte.
    Char,
    /// 16 bits.
    Int2,
    /// 32 bits.
    Int4,
    /// 64 bits.
    Int8,
    /// Decimal digits.
    Numeric,
    /// 32 bits, binary floating point.
    Float4,
    /// 64 bits, binary floating point.
    Float8,
    /// True or false.
    Bool,
    /// A day.
    Date,
    /// A day and a time.
    Timestamp,
    /// A moment.
    TimestampTz,
    /// 128 bits.
    Uuid,
    /// Bytes.
    Bytea,
    /// A document, as it was written.
    Json,
    /// A document, normalised.
    Jsonb,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a built-in type.
    pub fn of(type_oid: u32) -> Self {
        match type_oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            18 => Self::Char,
            19 => Self::Name,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 | 705 | 1043 => Self::Text,
            114 => Self::Json,
            700 => Self::Float4,
            701 => Self::Float8,
            1042 => Self::Bpchar,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => Self::Other,
        }
    }

    /// A value is its characters, in both formats.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Bpchar | Self::Name | Self::Char)
    }

    /// Whole numbers of a machine's size.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }
}

/// A type in one of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The type.
    pub kind: Kind,
    /// The format is binary.
    pub is_binary: bool,
}

impl Form {
    /// `None` for a format that the protocol does not define.
    pub fn of(kind: Kind, format: i16) -> Option<Self> {
        match format {
            0 | 1 => Some(Self {
                kind,
                is_binary: format == 1,
            }),
            _ => None,
        }
    }
}

/// The redaction for a cell of that kind and format: what was asked for where it claims the type, NULL otherwise.
pub fn action(spec: RedactSpec, kind: Kind, format: i16) -> Action {
    let Some(form) = Form::of(kind, format) else {
        return Action::Null;
    };
    let is_number = kind.is_integer() || kind == Kind::Numeric;
    match spec {
        RedactSpec::Blank if kind.is_text() => Action::Blank,
        RedactSpec::KeepLast(count) if kind.is_text() => Action::KeepLast(count),
        RedactSpec::KeepDomain if kind.is_text() => Action::KeepDomain,
        RedactSpec::Digits(kept) if kind.is_text() || is_number => Action::Digits(kept),
        RedactSpec::Date(unit) if matches!(kind, Kind::Date | Kind::Timestamp | Kind::TimestampTz) => {
            Action::Date(unit)
        }
        RedactSpec::Round(step) if is_number || matches!(kind, Kind::Float4 | Kind::Float8) => {
            Action::Round(step)
        }
        RedactSpec::Pseudonym if kind.is_text() && kind != Kind::Char => Action::Pseudonym,
        RedactSpec::Pseudonym if is_number || matches!(kind, Kind::Uuid | Kind::Bytea) => Action::Pseudonym,
        RedactSpec::Constant(text) if constant::encode(text, form).is_some() => Action::Constant(text),
        _ => Action::Null,
    }
}

/// The redaction for a cell of which a label names paths only. In a document what was asked for happens to the values
/// at the paths, or they become null where it has no meaning there; what is no document becomes NULL.
pub fn action_at_paths(spec: RedactSpec, kind: Kind, format: i16) -> Action {
    if Form::of(kind, format).is_none() || !matches!(kind, Kind::Json | Kind::Jsonb) {
        return Action::Null;
    }
    Action::Paths(match spec {
        RedactSpec::Blank => Fill::Blank,
        RedactSpec::Pseudonym => Fill::Pseudonym,
        RedactSpec::Constant(text) => Fill::Constant(text),
        _ => Fill::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [u32; 6] = [18, 19, 25, 705, 1042, 1043];
    const NUMBERS: [u32; 4] = [20, 21, 23, 1700];
    const FLOATS: [u32; 2] = [700, 701];
    const DATES: [u32; 3] = [1082, 1114, 1184];
    const DOCUMENTS: [u32; 2] = [114, 3802];
    /// bool, uuid, bytea.
    const REST: [u32; 3] = [16, 2950, 17];
    /// inet, cidr, macaddr, money, time, timetz, interval, xml, bit, text[], int4[], tsrange, oid, point, record.
    const UNCLAIMED: [u32; 15] = [
        869, 650, 829, 790, 1083, 1266, 1186, 142, 1560, 1009, 1007, 3908, 26, 600, 2249,
    ];

    fn all() -> impl Iterator<Item = u32> {
        let sets: [&[u32]; 7] = [&TEXT, &NUMBERS, &FLOATS, &DATES, &DOCUMENTS, &REST, &UNCLAIMED];
        sets.concat().into_iter()
    }

    #[test]
    fn each_redaction_claims_its_types_and_no_others() {
        let constant = |text| RedactSpec::Constant(Constant::new(text).expect("short"));
        let (kept, step) = (Kept { first: 6, last: 4 }, NonZeroU64::new(1000).expect("a step"));
        let as_constant = |text| Action::Constant(Constant::new(text).expect("short"));
        let word_texts: &[u32] = &[19, 25, 705, 1042, 1043];
        let table: [(RedactSpec, Action, Vec<u32>); 13] = [
            (RedactSpec::Blank, Action::Blank, TEXT.to_vec()),
            (RedactSpec::KeepLast(4), Action::KeepLast(4), TEXT.to_vec()),
            (RedactSpec::KeepDomain, Action::KeepDomain, TEXT.to_vec()),
            (
                RedactSpec::Digits(kept),
                Action::Digits(kept),
                [&TEXT[..], &NUMBERS].concat(),
            ),
            (
                RedactSpec::Date(DateUnit::Month),
                Action::Date(DateUnit::Month),
                DATES.to_vec(),
            ),
            (
                RedactSpec::Round(step),
                Action::Round(step),
                [&NUMBERS[..], &FLOATS].concat(),
            ),
            (
                RedactSpec::Pseudonym,
                Action::Pseudonym,
                [word_texts, &NUMBERS, &[2950, 17]].concat(),
            ),
            (constant("hidden"), as_constant("hidden"), word_texts.to_vec()),
            (
                constant("0"),
                as_constant("0"),
                [&TEXT[..], &NUMBERS, &FLOATS, &DOCUMENTS, &[16]].concat(),
            ),
            (
                constant("1970-01-01"),
                as_constant("1970-01-01"),
                [word_texts, &DATES].concat(),
            ),
            (
                constant("true"),
                as_constant("true"),
                [word_texts, &[16], &DOCUMENTS].concat(),
            ),
            (
                constant("\\x00"),
                as_constant("\\x00"),
                [word_texts, &[17]].concat(),
            ),
            (RedactSpec::Null, Action::Null, vec![]),
        ];
        for (spec, expected, claimed) in table {
            for oid in all() {
                for format in [0, 1] {
                    let given = action(spec, Kind::of(oid), format);
                    let wanted = if claimed.contains(&oid) {
                        expected
                    } else {
                        Action::Null
                    };
                    assert_eq!(given, wanted, "{spec:?}, type {oid}, format {format}");
                }
                for format in [-1, 2, i16::MAX] {
                    assert_eq!(
                        action(spec, Kind::of(oid), format),
                        Action::Null,
                        "a format nobody knows"
                    );
                }
            }
        }
    }

    #[test]
    fn paths_lead_into_documents_only() {
        let constant = Constant::new("gone").expect("short");
        let fills = [
            (RedactSpec::Null, Fill::Null),
            (RedactSpec::Blank, Fill::Blank),
            (RedactSpec::Pseudonym, Fill::Pseudonym),
            (RedactSpec::Constant(constant), Fill::Constant(constant)),
            (RedactSpec::KeepLast(4), Fill::Null),
            (RedactSpec::KeepDomain, Fill::Null),
        ];
        for (spec, fill) in fills {
            for oid in all() {
                let wanted = if DOCUMENTS.contains(&oid) {
                    Action::Paths(fill)
                } else {
                    Action::Null
                };
                for format in [0, 1] {
                    assert_eq!(action_at_paths(spec, Kind::of(oid), format), wanted, "type {oid}");
                }
                assert_eq!(action_at_paths(spec, Kind::of(oid), 2), Action::Null);
            }
        }
    }

    #[test]
    fn only_what_survives_any_cut_is_in_place() {
        assert!(Action::Blank.is_in_place() && Action::KeepLast(4).is_in_place());
        let step = NonZeroU64::MIN;
        for action in [
            Action::KeepDomain,
            Action::Digits(Kept::default()),
            Action::Date(DateUnit::Year),
            Action::Round(step),
            Action::Pseudonym,
            Action::Paths(Fill::Null),
            Action::Null,
        ] {
            assert!(!action.is_in_place(), "{action:?}");
        }
    }
}
