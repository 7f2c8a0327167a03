//! What stands behind a relation: the tables' columns that a view's columns hold, what its conditions look at, and the relations
//! whose rows a reader of it gets. For rules that forbid by a column's or a table's name.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Entry, LabelIndex};
use crate::lineage::{ColumnId, Flow, Lineage};
use crate::statement::Name;

/// Of one view that was followed.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Labelled columns, of whatever relations the view names, that each of its columns holds something of.
    columns: HashMap<i16, BTreeSet<ColumnId>>,
    /// Labelled columns that it reads for anything else.
    reads: BTreeSet<ColumnId>,
}

fn is_table(entry: &Entry) -> bool {
    matches!(entry.kind, b'r' | b'p' | b'f')
}

fn is_view(entry: &Entry) -> bool {
    matches!(entry.kind, b'v' | b'm')
}

/// Whether the server came with it.
fn is_systems(entry: &Entry) -> bool {
    matches!(
        entry.schema.as_str(),
        "pg_catalog" | "information_schema" | "pg_toast"
    )
}

impl LabelIndex {
    /// Takes in what a view's columns hold and what else its query reads.
    pub fn set_view_reads(&mut self, oid: u32, lineage: &Lineage) {
        let Some(entry) = self.relations.get(&oid) else {
            return;
        };
        let flows = lineage.outputs.as_deref().unwrap_or_default();
        let columns = entry.columns.iter().zip(flows);
        let columns: HashMap<i16, BTreeSet<ColumnId>> = columns
            .map(|(column, flow)| (column.number, flow.columns().copied().collect::<BTreeSet<_>>()))
            .filter(|(_, holds)| !holds.is_empty())
            .collect();
        let shown: BTreeSet<ColumnId> = flows.iter().flat_map(Flow::columns).copied().collect();
        let looked_at = lineage.lookups.iter().chain(&lineage.probes);
        let reads = looked_at
            .chain(lineage.touched.difference(&shown))
            .copied()
            .collect();
        self.behind.insert(oid, Behind { columns, reads });
    }

    /// Labelled columns of tables that a labelled column's values are from: through views, and in the tables of its
    /// inheritance family or partitions. It is among them.
    pub(crate) fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        let mut all = BTreeSet::new();
        let mut work = vec![column];
        while let Some(column) = work.pop() {
            if !all.insert(column) {
                continue;
            }
            let Some(entry) = self.relations.get(&column.relation) else {
                continue;
            };
            if is_table(entry) {
                work.extend(self.namesakes(entry, column.attribute));
            } else if let Some(behind) = self.behind.get(&column.relation) {
                work.extend(behind.columns.get(&column.attribute).into_iter().flatten());
            } else {
                // Not followed: whatever it is built over.
                work.extend(self.labelled_below(column.relation));
            }
        }
        all
    }

    /// The columns of the same name, as far as they bear a label, in the tables that a table inherits from or is inherited by.
    fn namesakes<'i>(&'i self, entry: &'i Entry, attribute: i16) -> impl Iterator<Item = ColumnId> + 'i {
        let name = entry.columns.iter().find(|column| column.number == attribute);
        let name = name.map(|column| column.name.as_str());
        entry.sources.iter().filter_map(move |oid| {
            let other = self.relations.get(oid).filter(|other| is_table(other))?;
            let twin = other
                .columns
                .iter()
                .find(|column| Some(column.name.as_str()) == name)?;
            let twin = ColumnId {
                relation: *oid,
                attribute: twin.number,
            };
            self.is_labelled(twin).then_some(twin)
        })
    }

    /// The labelled columns of everything that a relation is built over.
    fn labelled_below(&self, oid: u32) -> Vec<ColumnId> {
        let below = self.relations_behind(oid).into_iter();
        below
            .filter_map(|oid| Some((oid, self.relations.get(&oid)?)))
            .flat_map(|(oid, entry)| {
                let id = move |number| ColumnId {
                    relation: oid,
                    attribute: number,
                };
                entry.columns.iter().map(move |column| id(column.number))
            })
            .filter(|column| self.is_labelled(*column))
            .collect()
    }

    /// Labelled columns that are read whenever a relation is, whichever of its columns are asked for: what the conditions of
    /// views look at. Of a view that was not followed, all that is below it.
    pub(crate) fn always_read(&self, oid: u32) -> BTreeSet<ColumnId> {
        let mut all = BTreeSet::new();
        let views = self.relations_behind(oid).into_iter().chain([oid]);
        for oid in views {
            match (self.behind.get(&oid), self.marks(oid)) {
                (Some(behind), _) => {
                    all.extend(behind.reads.iter().flat_map(|column| self.origins(*column)));
                }
                (None, Some(marks)) if marks.derived => all.extend(self.labelled_below(oid)),
                _ => {}
            }
        }
        all
    }

    /// Whether reading what has that name locks rows: its query says so, or that of a view below.
    pub fn locks_rows(&self, name: &Name) -> bool {
        let locks = |oid: &u32| self.relations.get(oid).is_some_and(|entry| entry.reactions.locks);
        let mut known = self.known(name);
        known.any(|known| locks(&known.oid) || self.relations_behind(known.oid).iter().any(locks))
    }

    /// Children and partitions of a table, and theirs; of anything else nothing.
    pub fn children_of(&self, oid: u32) -> BTreeSet<u32> {
        match self.relations.get(&oid) {
            Some(entry) if is_table(entry) => self.relations_behind(oid),
            _ => BTreeSet::new(),
        }
    }

    /// The relations whose rows a reader of that one gets, through any number of views, and of a table those of its
    /// partitions and of the tables that inherit from it.
    pub(crate) fn relations_behind(&self, oid: u32) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        let mut work = vec![oid];
        while let Some(of) = work.pop() {
            let Some(entry) = self.relations.get(&of).filter(|entry| !is_systems(entry)) else {
                continue;
            };
            let shows = |other: &Entry| is_view(entry) || is_table(entry) && inherits(other, entry);
            let below = entry.sources.iter().filter(|source| {
                let other = self.relations.get(source).filter(|other| !is_systems(other));
                **source != oid && other.is_some_and(shows)
            });
            work.extend(below.filter(|source| all.insert(**source)));
        }
        all
    }
}

