//! What all threads of the data plane share: configuration, leases, catalogs, cancel keys. Nothing here is touched per
//! statement but two atomic loads; locks are taken at login, at its end, and when the control plane speaks.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use linegate_config::{Config, Secret, TargetConfig};
use linegate_identity::{LeaseId, Leases, UnixMillis};
use linegate_link::{HoldRequest, IssuerKeys, ToControl};
use linegate_policy::{Engine, LabelIndex, LabelSpec, Statement};
use linegate_recording::SessionId;
use zeroize::Zeroizing;

use crate::changing::Changing;
use crate::clock;
use crate::doors::{ClientChain, Door};
use crate::meters::Meters;
use crate::outstanding::{Outstanding, Tables};
use crate::pseudonym_key::PseudonymKey;
use crate::rt::net::Place;
use crate::rt::sync::Bell;
use crate::session::postgres::alone::Question;
use crate::session::postgres::back_keys::BackKeys;
use crate::session::postgres::cancel::{CancelKey, Heard};

/// A target as sessions use it.
pub struct Target {
    /// What the operator wrote.
    pub config: TargetConfig,
    /// Labels of this target.
    pub labels: Vec<LabelSpec>,
    /// What the target's name resolved to.
    pub addresses: ArcSwap<Vec<Place>>,
    /// Linegate's own password there.
    pub password: Option<Secret>,
    /// What of it a server's SCRAM asks for.
    pub keys: BackKeys,
    /// TLS towards it, unless it is disabled.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What clients' certificates must be, where they are asked for.
    pub clients: Option<ClientChain>,
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
    changes: Outstanding,
    /// Changes that are not committed; one for all targets of the same database of the same server.
    pub changing: Arc<Changing>,
    /// The cells of other targets of it.
    kin: Mutex<Vec<Weak<Self>>>,
    served: AtomicU64,
    under_way: AtomicU64,
    failed: AtomicU64,
    wished: AtomicBool,
    /// It lacks views, and will be read again for them.
    pub awaits_views: AtomicBool,
    checks_wanted: AtomicU64,
    checks_done: AtomicU64,
    changed_at: AtomicU64,
    served_at: AtomicU64,
}

/// A catalog that no verdict depends on is read again when its database has not been changed for so long.
const QUIET_MS: u64 = 10_000;
/// In a database that is changed all the time, it is read this often at least.
const UNREAD_MS_MAX: u64 = 300_000;

impl CatalogCell {
    /// The newest view, if there is one and no later change is known.
    pub fn current(&self) -> Option<Arc<CatalogView>> {
        if self.is_stale() { None } else { self.latest() }
    }

    /// Whether a change is known that the newest view does not show.
    pub fn is_stale(&self) -> bool {
        self.served.load(Ordering::Acquire) < self.changes.newest()
    }

    /// Whether a change is known that no reading has begun to show.
    pub fn is_unread(&self) -> bool {
        self.is_stale() && self.under_way.load(Ordering::Acquire) < self.changes.newest()
    }

    /// The newest view, even when a change is known that it does not show.
    pub fn latest(&self) -> Option<Arc<CatalogView>> {
        self.view.load().as_ref().clone()
    }

    /// The newest change that is known.
    pub fn change(&self) -> u64 {
        self.changes.newest()
    }

    /// The newest view, if it shows that change.
    pub fn showing(&self, change: u64) -> Option<Arc<CatalogView>> {
        let shows = self.served.load(Ordering::Acquire) >= change;
        if shows { self.latest() } else { None }
    }

    /// Whether the newest change was asked about in vain: waiting for it would only delay.
    pub fn is_out_of_reach(&self) -> bool {
        self.failed.load(Ordering::Acquire) >= self.changes.newest()
    }

    /// The newest view, which shows changes up to that number, if all later ones are about some tables only.
    pub fn beside_tables(&self) -> Option<(Arc<CatalogView>, u64)> {
        let shown = self.served.load(Ordering::Acquire);
        let view = self.latest()?; // it may show more by now
        self.changes.are_tables(shown).then_some((view, shown))
    }

    /// Whether no change after `shown` can be about this statement.
    pub fn spares(&self, shown: u64, statement: &Statement) -> bool {
        self.changes.spare(shown, statement)
    }

    /// Whether the caller is the one to wish for a read: of several, one is enough until it starts.
    fn may_wish(&self) -> bool {
        !self.wished.swap(true, Ordering::AcqRel)
    }

    /// Something may have changed.
    pub fn mark_stale(&self) {
        self.mark_changed(None);
    }

