//! From a RowDescription to the cells that are overwritten.
//! Source: PostgreSQL manual, "Message Formats", RowDescription (B): per field, table OID, attribute number, type OID, format.
//!
//! Each column's origin decides: labelled and masked for the session → redacted in place where its type is text, NULL where
//! it is not; not named by the server in a statement that touches a masked label → the statement is refused, unless its text
//! proves that the column holds no value of any relation. How cells are overwritten is `masking-simd`'s.

use std::fmt;

use crate::labels::{LabelIndex, MaskScope, Origin, RedactSpec};
use crate::statement::OutputColumn;

/// One field of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldOrigin {
    /// `pg_class.oid`, or 0 when the column is not one of a relation.
    pub table_oid: u32,
    /// `pg_attribute.attnum`, or 0.
    pub attribute: i16,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// What happens to a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Every character is overwritten, in place.
    Blank,
    /// All but the last so many characters are overwritten, in place.
    KeepLast(u8),
    /// The cell becomes NULL; the row is rewritten.
    Null,
}

/// One masked column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedColumn {
    /// 0-based.
    pub index: u16,
    /// What happens to its cells.
    pub action: Action,
}

/// What happens to the rows of one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskPlan {
    /// By index, ascending.
    pub columns: Vec<MaskedColumn>,
    /// Columns in every row.
    pub columns_count: u16,
    /// Columns whose origin is masked though the statement's text named no masked relation: to be counted and alarmed about.
    pub unforeseen_count: u16,
}

impl MaskPlan {
    /// Nothing is masked: rows pass by frame headers.
    pub fn is_plain(&self) -> bool {
        self.columns.is_empty()
    }

    /// Some cells change their length, so rows are copied between them.
    pub fn needs_rewrite(&self) -> bool {
        self.columns.iter().any(|column| column.action == Action::Null)
    }
}

/// Why a result cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanRefusal {
    /// A column is computed from relations of which some column is masked.
    UnknownOrigin {
        /// 0-based.
        index: u16,
    },
    /// A column belongs to a view over a masked column.
    Derived {
        /// 0-based.
        index: u16,
    },
    /// A column's relation is newer than the catalog that labels were resolved against.
    StaleCatalog {
        /// 0-based.
        index: u16,
    },
    /// More columns than the protocol can carry.
    TooManyColumns,
}

impl PlanRefusal {
    /// What the client is told.
    pub fn public(&self) -> String {
        match self {
            Self::UnknownOrigin { index } => {
                format!(
                    "result column {} is computed from a relation with masked columns",
                    index + 1
                )
            }
            Self::Derived { index } => {
                format!(
                    "result column {} belongs to a view over masked columns",
                    index + 1
                )
            }
            Self::StaleCatalog { index } => {
                format!(
                    "result column {} belongs to a relation that linegate does not know yet",
                    index + 1
                )
            }
            Self::TooManyColumns => "the result has more columns than the protocol allows".to_owned(),
        }
    }

    /// What the client can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOrigin { .. } | Self::Derived { .. } => {
                Some("Select the columns of the table themselves.")
            }
            Self::StaleCatalog { .. } => Some("Try again in a moment."),
            Self::TooManyColumns => None,
        }
    }

    /// The SQLSTATE of the refusal.
    pub fn sqlstate(&self) -> [u8; 5] {
        match self {
            Self::TooManyColumns => *b"08P01",
            _ => *b"42501",
        }
    }
}

impl fmt::Display for PlanRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

impl std::error::Error for PlanRefusal {}

/// Compiles the plan of one result. `output` is what the statement's text tells of its columns.
pub fn compile(
    fields: &[FieldOrigin],
    labels: &LabelIndex,
    masks: &MaskScope,
    touches_label: bool,
    output: Option<&[OutputColumn]>,
) -> Result<MaskPlan, PlanRefusal> {
    if fields.len() > i16::MAX as usize {
        return Err(PlanRefusal::TooManyColumns);
    }
    let mut plan = MaskPlan {
        columns_count: fields.len() as u16,
        ..MaskPlan::default()
    };
    if masks.is_empty() {
        return Ok(plan);
    }
    let output = output.filter(|output| output.len() == fields.len());
    for (index, field) in (0u16..).zip(fields) {
        if field.table_oid == 0 {
            let is_clean = output.is_some_and(|output| output[usize::from(index)] == OutputColumn::Clean);
            if touches_label && !is_clean {
                return Err(PlanRefusal::UnknownOrigin { index });
            }
            continue;
        }
        let action = match labels.origin(field.table_oid, field.attribute, masks) {
            Origin::Clear => continue,
            Origin::Masked(redact) => action(redact, field),
            Origin::MaskedWhole => Action::Null,
            Origin::Derived => return Err(PlanRefusal::Derived { index }),
            Origin::Unknown => return Err(PlanRefusal::StaleCatalog { index }),
        };
        plan.unforeseen_count += u16::from(!touches_label);
        plan.columns.push(MaskedColumn { index, action });
    }
    Ok(plan)
}

/// The configured redaction where the cell is text that any characters may replace; NULL otherwise.
fn action(redact: RedactSpec, field: &FieldOrigin) -> Action {
    match redact {
        RedactSpec::Blank if is_text(field) => Action::Blank,
        RedactSpec::KeepLast(count) if is_text(field) => Action::KeepLast(count),
        _ => Action::Null,
    }
}