/// Whether a table's rows are shown in another one of its family: the catalog says that they belong together, and a child has
/// every column of its parent. A partitioned table is taken for the parent of those that are not; of two that look alike,
/// either may be the parent.
fn inherits(child: &Entry, parent: &Entry) -> bool {
    if !is_table(child) || !is_table(parent) {
        return false;
    }
    if (child.kind == b'p') != (parent.kind == b'p') {
        return parent.kind == b'p';
    }
    let names: HashSet<&str> = child.columns.iter().map(|column| column.name.as_str()).collect();
    parent
        .columns
        .iter()
        .all(|column| names.contains(column.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Column, Relation};
    use crate::labels::{LabelSpec, RedactSpec};

    fn id(relation: u32, attribute: i16) -> ColumnId {
        ColumnId { relation, attribute }
    }

    fn relation(oid: u32, name: &str, kind: u8, columns: &[&str], sources: &[u32]) -> Relation {
        let columns = columns.iter().zip(1..).map(|(name, number)| Column {
            number,
            name: (*name).to_owned(),
            type_oid: 25,
        });
        let mut made = Relation::new(oid, "app", name, kind, columns.collect());
        made.sources = sources.to_vec();
        made
    }

    /// A table, a view that shows its label, one over that, one that only looks at it, one that nobody followed; a table with
    /// two partitions.
    fn index() -> LabelIndex {
        let catalog = Catalog {
            relations: vec![
                relation(20_000, "people", b'r', &["id", "ssn"], &[]),
                relation(20_001, "shows", b'v', &["id", "number"], &[20_000]),
                relation(20_002, "above", b'v', &["n"], &[20_001]),
                relation(20_003, "looks", b'v', &["id"], &[20_000]),
                relation(20_004, "dark", b'v', &["id"], &[20_000]),
                relation(20_010, "visits", b'p', &["id", "trail"], &[20_011, 20_012]),
                relation(20_011, "low", b'r', &["trail", "id"], &[20_010]),
                relation(20_012, "high", b'r', &["id", "trail"], &[20_010]),
            ],
            ..Catalog::default()
        };
        let column = |table: &str, name: &str| ("app".to_owned(), table.to_owned(), name.to_owned());
        let label = LabelSpec {
            name: "pii".to_owned(),
            columns: vec![column("people", "ssn"), column("visits", "trail")],
            paths: Vec::new(),
            redact: RedactSpec::Null,
        };
        let (mut index, missing) = LabelIndex::resolve(&catalog, &[label]);
        assert_eq!(missing, Vec::<String>::new());
        let follow = |index: &mut LabelIndex, oid: u32, flows: Vec<Flow>, lookups: &[ColumnId]| {
            let lineage = Lineage {
                touched: flows
                    .iter()
                    .flat_map(Flow::columns)
                    .chain(lookups)
                    .copied()
                    .collect(),
                lookups: lookups.iter().copied().collect(),
                outputs: Some(flows.clone()),
                ..Lineage::default()
            };
            assert!(index.set_view(oid, &flows));
            index.set_view_reads(oid, &lineage);
        };
        follow(
            &mut index,
            20_001,
            vec![Flow::Clean, Flow::Exactly(id(20_000, 2))],
            &[],
        );
        follow(&mut index, 20_002, vec![Flow::Exactly(id(20_001, 2))], &[]);
        follow(&mut index, 20_003, vec![Flow::Clean], &[id(20_000, 2)]);
        index
    }

    #[test]
    fn a_views_columns_lead_to_the_tables() {
        let index = index();
        let of = |relation, attribute| -> Vec<ColumnId> {
            index.origins(id(relation, attribute)).into_iter().collect()
        };
        assert_eq!(of(20_000, 2), [id(20_000, 2)]);
        assert_eq!(of(20_002, 1), [id(20_000, 2), id(20_001, 2), id(20_002, 1)]);
        assert_eq!(of(20_004, 1), [id(20_000, 2), id(20_004, 1)], "not followed");
    }

    #[test]
    fn what_a_view_looks_at_is_read_with_it() {
        let index = index();
        let always = |oid| -> Vec<ColumnId> { index.always_read(oid).into_iter().collect() };
        assert!(always(20_000).is_empty());
        assert!(always(20_001).is_empty());
        assert_eq!(always(20_003), [id(20_000, 2)]);
        assert_eq!(always(20_004), [id(20_000, 2)]);
    }

    #[test]
    fn partitions_stand_behind_their_table_and_share_its_columns() {
        let index = index();
        let origins: Vec<ColumnId> = index.origins(id(20_010, 2)).into_iter().collect();
        assert_eq!(origins, [id(20_010, 2), id(20_011, 1), id(20_012, 2)]);
        let behind = |oid| -> Vec<u32> { index.relations_behind(oid).into_iter().collect() };
        assert_eq!(behind(20_010), [20_011, 20_012]);
        assert_eq!(behind(20_011), [0u32; 0], "a partition shows its own rows");
        assert_eq!(behind(20_002), [20_000, 20_001]);
    }
}
