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
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codecs::postgres::Limits;
use codecs::postgres::backend::tag;
use codecs::postgres::build::frontend as tell;
use linegate_policy::{Catalog, LabelIndex, Relation};
use linegate_sql::catalog::{BODIES_AT, Loader, POSTLUDE, QUERIES, SETTINGS, VERSION, VIEW};

use crate::catalog_listener::Listening;
use crate::clock;
use crate::rt::{self, Driver, sync::CoreBell};
use crate::session::postgres::back_door::{self, Backend};
use crate::shared::{CatalogCell, CatalogView, CatalogWish, Shared, Target, lock};
use crate::slab::Pool;

const REFRESH: Duration = Duration::from_secs(30);
/// A side connection that was not used for so long is closed, so that it stands in nobody's way.
const KEPT: Duration = Duration::from_secs(10);
/// What the catalog is read under, whatever defaults somebody gave the role or the database: names and operators are the
/// server's own, texts are printed as they are read here, and nobody cuts a reading short. Values as SQL
/// spells them.
const PINNED: &[(&str, &str)] = &[
    ("search_path", "pg_catalog"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("row_security", "on"),
    ("role", "none"),
];
const LIMITS: Limits = Limits {
    frame_bytes_max: 16 << 20,
};

/// Side connections by target and database, with the time of their last use.
#[derive(Clone, Default)]
struct Sides(Rc<RefCell<HashMap<Place, (Backend, Instant)>>>);

/// Target and database.
type Place = (String, String);

impl Sides {
    fn take(&self, wish: &CatalogWish) -> Option<Backend> {
        let key = (wish.target.clone(), wish.database.clone());
        self.0.borrow_mut().remove(&key).map(|(backend, _)| backend)
    }

    fn keep(&self, wish: &CatalogWish, backend: Backend) {
        let key = (wish.target.clone(), wish.database.clone());
        self.0.borrow_mut().insert(key, (backend, Instant::now()));
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
        for (mut backend, _) in old {
            let mut bytes = Vec::new();
            tell::terminate(&mut bytes);
            let _ = backend.link.writer.write_vec(bytes).await;
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
            if let Some(relation) = catalog.relations.iter().find(|relation| is_hidden(relation)) {
                // The server's own changes are not looked for: all is read each time.
                if before.is_none() {
                    tracing::warn!(target = %wish.target, database = %wish.database, schema = %relation.schema,
                        relation = %relation.name, "a relation was made in single-user mode; make it anew");
                }
                catalog.version = None;
            }
            let earlier = before.as_ref().map(|view| &view.labels);
            let (mut labels, warnings) = LabelIndex::resolve_after(&catalog, &target.labels, earlier);
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

/// Whether somebody's relation has a number of the server's own: it was made before the server ran as one.
fn is_hidden(relation: &Relation) -> bool {
    const OURS_FROM: u32 = 16384; // FirstNormalObjectId
    let is_systems = |schema: &str| matches!(schema, "pg_catalog" | "information_schema" | "pg_toast");
    relation.oid < OURS_FROM && !is_systems(&relation.schema)
}

/// Tells whether two reads found the same.
pub fn fingerprint(catalog: &Catalog) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for relation in &catalog.relations {
        hash.update(&relation.oid.to_le_bytes());
        hash.update(relation.schema.as_bytes());
        hash.update(&[0]);
        hash.update(relation.name.as_bytes());
        hash.update(&[0, relation.kind]);
        for column in &relation.columns {
            hash.update(&column.number.to_le_bytes());
            hash.update(&column.type_oid.to_le_bytes());
            hash.update(column.name.as_bytes());
            hash.update(&[0]);
        }
        for source in &relation.sources {
            hash.update(&source.to_le_bytes());
        }
        hash.update(relation.body.as_deref().unwrap_or_default().as_bytes());
        let reactions = &relation.reactions;
        hash.update(&[
            0,
            u8::from(reactions.triggers),
            u8::from(reactions.rules),
            u8::from(reactions.calls),
        ]);
        for cascade in &reactions.cascades {
            let does = [
                cascade.deletes_on_delete,
                cascade.updates_on_delete,
                cascade.updates_on_update,
            ];
            hash.update(&cascade.relation.to_le_bytes());
            hash.update(&does.map(u8::from));
        }
        for (column, source) in &relation.generated {
            hash.update(&column.to_le_bytes());
            hash.update(&source.to_le_bytes());
        }
        for key in &relation.keys {
            hash.update(&key.to_le_bytes());
        }
        hash.update(&[0]);
    }
    let mut pure: Vec<_> = catalog.extension_functions.iter().collect();
    pure.sort_unstable();
    for part in pure.into_iter().flat_map(|(schema, name)| [schema, name]) {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut functions: Vec<_> = catalog.user_functions.iter().collect();
    functions.sort_unstable();
    for function in functions {
        hash.update(function.as_bytes());
        hash.update(&[0]);
    }
    for function in &catalog.functions {
        for part in [&function.schema, &function.name] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        hash.update(&function.arguments_count.to_le_bytes());
        hash.update(function.sql_body.as_deref().unwrap_or_default().as_bytes());
        hash.update(&[0]);
    }
    *hash.finalize().as_bytes()
}

/// Reads the catalog, unless it still is of that version.
async fn look(
    target: &Target,
    pool: &Rc<Pool>,
    sides: &Sides,
    wish: &CatalogWish,
    version: Option<&str>,
) -> Result<Option<Catalog>, String> {
    if let Some(mut backend) = sides.take(wish) {
        // It may have died since; then a new one is opened.
        if let Ok(found) = changed(target, &mut backend, version).await {
            sides.keep(wish, backend);
            return Ok(found);
        }
    }
    let application = ("application_name", "linegate catalog");
    let parameters: Vec<(String, String)> = PINNED
        .iter()
        .chain([&application])
        .map(|(name, value)| ((*name).to_owned(), value.trim_matches('\'').to_owned()))
        .collect();
    let mut backend = back_door::connect(target, pool, &wish.database, &parameters)
        .await
        .map_err(|ended| ended.why)?;
    // Once more as statements: since PostgreSQL 17, a trigger may run after the login.
    let set = |(name, value): &(&str, &str)| format!("SET {name} = {value};");
    let settings: String = PINNED.iter().map(set).collect();
    if !ask(&mut backend, &settings, &mut |_| Ok(())).await? {
        return Err("the server refused the settings that catalogs are read under".to_owned());
    }
    let found = changed(target, &mut backend, version).await?;
    sides.keep(wish, backend);
    Ok(found)
}

/// The catalog, if it is not of that version.
async fn changed(
    target: &Target,
    backend: &mut Backend,
    version: Option<&str>,
) -> Result<Option<Catalog>, String> {
    let before = self::version(backend).await?;
    if version.is_some() && before.as_deref() == version {
        return Ok(None);
    }
    let catalog = read(target, backend, &[]).await?;
    let after = self::version(backend).await?;
    if before.is_some() && before == after {
        return Ok(Some(catalog));
    }
    read(target, backend, VIEW).await.map(Some)
}

/// What the catalogs say of themselves now.
async fn version(backend: &mut Backend) -> Result<Option<String>, String> {
    let mut now = None;
    let keep = &mut |cells: &[Option<&[u8]>]| {
        let cell = cells.first().copied().flatten();
        now = cell.and_then(|cell| String::from_utf8(cell.to_vec()).ok());
        Ok(())
    };
    let is_well = ask(backend, VERSION, keep).await?;
    Ok(now.filter(|_| is_well))
}

/// One reading: each query by itself, or all within one view of the server.
async fn read(
    target: &Target,
    backend: &mut Backend,
    view: &'static [&'static str],
) -> Result<Catalog, String> {
    let mut loader = Loader::new();
    let around = |queries: &'static [&'static str]| queries.iter().map(|query| (None, *query));
    let end = if view.is_empty() { &[] } else { POSTLUDE };
    let asked = QUERIES
        .iter()
        .enumerate()
        .map(|(index, query)| (Some(index), *query));
    let before = around(SETTINGS).chain(around(view));
    for (index, query) in before.chain(asked).chain(around(end)) {
        let mut take = |cells: &[Option<&[u8]>]| match index {
            Some(index) => loader.row(index, cells).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        if ask(backend, query, &mut take).await? {
            continue;
        }
        if index.is_none_or(|index| index < BODIES_AT) {
            return Err("the server refused a catalog query".into());
        }
        // The rest goes without: what is built over labels then counts as not followed.
        tracing::warn!(target = %target.config.name, "texts of views and functions could not be read");
        loader.without_bodies();
    }
    Ok(loader.finish(0))
}

/// Asks one query and hands over its rows. False when the server refused it.
async fn ask(
    backend: &mut Backend,
    query: &str,
    take: &mut impl FnMut(&[Option<&[u8]>]) -> Result<(), String>,
) -> Result<bool, String> {
    let mut bytes = Vec::new();
    tell::query(&mut bytes, query.as_bytes());
    let written = backend.link.writer.write_vec(bytes).await.0;
    written.map_err(|error| error.to_string())?;
    let mut is_well = true;
    loop {
        let frame = backend.next(&LIMITS).await?;
        let payload = frame.payload(backend.ingress.data());
        match frame.tag {
            tag::DATA_ROW => take(&cells(payload).ok_or("a malformed row")?)?,
            tag::ERROR_RESPONSE => is_well = false,
            _ => {}
        }
        backend.ingress.consume(frame.size.with_tag());
        if frame.tag == tag::READY_FOR_QUERY {
            return Ok(is_well);
        }
    }
}

fn cells(payload: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = payload.split_first_chunk::<2>()?;
    let mut cells = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        match i32::from_be_bytes(*length) {
            -1 => {
                cells.push(None);
                rest = after;
            }
            length => {
                let (cell, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                cells.push(Some(cell));
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(cells)
}
