//! What a session spends: statements before they are sent, rows and bytes as the client gets them, values that labelled
//! columns are compared with, rows changed, time.
//!
//! Limits and counters are `linegate_policy::budget`; which meter a session counts on is `meters`. A result that passes its
//! budget is cut between two rows: the client gets the rows that fit, then an error, and the server is asked to stop. What
//! must be undone once its count is known runs in a transaction of linegate's own (`ask`).

mod lookups;
mod words;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as say;
use codecs::postgres::{HEADER_BYTES, backend::CommandComplete};
use linegate_identity::{Effects, UnixMillis};
use linegate_policy::{Budget, BudgetKind, BudgetMeter, Changes, Charges, Exhausted, Named};
use linegate_recording::Entry;

use self::lookups::Prepared;
pub use self::lookups::may_take;
use self::words::{is_countable, names_a_change, tells_what_runs};
use super::asked::Asked;
use super::hold::Refusal;
use super::{Session, cancel};
use crate::clock;
use crate::rarely::Rarely;
use crate::rt::{self, sync::Slot};

/// Statements whose command tags count changed rows.
pub const CHANGES: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::COPY_IN);
/// A result that is cut may be over by itself: the server is asked to stop only when it is not after this time.
const STOP_AFTER: Duration = Duration::from_millis(1);
/// How long the end of a cut result waits for the server to have heard that it must stop.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How often the time of a running statement is charged.
const WATCH: Duration = Duration::from_millis(200);

/// What the server says when something is too large or it has no room: classes 53 and 54, and internal_error, as which it
/// refuses to allocate.
const TELLS_SIZES: [&[u8]; 3] = [b"53", b"54", b"XX000"];

/// What runs, or ends, what another statement prepared or declared.
const BY_NAME: Effects = Effects::PREPARED.with(Effects::TRANSACTION);
/// Statements that compute with labelled columns and whose answers have not come; more wait for them, so that failures for size
/// are counted before the next ones are sent.
const UNANSWERED_MAX: usize = 3;

/// A session's share in its lease's budgets.
pub struct Spending {
    /// The counters of the lease's family.
    pub meter: Arc<BudgetMeter>,
    /// Rows that the open transaction changed.
    changes: RefCell<Changes>,
    /// What EXECUTE and FETCH are charged to.
    prepared: RefCell<Rarely<Prepared>>,
    /// Look-ups whose values may be others each time.
    varied: Cell<u64>,
    /// The statement that ran last was refused after it ran: it must be undone.
    pub failed: Cell<bool>,
    /// A transaction block that must not commit, and nobody has told the server yet.
    pub doomed: Cell<bool>,
    /// An Execute whose changes are not known yet was sent.
    pub unsettled: Cell<bool>,
    /// The server is being asked to stop.
    stopping: RefCell<Option<Slot<()>>>,
    /// What the client is told instead of the server's error, because linegate had it stop.
    stopped: RefCell<Option<Box<Exhausted>>>,
    /// Up to when the time of what runs was charged.
    busy_from: Cell<UnixMillis>,
    /// Somebody looks at the time of what runs.
    watched: Cell<bool>,
}

impl Spending {
    /// Of a session that has spent nothing.
    pub fn new(meter: Arc<BudgetMeter>) -> Self {
        Self {
            meter,
            changes: RefCell::default(),
            prepared: RefCell::default(),
            varied: Cell::new(0),
            failed: Cell::new(false),
            doomed: Cell::new(false),
            unsettled: Cell::new(false),
            stopping: RefCell::default(),
            stopped: RefCell::default(),
            busy_from: Cell::new(UnixMillis(0)),
            watched: Cell::new(false),
        }
    }

    /// Where a statement is charged; nothing for most.
    pub fn charges(&self, budget: &Budget, effects: Effects) -> Option<Rc<Charges>> {
        let prepared = self.prepared.borrow();
        let by_name = prepared.get().map(|prepared| &prepared.budget);
        let by_name = by_name.filter(|by_name| effects.contains(Effects::PREPARED) && !by_name.is_empty());
        let Some(by_name) = by_name else {
            return (!budget.is_empty()).then(|| Rc::new(self.meter.charges(budget)));
        };
        let mut all = budget.clone();
        all.join(by_name);
        Some(Rc::new(self.meter.charges(&all)))
    }

