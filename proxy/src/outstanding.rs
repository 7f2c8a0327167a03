//! Changes of a database that its catalog does not show yet, and which statements they can be about.
//!
//! Each change has a number, counted from 1 by [`Outstanding::add`]; a reading of the catalog shows all changes up to one.
//! Of most changes it is not known what they are about, and they concern every statement. Those that let tables come or go
//! and do nothing else (`Statement::only_tables`) concern the statements that name such a table, in whatever schema: a
//! storm of them stops nobody else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use linegate_policy::Statement;

use crate::shared::lock;

/// Changes by table names that are remembered, and names of one; with more, they concern every statement.
const CHANGES_MAX: usize = 4096;
const NAMES_MAX: usize = 16;

/// Names of the tables that come or go, without schemas.
pub type Tables = Arc<[String]>;

/// The changes of one database that no reading has shown.
#[derive(Default)]
pub struct Outstanding {
    /// The newest change's number; written under the lock only.
    newest: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The newest change that may be about anything.
    anything: u64,
    /// Those after it in order; one that follows for the same tables takes the place of the last.
    tables: VecDeque<(u64, Tables)>,
}

impl Outstanding {
    /// The newest change's number.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Adds a change: about these tables only, or about anything.
    pub fn add(&self, tables: Option<&Tables>) {
        let mut known = lock(&self.known);
        let number = self.newest() + 1;
        match tables {
            None => {
                known.anything = number;
                known.tables.clear();
            }
            Some(tables) => {
                if known
                    .tables
                    .back()
                    .is_some_and(|(_, last)| Arc::ptr_eq(last, tables))
                {
                    known.tables.pop_back();
                }
                if known.tables.len() >= CHANGES_MAX {
                    known.anything = known.tables.pop_front().map_or(number, |(oldest, _)| oldest);
                }
                known.tables.push_back((number, tables.clone()));
            }
        }
        self.newest.store(number, Ordering::Release);
    }

    /// Forgets what a reading has shown.
    pub fn shown(&self, number: u64) {
        let mut known = lock(&self.known);
        let kept = known.tables.partition_point(|(change, _)| *change <= number);
        known.tables.drain(..kept);
    }

    /// Whether every change after `shown` is about some tables only.
    pub fn are_tables(&self, shown: u64) -> bool {
        lock(&self.known).anything <= shown
    }

    /// Whether no change after `shown` can be about this statement, which was read with a catalog that shows the others.
    pub fn spare(&self, shown: u64, statement: &Statement) -> bool {
        let lineage = statement.lineage.as_ref();
        let is_followed = lineage.is_some_and(|lineage| {
            lineage.followed
                && lineage.unknown.is_empty()
                && !lineage.strangers
                && !lineage.through_definitions
        });
        if !is_followed || statement.changes_catalog || !statement.opaque.is_empty() {
            return false;
        }
        let is_named = |table: &String| {
            let names = statement.reads.iter().chain(&statement.writes);
            names.chain(&statement.functions).any(|name| name.name == *table)
        };
        let known = lock(&self.known);
        let mut later = known
            .tables
            .iter()
            .rev()
            .take_while(|(change, _)| *change > shown);
        known.anything <= shown && !later.any(|(_, tables)| tables.iter().any(is_named))
    }
}

/// The tables that a statement lets come or go, where it does nothing else to the catalog.
pub fn tables(statement: &Statement) -> Option<Tables> {
    let is_known =
        statement.only_tables && !statement.writes.is_empty() && statement.writes.len() <= NAMES_MAX;
    is_known.then(|| statement.writes.iter().map(|name| name.name.clone()).collect())
}

/// What several changes of one transaction are about.
pub fn together(one: Option<Tables>, other: Option<Tables>) -> Option<Tables> {
    let (one, other) = (one?, other?);
    (one.len() + other.len() <= NAMES_MAX).then(|| one.iter().chain(other.iter()).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use linegate_identity::Effects;
    use linegate_policy::{Lineage, Name};

    fn reading(table: &str) -> Statement {
        Statement {
            effects: Effects::SELECT,
            reads: vec![Name {
                schema: Some("app".to_owned()),
                name: table.to_owned(),
            }],
            lineage: Some(Lineage {
                followed: true,
                ..Lineage::default()
            }),
            ..Statement::empty()
        }
    }

    fn of(names: &[&str]) -> Tables {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_table_that_comes_concerns_those_who_name_it() {
        let changes = Outstanding::default();
        changes.add(Some(&of(&["storm"])));
        assert!(changes.spare(0, &reading("t1")) && !changes.spare(0, &reading("storm")));
        assert!(changes.spare(1, &reading("storm")), "it is shown");
        let doubtful: [fn(&mut Lineage); 4] = [
            |lineage| lineage.followed = false,
            |lineage| lineage.unknown.push("something"),
            |lineage| lineage.strangers = true,
            |lineage| lineage.through_definitions = true,
        ];
        for doubt in doubtful {
            let mut statement = reading("t1");
            doubt(statement.lineage.as_mut().expect("it has one"));
            assert!(!changes.spare(0, &statement));
        }
        let statement = Statement {
            lineage: None,
            ..reading("t1")
        };
        assert!(!changes.spare(0, &statement), "read without a catalog");
    }

    #[test]
    fn a_change_of_anything_concerns_everybody_until_it_is_shown() {
        let changes = Outstanding::default();
        changes.add(None);
        changes.add(Some(&of(&["storm"])));
        assert_eq!(changes.newest(), 2);
        assert!(!changes.are_tables(0) && !changes.spare(0, &reading("t1")));
        assert!(changes.are_tables(1) && changes.spare(1, &reading("t1")));
        changes.add(None);
        assert!(!changes.spare(2, &reading("t1")));
        changes.shown(3);
        assert!(changes.spare(3, &reading("storm")));
    }

    #[test]
    fn what_is_forgotten_concerns_everybody() {
        let changes = Outstanding::default();
        for number in 0..CHANGES_MAX + 1 {
            changes.add(Some(&of(&[&number.to_string()])));
        }
        assert!(!changes.spare(0, &reading("t1")));
        assert!(changes.spare(1, &reading("t1")) && !changes.spare(1, &reading("7")));
        let same = of(&["storm"]);
        changes.add(Some(&same));
        changes.add(Some(&same));
        assert!(changes.newest() == CHANGES_MAX as u64 + 3 && !changes.spare(2, &reading("storm")));
    }

    #[test]
    fn a_transaction_is_about_all_that_it_changed() {
        let (one, two) = (Some(of(&["a"])), Some(of(&["b"])));
        assert_eq!(
            together(one.clone(), two).expect("both are known").to_vec(),
            ["a", "b"]
        );
        assert!(together(one.clone(), None).is_none() && together(None, one).is_none());
        let many = Some(vec!["x".to_owned(); NAMES_MAX].into());
        assert!(together(many, Some(of(&["a"]))).is_none());
    }
}
