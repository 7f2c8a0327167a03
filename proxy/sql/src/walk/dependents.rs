//! What a definition takes with it: relations in a schema, columns of a row type, what CASCADE drops.
//! Source: PostgreSQL manual, "Dependency Tracking".

use std::cell::RefCell;
use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::labels::Known;
use linegate_policy::{LabelIndex, Name};
use pg_raw_parse::{Node, nodes};

use super::children::any_below;
use super::{Walker, names};
use crate::reactions::OURS_FROM;

impl<'a> Walker<'a> {
    /// The relations in a schema: what happens to it happens to them.
    pub(super) fn names_in(&self, schema: &str) -> Vec<Name> {
        self.index.map(|index| index.names_in(schema)).unwrap_or_default()
    }

    /// Columns of a relation's row type, and types made of it, lose what the relation and its children lose; and statistics of
    /// what goes go as well.
    pub(super) fn with_rows(&mut self, reshaped: Option<&'a nodes::RangeVar>) {
        let Some(index) = self.index else { return };
        let name = reshaped.map(names::relation);
        let named = with_children(name.as_slice(), index);
        let relations = named.iter().flat_map(|oid| index.holding_rows_of(*oid));
        let found = relations.filter_map(|oid| index.known_by_oid(oid));
        self.found.writes.extend(found.map(name_of));
        for oid in &named {
            self.found.writes.extend(index.types_of_rows(*oid));
        }
        let types = name.iter().flat_map(|name| index.types_made_of(name));
        self.found.writes.extend(types);
        self.with_statistics(named);
    }

    /// Statistics go with what they are of.
    pub(super) fn with_statistics(&mut self, relations: impl IntoIterator<Item = u32>) {
        let Some(index) = self.index else { return };
        for oid in relations {
            self.found.writes.extend(index.statistics_elsewhere(oid));
        }
    }

    /// The name of an identity's sequence, wherever it is written: it is made there.
    pub(super) fn with_sequences(&mut self, definition: Node<'a>) {
        let found = RefCell::new(Vec::new());
        // What it cannot look below makes the text unreadable as well.
        any_below(definition, |node| {
            if let Node::DefElem(option) = node
                && option.defname() == Some("sequence_name")
                && let Node::NodeList(path) = option.arg()
            {
                let parts: Vec<&str> = path.iter().filter_map(Node::as_str).collect();
                found.borrow_mut().extend(names::from_parts(&parts));
            }
            false
        });
        self.write_names(found.into_inner());
    }

    /// What holds up everybody where it is done to the server's own catalogs.
    pub(super) fn holds_up(&mut self, relation: Option<&nodes::RangeVar>) {
        let Some(name) = relation.map(names::relation) else {
            return;
        };
        let is_systems = match name.schema.as_deref() {
            Some(schema) => matches!(schema, "pg_catalog" | "information_schema" | "pg_toast"),
            // The catalog holds no indexes of its own.
            None => {
                let is_known = |index: &LabelIndex| index.known(&name).any(|known| known.oid >= OURS_FROM);
                name.name.starts_with("pg_") && !self.index.is_some_and(is_known)
                    || self
                        .index
                        .is_some_and(|index| index.known(&name).any(|known| known.oid < OURS_FROM))
            }
        };
        if is_systems {
            self.does(Effects::SERVER);
        }
    }

    /// Tables of those names, with their children and partitions.
    pub(super) fn tables(&self, names: &[Name]) -> BTreeSet<u32> {
        self.index
            .map(|index| with_children(names, index))
            .unwrap_or_default()
    }

    /// CASCADE: what shows these relations goes with them, and what has a foreign key to them loses it.
    pub(super) fn with_dependents(&mut self, dropped: Vec<Name>) {
        let Some(index) = self.index else {
            self.does(Effects::DROP);
            return;
        };
        // What happens to a parent happens to its children.
        let mut seen = with_children(&dropped, index);
        let named = dropped.iter().flat_map(|name| index.known(name));
        let named: BTreeSet<u32> = named.map(|known| known.oid).collect();
        self.takes_children |= seen.len() > named.len();
        let mut work: Vec<u32> = seen.iter().copied().collect();
        while let Some(oid) = work.pop() {
            let objects = index.objects_with(oid);
            if !objects.is_empty() {
                self.does(Effects::DROP);
                self.found.writes.extend(objects);
            }
            for dependent in index.dependents(oid) {
                let Some(known) = index.known_by_oid(dependent).filter(|_| seen.insert(dependent)) else {
                    continue;
                };
                self.found.writes.push(name_of(known));
                // A table that loses a foreign key or a rule stays as it is. One that is made of what goes, or with it, loses a
                // column or goes whole, and so do its children.
                if matches!(known.kind, b'v' | b'm') || index.is_made_with(dependent, oid) {
                    self.does(Effects::DROP);
                    work.push(dependent);
                    let children = index.children_of(dependent);
                    let children = children.into_iter().filter(|child| seen.insert(*child));
                    for known in children.filter_map(|child| index.known_by_oid(child)) {
                        self.found.writes.push(name_of(known));
                        work.push(known.oid);
                    }
                }
            }
        }
        self.with_statistics(seen);
    }
}

fn with_children(names: &[Name], index: &LabelIndex) -> BTreeSet<u32> {
    let named = names.iter().flat_map(|name| index.known(name));
    let mut all: BTreeSet<u32> = named.map(|known| known.oid).collect();
    for oid in all.clone() {
        all.extend(index.children_of(oid));
    }
    all
}

fn name_of(known: Known<'_>) -> Name {
    Name {
        schema: Some(known.schema.to_owned()),
        name: known.name.to_owned(),
    }
}
