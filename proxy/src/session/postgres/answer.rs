//! What the server says, on its way to the client. Rows that are looked at whole are `whole_rows`'.
//!
//! fill → rows by count or masked → whole control messages, matched against the pipeline → record → flush. What stays as it
//! is goes out from the slab it came in; only what linegate leaves out or says differently is copied.

mod copied;
mod described;
mod fast_path;
mod kinds;
mod large_rows;
mod pieces;
mod recorded;
mod resting;
mod whole_rows;

use std::ops::Range;
use std::rc::Rc;

use codecs::postgres::backend::{ErrorFields, ReadyForQuery, TransactionStatus, tag};
use codecs::postgres::build::backend as say;
use codecs::postgres::rows::{Place, Stop, hop};
use codecs::postgres::{Frame, Limits, PostgresError, Step, frame};
use linegate_identity::Effects;
use masking_simd::{Cell, HitCounts};

use self::large_rows::Large;
use self::pieces::Pieces;
pub use self::resting::run;
use super::asked::Asked;
use super::budget::{Cut, Tally};
use super::pipeline::{Answer, Expect};
use super::results::Plan;
use super::scrub::Scrub;
use super::{Ended, FrontTurn, Session};
use crate::rarely::Rarely;
use crate::rt::sync::Soon;
use crate::slab::Ingress;

/// Spans up to this size are copied together into one write.
const GATHER_BYTES_MAX: usize = 16 << 10;

/// Effects of statements that rows may come of.
const SHOWS: Effects = Effects::SELECT.with(Effects::COPY_OUT).with(Effects::PREPARED);
/// program_limit_exceeded, out_of_memory, and internal_error, as which the server refuses to allocate: a row or value is too large.
const NO_ROOM: [&[u8]; 3] = [b"54000", b"53200", b"XX000"];

/// Where the current result stands.
#[derive(Default)]
struct Result {
    plan: Option<Rc<Plan>>,
    /// Its rows are CopyData.
    is_copy: bool,
    /// Where among them the last one ended.
    copied: codecs::postgres::copy_rows::CopyPlace,
    /// A row that is too large to be held, as far as it has come.
    large: Option<Box<Large>>,
    rows: u64,
    bytes: u64,
    recorded: u64,
    skipped_recording: bool,
    /// What of it was charged.
    tally: Tally,
    /// What detectors found in it.
    found: Rarely<HitCounts>,
}

impl Result {
    fn is_new(&self) -> bool {
        self.plan.is_none() && self.large.is_none() && self.found.get().is_none() && self.bytes == 0
    }
}

/// The answering loop's own state.
struct Flow {
    session: Rc<Session>,
    place: Place,
    cells: Vec<Cell>,
    result: Result,
    /// After a refused result nothing reaches the client until ReadyForQuery.
    muted: bool,
    /// The plan of a simple Query's current result.
    query_plan: Option<Rc<Plan>>,
    /// A masked label was touched in the transaction that is open.
    transaction_touched: bool,
    /// The server has told the client itself that it closes the connection.
    server_left: bool,
    pieces: Pieces,
    /// What the last read brought.
    read_bytes: usize,
    /// The next read is better done in a moment.
    waits: bool,
}

/// What goes out of one buffer: spans of it, and copies.
struct Outgoing {
    span: Range<usize>,
    copied: Vec<u8>,
}

impl Outgoing {
    /// `range` stays as it is.
    fn pass(&mut self, range: Range<usize>) {
        if self.span.is_empty() {
            self.span = range;
        } else {
            debug_assert_eq!(self.span.end, range.start);
            self.span.end = range.end;
        }
    }
}

impl Flow {
    /// Carries what has arrived to the client, with what linegate has to say meanwhile.
    async fn answer(&mut self, ingress: Ingress) -> std::result::Result<(Ingress, usize), Ended> {
        let session = self.session.clone();
        let turn = session.front.turn().await;
        let carried = self.carry(&turn, ingress).await?;
        session.at_boundary.set(self.place.at_boundary());
        let said = session.say_local_in(&turn).await;
        said.map_err(|error| Ended::quietly(format!("writing to the client failed: {error}")))?;
        Ok(carried)
    }

