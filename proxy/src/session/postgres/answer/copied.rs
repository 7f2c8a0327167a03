//! Rows of COPY TO STDOUT with masked columns: whole messages, read and written again.

use std::rc::Rc;

use codecs::postgres::backend::{CopyResponse, tag};
use codecs::postgres::{PostgresError, Step, frame};

use super::{Flow, GATHER_BYTES_MAX, Outgoing};
use crate::session::postgres::asked::Asked;
use crate::session::postgres::results::{Copied, Plan};
use crate::session::postgres::{Ended, FrontTurn, fresh};
use crate::slab::Ingress;

/// From so many bytes of rewritten rows on, they are handed over to be written.
const COPIED_BYTES: usize = 64 << 10;

impl Flow {
    /// COPY out begins: what becomes of its rows. Where rows of a result are under way it is out of turn.
    pub(super) async fn copy_begins(
        &mut self,
        message: u8,
        payload: &[u8],
        running: Option<&Rc<Asked>>,
    ) -> std::result::Result<(), Ended> {
        if self.result.plan.is_some() {
            return Err(self.out_of_turn(message));
        }
        self.result.is_copy = true;
        let response = CopyResponse::read(payload).map_err(|error| self.server_fault(&error))?;
        let is_out = message == tag::COPY_OUT_RESPONSE;
        let plan = match running {
            Some(asked) => fresh::copy_plan(&self.session, asked, is_out.then_some(&response)).await,
            None => Plan::Plain,
        };
        self.result.plan = Some(Rc::new(plan));
        Ok(())
    }

    /// Whole rows from `at` on. `Some(bytes)` when the next one needs more than is there.
    pub(super) async fn copied_rows(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        at: &mut usize,
        out: &mut Outgoing,
        copied: &Copied,
    ) -> std::result::Result<Option<usize>, Ended> {
        self.gather(turn, ingress, out).await?;
        if self.is_at_large_row(&ingress.data()[*at..]) {
            return self.large_copied_row(turn, ingress, at, out, copied).await;
        }
        let start = out.copied.len();
        let (mut rows, mut needed) = (0, None);
        while out.copied.len() - start < COPIED_BYTES {
            let bytes = &ingress.data()[*at..];
            if bytes.first() != Some(&tag::COPY_DATA) {
                break; // nothing, or somebody else's
            }
            let step = match frame::step(bytes, &self.session.limits) {
                Err(PostgresError::FrameTooLong { .. }) => break, // alone, the next time
                step => step.map_err(|error| self.server_fault(&error))?,
            };
            match step {
                Step::Need { bytes } => {
                    needed = Some(bytes);
                    break;
                }
                Step::Frame(frame) => {
                    *at += frame.size.with_tag();
                    let row = frame.payload(bytes);
                    let rewritten = copied.rewrite(&mut self.result.copied, row, &mut out.copied);
                    if let Err(error) = rewritten {
                        out.copied.truncate(start); // nothing of a row that was not understood
                        return Err(self.server_fault(&error));
                    }
                    rows += 1;
                }
            }
        }
        self.copied(turn, ingress, out, start, rows).await?;
        Ok(needed)
    }

    /// So many rows were written again, from `start` on.
    pub(super) async fn copied(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        out: &mut Outgoing,
        start: usize,
        rows: u64,
    ) -> std::result::Result<(), Ended> {
        if rows > 0 {
            let cut = self.result.tally.charge(&self.session, &out.copied[start..]);
            let all = (out.copied.len() - start, rows);
            let (bytes, rows) = cut.as_ref().map_or(all, |cut| (cut.bytes, cut.rows));
            out.copied.truncate(start + bytes);
            self.record_rows(&out.copied[start..]).await;
            self.count_rows(bytes, rows);
            if let Some(cut) = cut {
                self.cut(turn, ingress, out, cut).await?;
            }
            if out.copied.len() >= GATHER_BYTES_MAX {
                self.write_copied(turn, out).await?;
            }
        }
        Ok(())
    }
}
