//! What a definition takes with it: relations in a schema, columns of a row type, what CASCADE drops.
//! Source: PostgreSQL manual, "Dependency Tracking".

use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::Name;
use pg_raw_parse::nodes;

use super::{Walker, names};

impl<'a> Walker<'a> {
    /// The relations in a schema: what happens to it happens to them.
    pub(super) fn names_in(&self, schema: &str) -> Vec<Name> {
        self.index.map(|index| index.names_in(schema)).unwrap_or_default()
    }

    /// Columns of a relation's row type lose what the relation loses.
    pub(super) fn with_rows(&mut self, reshaped: Option<&'a nodes::RangeVar>) {
        let Some(index) = self.index else { return };
        let name = reshaped.map(names::relation);
        let known = name.iter().flat_map(|name| index.known(name));
        let relations: Vec<u32> = known.flat_map(|known| index.holding_rows_of(known.oid)).collect();
        let found = relations.into_iter().filter_map(|oid| index.known_by_oid(oid));
        self.found.writes.extend(found.map(|known| Name {
            schema: Some(known.schema.to_owned()),
            name: known.name.to_owned(),
        }));
    }

    /// CASCADE: what shows these relations goes with them, and what has a foreign key to them loses it.
    pub(super) fn with_dependents(&mut self, dropped: Vec<Name>) {
        let Some(index) = self.index else {
            self.does(Effects::DROP);
            return;
        };
        let mut work: Vec<u32> = dropped
            .iter()
            .flat_map(|name| index.known(name))
            .map(|known| known.oid)
            .collect();
        let mut seen: BTreeSet<u32> = work.iter().copied().collect();
        while let Some(oid) = work.pop() {
            for dependent in index.dependents(oid) {
                let Some(known) = index.known_by_oid(dependent).filter(|_| seen.insert(dependent)) else {
                    continue;
                };
                self.found.writes.push(Name {
                    schema: Some(known.schema.to_owned()),
                    name: known.name.to_owned(),
                });
                // A table that loses a foreign key stays.
                if matches!(known.kind, b'v' | b'm') {
                    self.does(Effects::DROP);
                    work.push(dependent);
                }
            }
        }
    }
}
