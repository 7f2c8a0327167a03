//! What the server does besides when rows change, and what functions read, with the catalog at hand.
//! Source: PostgreSQL manual, "The Rule System", "Constraints" (foreign keys), "CREATE VIEW" (updatable views).
//!
//! A rule is somebody's statements: opaque. A change through a view is one of the relations below it; a foreign key's
//! action is one of the relation that holds the key. What triggers do is not known; that there are some is in the lineage.

use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::catalog::Reactions;
use linegate_policy::{LabelIndex, Name, Statement};

/// Effects that fire triggers.
pub(crate) const FIRES: Effects = CHANGES.with(Effects::TRUNCATE).with(Effects::COPY_IN);

/// Rows of a system catalog are changed: what that does is not known.
pub(crate) const CATALOG_ROWS: &str = "a system catalog's rows";
/// What initdb makes has a smaller OID (`FirstNormalObjectId`).
pub(crate) const OURS_FROM: u32 = 16384;
/// The setting that lets a superuser change the server's own catalogs.
const SYSTEM_MODS: &str = "allow_system_table_mods";
const RULE: &str = "a rule of a relation that is changed";
/// [`Statement::opaque`] of what calls a function that somebody defined.
pub const FUNCTION: &str = "a function that is not known";

/// Effects on rows that rules, views and foreign keys react to.
const CHANGES: Effects = Effects::INSERT.with(Effects::UPDATE).with(Effects::DELETE);

/// Whether a relation is one of the server's own catalogs, or a view over one.
fn shows_catalog(oid: u32, index: &LabelIndex) -> bool {
    let mut work = vec![oid];
    let mut seen = BTreeSet::from([oid]);
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        match known.kind {
            b'r' if oid < OURS_FROM => return true,
            b'v' => work.extend(
                known
                    .sources
                    .iter()
                    .copied()
                    .filter(|source| seen.insert(*source)),
            ),
            _ => {}
        }
    }
    false
}

