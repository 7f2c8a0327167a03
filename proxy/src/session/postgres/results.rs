//! Rows on their way to the client: which cells of a result are overwritten, and the overwriting in place. `whole` makes
//! other cells of them, `copied` those of COPY, `watch` searches those that are not masked.

mod copied;
mod watch;
pub mod whole;

use codecs::postgres::backend::RowDescription;
use codecs::postgres::rows::{CellSink, Hop, Piece, Place, Stop, find};
use codecs::postgres::{Limits, PostgresError};
use linegate_policy::redact::Redactor;
use linegate_policy::{Action, FieldOrigin, MaskPlan, MaskedColumn, PlanRefusal, mask_plan};
use masking_simd::{Cell, Redaction};

pub use self::copied::{Copied, Kept};
pub use self::watch::{Watch, words};
use self::whole::Whole;
use super::Session;
use super::asked::Asked;

/// Cells that are found before they are overwritten; the cells of one row may exceed it.
const CELLS_MAX: usize = 256;

/// What becomes of the rows of one result.
pub enum Plan {
    /// They pass by count.
    Plain,
    /// Some cells are overwritten where they stand.
    InPlace(Masked),
    /// Rows are looked at whole: cells become others, or text is searched.
    Whole(Box<Whole>),
    /// Rows of COPY are read and written again with other cells.
    Copied(Box<Copied>),
    /// The origin of a column cannot be told: no row reaches the client.
    Refused(PlanRefusal),
}

/// Masked columns of a result, all of them overwritten in place.
pub struct Masked {
    columns: Vec<u16>,
    redactions: Vec<Redaction>,
    columns_count: u16,
}

/// What becomes of columns whose relation the newest catalog does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The result is refused.
    Refused,
    /// They are like computed ones: the open transaction made the relation, and it holds nothing labelled.
    Clear,
}

impl Plan {
    /// Compiles the plan for a RowDescription that answers `asked`.
    pub fn compile(
        session: &Session,
        asked: &Asked,
        description: &RowDescription<'_>,
        unseen: Unseen,
    ) -> Self {
        let standing = session.standing.borrow().clone();
        let masks = asked.masks(&standing);
        if masks.is_empty() {
            return Self::Plain;
        }
        let mut fields: Vec<FieldOrigin> = description
            .fields()
            .map(|field| FieldOrigin {
                table_oid: field.table_oid,
                attribute: field.attribute,
                type_oid: field.type_oid,
                format: field.format,
            })
            .collect();
        let touches = asked.may_show_label;
        let compiled = match session.catalog.latest() {
            Some(view) => {
                let is_unseen =
                    |field: &&mut FieldOrigin| view.labels.known_by_oid(field.table_oid).is_none();
                if unseen == Unseen::Clear {
                    for field in fields.iter_mut().filter(is_unseen) {
                        (field.table_oid, field.attribute) = (0, 0);
                    }
                }
                let statement = &asked.decision.statement;
                let output = statement.output.as_deref();
                // Of relations that are not known, nothing that was computed is known.
                let is_strange = asked.has_strangers() && unseen == Unseen::Refused;
                let lineage = asked.lineage().filter(|_| !is_strange);
                let touches = touches || is_strange;
                mask_plan::compile(&fields, &view.labels, &masks, touches, output, lineage)
            }
            None => Err(PlanRefusal::StaleCatalog { index: 0 }),
        };
        match compiled {
            Ok(plan) => {
                note_surprise(session, &plan);
                let watch = Watch::of(&session.target.config, &fields, &plan);
                Self::from_columns(&plan, &fields, watch, &session.core.shared.pseudonym_key)
            }
            Err(refusal) => Self::refused(session, refusal),
        }
    }

    /// Nothing is shown.
    pub fn refused(session: &Session, refusal: PlanRefusal) -> Self {
        session.core.counters.results_refused.one();
        if matches!(refusal, PlanRefusal::StaleCatalog { .. }) {
            session.catalog.mark_stale();
            session
                .core
                .shared
                .wish_catalog(&session.target.config.name, &session.database);
        }
        Self::Refused(refusal)
    }

    fn from_columns(plan: &MaskPlan, fields: &[FieldOrigin], watch: Option<Watch>, key: &[u8; 32]) -> Self {
        if plan.needs_rewrite() {
            let redactor = |column: &MaskedColumn| {
                let field = &fields[usize::from(column.index)];
                Redactor::new(column.action, field.type_oid, field.format, key).at(&column.paths)
            };
            let columns = plan.columns.iter().map(|column| column.index).collect();
            let redactors = plan.columns.iter().map(redactor).collect();
            return Self::Whole(Box::new(Whole::rewriting(
                watch,
                columns,
                redactors,
                plan.columns_count,
            )));
        }
        let masked = (!plan.is_plain()).then(|| Masked {
            columns: plan.columns.iter().map(|column| column.index).collect(),
            redactions: plan
                .columns
                .iter()
                .map(|column| in_place(column.action))
                .collect(),
            columns_count: plan.columns_count,
        });
        match (masked, watch) {
            (None, None) => Self::Plain,
            (Some(masked), None) => Self::InPlace(masked),
            (None, Some(watch)) => Self::Whole(Box::new(Whole::watched(watch))),
            (Some(masked), Some(watch)) => Self::Whole(Box::new(Whole::in_place(watch, masked))),
        }
    }

