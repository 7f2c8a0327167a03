//! What the server tests when rows change, and thereby answers: CHECK and exclusion constraints, and uniqueness.
//! Source: PostgreSQL manual, "Constraints"; `ExecConstraints` (`execMain.c`), `check_exclusion_constraint` (`execIndexing.c`).
//!
//! A row of the client's own values tells nothing. A CHECK that reads a labelled value which stays while another column is
//! written compares the two, and the client may write again: every value can be found by halves. So does an exclusion
//! constraint that compares with anything but equality. One equality a statement is the uniqueness that masking does not
//! hide; many are a search. A foreign key of a column without a label to a labelled one is a look-up by other means.

use std::collections::BTreeSet;

use linegate_policy::labels::Known;
use linegate_policy::{ColumnId, LabelIndex, Name};
use pg_raw_parse::{Node, nodes};

use super::value::{Set, Source, Value};
use super::write::Target;
use super::{OURS_FROM, Reader, builtin_name, functions};
use crate::walk::children::any_below;
use crate::walk::names;

/// What a statement writes: a column's name, where it is known, and the value, where it is a whole one.
pub(super) type Written = (Option<String>, Option<Value>);

impl Reader<'_> {
    /// The constraints of a relation, with what was written to it: whole rows, or columns of rows that are there.
    pub(super) fn tested(&mut self, target: &Name, written: &[Written], is_new: bool) {
        if written.is_empty() {
            return;
        }
        let index = self.index;
        // Below a view, columns go by other names.
        let is_view = |known: &Known<'_>| known.kind == b'v';
        let named = index.known(target).map(|known| (known.oid, !is_view(&known)));
        let mut work: Vec<(u32, bool)> = named.collect();
        let mut seen: BTreeSet<u32> = work.iter().map(|(oid, _)| *oid).collect();
        let mut probed = Set::new();
        while let Some((oid, is_named)) = work.pop() {
            let Some(known) = index.known_by_oid(oid) else {
                continue;
            };
            // Rows may lie in children and partitions, which have the same names.
            let below = known.sources.iter().filter(|oid| seen.insert(**oid));
            work.extend(below.map(|oid| (*oid, is_named && !is_view(&known))));
            let number = |name: &str| {
                let found = known.columns.iter().find(|column| column.name == name);
                found.map(|column| column.number)
            };
            let is_told = is_named && written.iter().all(|(name, _)| name.is_some());
            let numbers: Option<Vec<(i16, Option<&Value>)>> = is_told.then(|| {
                let written = written.iter();
                let places =
                    written.filter_map(|(name, value)| Some((number(name.as_deref()?)?, value.as_ref())));
                places.collect()
            });
            self.refers(oid, numbers.as_deref());
            for test in known.tests {
                let tells = self.labelled_of(&known, &test.tells);
                if tells.is_empty() {
                    continue;
                }
                let Some(numbers) = &numbers else {
                    probed.extend(tells);
                    continue;
                };
                let is_whole_row = test.columns.contains(&0);
                let of_test =
                    |(number, _): &&(i16, Option<&Value>)| is_whole_row || test.columns.contains(number);
                if !is_new && !numbers.iter().any(|one| of_test(&one)) {
                    continue;
                }
                if test.of_others {
                    // A row without a value of its own is compared with none.
                    let is_given =
                        |column: &ColumnId| numbers.iter().any(|(number, _)| *number == column.attribute);
                    if !is_new || is_whole_row || tells.iter().any(is_given) {
                        probed.extend(tells);
                    }
                    continue;
                }
                for column in tells {
                    let written = numbers.iter().find(|(number, _)| *number == column.attribute);
                    match written {
                        Some((_, Some(value))) if value.is_clean() => {}
                        // A copy of what has passed the same test.
                        Some(_) if is_new && test.columns.len() == 1 => {}
                        None if is_new => {}
                        _ => {
                            probed.insert(column);
                        }
                    }
                }
            }
        }
        self.found.probes.extend(probed);
    }

    /// What is written to columns that refer to labelled ones is looked up there; of spans, whether they are covered shows.
    fn refers(&mut self, oid: u32, numbers: Option<&[(i16, Option<&Value>)]>) {
        for (column, referenced) in self.index.references_from(oid) {
            let from = ColumnId {
                relation: oid,
                attribute: column,
            };
            let is_written =
                numbers.is_none_or(|numbers| numbers.iter().any(|(number, _)| *number == column));
            if !is_written || self.index.is_labelled(from) {
                continue;
            }
            let is_value = self
                .index
                .type_oid(referenced)
                .is_some_and(|kind| kind < OURS_FROM && !is_span(kind));
            let is_one = numbers.is_some_and(|numbers| {
                let mut written = numbers.iter().filter(|(number, _)| *number == column);
                written.all(|(_, value)| value.is_some_and(|value| value.is_constant() || value.is_listed()))
            });
            if is_value && is_one {
                self.count_computed(numbers.into_iter().flatten().filter_map(|(_, value)| *value));
                self.found.lookups.insert(referenced);
            } else {
                self.found.probes.insert(referenced);
            }
        }
    }

    /// Rows that go, or change in those columns, while others may refer to them: whether there are such shows.
    pub(super) fn referred_to(&mut self, target: &Name, written: Option<&[Written]>) {
        for (name, from) in references(self.index, target) {
            let changes = written.is_none_or(|written| {
                let mut written = written.iter();
                written.any(|(written, _)| written.is_none() || name.is_none() || *written == name)
            });
            if changes {
                self.found.probes.insert(from);
            }
        }
    }

    /// Rows that the client sends: their values are its own, and other rows are compared with them.
    pub(super) fn copied_in(&mut self, copy: &nodes::CopyStmt) {
        let Some(relation) = copy.relation() else { return };
        let name = names::relation(relation);
        let mut columns: Vec<String> = copy
            .attlist()
            .iter()
            .filter_map(Node::as_str)
            .map(str::to_owned)
            .collect();
        if columns.is_empty() {
            let known = self.index.known(&name);
            columns.extend(
                known
                    .flat_map(|known| known.columns)
                    .map(|column| column.name.clone()),
            );
        }
        let written = columns
            .into_iter()
            .map(|column| (Some(column), Some(Value::OTHER)));
        self.tested(&name, &written.collect::<Vec<Written>>(), true);
    }

    fn labelled_of(&self, known: &Known<'_>, numbers: &[i16]) -> Vec<ColumnId> {
        let all = known.columns.iter().map(|column| column.number);
        let id = |attribute| ColumnId {
            relation: known.oid,
            attribute,
        };
        all.filter(|number| numbers.contains(number) || numbers.contains(&0))
            .map(id)
            .filter(|column| self.index.is_labelled(*column))
            .collect()
    }

    /// Values of many rows on their way into a column that takes each value once: whether it has one of them already is an
    /// answer about all of them.
    pub(super) fn many(&mut self, target: &Target, column: Option<&str>, value: &Value) {
        if matches!(value, Value::Clean(Source::Other | Source::Stored)) {
            let into = self.keyed(target, column);
            self.found.probes.extend(into);
        }
    }

    /// Rows that are left out where a value is there already: each is a look-up.
    pub(super) fn one_of_many(&mut self, target: &Target, column: Option<&str>) {
        let into = self.keyed(target, column);
        self.found.lookups.extend(into);
    }

    /// The labelled columns of that name that take each value once.
    fn keyed(&self, target: &Target, column: Option<&str>) -> Vec<ColumnId> {
        let Some(column) = column else { return Vec::new() };
        let known = self
            .index
            .known(&target.name)
            .filter(|known| known.is_key(column));
        known
            .filter_map(|known| {
                let number = known.columns.iter().find(|known| known.name == column)?.number;
                Some(ColumnId {
                    relation: known.oid,
                    attribute: number,
                })
            })
            .filter(|into| self.index.is_labelled(*into))
            .collect()
    }
}

