//! One core: its slabs, cache, counters, sessions, and its ways to the other threads.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak as SyncWeak};
use std::time::Duration;

use linegate_identity::{LeaseGrant, LeaseId, UnixMillis};
use linegate_policy::{Cache, Decision, Epoch, Reason};
use linegate_recording::{Begun, Entry, Rendered, SessionId};

use crate::clock;
use crate::counters::Counters;
use crate::policy_service::{PolicyClient, Question, Reply, Standing};
use crate::recorder::Recording;
use crate::rt::{
    self,
    sync::{Slot, Soon},
};
use crate::session::postgres::{Session, fresh::Code, parting::Warm};
use crate::shared::{CatalogView, Shared};
use crate::slab::Pool;
use crate::warm_pool::WarmPool;

/// Verdicts that a core remembers.
const CACHE_ENTRIES_MAX: usize = 8192;
const CACHE_BYTES_MAX: usize = 16 << 20;
/// From so many standings on, those that no session holds any more are swept out before one is added.
const STANDINGS_SWEEP: usize = 1024;
/// Standings that outlive their last session: jobs that connect for one statement come again.
const STANDINGS_KEPT: usize = 64;

/// What a lease may see, as long as a session holds it or it was asked for lately.
struct Known {
    lease: Arc<LeaseGrant>,
    standing: SyncWeak<Standing>,
}

enum Waiting {
    Open(Slot<Result<Arc<Standing>, Reason>>),
    Decide(Slot<Arc<Decision>>),
}

/// Something with a deadline: a login, or a session whose lease ends.
pub enum Deadline {
    /// Shut this connection down: its login took too long.
    Login(crate::rt::net::Switch, Rc<Cell<bool>>),
    /// The lease of this session ends.
    Lease(Weak<Session>),
}

/// A core.
pub struct Core {
    /// Its number.
    pub index: usize,
    /// Its slabs.
    pub pool: Rc<Pool>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Verdicts.
    pub cache: RefCell<Cache>,
    /// Sessions by id.
    pub sessions: RefCell<HashMap<SessionId, Rc<Session>>>,
    /// Server connections that wait for a session.
    pub warm: RefCell<WarmPool<Warm>>,
    recording: RefCell<Recording>,
    policy: RefCell<PolicyClient>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    standings: RefCell<HashMap<(LeaseId, String), Known>>,
    standings_kept: RefCell<VecDeque<Arc<Standing>>>,
    next_ticket: Cell<u64>,
    deadlines: RefCell<Vec<(UnixMillis, Deadline)>>,
}