/// Types whose value is its characters, in text and in binary format alike (`pg_type.dat`).
fn is_text(field: &FieldOrigin) -> bool {
    const CHAR: u32 = 18;
    const NAME: u32 = 19;
    const TEXT: u32 = 25;
    const UNKNOWN: u32 = 705;
    const BPCHAR: u32 = 1042;
    const VARCHAR: u32 = 1043;
    matches!(field.type_oid, CHAR | NAME | TEXT | UNKNOWN | BPCHAR | VARCHAR) && matches!(field.format, 0 | 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSpec;
    use crate::labels::tests::{index, shop, specs};

    const TEXT: u32 = 25;
    const JSONB: u32 = 3802;
    const INT4: u32 = 23;

    fn field(table_oid: u32, attribute: i16, type_oid: u32, format: i16) -> FieldOrigin {
        FieldOrigin {
            table_oid,
            attribute,
            type_oid,
            format,
        }
    }

    fn masked(fields: &[FieldOrigin]) -> Result<Vec<(u16, Action)>, PlanRefusal> {
        let plan = compile(fields, &index(), &MaskScope::all(&specs()), true, None)?;
        assert_eq!(usize::from(plan.columns_count), fields.len());
        Ok(plan
            .columns
            .iter()
            .map(|column| (column.index, column.action))
            .collect())
    }

    #[test]
    fn labelled_columns_are_masked_by_type_in_both_formats() {
        for format in [0, 1] {
            let fields = [
                field(10, 1, INT4, format),
                field(10, 3, TEXT, format),
                field(18, 2, 1043, format),
                field(10, 4, JSONB, format),
                field(10, 3, INT4, format),
                field(10, 0, 83_000, format),
            ];
            let expected = [
                (1, Action::Blank),
                (2, Action::KeepLast(4)),
                (3, Action::Null),
                (4, Action::Null),
                (5, Action::Null),
            ];
            assert_eq!(masked(&fields).expect("a plan"), expected, "format {format}");
        }
        assert_eq!(
            masked(&[field(10, 3, TEXT, 7)]),
            Ok(vec![(0, Action::Null)]),
            "a format nobody knows"
        );
    }

    #[test]
    fn a_plan_says_whether_rows_change_their_length() {
        let plan = |fields: &[FieldOrigin]| {
            compile(fields, &index(), &MaskScope::all(&specs()), true, None).expect("a plan")
        };
        assert!(plan(&[field(12, 1, INT4, 0)]).is_plain());
        assert!(!plan(&[field(10, 3, TEXT, 0)]).needs_rewrite());
        assert!(plan(&[field(10, 3, TEXT, 0), field(10, 4, INT4, 0)]).needs_rewrite());
    }

    #[test]
    fn unknown_origins_are_refused_unless_the_text_proves_them_clean() {
        use OutputColumn::{Clean, Computed};
        let fields = [field(10, 1, INT4, 0), field(0, 0, INT4, 0)];
        let check = |output: Option<&[OutputColumn]>, touches| {
            compile(&fields, &index(), &MaskScope::all(&specs()), touches, output).map(|plan| plan.is_plain())
        };
        assert_eq!(check(None, true), Err(PlanRefusal::UnknownOrigin { index: 1 }));
        assert_eq!(
            check(Some(&[Computed, Computed]), true),
            Err(PlanRefusal::UnknownOrigin { index: 1 })
        );
        assert_eq!(
            check(Some(&[Clean]), true),
            Err(PlanRefusal::UnknownOrigin { index: 1 }),
            "lengths differ"
        );
        assert_eq!(check(Some(&[Computed, Clean]), true), Ok(true));
        assert_eq!(check(None, false), Ok(true), "nothing masked is touched");
    }

    #[test]
    fn clean_in_the_text_never_unmasks_a_labelled_origin() {
        let fields = [field(10, 3, TEXT, 0)];
        let output = [OutputColumn::Clean];
        let plan =
            compile(&fields, &index(), &MaskScope::all(&specs()), false, Some(&output)).expect("a plan");
        assert_eq!(
            plan.columns,
            [MaskedColumn {
                index: 0,
                action: Action::Blank
            }]
        );
        assert_eq!(plan.unforeseen_count, 1, "the text named no masked relation");
    }

    #[test]
    fn views_and_new_relations_are_refused() {
        assert_eq!(
            masked(&[field(13, 1, INT4, 0)]),
            Err(PlanRefusal::Derived { index: 0 })
        );
        assert_eq!(
            masked(&[field(12, 1, INT4, 0), field(4711, 1, INT4, 0)]),
            Err(PlanRefusal::StaleCatalog { index: 1 })
        );
        assert_eq!(
            masked(&[field(10, 77, INT4, 0)]),
            Err(PlanRefusal::StaleCatalog { index: 0 })
        );
    }

    #[test]
    fn without_masks_everything_is_plain() {
        let fields = [
            field(10, 3, TEXT, 0),
            field(0, 0, TEXT, 0),
            field(4711, 1, TEXT, 0),
        ];
        let plan =
            compile(&fields, &LabelIndex::default(), &MaskScope::default(), true, None).expect("a plan");
        assert!(plan.is_plain() && plan.columns_count == 3);
    }

    #[test]
    fn null_stays_null_for_text() {
        let mut specs: Vec<LabelSpec> = specs();
        specs[0].redact = RedactSpec::Null;
        let (index, _) = LabelIndex::resolve(&shop(), &specs);
        let plan = compile(
            &[field(10, 3, TEXT, 0)],
            &index,
            &MaskScope::all(&specs),
            true,
            None,
        )
        .expect("a plan");
        assert_eq!(plan.columns[0].action, Action::Null);
    }

    #[test]
    fn more_columns_than_the_protocol_carries_is_refused() {
        let fields = vec![field(12, 1, INT4, 0); i16::MAX as usize + 1];
        assert_eq!(masked(&fields), Err(PlanRefusal::TooManyColumns));
    }
}
