//! The catalog thread: reads what databases hold over side connections, off the hot path.
//!
//! A catalog is read when the first session opens its database, when a session changed names or shapes, when a result
//! showed an unknown relation, when the database tells of a change (`catalog_listener`), and every 30 seconds; where the server's catalogs still say of themselves what they said then,
//! that is all that is asked. Where no verdict can depend on it, a change only waits for a quiet moment (`CatalogCell::is_due`).
//! A connection is kept for some seconds after it was used. The thread also resolves targets' names again.
//!
//! Whoever holds a view of the server keeps VACUUM from its work in that database, and so changes what the planner knows. So
//! each query is a transaction of its own, and a reading counts when the catalogs' version is the same before and after it.
//! A reading that met a change is followed by one that holds a view nevertheless: somebody may be waiting.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use linegate_policy::{Catalog, LabelIndex};

use crate::catalog_listener::Listening;
use crate::clock;
use crate::rt::{self, Driver, sync::CoreBell};
use crate::shared::{CatalogCell, CatalogView, CatalogWish, Shared, Target, lock};
use crate::slab::Pool;

mod reading;

use reading::Side;

const REFRESH: Duration = Duration::from_secs(30);
/// When a reading that lacks something is followed by another.
const AGAIN: Duration = Duration::from_secs(2);
/// The same where the one before lacked something too.
const AGAIN_LATER: Duration = Duration::from_secs(10);
/// A side connection that was not used for so long is closed, so that it stands in nobody's way.
const KEPT: Duration = Duration::from_secs(10);
/// Side connections by target and database, with the time of their last use.
#[derive(Clone, Default)]
struct Sides(Rc<RefCell<HashMap<Place, (Side, Instant)>>>);

/// Target and database.
type Place = (String, String);

impl Sides {
    fn take(&self, wish: &CatalogWish) -> Option<Side> {
        let key = (wish.target.clone(), wish.database.clone());
        self.0.borrow_mut().remove(&key).map(|(side, _)| side)
    }

    fn keep(&self, wish: &CatalogWish, side: Side) {
        let key = (wish.target.clone(), wish.database.clone());
        self.0.borrow_mut().insert(key, (side, Instant::now()));
    }

    /// Says goodbye on those that were not used lately.
    async fn sweep(&self) {
        let old: Vec<_> = {
            let mut sides = self.0.borrow_mut();
            let keys: Vec<_> = sides
                .iter()
                .filter(|(_, (_, used))| used.elapsed() >= KEPT)
                .map(|(key, _)| key.clone())
                .collect();
            keys.iter().filter_map(|key| sides.remove(key)).collect()
        };
        for (side, _) in old {
            side.close().await;
        }
    }
}

/// Starts the thread.
pub fn start(shared: Arc<Shared>, driver: Driver, bell: CoreBell) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("catalog".into())
        .spawn(move || {
            let ended = rt::run(driver, async move {
                let Ok(mut bell) = bell.listen() else { return };
                let pool = Pool::new(256 << 20);
                let sides = Sides::default();
                let listening = Listening::default();
                let sweeper = sides.clone();
                rt::spawn(async move {
                    loop {
                        rt::sleep(KEPT / 2).await;
                        sweeper.sweep().await;
                    }
                });
                let ticker = shared.clone();
                rt::spawn(async move {
                    loop {
                        rt::sleep(REFRESH).await;
                        let now = clock::now();
                        let due = |(place, cell): (&Place, &Arc<CatalogCell>)| {
                            cell.is_due(now).then(|| place.clone())
                        };
                        let known: Vec<_> = lock(&ticker.catalogs).iter().filter_map(due).collect();
                        for (target, database) in known {
                            ticker.wish_catalog(&target, &database);
                        }
                        resolve_again(&ticker);
                    }
                });
                loop {
                    while let Some(wish) = shared.catalog_wishes.take() {
                        listening.begin(&shared, &pool, &wish);
                        serve(&shared, &pool, &sides, wish).await;
                    }
                    if bell.rest(|| !shared.catalog_wishes.is_empty()).await.is_err() {
                        return;
                    }
                }
            });
            if let Err(error) = ended {
                tracing::error!(%error, "the catalog thread could not start");
            }
        })?;
    Ok(())
}

fn resolve_again(shared: &Shared) {
    for target in shared.targets.values() {
        match crate::settings::resolve(&target.config.address) {
            Ok(addresses) if !addresses.is_empty() => target.addresses.store(Arc::new(addresses)),
            _ => tracing::warn!(target = %target.config.name, "the address does not resolve"),
        }
    }
}