/// The labelled columns that refer to columns without a label of a relation, or of those that its rows may lie in, and the names
/// of these columns, as far as they go by them. A reference to a labelled column tells no more than a look-up does.
pub(super) fn references(index: &LabelIndex, target: &Name) -> Vec<(Option<String>, ColumnId)> {
    let mut found = Vec::new();
    let mut work: Vec<(u32, bool)> = index.known(target).map(|known| (known.oid, true)).collect();
    let mut seen: BTreeSet<u32> = work.iter().map(|(oid, _)| *oid).collect();
    while let Some((oid, is_named)) = work.pop() {
        let Some(known) = index.known_by_oid(oid) else {
            continue;
        };
        // Below a view, columns go by other names.
        let is_named = is_named && known.kind != b'v';
        let below = known.sources.iter().filter(|oid| seen.insert(**oid));
        work.extend(below.map(|oid| (*oid, is_named)));
        for key in &known.reactions.cascades {
            let id = |relation, attribute| ColumnId { relation, attribute };
            let (from, to) = (id(key.relation, key.column), id(oid, key.referenced));
            if index.is_labelled(from) && !index.is_labelled(to) {
                let column = known
                    .columns
                    .iter()
                    .find(|column| column.number == key.referenced);
                let name = column.filter(|_| is_named).map(|column| column.name.clone());
                found.push((name, from));
            }
        }
    }
    found
}

/// Whether columns of a relation, or of those that its rows may lie in, refer to labelled ones.
pub(super) fn refers(index: &LabelIndex, target: &Name) -> bool {
    let mut work: Vec<u32> = index.known(target).map(|known| known.oid).collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(oid) = work.pop() {
        if !index.references_from(oid).is_empty() {
            return true;
        }
        let sources = index.known_by_oid(oid).map_or(&[][..], |known| known.sources);
        work.extend(sources.iter().filter(|oid| seen.insert(**oid)));
    }
    false
}

/// Whether an expression may have a value of its own for each row that is changed, and one that the client foresees. What a
/// generator makes up is another for each row, but nobody's guess.
pub(super) fn goes_by_row(node: Node<'_>) -> bool {
    any_below(node, |below| match below {
        Node::ColumnRef(_) | Node::SubLink(_) | Node::MultiAssignRef(_) => true,
        // `(value).f` may be f(value).
        Node::A_Indirection(path) => path.indirection().iter().any(|step| step.as_str().is_some()),
        Node::FuncCall(call) => {
            !builtin_name(call.funcname()).is_some_and(|name| functions::is_steady(name) || makes_up(name))
        }
        _ => false,
    })
}

/// The ranges and multiranges of `pg_type`.
fn is_span(type_oid: u32) -> bool {
    matches!(
        type_oid,
        3904 | 3906 | 3908 | 3910 | 3912 | 3926 | 4451 | 4532..=4536
    )
}

fn makes_up(name: &str) -> bool {
    matches!(
        name,
        "clock_timestamp" | "gen_random_uuid" | "random" | "uuidv4" | "uuidv7"
    )
}
