//! Rows on their way to the client: which cells of a result are overwritten, and the overwriting.

use codecs::postgres::backend::RowDescription;
use codecs::postgres::rows::{CellSink, Hop, Piece, Place, find, nullify};
use codecs::postgres::{Limits, PostgresError};
use linegate_policy::{Action, FieldOrigin, MaskPlan, PlanRefusal, mask_plan};
use masking_simd::{Cell, Redaction};

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
    /// Some cells become NULL, so rows are copied.
    Rewrite(Masked),
    /// The origin of a column cannot be told: no row reaches the client.
    Refused(PlanRefusal),
}

/// Masked columns of a result.
pub struct Masked {
    columns: Vec<u16>,
    redactions: Vec<Redaction>,
    null_columns: Vec<u16>,
    columns_count: u16,
}

impl Plan {
    /// Compiles the plan for a RowDescription that answers `asked`.
    pub fn compile(session: &Session, asked: &Asked, description: &RowDescription<'_>) -> Self {
        let standing = session.standing.borrow().clone();
        if standing.masks.is_empty() {
            return Self::Plain;
        }
        let fields: Vec<FieldOrigin> = description
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
                let statement = &asked.decision.statement;
                let (output, lineage) = (statement.output.as_deref(), statement.lineage.as_ref());
                mask_plan::compile(&fields, &view.labels, &standing.masks, touches, output, lineage)
            }
            None => Err(PlanRefusal::StaleCatalog { index: 0 }),
        };
        match compiled {
            Ok(plan) => {
                if plan.unforeseen_count > 0 {
                    session.core.counters.label_surprises.one();
                    tracing::warn!(session = %session.id, "a labelled column came from a statement that was read as clean");
                }
                Self::from_columns(&plan)
            }
            Err(refusal) => {
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
        }
    }

    fn from_columns(plan: &MaskPlan) -> Self {
        if plan.is_plain() {
            return Self::Plain;
        }
        let mut masked = Masked {
            columns: Vec::new(),
            redactions: Vec::new(),
            null_columns: Vec::new(),
            columns_count: plan.columns_count,
        };
        for column in &plan.columns {
            let redaction = match column.action {
                Action::Blank => Redaction::Blank,
                Action::KeepLast(count) => Redaction::KeepLast(count),
                // What is not in place needs its redactor; without one the cell is NULL.
                _ => {
                    masked.null_columns.push(column.index);
                    continue;
                }
            };
            masked.columns.push(column.index);
            masked.redactions.push(redaction);
        }
        if masked.null_columns.is_empty() {
            Self::InPlace(masked)
        } else {
            Self::Rewrite(masked)
        }
    }

    /// Indices of masked columns, for the record.
    pub fn masked_columns(&self) -> Vec<u16> {
        match self {
            Self::Plain | Self::Refused(_) => Vec::new(),
            Self::InPlace(masked) | Self::Rewrite(masked) => {
                let mut all = [masked.columns.as_slice(), masked.null_columns.as_slice()].concat();
                all.sort_unstable();
                all
            }
        }
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
    /// Finds up to a collector full of cells from the start of `bytes` and overwrites them. Call again on Stop::Full.
    pub fn apply(
        &self,
        bytes: &mut [u8],
        place: &mut Place,
        cells: &mut Vec<Cell>,
        limits: &Limits,
    ) -> Result<Hop, PostgresError> {
        cells.clear();
        let mut sink = Sink {
            cells,
            redactions: &self.redactions,
        };
        let hop = find(bytes, place, &self.columns, self.columns_count, &mut sink, limits)?;
        masking_simd::apply(bytes, cells);
        Ok(hop)
    }

    /// Masks one whole DataRow in place and appends it to `out` with its NULL columns.
    pub fn rewrite(
        &self,
        frame: &mut [u8],
        cells: &mut Vec<Cell>,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), PostgresError> {
        let (mut at, mut place) = (0, Place::default());
        while at < frame.len() && !self.columns.is_empty() {
            at += self.apply(&mut frame[at..], &mut place, cells, limits)?.bytes;
        }
        nullify(frame, &self.null_columns, self.columns_count, out)
    }
}
