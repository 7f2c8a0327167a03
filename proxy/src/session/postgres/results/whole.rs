//! Rows that are looked at whole: cells that change their length, and text that is searched.
//!
//! Whole rows at the start of a buffer make a batch, which is searched first and then overwritten in place, or copied
//! with other cells. What a redaction makes of a cell is `linegate_policy::redact`'s.

use codecs::postgres::backend::tag;
use codecs::postgres::rows::{CellOut, Place, rewrite};
use codecs::postgres::sieve::Keep;
use codecs::postgres::{Limits, PostgresError, Step, frame};
use linegate_policy::redact::{Redacted, Redactor};
use masking_simd::{Cell, HitCounts};

use super::Masked;
use super::watch::Watch;

/// Bytes of rows that are searched together: they stay in the second-level cache until they are written. One row may
/// have more.
const BATCH_BYTES: usize = 64 << 10;
/// From so many bytes of copied rows on, they are handed over to be written.
const COPIED_BYTES: usize = 64 << 10;

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many bytes are so many whole rows.
    Rows {
        /// Bytes.
        bytes: usize,
        /// Rows.
        rows: u64,
    },
    /// No whole row yet: so many bytes are needed.
    Need(usize),
    /// Another message.
    Other(u8),
}

/// Finds the whole rows at the start of `bytes`, as many as make a batch.
pub fn batch(bytes: &[u8], limits: &Limits) -> Result<Next, PostgresError> {
    let (mut at, mut rows) = (0, 0);
    while at < BATCH_BYTES {
        let next = match frame::step(&bytes[at..], limits) {
            Ok(Step::Frame(frame)) if frame.tag == tag::DATA_ROW => {
                at += frame.size.with_tag();
                rows += 1;
                continue;
            }
            Ok(Step::Frame(frame)) => Ok(Next::Other(frame.tag)),
            // The tag of a message that is not whole is somebody else's just as well.
            Ok(Step::Need { .. }) if bytes.get(at).is_some_and(|tag| *tag != tag::DATA_ROW) => {
                Ok(Next::Other(bytes[at]))
            }
            Ok(Step::Need { bytes }) => Ok(Next::Need(bytes)),
            Err(error) => Err(error),
        };
        if rows == 0 {
            return next;
        }
        break;
    }
    Ok(Next::Rows { bytes: at, rows })
}

/// What is looked at of the cells of each column, where a redactor makes others of those in `columns`.
pub fn keeps(columns: &[u16], redactors: &[Redactor], columns_count: u16) -> Box<[Keep]> {
    let mut keeps = vec![Keep::Shown; usize::from(columns_count)];
    for (column, redactor) in columns.iter().zip(redactors) {
        if let Some(keep) = keeps.get_mut(usize::from(*column)) {
            *keep = match redactor.looks_at_cells() {
                true => Keep::Source,
                false => Keep::Null,
            };
        }
    }
    keeps.into()
}

/// What happens to whole rows.
pub struct Whole {
    watch: Option<Watch>,
    masks: Masks,
}

enum Masks {
    None,
    InPlace(Masked),
    Rewrite {
        columns: Vec<u16>,
        redactors: Vec<Redactor>,
        columns_count: u16,
    },
}

impl Whole {
    /// Rows that are searched and otherwise pass.
    pub fn watched(watch: Watch) -> Self {
        Self {
            watch: Some(watch),
            masks: Masks::None,
        }
    }

    /// Rows that are searched and then masked in place.
    pub fn in_place(watch: Watch, masked: Masked) -> Self {
        Self {
            watch: Some(watch),
            masks: Masks::InPlace(masked),
        }
    }

    /// Rows with other cells in `columns`, which ascend; one redactor a column.
    pub fn rewriting(
        watch: Option<Watch>,
        columns: Vec<u16>,
        redactors: Vec<Redactor>,
        columns_count: u16,
    ) -> Self {
        debug_assert_eq!(columns.len(), redactors.len());
        let masks = Masks::Rewrite {
            columns,
            redactors,
            columns_count,
        };
        Self { watch, masks }
    }

    /// Masked columns, ascending.
    pub fn masked_columns(&self) -> &[u16] {
        match &self.masks {
            Masks::None => &[],
            Masks::InPlace(masked) => &masked.columns,
            Masks::Rewrite { columns, .. } => columns,
        }
    }

    /// Rows are copied by [`Whole::rewrite`]; otherwise they stay where they are, by [`Whole::overwrite`].
    pub fn rewrites(&self) -> bool {
        matches!(self.masks, Masks::Rewrite { .. })
    }

    /// What is looked at of each column, where rows are copied by [`Whole::rewrite`].
    pub fn keeps(&self) -> Box<[Keep]> {
        match &self.masks {
            Masks::None | Masks::InPlace(_) => Box::default(),
            Masks::Rewrite {
                columns,
                redactors,
                columns_count,
            } => keeps(columns, redactors, *columns_count),
        }
    }

    /// What searches the rows, if something does.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// Searches a batch and adds up what is found.
    pub fn search(&self, rows: &mut [u8], found: &mut HitCounts) -> Result<(), PostgresError> {
        match &self.watch {
            Some(watch) => watch.search(rows, found),
            None => Ok(()),
        }
    }

    /// Masks a batch where it stands.
    pub fn overwrite(&self, rows: &mut [u8], cells: &mut Vec<Cell>) -> Result<(), PostgresError> {
        let Masks::InPlace(masked) = &self.masks else {
            return Ok(());
        };
        let given = rows.len();
        let hop = masked.apply(rows, &mut Place::default(), cells, &Limits::STREAMED)?;
        if hop.bytes != given {
            // A batch is whole rows; what was not walked must not be sent.
            return Err(PostgresError::FrameNotWhole {
                declared: hop.bytes,
                given,
            });
        }
        Ok(())
    }

    /// Appends rows of a batch to `out` with other cells, until there is enough to write; the bytes of `rows`
    /// that are done and how many rows they are, at least one.
    pub fn rewrite(&self, rows: &[u8], out: &mut Vec<u8>) -> Result<(usize, u64), PostgresError> {
        let Masks::Rewrite {
            columns,
            redactors,
            columns_count,
        } = &self.masks
        else {
            return Ok((rows.len(), 0)); // nothing of them is shown
        };
        let (mut at, mut count, start) = (0, 0, out.len());
        while at < rows.len() && out.len() - start < COPIED_BYTES {
            let row = match frame::step(&rows[at..], &Limits::STREAMED)? {
                Step::Frame(frame) => frame.whole(&rows[at..]),
                Step::Need { bytes } => {
                    return Err(PostgresError::FrameNotWhole {
                        declared: bytes,
                        given: rows.len() - at,
                    });
                }
            };
            let mut cell = |index: usize, cell: Option<&[u8]>, out: &mut Vec<u8>| {
                // NULL stays NULL.
                let redacted = cell.map(|cell| redactors[index].redact(cell, out));
                match redacted {
                    Some(Redacted::Written) => CellOut::Written,
                    Some(Redacted::Null) | None => CellOut::Null,
                }
            };
            rewrite(row, columns, *columns_count, out, &mut cell)?;
            at += row.len();
            count += 1;
        }
        Ok((at, count))
    }
}