impl Core {
    /// A core around its ends of the rings.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        counters: Arc<Counters>,
        recording: Recording,
        policy: PolicyClient,
    ) -> Rc<Self> {
        let memory_bytes = (shared.config.data.memory_mb as usize) << 20;
        Rc::new(Self {
            index,
            pool: Pool::new(memory_bytes),
            counters,
            cache: RefCell::new(Cache::new(*shared.boot_key, CACHE_ENTRIES_MAX, CACHE_BYTES_MAX)),
            shared,
            sessions: RefCell::default(),
            warm: RefCell::default(),
            recording: RefCell::new(recording),
            policy: RefCell::new(policy),
            waiting: RefCell::default(),
            standings: RefCell::default(),
            standings_kept: RefCell::default(),
            next_ticket: Cell::new(1),
            deadlines: RefCell::default(),
        })
    }

    /// Records an entry. While the recorder is behind, this session waits and the others go on.
    pub fn record(&self, session: SessionId, entry: impl Into<Box<Entry>>) -> Soon<'_, ()> {
        let sent = self.recording.borrow_mut().try_entry(session, entry.into());
        match sent {
            Ok(()) => Soon::now(()),
            Err(entry) => Soon::later(self.record_later(session, entry)),
        }
    }

    async fn record_later(&self, session: SessionId, mut entry: Box<Entry>) {
        loop {
            rt::sleep(Duration::from_millis(1)).await;
            let sent = self.recording.borrow_mut().try_entry(session, entry);
            match sent {
                Ok(()) => return,
                Err(back) => entry = back,
            }
        }
    }

    /// Records a statement and its verdict, as [`Core::record`] does an entry.
    pub fn record_begun<E, R>(&self, session: SessionId, begun: &Begun<'_, E, R>) -> Soon<'_, ()>
    where
        E: Iterator<Item: Display> + Clone,
        R: Iterator<Item: Display> + Clone,
    {
        let mut recording = self.recording.borrow_mut();
        let mut rendered = recording.rendering();
        if !rendered.render(begun) {
            let entries = begun.entries();
            return Soon::later(async move {
                for entry in entries {
                    self.record(session, entry).await;
                }
            });
        }
        match recording.try_begun(session, rendered) {
            Ok(()) => Soon::now(()),
            Err(rendered) => Soon::later(self.record_begun_later(session, rendered)),
        }
    }

    async fn record_begun_later(&self, session: SessionId, mut begun: Rendered) {
        loop {
            rt::sleep(Duration::from_millis(1)).await;
            let sent = self.recording.borrow_mut().try_begun(session, begun);
            match sent {
                Ok(()) => return,
                Err(back) => begun = back,
            }
        }
    }

    /// Records an entry if there is room; for places that cannot wait.
    pub fn record_now(&self, session: SessionId, entry: Entry) -> bool {
        self.recording
            .borrow_mut()
            .try_entry(session, Box::new(entry))
            .is_ok()
    }

    /// Copies rows to the recorder; false when it is too far behind.
    pub fn record_rows(&self, session: SessionId, statement: u64, offset: u64, rows: &[u8]) -> bool {
        self.recording
            .borrow_mut()
            .try_rows(session, statement, offset, rows)
    }

    /// Whether the disk refuses.
    pub fn recording_fails(&self) -> bool {
        self.recording.borrow().is_failing()
    }

    /// Asks what a lease may see. Parks the caller only. Sessions of one lease share the answer while it is in force.
    pub async fn open(&self, lease: &Arc<LeaseGrant>, database: &str) -> Result<Arc<Standing>, Reason> {
        let key = (lease.id.clone(), database.to_owned());
        let known = self.standings.borrow().get(&key).and_then(|known| {
            // Tokens of one id may be narrowed differently.
            let is_same = Arc::ptr_eq(&known.lease, lease) || known.lease == *lease;
            known.standing.upgrade().filter(|_| is_same)
        });
        if let Some(standing) = known
            && standing.is_in_force(self.shared.policy.load().version, clock::now())
        {
            return Ok(standing);
        }
        let slot = Slot::default();
        self.ask(Waiting::Open(slot.clone()), |ticket| Question::Open {
            ticket,
            lease: lease.clone(),
            database: database.to_owned(),
        })
        .await;
        let standing = slot.wait().await?;
        let mut standings = self.standings.borrow_mut();
        if standings.len() >= STANDINGS_SWEEP {
            standings.retain(|_, known| known.standing.strong_count() > 0);
        }
        let known = Known {
            lease: lease.clone(),
            standing: Arc::downgrade(&standing),
        };
        standings.insert(key, known);
        let mut kept = self.standings_kept.borrow_mut();
        kept.truncate(STANDINGS_KEPT - 1);
        kept.push_front(standing.clone());
        Ok(standing)
    }

    /// The verdict on a statement: from this core's cache, or from the policy thread. `None` when other policies are in force
    /// by now than those that `standing` was built from. Catalog and code are part of the epoch.
    pub fn decide<'a>(
        &'a self,
        epoch: u64,
        standing: &Arc<Standing>,
        catalog: Option<Arc<CatalogView>>,
        code: Option<Arc<Code>>,
        text: &'a [u8],
    ) -> Soon<'a, Option<Arc<Decision>>> {
        let found = self.cache.borrow_mut().get_at(Epoch(epoch), text, clock::now());
        if let Some(decision) = found {
            self.counters.cache_hits.one();
            return Soon::now(Some(decision));
        }
        self.counters.cache_misses.one();
        Soon::later(self.decide_anew(epoch, standing.clone(), (catalog, code), text))
    }

    async fn decide_anew(
        &self,
        epoch: u64,
        standing: Arc<Standing>,
        (catalog, code): (Option<Arc<CatalogView>>, Option<Arc<Code>>),
        text: &[u8],
    ) -> Option<Arc<Decision>> {
        let policy = self.shared.policy.load_full();
        if policy.version != standing.version {
            return None;
        }
        let slot = Slot::default();
        let question = |ticket| Question::Decide {
            ticket,
            epoch: Epoch(epoch),
            policy,
            standing,
            catalog,
            code,
            text: text.to_vec(),
        };
        self.ask(Waiting::Decide(slot.clone()), question).await;
        let decision = slot.wait().await;
        self.cache
            .borrow_mut()
            .insert(Epoch(epoch), text, decision.clone());
        Some(decision)
    }

    async fn ask(&self, waiting: Waiting, question: impl FnOnce(u64) -> Question) {
        let ticket = self.next_ticket.replace(self.next_ticket.get() + 1);
        self.waiting.borrow_mut().insert(ticket, waiting);
        let mut question = question(ticket);
        loop {
            let sent = self.policy.borrow_mut().ask(question);
            match sent {
                Ok(()) => return,
                Err(back) => question = back,
            }
            rt::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Hands a reply to whoever waits for it.
    pub fn deliver(&self, reply: Reply) {
        let (Reply::Opened { ticket, .. } | Reply::Decided { ticket, .. }) = &reply;
        let waiting = self.waiting.borrow_mut().remove(ticket);
        match (waiting, reply) {
            (Some(Waiting::Open(slot)), Reply::Opened { standing, .. }) => slot.put(standing),
            (Some(Waiting::Decide(slot)), Reply::Decided { decision, .. }) => slot.put(decision),
            _ => tracing::error!("a policy reply found nobody who asked"),
        }
    }

    /// Whether linegate is shutting down.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Arranges for something to happen at a time.
    pub fn at(&self, time: UnixMillis, deadline: Deadline) {
        self.deadlines.borrow_mut().push((time, deadline));
    }

    /// Lets what is due happen; called every 100 ms. Deadlines of what has ended meanwhile are dropped.
    pub fn tick(&self) {
        let now = clock::now();
        self.counters.warm_closed.add(self.warm.borrow_mut().sweep(now));
        let mut due = Vec::new();
        self.deadlines
            .borrow_mut()
            .retain(|(time, deadline)| match deadline {
                Deadline::Login(_, done) if done.get() => false,
                Deadline::Lease(session) if session.strong_count() == 0 => false,
                Deadline::Login(switch, _) if *time <= now => {
                    switch.off();
                    false
                }
                Deadline::Lease(session) if *time <= now => {
                    due.extend(session.upgrade());
                    false
                }
                _ => true,
            });
        for session in due {
            session.end_lease("the lease has expired", "");
        }
    }
}
