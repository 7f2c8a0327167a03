//! Relations that may hold a labelled column which no label names, so that every column of theirs counts as labelled.
//!
//! A label's table may be made anew elsewhere and renamed before the catalog is read again: then nothing tells which of the
//! new relations it is. And a foreign table shows rows of a place that the catalog does not know, which may be this database.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::LabelIndex;
use crate::catalog::Relation;

/// A column that a label names: the label's number, the column's place in its list.
pub(super) type Named = (usize, usize);

/// Where named columns were seen.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// The relation that had it when it was seen last.
    seen_in: HashMap<Named, u32>,
    /// Not seen any more, nor its relation: it may be in any relation with a greater oid than this.
    lost_since: HashMap<Named, u32>,
    oid_max: u32,
    /// Marks of tables that are gone, by schema and name: whoever makes such a table again means the same values.
    graves: Graves,
    /// What was marked on suspicion only, which ends with its reason: relation, column, label.
    suspected: HashSet<(u32, i16, usize)>,
}

/// What is known of one column's marks.
pub(super) struct Marked<'m> {
    pub(super) labels: &'m BTreeSet<usize>,
    /// No redaction of the label fits it.
    pub(super) is_computed: bool,
}

/// By schema and name: column, its labels, whether it holds something computed.
pub(super) type Graves = HashMap<(String, String), Vec<(String, BTreeSet<usize>, bool)>>;

/// Tables that are gone and remembered; past it the newest are forgotten, and come back with the labels that name them.
const GRAVES_MAX: usize = 10_000;

/// What the server itself made has smaller oids (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16384;

impl LabelIndex {
    /// The labels of a column that it bears for certain.
    pub(super) fn firm(&self, relation: u32, attribute: i16, labels: &BTreeSet<usize>) -> BTreeSet<usize> {
        let suspected = &self.sightings.suspected;
        let is_firm = |label: &usize| !suspected.contains(&(relation, attribute, *label));
        labels.iter().copied().filter(is_firm).collect()
    }

    /// Whether a labelled column is gone, so that any newer table may be the one that had it.
    pub(crate) fn has_lost_labels(&self) -> bool {
        !self.sightings.lost_since.is_empty()
    }

    /// The relation that now stands in a place.
    pub(super) fn namesake(&self, (schema, name): &(String, String)) -> Option<u32> {
        let mut oids = self.by_name.get(name)?.iter().copied();
        oids.find(|oid| self.relations.get(oid).is_some_and(|now| now.schema == *schema))
    }

    /// Marks of the tables that this index knew, or knew to be gone, and that are not among `by_oid`.
    pub(super) fn graves(&self, by_oid: &HashMap<u32, &Relation>) -> Graves {
        let mut graves = self.sightings.graves.clone();
        for (oid, entry) in &self.relations {
            let is_table = matches!(entry.kind, b'r' | b'p' | b'f');
            let Some(marks) = entry.marks.as_deref() else {
                continue;
            };
            if !is_table || by_oid.contains_key(oid) || graves.len() >= GRAVES_MAX {
                continue;
            }
            let columns = entry.columns.iter().filter_map(|column| {
                let labels = self.firm(*oid, column.number, marks.columns.get(&column.number)?);
                (!labels.is_empty()).then_some(())?;
                Some((
                    column.name.clone(),
                    labels,
                    marks.computed.contains(&column.number),
                ))
            });
            graves.insert((entry.schema.clone(), entry.name.clone()), columns.collect());
        }
        graves
    }

    /// Remembers the tables that are still gone.
    pub(super) fn bury(&mut self, mut graves: Graves) {
        graves.retain(|place, _| self.namesake(place).is_none());
        self.sightings.graves = graves;
    }

    /// Takes in where the columns of this reading are, and what is lost since an earlier one.
    pub(super) fn sight(
        &mut self,
        found: HashMap<Named, u32>,
        missing: &[Named],
        before: Option<&Self>,
        by_oid: &HashMap<u32, &Relation>,
    ) {
        self.sightings.oid_max = by_oid.keys().copied().max().unwrap_or(0);
        self.sightings.seen_in = found;
        let Some(before) = before else { return };
        for named in missing {
            if let Some(since) = before.sightings.lost_since.get(named) {
                self.sightings.lost_since.insert(*named, *since);
            } else if let Some(oid) = before.sightings.seen_in.get(named) {
                if by_oid.contains_key(oid) {
                    self.sightings.seen_in.insert(*named, *oid);
                } else {
                    self.sightings.lost_since.insert(*named, before.sightings.oid_max);
                }
            }
        }
    }

    /// Marks every column of what may hold a lost column, and of foreign tables without a label of their own.
    pub(super) fn mark_suspects(&mut self, by_oid: &HashMap<u32, &Relation>) -> Vec<String> {
        let lost: Vec<(usize, u32)> = self
            .sightings
            .lost_since
            .iter()
            .map(|((label, _), since)| (*label, *since))
            .collect();
        let mut warnings = Vec::new();
        for relation in by_oid.values().filter(|relation| relation.oid >= FIRST_USER_OID) {
            let holds_rows = matches!(relation.kind, b'r' | b'p' | b'm');
            let labels: Vec<usize> = match relation.kind {
                b'f' if self.marks(relation.oid).is_none() => (0..self.labels.len()).collect(),
                _ if holds_rows => lost
                    .iter()
                    .filter(|(_, since)| relation.oid > *since)
                    .map(|(label, _)| *label)
                    .collect(),
                _ => continue,
            };
            let Some(entry) = self
                .relations
                .get_mut(&relation.oid)
                .filter(|_| !labels.is_empty())
            else {
                continue;
            };
            if holds_rows {
                warnings.push(format!(
                    "{}.{} is newer than a labelled table that is gone, and is masked whole until the label names a table again",
                    relation.schema, relation.name
                ));
            }
            let marks = entry.marks.get_or_insert_default();
            marks.whole.extend(&labels);
            for column in &relation.columns {
                let known = marks.columns.entry(column.number).or_default();
                if known.is_empty() {
                    marks.computed.insert(column.number);
                }
                for label in &labels {
                    if known.insert(*label) {
                        self.sightings
                            .suspected
                            .insert((relation.oid, column.number, *label));
                    }
                }
            }
        }
        warnings.sort_unstable();
        warnings
    }
}