    /// Takes everything that can be taken from `ingress`; answers with how many bytes the next message needs.
    async fn carry(
        &mut self,
        turn: &FrontTurn<'_>,
        mut ingress: Ingress,
    ) -> std::result::Result<(Ingress, usize), Ended> {
        let mut out = Outgoing {
            span: 0..0,
            copied: turn.scratch(),
        };
        let mut at = 0;
        let mut needed = 1;
        self.waits = false;
        self.say_due(turn, &mut ingress, &mut out).await?;
        loop {
            let held = ingress.data().len();
            if at == held {
                break;
            }
            let at_row = self.is_within_row() || matches!(ingress.data()[at], tag::DATA_ROW | tag::COPY_DATA);
            if at_row {
                match self.rows(turn, &mut ingress, &mut at, &mut out).await? {
                    Some(more) => {
                        needed = more;
                        self.waits = self.pieces.wait(self.read_bytes, self.result.bytes);
                        break;
                    }
                    None => continue,
                }
            }
            let step = frame::step(&ingress.data()[at..], &self.session.limits)
                .map_err(|error| self.fault_of("message", &error))?;
            match step {
                Step::Need { bytes } => {
                    needed = bytes;
                    break;
                }
                Step::Frame(frame) => {
                    let whole = at..at + frame.size.with_tag();
                    self.message(turn, &mut ingress, &frame, whole.clone(), &mut out)
                        .await?;
                    at = whole.end;
                    self.say_due(turn, &mut ingress, &mut out).await?;
                }
            }
        }
        ingress = self.flush(turn, ingress, &mut out).await?;
        turn.keep(std::mem::take(&mut out.copied));
        ingress.consume(at);
        Ok((ingress, needed))
    }

    /// Rows from `at` on. `Some(bytes)` when the buffer holds no more that can be taken.
    async fn rows(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        at: &mut usize,
        out: &mut Outgoing,
    ) -> std::result::Result<Option<usize>, Ended> {
        let plan = self.plan_of_rows()?;
        // Rows pass in pieces of any size; only those that are looked at whole are bounded.
        let limits = Limits::STREAMED;
        let from = *at;
        if !self.is_within_row() {
            self.is_of_kind(ingress.data()[from])?;
        }
        let hop = match &*plan {
            Plan::Plain | Plan::Refused(_) => hop(&ingress.data()[from..], &mut self.place, &limits),
            Plan::Whole(_) | Plan::Copied(_) if self.muted => {
                hop(&ingress.data()[from..], &mut self.place, &limits)
            }
            Plan::InPlace(masked) => {
                let data = &mut ingress.data_mut()[from..];
                masked.apply(data, &mut self.place, &mut self.cells, &limits)
            }
            // Boxed: they are large, and wait for the recorder and the client only.
            Plan::Whole(whole) => return Box::pin(self.whole_rows(turn, ingress, at, out, whole)).await,
            Plan::Copied(copied) => return Box::pin(self.copied_rows(turn, ingress, at, out, copied)).await,
        };
        let hop = hop.map_err(|error| self.server_fault(&error))?;
        self.are_of_kind(&hop)?;
        *at += hop.bytes;
        if !matches!(&*plan, Plan::Refused(_)) && !self.muted {
            let taken = &ingress.data()[from..from + hop.bytes];
            let cut = self.result.tally.charge(&self.session, taken);
            let all = (hop.bytes, hop.rows + hop.copy_rows);
            let (bytes, rows) = cut.as_ref().map_or(all, |cut| (cut.bytes, cut.rows));
            self.result.rows += rows;
            self.record_rows(&ingress.data()[from..from + bytes]).await;
            out.pass(from..from + bytes);
            self.result.bytes += bytes as u64;
            self.session.count_out(rows, bytes as u64);
            if let Some(cut) = cut {
                Box::pin(self.cut(turn, ingress, out, cut)).await?;
            }
        } else if hop.bytes > 0 {
            // What was to be passed so far must not run on over the rows that are left out.
            self.gather(turn, ingress, out).await?;
        }
        Ok(match hop.stop {
            Stop::End => Some(1),
            Stop::Header => Some(codecs::postgres::HEADER_BYTES),
            Stop::Other(_) | Stop::Full => None,
        })
    }

    /// The rows that fit were passed: an error stands in place of the rest, and of all that still comes of the Query or series.
    async fn cut(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        out: &mut Outgoing,
        cut: Cut,
    ) -> std::result::Result<(), Ended> {
        self.gather(turn, ingress, out).await?;
        out.copied.extend_from_slice(&cut.words);
        self.muted = true;
        Ok(())
    }