    /// Whether a statement is to wait until those before it are answered.
    pub fn waits(&self, session: &Session, asked: &Asked) -> bool {
        let unanswered = || {
            let pipeline = session.pipeline.borrow();
            pipeline.sent().filter(|(_, asked)| may_compute(asked)).count()
        };
        may_compute(asked) && unanswered() >= UNANSWERED_MAX
    }

    /// Whether there is time for what was cleared before, and what computes with labelled columns may fail for size once more.
    pub fn may_run(&self, asked: &Asked) -> Result<(), Refusal> {
        let timed = asked.charges.as_ref().filter(|_| !only_ends(asked));
        let time = timed.map_or(Ok(()), |charges| charges.charge_busy_ms(0, clock::now()));
        time.map_err(refusal)?;
        let charges = asked.charges.as_ref().filter(|_| may_compute(asked));
        let room = charges.map_or(Ok(()), |charges| charges.may_be_oversized(clock::now()));
        room.map_err(refusal)
    }

    /// Charges a statement that is about to be sent.
    pub fn begin(
        &self,
        session: &Session,
        asked: &Asked,
        parameters: &[Option<Vec<u8>>],
    ) -> Result<(), Refusal> {
        let statement = &asked.decision.statement;
        let Some(charges) = &asked.charges else {
            return Ok(());
        };
        if only_ends(asked) {
            return Ok(());
        }
        let now = clock::now();
        charges
            .charge_statements(u64::from(statement.count.max(1)), now)
            .map_err(refusal)?;
        let effects = asked.effects();
        if charges.limits(BudgetKind::Changed) && effects.intersects(CHANGES.with(Effects::PREPARED)) {
            if effects.intersects(CHANGES) {
                let counted = charges.charge_changed(0, &mut self.changes.borrow_mut(), now);
                counted.map_err(refusal)?;
            }
            let by_name = asked.by_name.as_deref();
            // What a portal changes is told by the tag of its own Execute only.
            let is_cursor = matches!(statement.runs, Some(Named::Cursor(_)));
            let is_known = by_name.is_none_or(|ran| {
                !ran.is_partly_unknown
                    && ran.texts.iter().all(|text| tells_what_runs(text))
                    && !(is_cursor && ran.texts.iter().any(|text| names_a_change(text)))
            });
            if !is_known || !is_countable(&asked.text, statement.count, effects) {
                return Err(uncountable());
            }
        }
        self.may_run(asked)?;
        let lineage = statement.lineage.as_ref();
        if lineage.is_some_and(|lineage| lineage.arguments_vary) && self.runs_what_counts() {
            return Err(uncountable_arguments());
        }
        if charges.limits(BudgetKind::Lookups) {
            self.look_up(session, asked, charges, parameters, now)
                .map_err(refusal)?;
        }
        if statement.prepares {
            self.keep(asked);
        }
        Ok(())
    }

    /// Whether something that looks labelled columns up, or computes with them, can be run by a name.
    fn runs_what_counts(&self) -> bool {
        let counts = |prepared: &Prepared| {
            !prepared.lookups.is_empty() || prepared.budget.limits(BudgetKind::Oversized)
        };
        self.prepared.borrow().get().is_some_and(counts)
    }

    /// The server refuses what was asked, or the end of a transaction or series, with that SQLSTATE.
    pub fn note_failure(&self, session: &Session, asked: Option<&Asked>, sqlstate: &[u8]) {
        if !TELLS_SIZES.iter().any(|class| sqlstate.starts_with(class)) {
            return;
        }
        let computes = |charges: &&Rc<Charges>| charges.limits(BudgetKind::Oversized);
        let own = asked.filter(|asked| may_compute(asked));
        let own = own.and_then(|asked| asked.charges.as_ref());
        // A cursor that is held is run when its transaction ends.
        let ends = asked.is_none_or(|asked| asked.effects().intersects(BY_NAME));
        let held = || {
            let prepared = self.prepared.borrow();
            prepared
                .get()
                .map(|prepared| Rc::new(self.meter.charges(&prepared.budget)))
        };
        let held = own.is_none().then(held).flatten().filter(|_| ends);
        if let Some(charges) = own.or(held.as_ref()).filter(computes) {
            charges.note_oversized(clock::now());
            tracing::warn!(
                session = %session.id,
                target = %session.target.config.name,
                chain = %session.lease.chain,
                "a statement that computes with labelled columns failed for size"
            );
        }
    }

