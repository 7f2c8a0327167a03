//! What the server does besides when rows change, and what functions read, with the catalog at hand.
//! Source: PostgreSQL manual, "The Rule System", "Constraints" (foreign keys), "CREATE VIEW" (updatable views).
//!
//! A rule is somebody's statements: opaque. A change through a view is one of the relations below it; a foreign key's
//! action is one of the relation that holds the key. What triggers do is not known; that there are some is in the lineage.

use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement};

/// Effects that fire triggers.
pub(crate) const FIRES: Effects = CHANGES.with(Effects::TRUNCATE).with(Effects::COPY_IN);

const RULE: &str = "a rule of a relation that is changed";

/// Effects on rows that rules, views and foreign keys react to.
const CHANGES: Effects = Effects::INSERT.with(Effects::UPDATE).with(Effects::DELETE);

/// Adds to a statement what its relations and functions bring along.
pub(crate) fn add(statement: &mut Statement, index: &LabelIndex) {
    functions(statement, index);
    if !statement.effects.intersects(CHANGES) {
        return;
    }
    let deletes = statement.effects.contains(Effects::DELETE);
    let updates = statement.effects.contains(Effects::UPDATE);
    let mut work: Vec<u32> = Vec::new();
    for name in &statement.writes {
        work.extend(index.known(name).map(|known| known.oid));
    }
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    let mut found: BTreeSet<Name> = BTreeSet::new();
    let mut effects = Effects::NONE;
    let mut has_rule = false;
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        has_rule |= known.reactions.rules;
        let mut below: Vec<u32> = Vec::new();
        if known.kind == b'v' {
            below.extend(known.sources);
        }
        for cascade in &known.reactions.cascades {
            if deletes && cascade.deletes_on_delete {
                below.push(cascade.relation);
                effects = effects.with(Effects::DELETE);
            }
            if deletes && cascade.updates_on_delete || updates && cascade.updates_on_update {
                below.push(cascade.relation);
                effects = effects.with(Effects::UPDATE);
            }
        }
        for oid in below.into_iter().filter(|oid| seen.insert(*oid)) {
            found.extend(index.known_by_oid(oid).map(|known| Name {
                schema: Some(known.schema.to_owned()),
                name: known.name.to_owned(),
            }));
            work.push(oid);
        }
    }
    statement.effects = statement.effects.with(effects);
    statement.writes.extend(found);
    statement.writes.sort_unstable();
    statement.writes.dedup();
    if has_rule {
        statement.bounded = false;
        statement.opaque.push(RULE);
    }
}

/// Whether changing rows of that name may fire triggers: its own, or those of tables that its rows may be in.
pub(crate) fn fires(name: &Name, index: &LabelIndex) -> bool {
    let mut work: Vec<u32> = index.known(name).map(|known| known.oid).collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(oid) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        if known.reactions.triggers {
            return true;
        }
        // Sources of a table are its parents and children; of a view, what it shows.
        let below = known.sources.iter().copied();
        work.extend(below.filter(|oid| seen.insert(*oid)));
    }
    false
}

/// A function whose query was followed reads what its query reads.
fn functions(statement: &mut Statement, index: &LabelIndex) {
    let mut reads: Vec<Name> = Vec::new();
    for name in &statement.functions {
        for meaning in index.meanings(name).unwrap_or_default() {
            reads.extend(meaning.reads.iter().cloned());
        }
    }
    if reads.is_empty() {
        return;
    }
    statement.effects = statement.effects.with(Effects::SELECT);
    statement.reads.extend(reads);
    statement.reads.sort_unstable();
    statement.reads.dedup();
}
