//! The control plane: who may have a lease, what was revoked, who approved what, and which keys issuers sign with.
//!
//! It talks to people, agents and identity providers over HTTP, and to data planes over the link. It carries no rows: when
//! it dies, sessions and leases go on with the last snapshot, and nothing new opens.
//!
//! A change runs in one line: check → database ([`state`]) → memory and links ([`book`]) → confirmations. The turn is held
//! from the check to the links, so changes are seen in one order everywhere; nobody holds it while data planes confirm.

pub mod admin;
pub mod book;
pub mod error;
pub mod holds;
pub mod issuers;
pub mod leases;
pub mod link;
pub mod secrets;
pub mod serve;
pub mod settings;
pub mod state;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use linegate_identity::UnixMillis;

use crate::book::Book;
use crate::error::Refusal;
use crate::issuers::Fetchers;
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::state::Store;

/// How long data planes may take to confirm a change before its answer says that they did not.
const CONFIRM_WAIT: Duration = Duration::from_secs(5);

/// How often what has expired is forgotten.
const SWEEP_PERIOD: Duration = Duration::from_secs(10);

/// How long ended leases and holds stay listed.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Where the time comes from; tests bring their own.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The control plane of one state directory.
pub struct Control {
    store: Arc<Store>,
    book: Mutex<Book>,
    /// Held from the check of a change until the links have it.
    turn: tokio::sync::Mutex<()>,
    settings: RwLock<Arc<Settings>>,
    secrets: Arc<Secrets>,
    /// Secrets are stretched one at a time, so that guessing costs the guesser's time and not this process's.
    stretching: tokio::sync::Semaphore,
    fetchers: Mutex<Fetchers>,
    clock: Clock,
    confirm_wait: Duration,
}

impl Control {
    /// Opens the state and takes up what it holds: live leases, revocations, cached keys.
    pub fn open(
        database: &Path,
        secrets: Secrets,
        settings: Settings,
        clock: Clock,
    ) -> Result<Arc<Self>, rusqlite::Error> {
        let store = Store::open(database)?;
        let mut book = Book::new(store.version()?, secrets.public_key_hex());
        for lease in store.unexpired_leases(clock())? {
            book.restore(lease.grant, lease.root, lease.revoked_at.is_some());
        }
        let cached = store.keys()?;
        book.restore_issuers(issuers::usable(&settings, &cached));
        Ok(Arc::new(Self {
            store: Arc::new(store),
            book: Mutex::new(book),
            turn: tokio::sync::Mutex::new(()),
            settings: RwLock::new(Arc::new(settings)),
            secrets: Arc::new(secrets),
            stretching: tokio::sync::Semaphore::new(1),
            fetchers: Mutex::new(Fetchers::default()),
            clock,
            confirm_wait: CONFIRM_WAIT,
        }))
    }

    /// The time.
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// What is true now. Never held across a wait. A panic under the lock is a bug that ended its own request; each
    /// change to the book is complete before anything in it can panic.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new configuration in force: issuers that left take their keys with them, data planes get a snapshot, and
    /// keys are fetched from where the new configuration says.
    pub async fn reload(self: &Arc<Self>, settings: Settings) -> Result<(), Refusal> {
        let control = Arc::clone(self);
        let change = async move {
            let _turn = control.turn.lock().await;
            let cached = control.store(|store| store.keys()).await?;
            let version = control.book().next_version();
            control.store(move |store| store.set_version(version)).await?;
            let keys = issuers::usable(&settings, &cached);
            *control.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
            let _told = control.book().set_issuers(keys); // a reload has nobody to answer to
            Ok(())
        };
        to_the_end(change).await?;
        self.fetch_keys();
        Ok(())
    }

    /// Starts or restarts fetching the keys of every configured issuer.
    pub fn fetch_keys(self: &Arc<Self>) {
        let fetchers = Fetchers::start(self, &self.settings());
        *self.fetchers.lock().unwrap_or_else(PoisonError::into_inner) = fetchers;
    }

    /// A data plane met a token whose key it does not hold.
    pub fn key_is_unknown(&self, issuer: &str) {
        self.fetchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kick(issuer);
    }

    /// Runs database work where it may block.
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Refusal::ours("the state database could not be asked", &error)),
        }
    }

    /// Forgets what has expired, for as long as the process lives.
    pub async fn sweep_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_PERIOD).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "expired leases and holds could not be swept");
            }
        }
    }

    /// Forgets what has expired, once.
    pub async fn sweep(&self) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let now = self.now();
        let ended = self.book().expire(now);
        self.store(move |store| {
            for id in &ended {
                store.end_hold(id, "expired", None, None, now)?;
            }
            store.forget(UnixMillis(now.0.saturating_sub(KEPT_MS)))
        })
        .await
    }
}

/// Runs a change to its end even when whoever asked for it hangs up in the middle.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::spawn(change).await {
        Ok(done) => done,
        Err(error) => Err(Refusal::ours("the change was not completed", &error)),
    }
}
