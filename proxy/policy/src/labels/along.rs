//! What goes along with what is dropped, and where objects are that are no relations.

use std::collections::{BTreeSet, HashMap};

use crate::catalog::Catalog;
use crate::statement::Name;

/// A sequence between the table that it is part of and the columns that it numbers, by pg_class.
const SEQUENCES: u64 = 1259;

/// The catalog's dependencies and objects by what is asked about.
#[derive(Debug, Default)]
pub(super) struct Along {
    takes: HashMap<u64, Vec<u64>>,
    /// Schema and object by name.
    objects: HashMap<String, Vec<(String, u64)>>,
    /// The same by number: one object beside relations, or the indexes and statistics of one.
    named: HashMap<u64, Vec<(String, String)>>,
}

/// Types by pg_type.
const TYPES: u64 = 1247;

impl Along {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut along = Self::default();
        for (given, taken) in &catalog.dependents {
            along.takes.entry(*given).or_default().push(*taken);
        }
        for (schema, name, object) in &catalog.objects {
            let named = along.objects.entry(name.clone()).or_default();
            named.push((schema.clone(), *object));
            let parts = along.named.entry(*object).or_default();
            parts.push((schema.clone(), name.clone()));
        }
        along
    }

    /// Relations that go or lose something with that object, and with these.
    pub(super) fn with(&self, object: u64) -> Vec<u32> {
        self.reached(object, |_| true)
    }

    /// Relations that have something of that object's values: by types and what is made of them.
    pub(super) fn holding(&self, object: u64) -> Vec<u32> {
        self.reached(object, |taken| taken >> 32 != SEQUENCES)
    }

    /// Whether anything goes along with that object, or loses something.
    pub(super) fn takes_any(&self, object: u64) -> bool {
        self.takes.get(&object).is_some_and(|taken| !taken.is_empty())
    }

    /// Objects beside relations that go with that one, and with these.
    pub(super) fn objects_with(&self, object: u64) -> Vec<Name> {
        self.names_of(self.all_reached(object, |_| true))
    }

    /// Types among those that have something of that object's values.
    pub(super) fn types_of(&self, object: u64) -> Vec<Name> {
        let mut reached = self.all_reached(object, |taken| taken >> 32 != SEQUENCES);
        reached.retain(|taken| taken >> 32 == TYPES);
        self.names_of(reached)
    }

    /// Schemas and names of what is part of a relation.
    pub(super) fn parts(&self, object: u64) -> impl Iterator<Item = &(String, String)> {
        self.named.get(&object).into_iter().flatten()
    }

    fn names_of(&self, objects: BTreeSet<u64>) -> Vec<Name> {
        let beside = objects
            .into_iter()
            .filter(|object| u32::try_from(*object).is_err());
        beside
            .flat_map(|object| self.parts(object))
            .map(|(schema, name)| named(schema, name))
            .collect()
    }

    fn reached(&self, object: u64, goes_on: impl Fn(u64) -> bool) -> Vec<u32> {
        let reached = self.all_reached(object, goes_on).into_iter();
        reached.filter_map(|taken| u32::try_from(taken).ok()).collect()
    }

    fn all_reached(&self, object: u64, goes_on: impl Fn(u64) -> bool) -> BTreeSet<u64> {
        let mut work = vec![object];
        let mut seen: BTreeSet<u64> = work.iter().copied().collect();
        while let Some(object) = work.pop() {
            let taken = self.takes.get(&object).into_iter().flatten().copied();
            work.extend(taken.filter(|taken| goes_on(*taken) && seen.insert(*taken)));
        }
        seen.remove(&object);
        seen
    }

    /// Objects that a name may mean, with their schemas.
    pub(super) fn named<'n>(&'n self, name: &'n Name) -> impl Iterator<Item = (&'n str, u64)> {
        let all = self.objects.get(&name.name).into_iter().flatten();
        let is_meant = |schema: &String| name.schema.as_ref().is_none_or(|own| own == schema);
        all.filter(move |(schema, _)| is_meant(schema))
            .map(|(schema, object)| (schema.as_str(), *object))
    }

    /// Relations that an object of that name is part of, or that have something of it.
    pub(super) fn with_named(&self, name: &Name) -> BTreeSet<u32> {
        let of = |(_, object)| match u32::try_from(object) {
            Ok(relation) => vec![relation],
            Err(_) => self.with(object),
        };
        self.named(name).flat_map(of).collect()
    }
}

/// A name with its schema.
pub(super) fn named(schema: &str, name: &str) -> Name {
    Name {
        schema: Some(schema.to_owned()),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_between_relations_are_gone_through() {
        const DOMAIN: u64 = (1247 << 32) + 7;
        const FUNCTION: u64 = (1255 << 32) + 7;
        const SEQUENCE: u64 = (SEQUENCES << 32) + 9;
        let along = Along::of(&Catalog {
            dependents: vec![
                (1, DOMAIN),
                (DOMAIN, FUNCTION),
                (FUNCTION, DOMAIN),
                (FUNCTION, 2),
                (1, 3),
                (3, 4),
                (1, SEQUENCE),
                (SEQUENCE, 5),
            ],
            objects: vec![("safe".into(), "i".into(), 3), ("app".into(), "i".into(), DOMAIN)],
            ..Catalog::default()
        });
        assert_eq!(along.with(1), [2, 3, 4, 5]);
        assert_eq!(along.holding(1), [2, 3, 4], "by no sequence");
        assert_eq!(along.with(3), [4]);
        assert!(along.with(4).is_empty());
        let name = |schema: Option<&str>, name: &str| Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        let schemas = |name: &Name| {
            along
                .named(name)
                .map(|(schema, _)| schema.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(schemas(&name(None, "i")), ["safe", "app"]);
        assert!(schemas(&name(None, "j")).is_empty());
        assert_eq!(along.with_named(&name(Some("safe"), "i")), [3].into());
        assert_eq!(along.with_named(&name(Some("app"), "i")), [2].into());
        assert_eq!(along.with_named(&name(None, "i")), [2, 3].into());
    }
}