/// Adds to a statement what its relations and functions bring along.
pub(crate) fn add(statement: &mut Statement, index: &LabelIndex) {
    functions(statement, index);
    let mut named = statement.reads.iter().chain(&statement.writes);
    if named.any(|name| calls(name, index)) && !statement.opaque.contains(&FUNCTION) {
        statement.opaque.push(FUNCTION);
    }
    // A table that is made like another one has its defaults and checks, and one text may make and fill it.
    let goes_on = statement.count > 1 && statement.effects.intersects(FIRES);
    let fires = goes_on && statement.made_like().any(|name| fires(name, index));
    if fires && !statement.opaque.contains(&FUNCTION) {
        statement.opaque.push(FUNCTION);
    }
    let shapes = Effects::CREATE
        .with(Effects::ALTER)
        .with(Effects::DROP)
        .with(Effects::TRUNCATE);
    let tends = shapes.with(Effects::MAINTENANCE);
    // A view's query may say FOR UPDATE.
    let locks = |name: &Name| reaches(name, index, |reactions| reactions.locks);
    if statement.reads.iter().any(locks) {
        statement.effects = statement.effects.with(Effects::LOCK);
    }
    // REFRESH runs the query.
    if statement.effects.contains(Effects::MAINTENANCE) && statement.writes.iter().any(locks) {
        let names = statement.writes.iter().flat_map(|name| behind(name, index));
        let names: BTreeSet<Name> = names.collect();
        statement.effects = statement.effects.with(Effects::LOCK);
        statement.reads.extend(names);
        statement.reads.sort_unstable();
        statement.reads.dedup();
    }
    let is_systems_own = |name: &Name| match name.schema.as_deref() {
        Some("pg_catalog") => statement.effects.intersects(shapes),
        Some("information_schema") => statement.effects.intersects(shapes.with(FIRES)),
        Some("pg_toast") => statement.effects.intersects(tends),
        Some(_) => false,
        None => {
            let is_in = |schemas: &[&str]| index.known(name).any(|known| schemas.contains(&known.schema));
            let systems = ["pg_catalog", "information_schema"];
            let is_systems = statement.effects.intersects(shapes)
                && (is_in(&systems)
                    || is_in(&["pg_toast"])
                    || index
                        .schemas_of_objects(name)
                        .any(|schema| systems.contains(&schema)))
                || statement.effects.intersects(FIRES) && is_in(&["information_schema"]);
            // Hundreds of collations, which the catalog leaves out.
            let is_collation = name.name.ends_with("-x-icu") && statement.effects.intersects(shapes);
            is_systems
                || is_collation
                || statement.effects.intersects(tends) && name.name.starts_with("pg_toast_")
        }
    };
    if statement.writes.iter().any(is_systems_own) && !statement.opaque.contains(&CATALOG_ROWS) {
        statement.opaque.push(CATALOG_ROWS);
    }
    // Whoever locks the server's own catalogs stops everybody who changes shapes, and whoever waits for a reading of them.
    let is_systems = |name: &Name| index.known(name).any(|known| known.oid < OURS_FROM);
    // FOR UPDATE and LOCK of a view lock what it shows.
    let is_catalog = |name: &Name| index.known(name).any(|known| shows_catalog(known.oid, index));
    let locks = statement.effects.contains(Effects::LOCK);
    let modifies = statement
        .settings
        .iter()
        .any(|setting| setting.starts_with(SYSTEM_MODS));
    if modifies
        || locks
            && (statement.writes.iter().any(is_systems)
                || statement.reads.iter().chain(&statement.writes).any(is_catalog))
    {
        statement.effects = statement.effects.with(Effects::SERVER);
    }
    if !statement.effects.intersects(FIRES) {
        return;
    }
    // With CASCADE it empties whatever has a foreign key to what it empties; without, it fails where there is such a thing.
    let truncates = statement.effects.contains(Effects::TRUNCATE);
    let deletes = statement.effects.contains(Effects::DELETE);
    let updates = statement.effects.contains(Effects::UPDATE);
    let mut work: Vec<u32> = Vec::new();
    for name in &statement.writes {
        work.extend(index.known(name).map(|known| known.oid));
    }
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    // Its rows may lie in these: partitions, children. They are looked at for their keys only.
    let mut kin: BTreeSet<u32> = BTreeSet::new();
    let mut found: BTreeSet<Name> = BTreeSet::new();
    let mut effects = Effects::NONE;
    let mut has_rule = false;
    let mut is_catalogs = false;
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        let is_kin = kin.contains(&oid);
        has_rule |= known.reactions.rules && !is_kin;
        let mut below: Vec<u32> = Vec::new();
        if known.kind == b'v' {
            is_catalogs |= known.sources.iter().any(|oid| *oid < OURS_FROM);
            below.extend(known.sources);
        } else {
            for source in known.sources {
                if seen.insert(*source) {
                    kin.insert(*source);
                    work.push(*source);
                }
            }
        }
        // An UPDATE that moves a row to another partition deletes it from its own.
        let removes = deletes || updates && (is_kin || known.kind == b'p');
        for cascade in &known.reactions.cascades {
            if truncates {
                below.push(cascade.relation);
            }
            if removes && cascade.deletes_on_delete {
                below.push(cascade.relation);
                effects = effects.with(Effects::DELETE);
            }
            if removes && cascade.updates_on_delete || updates && cascade.updates_on_update {
                below.push(cascade.relation);
                effects = effects.with(Effects::UPDATE);
            }
        }
        for oid in below {
            found.extend(index.known_by_oid(oid).map(|known| Name {
                schema: Some(known.schema.to_owned()),
                name: known.name.to_owned(),
            }));
            if seen.insert(oid) || kin.remove(&oid) {
                work.push(oid);
            }
        }
    }
    statement.effects = statement.effects.with(effects);
    statement.writes.extend(found);
    statement.writes.sort_unstable();
    statement.writes.dedup();
    if is_catalogs {
        // Settings, roles, shapes: one is as much a catalog's rows as the other.
        statement.effects = statement
            .effects
            .with(Effects::ALTER)
            .with(Effects::ROLE)
            .with(Effects::SET);
        statement.settings.push("*".to_owned());
        statement.opaque.push(CATALOG_ROWS);
        statement.changes_catalog = true;
    }
    if has_rule {
        statement.bounded = false;
        statement.opaque.push(RULE);
    }
}