async fn serve(shared: &Arc<Shared>, pool: &Rc<Pool>, sides: &Sides, wish: CatalogWish) {
    let Some(target) = shared.targets.get(&wish.target) else {
        return;
    };
    let cell = shared.catalog(&wish.target, &wish.database);
    let (reading, checking) = (cell.reading(), cell.checking());
    let started = Instant::now();
    let before = cell.latest();
    let version = before.as_ref().and_then(|view| view.version.as_deref());
    match look(target, pool, sides, &wish, version).await {
        Ok(None) => cell.confirm(reading, checking),
        Ok(Some(mut catalog)) => {
            if let Some(relation) = reading::hidden(&catalog) {
                // The server's own changes are not looked for: all is read each time.
                if before.is_none() {
                    tracing::warn!(target = %wish.target, database = %wish.database, schema = %relation.schema,
                        relation = %relation.name, "a relation was made in single-user mode; make it anew");
                }
                catalog.version = None;
            }
            let earlier = before.as_ref().map(|view| &view.labels);
            let (mut labels, warnings) = LabelIndex::resolve_after(&catalog, &target.labels, earlier);
            if !labels.unread_views().is_empty() {
                // Somebody is changing them, or what they show: all is read again soon.
                catalog.version = None;
                if !cell.awaits_views.swap(true, Ordering::AcqRel) {
                    let lacked = before.as_ref().is_some_and(|view| view.version.is_none());
                    let wait = if lacked { AGAIN_LATER } else { AGAIN };
                    let (shared, cell, wish) = (shared.clone(), cell.clone(), wish.clone());
                    rt::spawn(async move {
                        rt::sleep(wait).await;
                        cell.awaits_views.store(false, Ordering::Release);
                        shared.wish_catalog(&wish.target, &wish.database);
                    });
                }
            }
            linegate_sql::follow(&mut labels);
            for warning in warnings {
                tracing::warn!(target = %wish.target, database = %wish.database, "{warning}");
            }
            // The same content keeps its epoch, so verdicts stay cached.
            let fingerprint = fingerprint(&catalog);
            let same = before
                .as_ref()
                .is_some_and(|view| view.fingerprint == fingerprint);
            let epoch = before.map_or(1, |view| if same { view.epoch } else { view.epoch + 1 });
            let relations = catalog.relations.len();
            cell.publish(
                reading,
                Some(CatalogView {
                    epoch,
                    labels,
                    fingerprint,
                    version: catalog.version,
                }),
            );
            cell.confirm(reading, checking);
            tracing::debug!(target = %wish.target, relations, ms = started.elapsed().as_millis() as u64, "catalog read");
        }
        Err(why) => {
            tracing::warn!(target = %wish.target, database = %wish.database, %why, "the catalog could not be read");
            cell.fail(reading);
            let (shared, cell) = (shared.clone(), cell.clone());
            // Somebody waits for it: try again soon.
            rt::spawn(async move {
                rt::sleep(Duration::from_secs(2)).await;
                if cell.current().is_none() {
                    shared.wish_catalog(&wish.target, &wish.database);
                }
            });
        }
    }
}

/// Tells whether two reads found the same: whatever a verdict may depend on is in it.
pub fn fingerprint(catalog: &Catalog) -> [u8; 32] {
    let Catalog {
        epoch: _,
        version: _,
        relations,
        user_functions,
        calling,
        calling_types,
        event_triggers,
        functions,
        extension_functions,
        dependents,
        objects,
        on_temporary,
        made_in,
    } = catalog;
    let mut hash = Fingerprint(blake3::Hasher::new());
    relations.hash(&mut hash);
    functions.hash(&mut hash);
    event_triggers.hash(&mut hash);
    dependents.hash(&mut hash);
    objects.hash(&mut hash);
    on_temporary.hash(&mut hash);
    made_in.hash(&mut hash);
    sorted(user_functions).hash(&mut hash);
    sorted(calling).hash(&mut hash);
    sorted(calling_types).hash(&mut hash);
    sorted(extension_functions).hash(&mut hash);
    *hash.0.finalize().as_bytes()
}

fn sorted<T: Ord>(set: &HashSet<T>) -> Vec<&T> {
    let mut all: Vec<&T> = set.iter().collect();
    all.sort_unstable();
    all
}

/// Hashes whatever can be hashed.
struct Fingerprint(blake3::Hasher);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not asked for: the whole digest is.
    fn finish(&self) -> u64 {
        0
    }
}

/// Reads the catalog, unless it still is of that version.
async fn look(
    target: &Target,
    pool: &Rc<Pool>,
    sides: &Sides,
    wish: &CatalogWish,
    version: Option<&str>,
) -> Result<Option<Catalog>, String> {
    if let Some(mut side) = sides.take(wish) {
        // It may have died since; then a new one is opened.
        if let Ok(found) = side.changed(version).await {
            sides.keep(wish, side);
            return Ok(found);
        }
    }
    let mut side = Side::open(target, pool, &wish.database).await?;
    let found = side.changed(version).await?;
    sides.keep(wish, side);
    Ok(found)
}
