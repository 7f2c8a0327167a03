//! Names of relations that something holds of, and the ways by which others are reached through them.
//!
//! Each name enters a set once, and with it whatever is reached from there, so that a transaction of any number of definitions
//! costs as much as it says.

use std::collections::{BTreeMap, BTreeSet};

/// Any name.
pub const ANY: &str = "*";
/// Names that one set, or one kind of ways, remembers; with more, it may be any.
const NAMES_MAX: usize = 16_384;

/// Names that something holds of.
#[derive(Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name) || self.is_any()
    }

    /// Whether it holds of any.
    pub fn is_any(&self) -> bool {
        self.0.first().is_some_and(|first| first == ANY)
    }

    /// Takes a name in; whether it was not there.
    pub fn insert(&mut self, name: &str) -> bool {
        if self.contains(name) {
            return false;
        }
        if name == ANY || self.0.len() >= NAMES_MAX {
            self.0 = BTreeSet::from([ANY.to_owned()]);
            return true;
        }
        self.0.insert(name.to_owned())
    }

    /// Takes names in, and with them those that they lead to. Answers with what was not there.
    pub fn spread(&mut self, names: impl IntoIterator<Item = String>, ways: &[&Ways]) -> Vec<String> {
        let mut work: Vec<String> = names.into_iter().collect();
        let mut taken = Vec::new();
        while let Some(name) = work.pop() {
            if !self.insert(&name) {
                continue;
            }
            for way in ways {
                work.extend(way.from(&name).cloned());
            }
            taken.push(name);
        }
        taken
    }
}

/// Relations, each with those through which it is reached.
#[derive(Default)]
pub struct Ways {
    above: BTreeMap<String, BTreeSet<String>>,
    count: usize,
}

impl Ways {
    pub const fn new() -> Self {
        Self {
            above: BTreeMap::new(),
            count: 0,
        }
    }

    /// From now on `below` is reached through `above`. False when there is no room: then it may be reached through any.
    pub fn add(&mut self, below: &str, above: &str) -> bool {
        if self.count >= NAMES_MAX {
            return false;
        }
        let known = self.above.entry(below.to_owned()).or_default();
        self.count += usize::from(known.insert(above.to_owned()));
        true
    }

    /// Relations that are reached through others.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.above.keys()
    }

    /// Relations through which one is reached.
    pub fn from(&self, below: &str) -> impl Iterator<Item = &String> {
        self.above.get(below).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_brings_along_what_it_leads_to() {
        let (mut parents, mut keys) = (Ways::default(), Ways::default());
        assert!(parents.add("leaf", "branch") && parents.add("branch", "root") && keys.add("root", "other"));
        assert!(keys.add("other", "leaf"), "in a circle");
        let mut names = Names::default();
        names.spread(["branch".to_owned()], &[&parents]);
        assert!(names.contains("root") && !names.contains("leaf") && !names.contains("other"));
        let mut names = Names::default();
        names.spread(["branch".to_owned()], &[&parents, &keys]);
        assert!(
            ["root", "other", "leaf", "branch"]
                .iter()
                .all(|name| names.contains(name))
        );
        assert!(!names.contains("x"));
    }

    #[test]
    fn with_too_many_it_may_be_any() {
        let mut names = Names::default();
        for number in 0..NAMES_MAX {
            names.insert(&number.to_string());
        }
        assert!(!names.contains("x"));
        assert!(names.insert("y") && names.contains("x") && !names.insert("z"));
        let mut ways = Ways::default();
        for number in 0..NAMES_MAX {
            assert!(ways.add(&number.to_string(), "a"));
        }
        assert!(!ways.add("x", "a"));
    }
}
