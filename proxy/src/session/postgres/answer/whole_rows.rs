//! Rows that are looked at whole, and what detectors find in them.
//!
//! whole rows of the slab → searched → masked in place, or copied with other cells → recorded → written.

use linegate_recording::Entry;
use masking_simd::HitCounts;

use super::{Cut, Flow, GATHER_BYTES_MAX, Outgoing, Result};
use crate::session::postgres::asked::Asked;
use crate::session::postgres::results::Plan;
use crate::session::postgres::results::whole::{Next, Whole, batch};
use crate::session::postgres::results::words;
use crate::session::postgres::{Ended, FrontTurn};
use crate::slab::Ingress;

/// The SQLSTATE of a warning.
const WARNING: &str = "01000";

impl Flow {
    /// Whole rows from `at` on, as many as make a batch. `Some(bytes)` when the buffer holds none.
    pub(super) async fn whole_rows(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        at: &mut usize,
        out: &mut Outgoing,
        whole: &Whole,
    ) -> std::result::Result<Option<usize>, Ended> {
        if whole.rewrites() && self.is_at_large_row(&ingress.data()[*at..]) {
            return self.large_row(turn, ingress, at, out, whole).await;
        }
        let from = *at;
        let (end, rows) = match batch(&ingress.data()[from..], &self.session.limits) {
            Ok(Next::Rows { bytes, rows }) => (from + bytes, rows),
            Ok(Next::Need(bytes)) => return Ok(Some(bytes)),
            Ok(Next::Other(tag)) => return Err(self.out_of_turn(tag)),
            Err(error) => return Err(self.server_fault(&error)),
        };
        *at = end;
        let before = self.result.found();
        whole
            .search(&mut ingress.data_mut()[from..end], self.result.found.made())
            .map_err(|error| self.server_fault(&error))?;
        self.searched(turn, ingress, out, whole, before).await?;
        if whole.rewrites() {
            self.gather(turn, ingress, out).await?;
            let cut = self
                .rewrite_rows(turn, &ingress.data()[from..end], out, whole)
                .await?;
            if let Some(cut) = cut {
                self.cut(turn, ingress, out, cut).await?;
            }
            return Ok(None);
        }
        whole
            .overwrite(&mut ingress.data_mut()[from..end], &mut self.cells)
            .map_err(|error| self.server_fault(&error))?;
        let cut = self
            .result
            .tally
            .charge(&self.session, &ingress.data()[from..end]);
        let all = (end - from, rows);
        let (bytes, rows) = cut.as_ref().map_or(all, |cut| (cut.bytes, cut.rows));
        self.record_rows(&ingress.data()[from..from + bytes]).await;
        out.pass(from..from + bytes);
        self.count_rows(bytes, rows);
        if let Some(cut) = cut {
            self.cut(turn, ingress, out, cut).await?;
        }
        Ok(None)
    }

    /// Rows were searched; `before`: hits before these.
    pub(super) async fn searched(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        out: &mut Outgoing,
        whole: &Whole,
        before: u64,
    ) -> std::result::Result<(), Ended> {
        let hits = self.result.found() - before;
        if hits == 0 {
            return Ok(());
        }
        self.session.core.counters.detected.add(hits);
        if before == 0 {
            self.alarm(whole);
        }
        if whole.watch().is_some_and(|watch| watch.ends()) {
            return Err(self.end_at_hit(turn, ingress, out).await);
        }
        Ok(())
    }

    /// Copies whole rows with other cells. `Some` where a budget cut them.
    pub(super) async fn rewrite_rows(
        &mut self,
        turn: &FrontTurn<'_>,
        rows: &[u8],
        out: &mut Outgoing,
        whole: &Whole,
    ) -> std::result::Result<Option<Cut>, Ended> {
        let mut done = 0;
        while done < rows.len() {
            let copied = out.copied.len();
            let (bytes, count) = whole
                .rewrite(&rows[done..], &mut out.copied)
                .map_err(|error| self.server_fault(&error))?;
            done += bytes;
            let cut = self.result.tally.charge(&self.session, &out.copied[copied..]);
            let all = (out.copied.len() - copied, count);
            let (bytes, count) = cut.as_ref().map_or(all, |cut| (cut.bytes, cut.rows));
            out.copied.truncate(copied + bytes);
            self.record_rows(&out.copied[copied..]).await;
            self.count_rows(bytes, count);
            if cut.is_some() {
                return Ok(cut);
            }
            if out.copied.len() >= GATHER_BYTES_MAX {
                self.write_copied(turn, out).await?;
            }
        }
        Ok(None)
    }

    pub(super) fn count_rows(&mut self, bytes: usize, rows: u64) {
        self.result.rows += rows;
        self.result.bytes += bytes as u64;
        self.session.count_out(rows, bytes as u64);
    }

    /// Says in the log that a result holds what is looked for, and nothing of it.
    fn alarm(&self, whole: &Whole) {
        let session = &self.session;
        let done = whole.watch().map_or("", |watch| watch.done());
        tracing::warn!(
            session = %session.id,
            target = %session.target.config.name,
            chain = %session.lease.chain,
            found = self.result.found_words(),
            done,
            "a detector found something in a result that no label covers"
        );
    }

    /// The end of the session before a row with a hit. The client gets what came before it, whole.
    async fn end_at_hit(&mut self, turn: &FrontTurn<'_>, ingress: &mut Ingress, out: &mut Outgoing) -> Ended {
        let result = std::mem::take(&mut self.result);
        let running = self.session.pipeline.borrow().running().cloned();
        if let Err(ended) = self.gather(turn, ingress, out).await {
            return ended;
        }
        if let Err(ended) = self.write_copied(turn, out).await {
            return ended;
        }
        self.session.at_boundary.set(true);
        let message = format!(
            "linegate: the result holds what must not leave this database: {}; this session ends",
            result.found_words()
        );
        if let Some(entry) = result.report_found(running.as_deref()) {
            self.session.core.record(self.session.id, entry).await;
        }
        Ended::saying(b"42501", message)
    }
}

impl Result {
    /// How often detectors found something.
    pub(super) fn found(&self) -> u64 {
        self.found.get().map_or(0, HitCounts::total)
    }

    fn found_words(&self) -> String {
        self.found.get().map_or(String::new(), words)
    }

    /// What goes on record of what detectors found in a result that has ended.
    pub(super) fn report_found(&self, running: Option<&Asked>) -> Option<Box<Entry>> {
        if self.found() == 0 {
            return None;
        }
        let done = match self.plan.as_deref() {
            Some(Plan::Whole(whole)) => whole.watch().map_or("", |watch| watch.done()),
            _ => "",
        };
        Some(Box::new(Entry::Error {
            statement: running.map_or(0, |asked| asked.number),
            sqlstate: WARNING.into(),
            message: format!(
                "linegate found in columns without a label: {}; {done}",
                self.found_words()
            ),
        }))
    }
}