/// Whether changing rows of that name may fire triggers: its own, or those of tables that its rows may be in.
pub(crate) fn fires(name: &Name, index: &LabelIndex) -> bool {
    reaches(name, index, |reactions| reactions.triggers)
}

/// Whether reading rows of that name calls somebody's functions, as its query does or those of views below.
fn calls(name: &Name, index: &LabelIndex) -> bool {
    reaches(name, index, |reactions| reactions.calls)
}

/// All that a relation is made of, and what these are.
fn behind(name: &Name, index: &LabelIndex) -> Vec<Name> {
    let mut found = Vec::new();
    let mut work: Vec<u32> = index.known(name).map(|known| known.oid).collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        found.push(Name {
            schema: Some(known.schema.to_owned()),
            name: known.name.to_owned(),
        });
        let below = known.sources.iter().copied();
        work.extend(below.filter(|oid| seen.insert(*oid)));
    }
    found
}

/// Whether something holds of what a relation is made of, or of itself.
fn reaches(name: &Name, index: &LabelIndex, found: impl Fn(&Reactions) -> bool) -> bool {
    let mut work: Vec<u32> = index.known(name).map(|known| known.oid).collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        if found(known.reactions) {
            return true;
        }
        // Sources of a table are its parents and children; of a view, what it shows.
        let below = known.sources.iter().copied();
        work.extend(below.filter(|oid| seen.insert(*oid)));
    }
    false
}

/// A function whose query was followed reads what its query reads; what any other function does that is not the server's
/// own cannot be told.
fn functions(statement: &mut Statement, index: &LabelIndex) {
    let mut reads: Vec<Name> = Vec::new();
    let mut is_opaque = false;
    for name in &statement.functions {
        is_opaque |= is_somebodys(name, index) && index.meanings(name).is_none();
        for meaning in index.meanings(name).unwrap_or_default() {
            reads.extend(meaning.reads.iter().cloned());
        }
    }
    if is_opaque && !statement.opaque.contains(&FUNCTION) {
        statement.opaque.push(FUNCTION);
    }
    if reads.is_empty() {
        return;
    }
    statement.effects = statement.effects.with(Effects::SELECT);
    statement.reads.extend(reads);
    statement.reads.sort_unstable();
    statement.reads.dedup();
}

/// Whether a call of that name may run a function outside `pg_catalog` that is not known to be an extension's pure one.
fn is_somebodys(name: &Name, index: &LabelIndex) -> bool {
    // The catalog may not show it yet.
    let is_new = || !linegate_policy::builtins::is_listed(&name.name) && !index.is_extension_function(name);
    // The server's own that are refused under a mask say for themselves what they do.
    (index.is_user_function(&name.name) || is_new())
        && (!linegate_policy::builtins::is_refused(&name.name) || index.has_function_beside(name))
        && name
            .schema
            .as_deref()
            .is_none_or(|schema| schema != "pg_catalog" && !index.is_extension_function(name))
}

/// `t.f` and `(t).f` call f(t) where t has no such column: whether one of these steps may be that.
pub(crate) fn disguised(steps: &[&str], reads: &[Name], index: &LabelIndex) -> bool {
    let every_relation_has = |column: &str| {
        let mut known = reads.iter().flat_map(|name| index.known(name)).peekable();
        known.peek().is_some() && known.all(|known| known.columns.iter().any(|own| own.name == column))
    };
    steps.iter().any(|step| !every_relation_has(step))
}
