//! A PostgreSQL session: its shared state, its two loops, its end.
//!
//! `front_door` lets a client in, `startup_settings` reads what it sets while it logs in, `back_door` logs in at the server, `ask` carries what the client says, `answer` what the
//! server says, `budget` counts what that costs, `hold` waits for a person, `pipeline` keeps the order, `results` masks rows,
//! `scrub` everything else that the server says, `lexing` knows whether statements can be read, `names` what runs by name,
//! `parting` what becomes of the server connection when the client has left.

pub mod alone;
pub mod answer;
pub mod ask;
pub mod asked;
pub mod back_door;
pub mod back_keys;
pub mod bound;
pub mod budget;
pub mod cancel;
mod deciding;
pub mod fresh;
pub mod front_door;
pub mod hold;
pub mod lexing;
pub mod names;
pub mod parting;
pub mod pipeline;
pub mod results;
pub mod scrub;
pub mod serve;
pub mod silence;
pub mod startup_settings;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as say;
use codecs::postgres::{Limits, PostgresError};
use linegate_identity::{LeaseGrant, LeaseId};
use linegate_policy::Decision;
use linegate_recording::{Entry, SessionId};

use crate::core::Core;
use crate::link::LinkWriter;
use crate::policy_service::Standing;
use crate::rarely::Rarely;
use crate::rt::net::Switch;
use crate::rt::sync::{Held, Lock, Slot, Soon};
use crate::shared::{CatalogCell, Target};

use self::budget::Spending;
use self::deciding::refused;
use self::fresh::Fresh;
use self::hold::{HoldOutcome, Waiting};
use self::lexing::Lexing;
use self::names::Names;
use self::parting::Parting;
use self::pipeline::Pipeline;
use self::results::{Kept, Plan};

/// How long a statement may wait for a catalog that is known to be out of date, and how often it looks.
const CATALOG_WAIT: Duration = Duration::from_secs(5);
const CATALOG_POLL: Duration = Duration::from_millis(5);

/// Why a session ended, for the client, the record and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Words for the record.
    pub why: String,
    /// What the client is still told, if anything: SQLSTATE and message.
    pub say: Option<([u8; 5], String)>,
}

impl Ended {
    /// Nobody needs to be told.
    pub fn quietly(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            say: None,
        }
    }

    /// The client is told.
    pub fn saying(sqlstate: &[u8; 5], message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            why: message.clone(),
            say: Some((*sqlstate, message)),
        }
    }

    /// The peer broke the protocol.
    pub fn violation(error: &PostgresError) -> Self {
        let (sqlstate, message) = error.public();
        Self {
            why: error.to_string(),
            say: Some((sqlstate, message.to_owned())),
        }
    }
}

/// The writing half towards the client; whoever holds the lock writes whole messages in order.
pub struct Front {
    lock: Lock,
    writer: RefCell<Option<LinkWriter>>,
    scratch: RefCell<Vec<u8>>,
}

impl Front {
    /// Around the writer.
    pub fn new(writer: LinkWriter) -> Self {
        Self {
            lock: Lock::default(),
            writer: RefCell::new(Some(writer)),
            scratch: RefCell::default(),
        }
    }

    /// Waits for its turn.
    pub async fn turn(&self) -> FrontTurn<'_> {
        FrontTurn {
            front: self,
            _held: self.lock.take().await,
        }
    }

    /// Takes the turn if nobody has it.
    pub fn try_turn(&self) -> Option<FrontTurn<'_>> {
        self.lock.try_take().map(|held| FrontTurn {
            front: self,
            _held: held,
        })
    }
}

/// The right to write to the client.
pub struct FrontTurn<'a> {
    front: &'a Front,
    _held: Held<'a>,
}

impl FrontTurn<'_> {
    /// Writes `bytes`, which come back empty.
    pub async fn write(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let Some(mut writer) = self.front.writer.take() else {
            return (Err(io::ErrorKind::NotConnected.into()), bytes);
        };
        let result = writer.write_vec(bytes).await;
        *self.front.writer.borrow_mut() = Some(writer);
        result
    }

    /// Writes a part of an ingress.
    pub async fn write_span(
        &self,
        ingress: crate::slab::Ingress,
        range: std::ops::Range<usize>,
    ) -> (io::Result<()>, crate::slab::Ingress) {
        let Some(mut writer) = self.front.writer.take() else {
            return (Err(io::ErrorKind::NotConnected.into()), ingress);
        };
        let result = writer.write_span(ingress, range).await;
        *self.front.writer.borrow_mut() = Some(writer);
        result
    }

    /// A buffer that is kept between turns.
    pub fn scratch(&self) -> Vec<u8> {
        std::mem::take(&mut *self.front.scratch.borrow_mut())
    }

    /// Gives the buffer back.
    pub fn keep(&self, mut scratch: Vec<u8>) {
        scratch.clear();
        if scratch.capacity() <= 4 << 10 {
            *self.front.scratch.borrow_mut() = scratch;
        }
    }
}

