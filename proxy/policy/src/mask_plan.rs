//! From a RowDescription to the cells that are overwritten.
//! Source: PostgreSQL manual, "Message Formats", RowDescription (B): per field, table OID, attribute number, type OID, format.
//!
//! Each column's origin decides: labelled and masked for the session → redacted as its label asks. Where the server names no
//! origin, in a statement that touches a masked label, the statement's lineage decides: clean → as it is; exactly a labelled
//! column → as that label asks; computed from one → NULL; not told → refused. How cells are overwritten is `masking-simd`'s,
//! what else becomes of them `redact`'s.

use std::fmt;
use std::sync::Arc;

use crate::labels::{LabelIndex, MaskScope, Origin, RedactSpec};
use crate::lineage::{ColumnId, Flow, Lineage};
use crate::redact::{self, Kind};
use crate::statement::OutputColumn;

pub use crate::redact::Action;

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

/// One masked column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedColumn {
    /// 0-based.
    pub index: u16,
    /// What happens to its cells.
    pub action: Action,
    /// With [`Action::Paths`], the places in a document that it happens to; otherwise none.
    pub paths: Arc<[Vec<String>]>,
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
        self.columns.iter().any(|column| !column.action.is_in_place())
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
    /// What a COPY sends is not what was described before it was sent.
    Changed,
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
            Self::Changed => "what this COPY sends is not what was described for it".to_owned(),
            Self::TooManyColumns => "the result has more columns than the protocol allows".to_owned(),
        }
    }

    /// What the client can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOrigin { .. } | Self::Derived { .. } => {
                Some("Select the columns of the table themselves.")
            }
            Self::StaleCatalog { .. } => {
                Some("Commit first if this transaction has made or renamed it; else try again in a moment.")
            }
            Self::Changed => Some("Try again in a moment."),
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

/// Compiles the plan of one result. `output` is what the statement's text alone tells of its columns, `lineage` what it tells
/// with the catalog that `labels` is from.
pub fn compile(
    fields: &[FieldOrigin],
    labels: &LabelIndex,
    masks: &MaskScope,
    touches_label: bool,
    output: Option<&[OutputColumn]>,
    lineage: Option<&Lineage>,
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
    let flows = lineage
        .filter(|lineage| lineage.unknown.is_empty())
        .and_then(|lineage| lineage.outputs.as_deref())
        .filter(|flows| flows.len() == fields.len());
    for (index, field) in (0u16..).zip(fields) {
        let place = usize::from(index);
        let flow = flows.map(|flows| &flows[place]);
        if field.table_oid == 0 {
            let is_clean = output.is_some_and(|output| output[place] == OutputColumn::Clean);
            let redact = match flow {
                Some(flow) => labels.redaction(flow, masks),
                None if touches_label && !is_clean => return Err(PlanRefusal::UnknownOrigin { index }),
                None => None,
            };
            let column = match flow {
                Some(Flow::Exactly(column)) => Some(*column),
                _ => None,
            };
            plan.columns
                .extend(redact.map(|redact| masked(index, redact, field, column, labels, masks)));
            continue;
        }
        let column = match labels.origin(field.table_oid, field.attribute, masks) {
            Origin::Clear => continue,
            Origin::Masked(redact) => {
                let column = ColumnId {
                    relation: field.table_oid,
                    attribute: field.attribute,
                };
                masked(index, redact, field, Some(column), labels, masks)
            }
            Origin::MaskedWhole => masked(index, RedactSpec::Null, field, None, labels, masks),
            Origin::Derived => return Err(PlanRefusal::Derived { index }),
            Origin::Unknown => return Err(PlanRefusal::StaleCatalog { index }),
        };
        let is_contradicted = matches!(flow, Some(Flow::Clean));
        plan.unforeseen_count += u16::from(!touches_label || is_contradicted);
        plan.columns.push(column);
    }
    Ok(plan)
}