    /// A statement with limits goes to the server.
    pub fn sent(&self, session: &Rc<Session>, asked: &Asked) {
        let Some(charges) = &asked.charges else { return };
        if !charges.limits(BudgetKind::Seconds) {
            return;
        }
        let is_timed = |asked: &Rc<Asked>| {
            let charges = asked.charges.as_ref();
            charges.is_some_and(|charges| charges.limits(BudgetKind::Seconds))
        };
        // What is only parsed was charged to nobody: the time since then is not this statement's either.
        if !session.pipeline.borrow().begun().any(is_timed) {
            self.busy_from.set(clock::now());
        }
        if !self.watched.replace(true) {
            rt::spawn(watch(session.clone()));
        }
    }

    /// A statement was bound, or what ran ended without a command tag: its time counts.
    pub fn passed(&self, asked: &Asked) {
        let charges = asked.charges.as_ref();
        if let Some(charges) = charges.filter(|charges| charges.limits(BudgetKind::Seconds)) {
            let _used_up = self.busy(charges); // the next statement is refused
        }
    }

    /// Charges the time since the last charge.
    fn busy(&self, charges: &Charges) -> Result<(), Exhausted> {
        let now = clock::now();
        let since = now.0.saturating_sub(self.busy_from.replace(now).0);
        charges.charge_busy_ms(since, now)
    }

    /// What a result's end costs. `Some` is said instead of the command tag, and the statement must be undone.
    pub fn completed(&self, session: &Session, payload: &[u8], asked: &Asked) -> Option<Vec<u8>> {
        let Some(charges) = &asked.charges else {
            if self.watched.get() {
                self.busy_from.set(clock::now()); // its time is nobody's
            }
            return None;
        };
        self.stopped.borrow_mut().take();
        self.passed(asked);
        if !charges.limits(BudgetKind::Changed) {
            return None;
        }
        let done = CommandComplete::read(payload).ok()?;
        let verb = done.tag.split(|byte| *byte == b' ').next().unwrap_or_default();
        let refused = match verb {
            b"PREPARE" => None, // nothing has run
            b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" => self.changed(charges, done.rows()),
            b"COPY" if asked.effects().contains(Effects::COPY_IN) => self.changed(charges, done.rows()),
            _ if asked.decision.statement.count == 1 && asked.effects().intersects(CHANGES) => {
                Some(uncountable())
            }
            _ => None,
        }?;
        self.failed.set(true);
        if session.pipeline.borrow().status() == TransactionStatus::InTransaction {
            self.doomed.set(true);
        }
        record(session, asked.number, &refused);
        Some(error(&refused))
    }

    fn changed(&self, charges: &Charges, rows: Option<u64>) -> Option<Refusal> {
        let changes = &mut self.changes.borrow_mut();
        charges
            .charge_changed(rows.unwrap_or(0), changes, clock::now())
            .err()
            .map(refusal)
    }

    /// The server's error in linegate's words, when linegate had it stop.
    pub fn words(&self, session: &Session, number: u64) -> Option<Vec<u8>> {
        let refused = refusal(*self.stopped.borrow_mut().take()?);
        record(session, number, &refused);
        Some(error(&refused))
    }

    /// The client is told that the server is ready. A cancel that is on its way must not meet the next statement.
    pub async fn ready(&self, status: Option<TransactionStatus>) {
        let stopping = self.stopping.borrow_mut().take();
        if let Some(stopping) = stopping {
            stopping.wait().await;
        }
        self.stopped.borrow_mut().take();
        if status == Some(TransactionStatus::Idle) {
            self.changes.borrow_mut().end();
            self.doomed.set(false);
        }
    }