/// Mask plans by the names of portals.
type Plans = HashMap<Rc<[u8]>, Rc<Plan>>;

/// A text as it was decided.
pub struct Decided {
    /// What was decided.
    pub decision: Arc<Decision>,
    /// The epoch that it was decided at.
    pub epoch: u64,
    /// The text was read; else it is not known how the server reads it.
    pub is_read: bool,
    /// What the session was allowed and saw masked then.
    pub standing: Arc<Standing>,
    /// How many changes of shapes had been sent by then.
    pub mark: u64,
    /// What is to be asked of the server instead.
    pub weaker: Option<Rc<[u8]>>,
}

/// What the two loops, the hold and the core's events share.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The core it lives on.
    pub core: Rc<Core>,
    /// Its target.
    pub target: Arc<Target>,
    /// The lease it runs under.
    pub lease: Arc<LeaseGrant>,
    /// Revocation ids of the token it came with, if it came with one.
    pub token_ids: Box<[String]>,
    /// The database it opened.
    pub database: Box<str>,
    /// Sizes.
    pub limits: Limits,
    /// What policy sees; replaced when policies change.
    pub standing: RefCell<Arc<Standing>>,
    /// What it spends of its lease's budgets.
    pub spending: Spending,
    /// The database's catalog.
    pub catalog: Arc<CatalogCell>,
    /// What is owed.
    pub pipeline: RefCell<Pipeline>,
    /// Mask plans of portals, by name.
    pub plans: RefCell<Rarely<Plans>>,
    /// What becomes of the rows of the COPY that was described last.
    pub copies: RefCell<Option<Box<Kept>>>,
    /// Towards the client.
    pub front: Front,
    /// Ends the client's link.
    pub front_switch: Switch,
    /// Ends the server's link.
    pub back_switch: Switch,
    /// What cancels its statements, here and at the server.
    pub cancel_keys: cancel::Keys,
    /// What a request cancels before the server knows of it.
    pub undecided: cancel::Undecided,
    /// What it left at the server, and whether another may follow it there.
    pub parting: Parting,
    /// Why it ended, once it has.
    pub ended: RefCell<Option<Box<Ended>>>,
    /// Something prepared or declared touches a label: EXECUTE and FETCH count as touching it.
    pub prepared_touched: Cell<bool>,
    /// Names without a schema may be looked up and made elsewhere than where the administrator has it.
    pub path_moved: Cell<bool>,
    /// It may have made something temporary.
    pub has_temporary: Cell<bool>,
    /// What it prepared and declared, by name.
    pub names: Names,
    /// What it made in the open transaction, and when it asked for the catalog.
    pub fresh: Fresh,
    /// Whether the server reads statements as they are read here.
    pub lexing: Lexing,
    /// The server's stream stands between two messages, so linegate may say something.
    pub at_boundary: Cell<bool>,
    /// Whoever waits for the pipeline to be empty.
    pub drained: RefCell<Option<Slot<()>>>,
    /// The hold that waits.
    pub hold: RefCell<Option<Box<Waiting>>>,
    /// Told when every core has said whether it uses what this one changes.
    pub uses_known: RefCell<Option<Slot<()>>>,
    /// The epoch last worked out, with the versions of policy and catalog and the end of time that it is of.
    pub epoch: Cell<((u64, u64, u64, u64), u64)>,
    /// The statement whose result the server has begun to send, so that it has read its names.
    pub described: Cell<u64>,
    /// Statements so far.
    pub statements: Cell<u64>,
    /// Rows and bytes sent to the client, bytes received.
    pub totals: Cell<(u64, u64, u64)>,
}

/// One more byte than this would cost 128 each: the allocator has no size between.
const _: () = assert!(size_of::<Session>() + 2 * size_of::<usize>() <= 896);

impl Session {
    /// The number of the next statement.
    pub fn next_statement(&self) -> u64 {
        self.statements.set(self.statements.get() + 1);
        self.statements.get()
    }

    /// Whether this session sees any column masked.
    pub fn is_masked(&self) -> bool {
        !self.standing.borrow().masks.is_empty()
    }

    /// Whether a decision must not be made with an outdated catalog.
    fn needs_catalog(&self) -> bool {
        let standing = self.standing.borrow();
        !standing.masks.is_empty() || standing.subject.needs_catalog()
    }

    /// Whether what is in the catalog may change what this session may do, or what its statements are charged to.
    pub fn relies_on_catalog(&self) -> bool {
        let standing = self.standing.borrow();
        !standing.masks.is_empty() || !standing.subject.may_everything()
    }

    /// What becomes of the rows of a portal.
    pub fn plan_of(&self, portal: &[u8]) -> Option<Rc<Plan>> {
        self.plans.borrow().get()?.get(portal).cloned()
    }

    /// The portal is gone, or another.
    pub fn forget_plan(&self, portal: &[u8]) {
        if let Some(plans) = self.plans.borrow_mut().get_mut() {
            plans.remove(portal);
        }
    }