    /// Something has changed: that these tables came or went, or anything.
    pub fn mark_changed(&self, tables: Option<&Tables>) {
        self.note_changed(tables);
        for kin in lock(&self.kin).iter().filter_map(Weak::upgrade) {
            kin.note_changed(tables);
        }
    }

    fn note_changed(&self, tables: Option<&Tables>) {
        self.changes.add(tables);
        self.changed_at.store(clock::now().0, Ordering::Release);
    }

    /// The same of another target of this database.
    fn beside(kin: Vec<Arc<Self>>) -> Arc<Self> {
        let cell = Arc::new(Self {
            changing: kin
                .first()
                .map(|first| first.changing.clone())
                .unwrap_or_default(),
            ..Self::default()
        });
        for other in kin {
            lock(&other.kin).push(Arc::downgrade(&cell));
            lock(&cell.kin).push(Arc::downgrade(&other));
        }
        cell
    }

    /// Whether the time has come to look at the server again, though nobody wished for it. Changes are met one after the
    /// other (a migration, a load), and looking at each would only be in their way.
    pub fn is_due(&self, now: UnixMillis) -> bool {
        let since = |at: &AtomicU64| now.0.saturating_sub(at.load(Ordering::Acquire));
        since(&self.changed_at) >= QUIET_MS || since(&self.served_at) >= UNREAD_MS_MAX
    }

    /// Which change a read that starts now will show.
    pub fn reading(&self) -> u64 {
        self.wished.store(false, Ordering::Release);
        let reading = self.changes.newest();
        self.under_way.fetch_max(reading, Ordering::AcqRel);
        reading
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
        self.changes.shown(reading);
        self.served_at.store(clock::now().0, Ordering::Release);
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
    Cancel(SessionId, Heard),
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
    /// A session is about to change names: who has sent what names them?
    WhoUses(Arc<Question>),
    /// Every core has answered that session's question.
    UsesKnown(SessionId),
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
#[derive(Clone)]
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
    /// Where clients knock.
    pub doors: Vec<Arc<Door>>,
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
    /// Cancel keys as clients got them.
    pub cancels: Mutex<HashMap<CancelKey, CancelEntry>>,
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
                let kin = catalogs
                    .iter()
                    .filter(|((of, name), _)| name == database && self.is_same_server(of, target));
                let cell = CatalogCell::beside(kin.map(|(_, cell)| cell.clone()).collect());
                cell.note_changed(None);
                catalogs.insert(key, cell.clone());
                (cell, true)
            }
        }
    }

    /// Whether two targets are one server, by what their addresses resolved to.
    fn is_same_server(&self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (self.targets.get(one), self.targets.get(other)) else {
            return false;
        };
        let others = other.addresses.load();
        one.addresses.load().iter().any(|place| others.contains(place))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_unread_until_a_reading_begins() {
        let cell = CatalogCell::default();
        assert!(!cell.is_unread());
        cell.mark_stale();
        assert!(cell.is_unread() && cell.is_stale());
        let reading = cell.reading();
        assert!(!cell.is_unread() && cell.is_stale());
        cell.mark_stale();
        assert!(cell.is_unread(), "a change after it began");
        cell.confirm(reading, 0);
        assert!(cell.is_unread() && cell.is_stale());
        cell.confirm(cell.reading(), 0);
        assert!(!cell.is_stale());
    }

    #[test]
    fn targets_of_one_database_know_of_each_others_changes() {
        let one = CatalogCell::beside(Vec::new());
        let two = CatalogCell::beside(vec![one.clone()]);
        assert!(Arc::ptr_eq(&one.changing, &two.changing));
        one.mark_stale();
        assert!(one.is_stale() && two.is_stale());
        two.confirm(two.reading(), 0);
        assert!(one.is_stale() && !two.is_stale(), "each reads for itself");
        let three = CatalogCell::beside(vec![one.clone(), two.clone()]);
        three.mark_stale();
        assert!(two.is_stale());
    }

    #[test]
    fn a_catalog_is_due_when_changes_pause_or_never_do() {
        let cell = CatalogCell::default();
        assert!(cell.is_due(clock::now()), "nothing was ever read");
        cell.mark_stale();
        cell.confirm(cell.reading(), cell.checking());
        let now = clock::now().0;
        assert!(!cell.is_due(UnixMillis(now + QUIET_MS / 2)));
        assert!(cell.is_due(UnixMillis(now + QUIET_MS)));
        cell.changed_at.store(now + UNREAD_MS_MAX, Ordering::Release);
        assert!(cell.is_due(UnixMillis(now + UNREAD_MS_MAX)), "it waits no longer");
    }
}