    /// Indices of masked columns, for the record.
    pub fn masked_columns(&self) -> Vec<u16> {
        match self {
            Self::Plain | Self::Refused(_) => Vec::new(),
            Self::InPlace(masked) => masked.columns.clone(),
            Self::Whole(whole) => whole.masked_columns().to_vec(),
            Self::Copied(copied) => copied.masked_columns().to_vec(),
        }
    }
}

/// Raises the alarm where the server knows of a label and the text was read as if there were none.
fn note_surprise(session: &Session, plan: &MaskPlan) {
    if plan.unforeseen_count > 0 {
        session.core.counters.label_surprises.one();
        tracing::warn!(session = %session.id, "a labelled column came from a statement that was read as clean");
    }
}

/// How a cell is overwritten where it stands. What is not in place never gets here; should it, nothing of it shows.
fn in_place(action: Action) -> Redaction {
    match action {
        Action::KeepLast(count) => Redaction::KeepLast(count),
        _ => Redaction::Blank,
    }
}

struct Sink<'a> {
    cells: &'a mut Vec<Cell>,
    redactions: &'a [Redaction],
}

impl CellSink for Sink<'_> {
    fn cell(&mut self, index: usize, piece: Piece) -> bool {
        let redaction = self.redactions.get(index).copied().unwrap_or(Redaction::Blank);
        self.cells.push(Cell {
            at: piece.at,
            bytes: piece.bytes,
            cell_at: piece.cell_at,
            cell_bytes: piece.cell_bytes,
            redaction,
        });
        self.cells.len() < CELLS_MAX
    }
}