/// Compiles the plan of a COPY's rows, whose fields another statement described: what the lineage calls labelled and the
/// description does not is refused, since that may have been of something else.
pub fn compile_copy(
    fields: &[FieldOrigin],
    labels: &LabelIndex,
    masks: &MaskScope,
    lineage: Option<&Lineage>,
) -> Result<MaskPlan, PlanRefusal> {
    let plan = compile(fields, labels, masks, true, None, lineage)?;
    let flows = lineage
        .filter(|lineage| lineage.unknown.is_empty())
        .and_then(|lineage| lineage.outputs.as_deref())
        .filter(|flows| flows.len() == fields.len())
        .ok_or(PlanRefusal::Changed)?;
    for (index, flow) in (0u16..).zip(flows) {
        let is_masked = plan.columns.iter().any(|column| column.index == index);
        if !is_masked && labels.redaction(flow, masks).is_some() {
            return Err(PlanRefusal::UnknownOrigin { index });
        }
    }
    Ok(plan)
}

/// What was asked for, as far as the column's type can hold it. Where labels are about places in the documents of
/// `column`, only these are redacted.
fn masked(
    index: u16,
    redact: RedactSpec,
    field: &FieldOrigin,
    column: Option<ColumnId>,
    labels: &LabelIndex,
    masks: &MaskScope,
) -> MaskedColumn {
    let kind = Kind::of(field.type_oid);
    let paths = column.and_then(|column| labels.redacted_paths(column, masks));
    let action = match &paths {
        Some(_) => redact::action_at_paths(redact, kind, field.format),
        None => redact::action(redact, kind, field.format),
    };
    let paths = paths.filter(|_| matches!(action, Action::Paths(_)));
    MaskedColumn {
        index,
        action,
        paths: paths.unwrap_or_default().into(),
    }
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
        let plan = compile(fields, &index(), &MaskScope::all(&specs()), true, None, None)?;
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
            compile(fields, &index(), &MaskScope::all(&specs()), true, None, None).expect("a plan")
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
            compile(
                &fields,
                &index(),
                &MaskScope::all(&specs()),
                touches,
                output,
                None,
            )
            .map(|plan| plan.is_plain())
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
    fn without_an_origin_the_lineage_decides() {
        use crate::lineage::ColumnId;
        let email = ColumnId {
            relation: 10,
            attribute: 3,
        };
        let lineage = |flows: Vec<Flow>, unknown: Vec<&'static str>| Lineage {
            outputs: Some(flows),
            unknown,
            ..Lineage::default()
        };
        let flows = vec![Flow::Clean, Flow::Exactly(email), Flow::Tainted([email].into())];
        let fields = [field(0, 0, INT4, 0), field(0, 0, TEXT, 0), field(0, 0, TEXT, 0)];
        let plan = |lineage: &Lineage, masks: &MaskScope| {
            compile(&fields, &index(), masks, true, None, Some(lineage)).map(|plan| {
                let columns = plan.columns.iter();
                columns
                    .map(|column| (column.index, column.action))
                    .collect::<Vec<_>>()
            })
        };
        let masks = MaskScope::all(&specs());
        let told = lineage(flows.clone(), Vec::new());
        assert_eq!(
            plan(&told, &masks),
            Ok(vec![(1, Action::Blank), (2, Action::Null)])
        );
        assert_eq!(
            plan(&told, &MaskScope::all(&specs()[1..])),
            Ok(Vec::new()),
            "e-mail is not hidden"
        );
        let refused = Err(PlanRefusal::UnknownOrigin { index: 0 });
        assert_eq!(plan(&lineage(flows.clone(), vec!["a phrase"]), &masks), refused);
        assert_eq!(
            plan(&lineage(flows[..2].to_vec(), Vec::new()), &masks),
            refused,
            "lengths differ"
        );
        let named = [field(10, 3, TEXT, 0)];
        let clean = lineage(vec![Flow::Clean], Vec::new());
        let plan = compile(&named, &index(), &masks, true, None, Some(&clean)).expect("a plan");
        assert_eq!(
            (plan.columns.len(), plan.unforeseen_count),
            (1, 1),
            "the server knows better"
        );
    }

    #[test]
    fn a_copy_is_what_both_its_text_and_its_description_say() {
        use crate::lineage::ColumnId;
        let email = ColumnId {
            relation: 10,
            attribute: 3,
        };
        let plan = |fields: &[FieldOrigin], flows: Option<Vec<Flow>>| {
            let lineage = Lineage {
                outputs: flows,
                ..Lineage::default()
            };
            let masks = MaskScope::all(&specs());
            let plan = compile_copy(fields, &index(), &masks, Some(&lineage))?;
            Ok(plan.columns.iter().map(|column| column.index).collect::<Vec<_>>())
        };
        let (labelled, clear) = (field(10, 3, TEXT, 0), field(10, 1, INT4, 0));
        let flows = || Some(vec![Flow::Clean, Flow::Exactly(email)]);
        assert_eq!(plan(&[clear, labelled], flows()), Ok(vec![1]));
        assert_eq!(plan(&[labelled, labelled], flows()), Ok(vec![0, 1]));
        let other = Err(PlanRefusal::UnknownOrigin { index: 1 });
        assert_eq!(
            plan(&[labelled, clear], flows()),
            other,
            "something else was described"
        );
        let computed = Some(vec![Flow::Clean, Flow::Tainted([email].into())]);
        assert_eq!(plan(&[clear, clear], computed.clone()), other);
        assert_eq!(plan(&[clear, field(0, 0, TEXT, 0)], computed), Ok(vec![1]));
        assert_eq!(plan(&[clear], flows()), Err(PlanRefusal::Changed));
        assert_eq!(plan(&[clear], None), Err(PlanRefusal::Changed));
    }

    #[test]
    fn clean_in_the_text_never_unmasks_a_labelled_origin() {
        let fields = [field(10, 3, TEXT, 0)];
        let output = [OutputColumn::Clean];
        let plan = compile(
            &fields,
            &index(),
            &MaskScope::all(&specs()),
            false,
            Some(&output),
            None,
        )
        .expect("a plan");
        assert_eq!(
            plan.columns,
            [MaskedColumn {
                index: 0,
                action: Action::Blank,
                paths: Arc::default(),
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
        let plan = compile(
            &fields,
            &LabelIndex::default(),
            &MaskScope::default(),
            true,
            None,
            None,
        )
        .expect("a plan");
        assert!(plan.is_plain() && plan.columns_count == 3);
    }

    #[test]
    fn labels_with_paths_redact_places_in_documents_and_other_values_whole() {
        use crate::redact::Fill;
        let mut specs: Vec<LabelSpec> = specs();
        let path = vec!["cards".to_owned(), "[*]".to_owned(), "number".to_owned()];
        specs[0].redact = RedactSpec::Pseudonym;
        specs[0].paths = vec![path.clone()];
        let twin = LabelSpec {
            name: "whole".into(),
            paths: Vec::new(),
            ..specs[0].clone()
        };
        specs.push(twin);
        let (index, _) = LabelIndex::resolve(&shop(), &specs);
        let (relation, attribute) = (10, 3);
        let id = ColumnId { relation, attribute };
        assert_eq!(
            index.paths(id),
            None,
            "one of its labels is about the whole value"
        );
        let (one, both) = (&specs[..1], &specs[..]);
        let compiled = |type_oid, scope: &[LabelSpec], from: Option<Flow>| {
            let origin = if from.is_some() { 0 } else { relation };
            let lineage = from.map(|flow| Lineage {
                outputs: Some(vec![flow]),
                ..Lineage::default()
            });
            let fields = [field(
                origin,
                if origin == 0 { 0 } else { attribute },
                type_oid,
                1,
            )];
            let masks = MaskScope::all(scope);
            let plan = compile(&fields, &index, &masks, true, None, lineage.as_ref()).expect("a plan");
            (plan.columns[0].action, plan.columns[0].paths.to_vec())
        };
        let at_paths = (Action::Paths(Fill::Pseudonym), vec![path]);
        assert_eq!(compiled(JSONB, one, None), at_paths);
        assert_eq!(compiled(JSONB, one, Some(Flow::Exactly(id))), at_paths);
        let whole = (Action::Null, Vec::new());
        assert_eq!(compiled(JSONB, one, Some(Flow::Tainted([id].into()))), whole);
        assert_eq!(compiled(TEXT, one, None), whole, "no document");
        assert_eq!(
            compiled(JSONB, both, None),
            whole,
            "the other label hides all of it"
        );
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