    /// The client was told of an error in what still runs: the server is asked to stop, unless it ends by itself.
    fn stop(&self, session: &Rc<Session>, number: u64) {
        let slot = Slot::default();
        *self.stopping.borrow_mut() = Some(slot.clone());
        let (session, late) = (session.clone(), slot.clone());
        rt::spawn(async move {
            rt::sleep(STOP_AFTER).await;
            let runs = session
                .pipeline
                .borrow()
                .running()
                .is_some_and(|asked| asked.number == number);
            if runs && session.ended.borrow().is_none() {
                rt::spawn(async move {
                    rt::sleep(STOP_TIME).await;
                    late.put(());
                });
                cancel::at_server(&session).await;
            }
            slot.put(());
        });
    }
}

/// Charges the time of what runs, and stops it when its budget is used up.
async fn watch(session: Rc<Session>) {
    let spending = &session.spending;
    loop {
        rt::sleep(WATCH).await;
        let running = session.pipeline.borrow().running().cloned();
        let charges = running
            .as_ref()
            .and_then(|asked| Some((asked.number, asked.charges.clone()?)));
        let Some((number, charges)) = charges else {
            if session.ended.borrow().is_some() || session.pipeline.borrow().is_idle() {
                break;
            }
            continue;
        };
        if let Err(used_up) = spending.busy(&charges)
            && spending.stopped.borrow().is_none()
        {
            *spending.stopped.borrow_mut() = Some(Box::new(used_up));
            spending.stop(&session, number);
        }
    }
    spending.watched.set(false);
}

/// Rows and bytes of one result, charged by whole rows: one that has begun is finished, one that does not fit is not begun.
#[derive(Default)]
pub struct Tally {
    charges: Option<Option<Rc<Charges>>>,
    /// Bytes of the last row still to come.
    left: usize,
}

/// Where a result is cut.
pub struct Cut {
    /// Bytes that still go to the client, and the rows that begin in them.
    pub bytes: usize,
    /// Rows among them.
    pub rows: u64,
    /// The error behind them.
    pub words: Vec<u8>,
}

impl Tally {
    /// Charges what was taken of a result's rows, which begin where the last piece ended.
    pub fn charge(&mut self, session: &Rc<Session>, taken: &[u8]) -> Option<Cut> {
        let running = || session.pipeline.borrow().running().cloned();
        let charges = self.charges.get_or_insert_with(|| {
            let charges = running()?.charges.clone()?;
            let counts = charges.limits(BudgetKind::Rows) || charges.limits(BudgetKind::Bytes);
            counts.then_some(charges)
        });
        let charges = charges.clone()?;
        let (used_up, bytes, rows) = self.fit(&charges, taken, clock::now())?;
        let number = running().map_or(0, |asked| asked.number);
        let refused = refusal(used_up);
        record(session, number, &refused);
        session.spending.failed.set(true);
        session.spending.stop(session, number);
        Some(Cut {
            bytes,
            rows,
            words: error(&refused),
        })
    }

    /// What was passed, and the bytes and rows of `taken` that fit nevertheless.
    fn fit(&mut self, charges: &Charges, taken: &[u8], now: UnixMillis) -> Option<(Exhausted, usize, u64)> {
        let first = self.left.min(taken.len());
        let (rows, bytes, end) = count(&taken[first..], u64::MAX, u64::MAX);
        self.left = match self.left - first {
            0 => end.saturating_sub(taken.len() - first),
            left => left,
        };
        let by_rows = charges.charge_rows(rows, now).err();
        let by_bytes = charges.charge_bytes(bytes, now).err();
        let rows_max = by_rows.as_ref().map_or(u64::MAX, |used_up| used_up.fits);
        let bytes_max = by_bytes.as_ref().map_or(u64::MAX, |used_up| used_up.fits);
        let (rows, _, end) = count(&taken[first..], rows_max, bytes_max);
        let tighter = match (by_rows, by_bytes) {
            (Some(one), Some(_)) if rows >= one.fits => Some(one),
            (one, other) => other.or(one),
        };
        tighter
            .filter(|_| first + end < taken.len())
            .map(|used_up| (used_up, first + end, rows))
    }
}