impl Masked {
    /// Finds the masked cells of all rows at the start of `bytes` and overwrites them, a collector full at a time: what was
    /// just found is still in the nearest cache. Never answers with [`Stop::Full`].
    pub fn apply(
        &self,
        bytes: &mut [u8],
        place: &mut Place,
        cells: &mut Vec<Cell>,
        limits: &Limits,
    ) -> Result<Hop, PostgresError> {
        let (mut at, mut rows) = (0, 0);
        loop {
            cells.clear();
            let mut sink = Sink {
                cells,
                redactions: &self.redactions,
            };
            let rest = &mut bytes[at..];
            let hop = find(rest, place, &self.columns, self.columns_count, &mut sink, limits)?;
            masking_simd::apply(rest, cells);
            at += hop.bytes;
            rows += hop.rows;
            if hop.stop != Stop::Full {
                let (bytes, copy_rows) = (at, hop.copy_rows);
                return Ok(Hop {
                    bytes,
                    rows,
                    copy_rows,
                    stop: hop.stop,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::whole::{Next, batch};
    use super::*;
    use linegate_config::{Detectors, OnDetect};
    use linegate_policy::redact::Fill;
    use masking_simd::HitCounts;

    const KEY: [u8; 32] = [7; 32];
    const TEXT: u32 = 25;
    const INT4: u32 = 23;
    const JSONB: u32 = 3802;

    fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (cells.len() as u16).to_be_bytes().to_vec();
        for cell in cells {
            body.extend(cell.map_or(-1, |cell| cell.len() as i32).to_be_bytes());
            body.extend(cell.unwrap_or_default());
        }
        let size = body.len() as u32 + 4;
        [&b"D"[..], &size.to_be_bytes(), &body].concat()
    }

    fn plan(types: &[u32], actions: &[(u16, Action)], detect: Option<OnDetect>) -> Plan {
        let field = |type_oid: &u32| FieldOrigin {
            table_oid: 0,
            attribute: 0,
            type_oid: *type_oid,
            format: 0,
        };
        let fields: Vec<FieldOrigin> = types.iter().map(field).collect();
        let column = |(index, action): &(u16, Action)| MaskedColumn {
            index: *index,
            action: *action,
            paths: vec![vec!["pin".to_owned()]].into(),
        };
        let plan = MaskPlan {
            columns: actions.iter().map(column).collect(),
            columns_count: types.len() as u16,
            unforeseen_count: 0,
        };
        let watch = detect.and_then(|action| Watch::new(Detectors::PERSONAL, action, &fields, &plan));
        Plan::from_columns(&plan, &fields, watch, &KEY)
    }

    fn whole(plan: Plan) -> Box<Whole> {
        match plan {
            Plan::Whole(whole) => whole,
            _ => panic!("rows are not looked at whole"),
        }
    }

    #[test]
    fn a_plan_does_no_more_than_it_must() {
        assert!(matches!(plan(&[TEXT], &[], None), Plan::Plain));
        assert!(matches!(plan(&[INT4], &[], Some(OnDetect::End)), Plan::Plain));
        assert!(matches!(
            plan(&[TEXT], &[(0, Action::Blank)], None),
            Plan::InPlace(_)
        ));
        assert!(!whole(plan(&[TEXT], &[], Some(OnDetect::Count))).rewrites());
        let both = plan(&[TEXT, TEXT], &[(1, Action::Blank)], Some(OnDetect::Count));
        assert_eq!(both.masked_columns(), [1]);
        assert!(!whole(both).rewrites());
        let null = plan(
            &[TEXT, INT4],
            &[(0, Action::KeepLast(2)), (1, Action::Null)],
            None,
        );
        assert_eq!(null.masked_columns(), [0, 1]);
        assert!(whole(null).rewrites());
    }

    #[test]
    fn one_pass_makes_every_cell_of_a_row() {
        let types = [TEXT, INT4, JSONB, TEXT, INT4];
        let actions = [
            (0, Action::KeepLast(2)),
            (1, Action::Null),
            (2, Action::Paths(Fill::Null)),
            (3, Action::Pseudonym),
        ];
        let whole = whole(plan(&types, &actions, None));
        let first = row(&[
            Some(b"secret"),
            Some(b"7"),
            Some(b"{\"pin\": 42}"),
            None,
            Some(b"1"),
        ]);
        let second = row(&[None, None, None, Some(b"secret"), Some(b"2")]);
        let rows = [first, second].concat();
        let mut out = b"before".to_vec();
        assert_eq!(whole.rewrite(&rows, &mut out), Ok((rows.len(), 2)));
        let token = {
            let mut token = Vec::new();
            Redactor::new(Action::Pseudonym, TEXT, 0, &KEY).redact(b"secret", &mut token);
            token
        };
        let first = row(&[Some(b"****et"), None, Some(b"{\"pin\": null}"), None, Some(b"1")]);
        let second = row(&[None, None, None, Some(&token), Some(b"2")]);
        assert_eq!(out, [&b"before"[..], &first, &second].concat());
        assert!(whole.rewrite(&row(&[None]), &mut out).is_err(), "another shape");
    }

    #[test]
    fn a_batch_is_whole_rows_wherever_the_buffer_ends() {
        let one = row(&[Some(b"one")]);
        let rows = [one.clone(), row(&[Some(b"another")])].concat();
        for end in 0..=rows.len() {
            let next = batch(&rows[..end], &Limits::STREAMED).expect("rows");
            let expected = match end {
                0..5 => Next::Need(5),
                end if end < one.len() => Next::Need(one.len()),
                end if end < rows.len() => Next::Rows {
                    bytes: one.len(),
                    rows: 1,
                },
                _ => Next::Rows {
                    bytes: rows.len(),
                    rows: 2,
                },
            };
            assert_eq!(next, expected, "{end} bytes");
        }
        let then = [&one[..], b"C\0\0\0\x05\0"].concat();
        let next = Next::Rows {
            bytes: one.len(),
            rows: 1,
        };
        assert_eq!(batch(&then, &Limits::STREAMED), Ok(next));
        assert_eq!(
            batch(&then[one.len()..], &Limits::STREAMED),
            Ok(Next::Other(b'C'))
        );
        let limits = Limits { frame_bytes_max: 10 };
        assert!(batch(&one, &limits).is_err(), "a row longer than may be held");
        let many = one.repeat(100_000);
        let Ok(Next::Rows { bytes, rows }) = batch(&many, &Limits::STREAMED) else {
            panic!("no rows");
        };
        assert!(
            bytes < 70_000 && bytes == rows as usize * one.len(),
            "a batch is bounded"
        );
    }

    #[test]
    fn masks_come_after_the_search_and_masked_cells_are_not_searched() {
        let both = plan(&[TEXT, TEXT], &[(1, Action::Blank)], Some(OnDetect::Redact));
        let whole = whole(both);
        let mut rows: Vec<u8> = (0..300)
            .flat_map(|_| row(&[Some(b"to a@b.example"), Some(b"c@d.example")]))
            .collect();
        let mut found = HitCounts::default();
        whole.search(&mut rows, &mut found).expect("whole rows");
        whole.overwrite(&mut rows, &mut Vec::new()).expect("whole rows");
        let expected = row(&[Some(b"to ***********"), Some(b"***********")]).repeat(300);
        assert_eq!(rows, expected);
        assert_eq!(words(&found), "email (300)");
    }
}