    fn is_within_row(&self) -> bool {
        !self.place.at_boundary() || self.result.large.is_some()
    }

    /// The plan for rows that arrive now. Rows without one are never passed to a masked session.
    fn plan_of_rows(&mut self) -> std::result::Result<Rc<Plan>, Ended> {
        if let Some(plan) = &self.result.plan {
            return Ok(plan.clone());
        }
        let plan = {
            let pipeline = self.session.pipeline.borrow();
            match pipeline.head() {
                Some(Expect::Query { .. }) => self.query_plan.clone(),
                Some(Expect::Execute { portal, .. }) => self.session.plan_of(portal),
                _ => return Err(self.out_of_turn(tag::DATA_ROW)),
            }
        };
        let plan = match plan {
            Some(plan) => plan,
            None if !self.is_masked() => Rc::new(Plan::Plain),
            None => return Err(self.out_of_turn(tag::DATA_ROW)),
        };
        self.result.plan = Some(plan.clone());
        let number = self.session.pipeline.borrow().running().map(|asked| asked.number);
        self.session.described.set(number.unwrap_or(0));
        Ok(plan)
    }

    /// Whether something is masked: now, or when what runs was decided.
    fn is_masked(&self) -> bool {
        let session = &self.session;
        session
            .pipeline
            .borrow()
            .running()
            .map_or_else(|| session.is_masked(), |asked| asked.is_masked(session))
    }

