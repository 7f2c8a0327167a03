//! Rows of COPY TO STDOUT: which of their cells become others, by the description of the query that COPY runs.
//!
//! How rows are written is `codecs::postgres::copy_rows`', what becomes of a cell `linegate_policy::redact`'s. Detectors do not
//! look at them.

use std::rc::Rc;

use codecs::postgres::PostgresError;
use codecs::postgres::backend::{CopyResponse, RowDescription};
use codecs::postgres::copy_rows::{CopyFormat, CopyPlace, CopyShape, CopySieve};
use codecs::postgres::rows::CellOut;
use linegate_policy::redact::{Redacted, Redactor};
use linegate_policy::{CopyOut, FieldOrigin, MaskScope, PlanRefusal, mask_plan};

use super::whole::keeps;
use super::{Plan, note_surprise};
use crate::session::postgres::Session;
use crate::session::postgres::asked::Asked;

/// What becomes of a COPY that was described and is about to be sent.
pub struct Kept {
    /// The statement's number.
    pub number: u64,
    /// The statement as it was decided last.
    pub asked: Rc<Asked>,
    /// What was masked for the session.
    pub masks: MaskScope,
    /// What the server's catalogs said of themselves when the plan was made.
    pub version: Option<String>,
    /// Its rows' plan.
    pub plan: Plan,
}

impl Kept {
    /// What becomes of the rows, now that they come.
    pub fn plan_of_rows(self) -> Plan {
        match self.plan {
            Plan::Copied(copied) if copied.columns.is_empty() => Plan::Plain,
            plan => plan,
        }
    }
}

/// How the rows of one COPY are read and written again.
pub struct Copied {
    shape: CopyShape,
    columns: Vec<u16>,
    redactors: Vec<Redactor>,
}

impl Plan {
    /// The plan of a COPY's rows, from the RowDescription of the query that it runs.
    pub fn of_copy(session: &Session, asked: &Asked, description: &RowDescription<'_>) -> Self {
        let Some(copied) = asked.copy_out() else {
            return Self::refused(session, PlanRefusal::Changed);
        };
        let standing = session.standing.borrow().clone();
        let masks = asked.masks(&standing);
        let format = i16::from(copied.format == linegate_policy::CopyFormat::Binary);
        let fields: Vec<FieldOrigin> = description
            .fields()
            .map(|field| FieldOrigin {
                table_oid: field.table_oid,
                attribute: field.attribute,
                type_oid: field.type_oid,
                format,
            })
            .collect();
        let compiled = match session.catalog.latest() {
            Some(view) if !asked.has_strangers() => {
                let lineage = asked.decision.statement.lineage.as_ref();
                mask_plan::compile_copy(&fields, &view.labels, &masks, lineage)
            }
            _ => Err(PlanRefusal::StaleCatalog { index: 0 }),
        };
        match compiled {
            Ok(plan) => {
                note_surprise(session, &plan);
                let key = &session.core.shared.pseudonym_key;
                let redactors = plan.columns.iter().map(|column| {
                    let field = &fields[usize::from(column.index)];
                    Redactor::new(column.action, field.type_oid, format, key).at(&column.paths)
                });
                Self::Copied(Box::new(Copied {
                    redactors: redactors.collect(),
                    columns: plan.columns.iter().map(|column| column.index).collect(),
                    shape: shape(copied, plan.columns_count),
                }))
            }
            Err(refusal) => Self::refused(session, refusal),
        }
    }
}

fn shape(copied: &CopyOut, columns_count: u16) -> CopyShape {
    CopyShape {
        format: match copied.format {
            linegate_policy::CopyFormat::Text => CopyFormat::Text,
            linegate_policy::CopyFormat::Csv => CopyFormat::Csv,
            linegate_policy::CopyFormat::Binary => CopyFormat::Binary,
        },
        delimiter: copied.delimiter,
        null: copied.null.as_bytes().into(),
        quote: copied.quote,
        escape: copied.escape,
        quotes_all: copied.quotes_all,
        has_header: copied.has_header,
        columns_count,
    }
}

impl Copied {
    /// Masked columns, ascending.
    pub fn masked_columns(&self) -> &[u16] {
        &self.columns
    }

    /// Whether the server begins to send what was described: as many columns, in that format.
    pub fn is_of(&self, response: &CopyResponse<'_>) -> bool {
        let is_binary = self.shape.format == CopyFormat::Binary;
        let mut count = 0_usize;
        let mut formats = response.column_formats.clone();
        let agrees = formats.all(|format| {
            count += 1;
            format == i16::from(is_binary)
        });
        agrees && count == usize::from(self.shape.columns_count) && response.format == u8::from(is_binary)
    }

    /// Begins to take in a row that is too large to be held. What is shown of it has at most `max` bytes.
    pub fn sieve(&self, place: &CopyPlace, payload: usize, max: u32) -> CopySieve {
        let keeps = keeps(&self.columns, &self.redactors, self.shape.columns_count);
        CopySieve::begin(&self.shape, place, payload, keeps, max)
    }

    /// Takes what comes next of it: the bytes that are this row's, and whether it is whole.
    pub fn take(&self, sieve: &mut CopySieve, bytes: &[u8]) -> Result<(usize, bool), PostgresError> {
        sieve.take(&self.shape, bytes)
    }

    /// Appends one CopyData message to `out` with other cells. `row` is the payload.
    pub fn rewrite(&self, place: &mut CopyPlace, row: &[u8], out: &mut Vec<u8>) -> Result<(), PostgresError> {
        let start = out.len();
        out.extend_from_slice(&[codecs::postgres::backend::tag::COPY_DATA, 0, 0, 0, 0]);
        let mut cell = |index: usize, cell: Option<&[u8]>, out: &mut Vec<u8>| {
            // NULL stays NULL.
            match cell.map(|cell| self.redactors[index].redact(cell, out)) {
                Some(Redacted::Written) => CellOut::Written,
                Some(Redacted::Null) | None => CellOut::Null,
            }
        };
        self.shape.rewrite(place, row, &self.columns, out, &mut cell)?;
        let size = out.len() - start - 1;
        let declared = u32::try_from(size).unwrap_or(u32::MAX);
        if i32::try_from(declared).is_err() {
            return Err(PostgresError::FrameTooLong {
                declared,
                max: i32::MAX as u32,
            });
        }
        out[start + 1..start + 5].copy_from_slice(&declared.to_be_bytes());
        Ok(())
    }
}