/// Counts frames from the first header on, at most so many rows and bytes: rows, their bytes, and where the last one ends,
/// which may be beyond the bytes that are there.
fn count(taken: &[u8], rows_max: u64, bytes_max: u64) -> (u64, u64, usize) {
    let (mut rows, mut at) = (0, 0);
    while let Some(&[_, a, b, c, d]) = taken.get(at..at + HEADER_BYTES) {
        let end = at + 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        if rows == rows_max || end as u64 > bytes_max {
            break;
        }
        rows += 1;
        at = end;
    }
    (rows, at as u64, at)
}

/// Whether it is about transactions only: else nobody could end one on an empty budget.
fn only_ends(asked: &Asked) -> bool {
    asked.decision.effects == Effects::TRANSACTION
}

/// Whether it computes with labelled columns, or may do so by a name, and failures for size are counted.
fn may_compute(asked: &Asked) -> bool {
    let charges = asked.charges.as_ref();
    charges.is_some_and(|charges| charges.limits(BudgetKind::Oversized))
        && (asked.computes() || asked.effects().contains(Effects::PREPARED))
}

/// What is said where EXECUTE has arguments that cannot be counted or measured.
fn uncountable_arguments() -> Refusal {
    Refusal {
        sqlstate: *b"0A000",
        message: "linegate cannot tell the values of these arguments, and what may run looks up or computes with masked columns"
            .to_owned(),
        hint: Some("Write the arguments of EXECUTE out, or bind parameters.".to_owned()),
    }
}

/// What is said where changes are limited and cannot be counted.
pub fn uncountable() -> Refusal {
    Refusal {
        sqlstate: *b"0A000",
        message: "linegate cannot count the rows that this changes, and a budget limits them".to_owned(),
        hint: Some("Change rows in statements of their own, one in a query, without WITH.".to_owned()),
    }
}

/// A budget's end in words for the client.
pub fn refusal(used_up: Exhausted) -> Refusal {
    Refusal {
        sqlstate: used_up.sqlstate(),
        message: used_up.public(),
        hint: Some(used_up.hint().to_owned()),
    }
}

fn error(refused: &Refusal) -> Vec<u8> {
    let mut bytes = Vec::new();
    let hint = refused.hint.as_deref();
    say::error_response(
        &mut bytes,
        "ERROR",
        &refused.sqlstate,
        &refused.message,
        None,
        hint,
    );
    bytes
}

fn record(session: &Session, statement: u64, refused: &Refusal) {
    session.core.counters.denied.one();
    let entry = Entry::Error {
        statement,
        sqlstate: String::from_utf8_lossy(&refused.sqlstate).into_owned(),
        message: refused.message.clone(),
    };
    if !session.core.record_now(session.id, entry) {
        tracing::warn!(session = %session.id, "a cut result is not on record: the recorder is behind");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_their_headers_however_they_are_cut() {
        let row = |bytes: usize| {
            let mut row = vec![b'D'];
            row.extend_from_slice(&(4 + bytes as u32).to_be_bytes());
            row.resize(HEADER_BYTES + bytes, 0);
            row
        };
        let rows = [row(10), row(0), row(300)].concat();
        assert_eq!(
            count(&rows, u64::MAX, u64::MAX),
            (3, rows.len() as u64, rows.len())
        );
        assert_eq!(count(&rows, 2, u64::MAX), (2, 20, 20));
        assert_eq!(count(&rows, u64::MAX, 100), (2, 20, 20));
        assert_eq!(count(&rows, 0, u64::MAX), (0, 0, 0));
        for cut in 0..rows.len() {
            // As the walk of the answering loop does, a header that is not whole is left for the next piece.
            let (one, two) = rows.split_at(cut);
            let mut tally = Tally::default();
            let none = Charges::default();
            let whole = |piece: &[u8], left: usize| {
                let from = left.min(piece.len());
                let (_, _, end) = count(&piece[from..], u64::MAX, u64::MAX);
                piece.len().min(from + end)
            };
            let taken = whole(one, 0);
            assert!(tally.fit(&none, &one[..taken], UnixMillis(0)).is_none());
            let rest = [&one[taken..], two].concat();
            assert!(tally.fit(&none, &rest, UnixMillis(0)).is_none());
            assert_eq!(tally.left, 0, "cut at byte {cut}");
        }
    }
}