    /// A whole message that is not a row.
    async fn message(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        frame: &Frame,
        whole: Range<usize>,
        out: &mut Outgoing,
    ) -> std::result::Result<(), Ended> {
        let session = self.session.clone();
        let payload = frame.payload(&ingress.data()[whole.start..]);
        self.has_shape(frame.tag, payload)?;
        let running = session.pipeline.borrow().running().cloned();
        self.transaction_touched |= running.as_ref().is_some_and(|asked| asked.touches_mask(&session));
        if matches!(
            frame.tag,
            tag::BIND_COMPLETE | tag::ERROR_RESPONSE | tag::PORTAL_SUSPENDED | tag::FUNCTION_CALL_RESPONSE
        ) && let Some(asked) = session.pipeline.borrow().head_asked()
        {
            session.spending.passed(asked);
        }
        let mut replacement = None;
        let mut status = None;
        let mut was_muted = self.muted;
        let mut server_leaves = false;
        match frame.tag {
            tag::ROW_DESCRIPTION => Box::pin(self.described(payload)).await?,
            tag::PARAMETER_DESCRIPTION => self.parameters_described(payload),
            tag::READY_FOR_QUERY => {
                status = Some(ReadyForQuery::read(payload).map_err(|error| self.server_fault(&error))?);
            }
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => {
                was_muted = self.muted;
                replacement = self.completed(frame.tag, running.as_deref());
                if let (tag::COMMAND_COMPLETE, Some(asked)) = (frame.tag, &running)
                    && let Some(words) = session.spending.completed(&session, payload, asked)
                {
                    replacement.get_or_insert(words);
                    self.muted = true;
                }
                let on_record = self.result_ended(frame.tag, payload, running.as_deref());
                for entry in on_record.into_iter().flatten() {
                    session.core.record(session.id, entry).await;
                }
            }
            tag::FUNCTION_CALL_RESPONSE => {
                replacement = Box::pin(self.function_result(&ingress.data()[whole.clone()])).await?;
            }
            tag::NO_DATA if self.is_own_description() => Box::pin(self.keep_copy(None)).await,
            tag::NO_DATA | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE => {
                // The portal may be another than the one that was described under its name.
                if let Some(name) = session.pipeline.borrow().head().and_then(Expect::portal) {
                    session.forget_plan(name);
                }
            }
            tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                Box::pin(self.copy_begins(frame.tag, payload, running.as_ref())).await?;
            }
            _ => {
                server_leaves = frame.tag == tag::ERROR_RESPONSE && is_last(payload);
                let aside = self.scrub().aside(frame.tag, payload);
                replacement = aside.map_err(|fault| fault.ended(&session))?;
                let about = session.pipeline.borrow().head_asked().cloned();
                if frame.tag == tag::ERROR_RESPONSE {
                    let entry = self.scrub().record(payload, about.as_deref());
                    let recording = entry.map(|entry| session.core.record(session.id, entry));
                    if let Some(recording) = recording {
                        recording.await;
                    }
                }
                if frame.tag == tag::ERROR_RESPONSE {
                    self.failed(payload, running.as_deref())?;
                }
                if let (tag::ERROR_RESPONSE, Some(asked)) = (frame.tag, &running)
                    && let Some(words) = session.spending.words(&session, asked.number)
                {
                    replacement = Some(words);
                }
            }
        }
        let refused_description = frame.tag == tag::ROW_DESCRIPTION
            && running.is_some()
            && matches!(self.query_plan.as_deref(), Some(Plan::Refused(_)));
        let answer = session.pipeline.borrow_mut().answer(frame.tag, status);
        let mut answer = answer.map_err(|_| self.out_of_turn(frame.tag))?;
        if server_leaves {
            // Whatever it was said in answer to, nothing else will tell the client.
            answer = Answer::Pass;
            self.server_left = true;
        }
        if frame.tag == tag::READY_FOR_QUERY {
            session.spending.ready(status).await;
            session.catalog_settled(status);
            if status == Some(TransactionStatus::Idle) {
                session.forget_plans(); // their portals are gone
            }
            self.muted = false;
            self.query_plan = None;
            let found = std::mem::take(&mut self.result).report_found(running.as_deref());
            if let Some(entry) = found {
                session.core.record(session.id, entry).await;
            }
            self.transaction_touched &= status != Some(TransactionStatus::Idle);
            if session.pipeline.borrow().is_idle() {
                session.lexing.settled();
            }
        }
        let is_aside = matches!(
            frame.tag,
            tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE | tag::READY_FOR_QUERY
        ) || server_leaves;
        match (answer, replacement) {
            _ if was_muted && !is_aside => self.gather(turn, ingress, out).await,
            (Answer::Swallow, _) => self.gather(turn, ingress, out).await,
            _ if refused_description => self.gather(turn, ingress, out).await,
            (Answer::Replace(bytes), _) | (Answer::Pass, Some(bytes)) => {
                self.gather(turn, ingress, out).await?;
                out.copied.extend_from_slice(&bytes);
                Ok(())
            }
            (Answer::Pass, None) => {
                session.count_out(0, whole.len() as u64);
                out.pass(whole);
                Ok(())
            }
        }
    }

    /// What was asked ends with an error.
    fn failed(&self, payload: &[u8], running: Option<&Asked>) -> std::result::Result<(), Ended> {
        let fields = ErrorFields::read(payload).ok();
        let Some(sqlstate) = fields.and_then(|fields| fields.get(b'C')) else {
            return Ok(());
        };
        let session = &self.session;
        session.spending.note_failure(session, running, sqlstate);
        let shows = |asked: &&Asked| {
            asked.touches_mask(session) && asked.effects().intersects(SHOWS) && asked.is_masked(session)
        };
        if NO_ROOM.contains(&sqlstate) && running.filter(shows).is_some() {
            // As of rows that are too large here: nothing tells whether it was too large for the server already.
            return Err(self.server_fault(&PostgresError::FrameTooLong {
                declared: u32::MAX,
                max: session.limits.frame_bytes_max,
            }));
        }
        Ok(())
    }

    /// The end of a result: a refused one ends with linegate's own error instead of its command tag.
    fn completed(&mut self, message: u8, running: Option<&Asked>) -> Option<Vec<u8>> {
        let plan = self
            .result
            .plan
            .clone()
            .or_else(|| match self.session.pipeline.borrow().head() {
                Some(Expect::Execute { portal, .. }) => self.session.plan_of(portal),
                Some(Expect::Query { .. }) => self.query_plan.clone(),
                _ => None,
            });
        let Some(Plan::Refused(refusal)) = plan.as_deref() else {
            return None;
        };
        if message == tag::EMPTY_QUERY_RESPONSE || running.is_none() || self.muted {
            return None;
        }
        let mut bytes = Vec::new();
        say::error_response(
            &mut bytes,
            "ERROR",
            &refusal.sqlstate(),
            &refusal.public(),
            None,
            refusal.hint(),
        );
        self.muted = true;
        self.session.core.counters.denied.one();
        self.query_plan = None;
        Some(bytes)
    }

    fn scrub(&self) -> Scrub<'_> {
        Scrub {
            session: &self.session,
            transaction_touched: self.transaction_touched,
        }
    }

    /// Linegate's own words whose turn has come stand before the server's next message, which may be here already.
    fn say_due<'a>(
        &'a mut self,
        turn: &'a FrontTurn<'_>,
        ingress: &'a mut Ingress,
        out: &'a mut Outgoing,
    ) -> Soon<'a, std::result::Result<(), Ended>> {
        let is_due = self.session.pipeline.borrow_mut().has_local();
        match is_due {
            false => Soon::now(Ok(())),
            true => Soon::later(self.say_all_due(turn, ingress, out)),
        }
    }

    async fn say_all_due(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        out: &mut Outgoing,
    ) -> std::result::Result<(), Ended> {
        loop {
            let due = self.session.pipeline.borrow_mut().take_local();
            let Some(bytes) = due else { return Ok(()) };
            self.gather(turn, ingress, out).await?;
            out.copied.extend_from_slice(&bytes);
        }
    }

    /// Puts the pending span in order before something that interrupts it.
    fn gather<'a>(
        &'a mut self,
        turn: &'a FrontTurn<'_>,
        ingress: &mut Ingress,
        out: &'a mut Outgoing,
    ) -> Soon<'a, std::result::Result<(), Ended>> {
        let span = std::mem::replace(&mut out.span, 0..0);
        if span.is_empty() {
            return Soon::now(Ok(()));
        }
        out.copied.extend_from_slice(&ingress.data()[span]);
        match out.copied.len() >= GATHER_BYTES_MAX {
            true => Soon::later(self.write_copied(turn, out)),
            false => Soon::now(Ok(())),
        }
    }

    async fn write_copied(
        &mut self,
        turn: &FrontTurn<'_>,
        out: &mut Outgoing,
    ) -> std::result::Result<(), Ended> {
        let (result, back) = turn.write(std::mem::take(&mut out.copied)).await;
        out.copied = back;
        result.map_err(|error| Ended::quietly(format!("writing to the client failed: {error}")))
    }

    async fn flush(
        &mut self,
        turn: &FrontTurn<'_>,
        mut ingress: Ingress,
        out: &mut Outgoing,
    ) -> std::result::Result<Ingress, Ended> {
        if !out.copied.is_empty() {
            if out.span.len() <= GATHER_BYTES_MAX {
                let span = std::mem::replace(&mut out.span, 0..0);
                out.copied.extend_from_slice(&ingress.data()[span]);
            }
            self.write_copied(turn, out).await?;
        }
        if !out.span.is_empty() {
            let (result, back) = turn.write_span(ingress, out.span.clone()).await;
            ingress = back;
            result.map_err(|error| Ended::quietly(format!("writing to the client failed: {error}")))?;
        }
        Ok(ingress)
    }

    fn server_fault(&self, error: &PostgresError) -> Ended {
        self.fault_of("row", error)
    }

    fn fault_of(&self, what: &str, error: &PostgresError) -> Ended {
        if let PostgresError::FrameTooLong { max, .. } = error {
            // No fault: linegate looks into whole rows and other messages up to a size.
            let session = &self.session;
            let mb = max >> 20;
            tracing::warn!(session = %session.id, target = %session.target.config.name, what, mb, "too large to be looked into");
            let words =
                format!("linegate: a {what} of more than {mb} MB cannot be looked into; this session ends");
            return Ended::saying(b"54000", words);
        }
        self.session.core.counters.server_faults.one();
        Ended {
            why: format!("the server broke the protocol: {error}"),
            say: Some((*b"08P01", "the server broke the protocol".into())),
        }
    }

    fn out_of_turn(&self, message: u8) -> Ended {
        self.session.core.counters.server_faults.one();
        Ended {
            why: format!("the server sent a message out of turn: {:?}", char::from(message)),
            say: Some((*b"08P01", "the server sent a message out of turn".into())),
        }
    }
}

/// Whether an ErrorResponse is the last thing the server says.
fn is_last(payload: &[u8]) -> bool {
    let severity = ErrorFields::read(payload)
        .ok()
        .and_then(|fields| fields.get(b'V'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}
