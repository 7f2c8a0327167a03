//! What depends on something temporary that some session has: the server will drop it together with that.

use std::collections::BTreeSet;

use super::LabelIndex;
use crate::words::{Said, words};

/// Whether a schema holds what is temporary, or parts of that.
fn is_temporary(schema: &str) -> bool {
    schema.starts_with("pg_temp_") || schema.starts_with("pg_toast_temp_")
}

impl LabelIndex {
    /// Whether a text may name something that depends on what is temporary.
    pub fn rests_on_temporary(&self, said: &Said) -> bool {
        self.on_temporary.iter().any(|name| said.says(name))
    }

    /// The words of those names: relations with their indexes, types, functions and whatever else has one.
    pub(super) fn find_on_temporary(&self) -> Vec<Vec<String>> {
        let relations = self.relations.iter();
        let temporary = relations.filter(|(_, entry)| is_temporary(&entry.schema));
        let mut work: Vec<u64> = temporary.map(|(oid, _)| u64::from(*oid)).collect();
        work.extend(self.along.within(is_temporary));
        let mut seen: BTreeSet<u64> = work.iter().copied().collect();
        while let Some(object) = work.pop() {
            let mut taken = self.along.all_with(object);
            if let Ok(oid) = u32::try_from(object) {
                let goes = self.dependents(oid).into_iter().chain(self.children_of(oid));
                taken.extend(goes.map(u64::from));
            }
            work.extend(taken.into_iter().filter(|taken| seen.insert(*taken)));
        }
        let mut names = BTreeSet::new();
        for object in seen {
            let relation = u32::try_from(object).ok();
            let entry = relation.and_then(|oid| self.relations.get(&oid));
            let own = entry.map(|entry| (&entry.schema, &entry.name));
            let parts = self.along.parts(object).map(|(schema, name)| (schema, name));
            let lasting = own
                .into_iter()
                .chain(parts)
                .filter(|(schema, _)| !is_temporary(schema));
            names.extend(lasting.map(|(_, name)| name.clone()));
        }
        names.iter().map(|name| words(name).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Relation};

    #[test]
    fn what_rests_on_something_temporary_is_known_by_its_words() {
        let relation = |oid: u32, schema: &str, name: &str, kind: u8, sources: &[u32]| Relation {
            sources: sources.to_vec(),
            ..Relation::new(oid, schema, name, kind, Vec::new())
        };
        const TYPES: u64 = 1247 << 32;
        let catalog = Catalog {
            relations: vec![
                relation(20_001, "pg_temp_3", "own", b'r', &[]),
                relation(20_002, "app", "Through", b'r', &[]),
                relation(20_003, "app", "over", b'v', &[20_002]),
                relation(20_004, "app", "beside", b'r', &[]),
            ],
            dependents: vec![(20_001, 20_002), (TYPES | 5, TYPES | 6)],
            objects: vec![
                ("app".to_owned(), "through_key".to_owned(), 20_002),
                ("pg_temp_3".to_owned(), "hidden".to_owned(), TYPES | 5),
                ("app".to_owned(), "number".to_owned(), TYPES | 6),
            ],
            ..Catalog::default()
        };
        let (index, _) = LabelIndex::resolve(&catalog, &[]);
        for (text, rests) in [
            ("SELECT FROM THROUGH", true),
            ("'app.over'::regclass", true),
            ("'through_key'", true),
            ("NULL::number[]", true),
            ("SELECT own, hidden FROM beside", false),
        ] {
            let said = Said {
                words: words(text).collect(),
                ..Said::default()
            };
            assert_eq!(index.rests_on_temporary(&said), rests, "{text}");
        }
    }
}
