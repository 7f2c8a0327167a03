//! What all threads of the data plane share: configuration, leases, catalogs, cancel keys. Nothing here is touched per
//! statement but two atomic loads; locks are taken at login, at its end, and when the control plane speaks.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use linegate_config::{Config, Secret, TargetConfig};
use linegate_identity::{LeaseId, Leases};
use linegate_link::{HoldRequest, IssuerKeys, ToControl};
use linegate_policy::{Engine, LabelIndex, LabelSpec};
use linegate_recording::SessionId;
use zeroize::Zeroizing;

use crate::meters::Meters;
use crate::pseudonym_key::PseudonymKey;
use crate::rt::sync::Bell;

/// A target as sessions use it.
pub struct Target {
    /// What the operator wrote.
    pub config: TargetConfig,
    /// Labels of this target.
    pub labels: Vec<LabelSpec>,
    /// What the target's name resolved to.
    pub addresses: ArcSwap<Vec<SocketAddr>>,
    /// Linegate's own password there.
    pub password: Option<Secret>,
    /// TLS towards it, unless it is disabled.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Sessions that are open on all cores.
    pub sessions: AtomicU64,
}

/// One database's catalog, with its labels resolved.
pub struct CatalogView {
    /// Grows with every change.
    pub epoch: u64,
    /// Labels by origin.
    pub labels: LabelIndex,
    /// Of everything that was read.
    pub fingerprint: [u8; 32],
    /// What the server's catalogs said of themselves then; `None` when not all could be read.
    pub version: Option<String>,
}

/// A catalog and whether it may be out of date.
#[derive(Default)]
pub struct CatalogCell {
    view: ArcSwap<Option<Arc<CatalogView>>>,
    wanted: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
    wished: AtomicBool,
    checks_wanted: AtomicU64,
    checks_done: AtomicU64,
}

impl CatalogCell {
    /// The newest view, if there is one and no later change is known.
    pub fn current(&self) -> Option<Arc<CatalogView>> {
        let fresh = self.served.load(Ordering::Acquire) >= self.wanted.load(Ordering::Acquire);
        if fresh { self.latest() } else { None }
    }

    /// The newest view, even when a change is known that it does not show.
    pub fn latest(&self) -> Option<Arc<CatalogView>> {
        self.view.load().as_ref().clone()
    }

    /// The newest change that is known.
    pub fn change(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }

    /// The newest view, if it shows that change.
    pub fn showing(&self, change: u64) -> Option<Arc<CatalogView>> {
        let shows = self.served.load(Ordering::Acquire) >= change;
        if shows { self.latest() } else { None }
    }

    /// Whether the newest change was asked about in vain: waiting for it would only delay.
    pub fn is_out_of_reach(&self) -> bool {
        self.failed.load(Ordering::Acquire) >= self.wanted.load(Ordering::Acquire)
    }

    /// Whether the caller is the one to wish for a read: of several, one is enough until it starts.
    fn may_wish(&self) -> bool {
        !self.wished.swap(true, Ordering::AcqRel)
    }

    /// Something may have changed.
    pub fn mark_stale(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
    }

    /// Which change a read that starts now will show.
    pub fn reading(&self) -> u64 {
        self.wished.store(false, Ordering::Release);
        self.wanted.load(Ordering::Acquire)
    }

    /// Asks for a look at the server that begins after this call; the answer is for [`Self::is_checked`]. Unlike
    /// [`Self::mark_stale`] it makes nobody else wait.
    pub fn want_check(&self) -> u64 {
        self.checks_wanted.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether that look has ended, and the newest view shows what it found.
    pub fn is_checked(&self, ticket: u64) -> bool {
        self.checks_done.load(Ordering::Acquire) >= ticket
    }

    /// Which checks a read that starts now will answer.
    pub fn checking(&self) -> u64 {
        self.checks_wanted.load(Ordering::Acquire)
    }

    /// A read that started at `reading` and `checking` has ended well; the newest view shows what it found.
    pub fn confirm(&self, reading: u64, checking: u64) {
        self.served.fetch_max(reading, Ordering::AcqRel);
        self.checks_done.fetch_max(checking, Ordering::AcqRel);
    }

    /// A read that started at `reading` found no catalog.
    pub fn fail(&self, reading: u64) {
        self.failed.fetch_max(reading, Ordering::AcqRel);
    }

    /// A read that started at `reading` has ended.
    pub fn publish(&self, reading: u64, view: Option<CatalogView>) {
        if let Some(view) = view {
            self.view.store(Arc::new(Some(Arc::new(view))));
            self.served.store(reading, Ordering::Release);
        }
    }
}

/// Policies in force.
pub struct PolicyVersion {
    /// Grows with every reload.
    pub version: u64,
    /// The compiled policies.
    pub engine: Engine,
}

/// Where a CancelRequest leads.
#[derive(Clone)]
pub struct CancelEntry {
    /// The core that owns the session.
    pub core: usize,
    /// The session.
    pub session: SessionId,
}

/// Low-rate messages to a core.
pub enum CoreMessage {
    /// A client asked to cancel what its session runs.
    Cancel(SessionId),
    /// These leases ended; `version` is acknowledged when the sessions were told.
    LeasesEnded {
        ids: Arc<Vec<LeaseId>>,
        why: &'static str,
        version: u64,
    },
    /// A person decided.
    HoldDecided {
        hold: String,
        digest: String,
        approved: bool,
        by: String,
        reason: Option<String>,
    },
    /// Stop accepting and drain.
    Drain,
}

/// A queue with a bell, for messages that are rare.
pub struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    bell: Arc<Bell>,
}