    /// All portals are gone.
    pub fn forget_plans(&self) {
        if let Some(plans) = self.plans.borrow_mut().get_mut() {
            plans.clear();
        }
    }

    /// Says what is due of linegate's own words, if the client's turn to be told has come.
    pub fn say_local(&self) -> Soon<'_, io::Result<()>> {
        match self.has_to_say() {
            false => Soon::now(Ok(())),
            true => Soon::later(async {
                let turn = self.front.turn().await;
                self.say_all(&turn).await
            }),
        }
    }

    /// The same within a turn.
    pub fn say_local_in<'a>(&'a self, turn: &'a FrontTurn<'a>) -> Soon<'a, io::Result<()>> {
        match self.has_to_say() {
            false => Soon::now(Ok(())),
            true => Soon::later(self.say_all(turn)),
        }
    }

    fn has_to_say(&self) -> bool {
        self.pipeline.borrow_mut().has_local()
            || self.drained.borrow().is_some() && self.pipeline.borrow().is_idle()
    }

    async fn say_all(&self, turn: &FrontTurn<'_>) -> io::Result<()> {
        loop {
            let due = self.pipeline.borrow_mut().take_local();
            match due {
                Some(bytes) => turn.write(bytes).await.0?,
                None => break,
            }
        }
        if self.pipeline.borrow().is_idle()
            && let Some(slot) = self.drained.borrow_mut().take()
        {
            slot.put(());
        }
        Ok(())
    }

    /// Waits until the server owes nothing, or the session has ended.
    pub async fn drain(&self) {
        // Once it has ended nobody says any more that the pipeline is empty.
        if self.pipeline.borrow().is_idle() || self.ended.borrow().is_some() {
            return;
        }
        let slot = Slot::default();
        *self.drained.borrow_mut() = Some(slot.clone());
        slot.wait().await;
    }

    /// Ends the session: the first reason counts. Both links are shut down, so both loops come to their end.
    pub fn end(&self, ended: Ended) {
        let first = self.ended.borrow().is_none();
        if first {
            *self.ended.borrow_mut() = Some(Box::new(ended));
        }
        if let Some(slot) = self.drained.borrow_mut().take() {
            slot.put(());
        }
        if let Some(waiting) = self.hold.borrow_mut().take() {
            waiting.slot.put(HoldOutcome::Gone("disconnected"));
        }
        if !self.parting.is_parked() {
            self.parting.fails();
            self.back_switch.off();
        }
        self.front_switch.no_more_reads();
    }

    /// Ends it because its lease ended.
    pub fn end_lease(&self, why: &str, by: &str) {
        let entry = Entry::LeaseEnded {
            lease: self.lease.id.to_string(),
            why: why.to_owned(),
            by: (!by.is_empty()).then(|| by.to_owned()),
        };
        if !self.core.record_now(self.id, entry) {
            tracing::warn!(session = %self.id, "the end of a lease is not on record: the recorder is behind");
        }
        if let Some(waiting) = self.hold.borrow_mut().take() {
            waiting.slot.put(HoldOutcome::Gone("lease-ended"));
        }
        self.end(Ended::saying(
            b"57P01",
            format!("linegate: {why}; this session ends"),
        ));
    }

    /// Whether nothing runs and no transaction is open.
    pub fn is_quiet(&self) -> bool {
        let pipeline = self.pipeline.borrow();
        pipeline.is_idle() && pipeline.status() == TransactionStatus::Idle && self.hold.borrow().is_none()
    }

    /// Whether one of these leases or token blocks carries this session.
    pub fn runs_under(&self, ids: &[LeaseId]) -> bool {
        ids.iter()
            .any(|id| *id == self.lease.id || self.token_ids.iter().any(|token| token == id.as_str()))
    }

    /// The last words, if the stream allows any, then the end of the link.
    pub async fn say_goodbye(&self) {
        let ended = self.ended.borrow().clone();
        let words = ended.as_ref().and_then(|ended| ended.say.clone());
        if let (Some((sqlstate, message)), true) = (words, self.at_boundary.get())
            && let Some(turn) = self.front.try_turn()
        {
            let mut bytes = Vec::new();
            say::error_response(&mut bytes, "FATAL", &sqlstate, &message, None, None);
            let _ = turn.write(bytes).await;
        }
        self.front_switch.off(); // behind all that was written
        drop(self.front.writer.borrow_mut().take());
    }

    /// Counts rows and bytes sent.
    pub fn count_out(&self, rows: u64, bytes: u64) {
        let (all_rows, all_out, all_in) = self.totals.get();
        self.totals.set((all_rows + rows, all_out + bytes, all_in));
        self.core.counters.rows.add(rows);
        self.core.counters.bytes_out.add(bytes);
    }

    /// Counts bytes received.
    pub fn count_in(&self, bytes: u64) {
        let (all_rows, all_out, all_in) = self.totals.get();
        self.totals.set((all_rows, all_out, all_in + bytes));
        self.core.counters.bytes_in.add(bytes);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.target.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