impl<T> Mailbox<T> {
    /// A mailbox whose owner listens to `bell`.
    pub fn new(bell: Arc<Bell>) -> Self {
        Self {
            queue: Mutex::default(),
            bell,
        }
    }

    /// Delivers.
    pub fn put(&self, message: T) {
        lock(&self.queue).push_back(message);
        self.bell.ring();
    }

    /// Sleeps until something is delivered or [`Mailbox::nudge`]d, at most `time`; not at all if `ready`.
    pub fn park(&self, time: Duration, ready: impl Fn() -> bool) {
        self.bell.park(time, || ready() || !self.is_empty());
    }

    /// Wakes whoever sleeps, without a message.
    pub fn nudge(&self) {
        self.bell.ring();
    }

    /// The oldest message.
    pub fn take(&self) -> Option<T> {
        lock(&self.queue).pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }
}

/// What a panic of another thread leaves behind is still whole: every critical section here is a single map operation.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Issuer and token keys as the control plane last sent them.
#[derive(Default)]
pub struct Keys {
    /// OIDC issuers.
    pub issuers: Vec<IssuerKeys>,
    /// The key that lease tokens are checked with, hex.
    pub token_key: String,
}

/// A catalog that somebody wants read.
pub struct CatalogWish {
    /// The target's name.
    pub target: String,
    /// The database.
    pub database: String,
}

/// Everything that is shared.
pub struct Shared {
    /// What the operator wrote.
    pub config: Config,
    /// Targets by name.
    pub targets: HashMap<String, Arc<Target>>,
    /// TLS towards clients.
    pub client_tls: Option<Arc<rustls::ServerConfig>>,
    /// Policies.
    pub policy: ArcSwap<PolicyVersion>,
    /// Leases.
    pub leases: Mutex<Leases>,
    /// Whether the control plane ever sent its snapshot: before it, nothing opens.
    pub has_snapshot: AtomicBool,
    /// Issuer keys.
    pub keys: ArcSwap<Keys>,
    /// Catalogs by target and database.
    pub catalogs: Mutex<HashMap<(String, String), Arc<CatalogCell>>>,
    /// Wishes to the catalog thread.
    pub catalog_wishes: Mailbox<CatalogWish>,
    /// Cancel keys: process id and secret as the client got them.
    pub cancels: Mutex<HashMap<(u32, Vec<u8>), CancelEntry>>,
    /// Messages to the cores.
    pub cores: Vec<Mailbox<CoreMessage>>,
    /// Messages to the control plane.
    pub to_control: Mailbox<ToControl>,
    /// Holds that wait, to tell the control plane again after a reconnect.
    pub holds: Mutex<HashMap<String, HoldRequest>>,
    /// Whether the control plane is connected now.
    pub control_connected: AtomicBool,
    /// Shutting down.
    pub draining: AtomicBool,
    /// Key of pseudonyms and format-preserving digits; the same at every start.
    pub pseudonym_key: PseudonymKey,
    /// Key of the verdict caches, of mock SCRAM exchanges and of digests; new at every start.
    pub boot_key: Zeroizing<[u8; 32]>,
    /// How many cores have told their sessions of the lease change with that version.
    pub lease_acks: Mutex<HashMap<u64, usize>>,
    /// What families of leases have used of their budgets.
    pub meters: Meters,
}

impl Shared {
    /// The catalog of a database; asks for it to be read when it is new.
    pub fn catalog(&self, target: &str, database: &str) -> Arc<CatalogCell> {
        let (cell, is_new) = self.catalog_cell(target, database);
        if is_new {
            self.wish_catalog(target, database);
        }
        cell
    }

    fn catalog_cell(&self, target: &str, database: &str) -> (Arc<CatalogCell>, bool) {
        let mut catalogs = lock(&self.catalogs);
        let key = (target.to_owned(), database.to_owned());
        match catalogs.get(&key) {
            Some(cell) => (cell.clone(), false),
            None => {
                let cell = Arc::new(CatalogCell::default());
                cell.mark_stale();
                catalogs.insert(key, cell.clone());
                (cell, true)
            }
        }
    }

    /// Asks for a catalog to be read now; wishes that come before the read starts are one.
    pub fn wish_catalog(&self, target: &str, database: &str) {
        if self.catalog_cell(target, database).0.may_wish() {
            self.catalog_wishes.put(CatalogWish {
                target: target.to_owned(),
                database: database.to_owned(),
            });
        }
    }

    /// How long a login at a backend may take.
    pub fn connect_time(target: &Target) -> Duration {
        Duration::from_secs(u64::from(target.config.connect_seconds))
    }
}
