//! What a reader of statements asks while it follows values: relations by name, what columns carry, what views show.

use std::collections::{BTreeSet, HashMap};

use super::along::named;
use super::{Entry, LabelIndex, MaskScope, RedactSpec};
use crate::catalog::{Column, Reactions, Test};
use crate::lineage::{ColumnId, Flow};
use crate::statement::Name;

/// A relation as its reader needs it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'i> {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema name.
    pub schema: &'i str,
    /// Relation name.
    pub name: &'i str,
    /// `pg_class.relkind`.
    pub kind: u8,
    /// Live columns by number.
    pub columns: &'i [Column],
    /// Something in it carries a label.
    pub is_labelled: bool,
    /// It is built over a labelled relation and what its columns hold is not known.
    pub is_derived: bool,
    /// Relations that its rows may come from, by OID.
    pub sources: &'i [u32],
    /// What a change of its rows does besides.
    pub reactions: &'i Reactions,
    /// Constraints that look at values when its rows change.
    pub tests: &'i [Test],
    /// Generated columns that read others, by number.
    pub generated: &'i [i16],
    /// Columns that tell its rows apart, by number.
    keys: &'i [i16],
}

impl<'i> Known<'i> {
    fn of(oid: u32, entry: &'i Entry) -> Self {
        Self {
            oid,
            schema: &entry.schema,
            name: &entry.name,
            kind: entry.kind,
            columns: &entry.columns,
            is_labelled: entry.marks.is_some(),
            is_derived: entry.marks.as_deref().is_some_and(|marks| marks.derived),
            sources: &entry.sources,
            reactions: &entry.reactions,
            tests: &entry.tests,
            generated: &entry.generated,
            keys: &entry.keys,
        }
    }

    /// Whether a column of that name tells its rows apart. A truth value never does.
    pub fn is_key(&self, column: &str) -> bool {
        const BOOL: u32 = 16;
        let found = self.columns.iter().find(|known| known.name == column);
        found.is_some_and(|column| column.type_oid != BOOL && self.keys.contains(&column.number))
    }

    /// It belongs to one session.
    pub fn is_temporary(&self) -> bool {
        super::is_temporary(self.schema)
    }
}

impl LabelIndex {
    /// Every relation that a name may mean.
    pub fn known<'n>(&'n self, name: &'n Name) -> impl Iterator<Item = Known<'n>> {
        self.matching(name).map(|(oid, entry)| Known::of(oid, entry))
    }

    /// The relation of that number.
    pub fn known_by_oid(&self, oid: u32) -> Option<Known<'_>> {
        self.relations.get(&oid).map(|entry| Known::of(oid, entry))
    }

    /// Columns of a relation that refer to labelled columns of others, and these.
    pub fn references_from(&self, oid: u32) -> Vec<(i16, ColumnId)> {
        let labelled = self.relations.iter().filter(|(_, entry)| entry.marks.is_some());
        let keys = labelled.flat_map(|(to, entry)| {
            let of_this = entry.reactions.cascades.iter().filter(|key| key.relation == oid);
            of_this.map(|key| {
                let referenced = ColumnId {
                    relation: *to,
                    attribute: key.referenced,
                };
                (key.column, referenced)
            })
        });
        keys.filter(|(_, referenced)| self.is_labelled(*referenced))
            .collect()
    }

    fn labels_on(&self, column: ColumnId) -> Option<&BTreeSet<usize>> {
        self.marks(column.relation)?.columns.get(&column.attribute)
    }

    /// Whether a column carries a label.
    pub fn is_labelled(&self, column: ColumnId) -> bool {
        self.labels_on(column).is_some_and(|labels| !labels.is_empty())
    }

    /// Whether a value of `source`, unchanged, is as well redacted in `target` as where it was: the target carries every
    /// label of the source.
    pub fn carries(&self, target: ColumnId, source: ColumnId) -> bool {
        let is_computed = |column: ColumnId| {
            self.marks(column.relation)
                .is_some_and(|marks| marks.computed.contains(&column.attribute))
        };
        match (self.labels_on(target), self.labels_on(source)) {
            (_, None) => true,
            (None, Some(source)) => source.is_empty(),
            (Some(labels), Some(needed)) => {
                labels.is_superset(needed) && (!is_computed(source) || is_computed(target))
            }
        }
    }

    /// The places in a document column that its labels are about; `None` when a label is about the whole value.
    pub fn paths(&self, column: ColumnId) -> Option<Vec<&[String]>> {
        let marks = self.marks(column.relation)?;
        if marks.computed.contains(&column.attribute) {
            return None;
        }
        let labels = marks.columns.get(&column.attribute)?;
        let mut all = Vec::new();
        for label in labels {
            let paths = self.paths.get(*label)?;
            if paths.is_empty() {
                return None;
            }
            all.extend(paths.iter().map(Vec::as_slice));
        }
        Some(all)
    }

    /// The places in a document column that are redacted for the session; `None` when that is the whole value.
    pub fn redacted_paths(&self, column: ColumnId, masks: &MaskScope) -> Option<Vec<Vec<String>>> {
        let marks = self.marks(column.relation)?;
        if marks.computed.contains(&column.attribute) {
            return None;
        }
        let mut all = Vec::new();
        let labels = marks.columns.get(&column.attribute)?.iter();
        for label in labels.filter(|label| masks.hides(&self.labels[**label].0)) {
            let paths = self.document_paths.get(*label)?;
            if paths.is_empty() {
                return None;
            }
            all.extend(paths.iter().cloned());
        }
        (!all.is_empty()).then_some(all)
    }

    /// The type of a column, by `pg_type.oid`.
    pub fn type_oid(&self, column: ColumnId) -> Option<u32> {
        let columns = &self.relations.get(&column.relation)?.columns;
        let found = columns
            .binary_search_by_key(&column.attribute, |column| column.number)
            .ok()?;
        Some(columns[found].type_oid)
    }

    /// The first label on a column that is masked for the session.
    pub fn hidden_label(&self, column: ColumnId, masks: &MaskScope) -> Option<&str> {
        let labels = self.labels_on(column)?.iter();
        labels
            .map(|label| self.labels[*label].0.as_str())
            .find(|label| masks.hides(label))
    }

    /// The first label on a column that is masked for the session and that it may not probe.
    pub fn unprobed_label(&self, column: ColumnId, masks: &MaskScope) -> Option<&str> {
        let labels = self.labels_on(column)?.iter();
        labels
            .map(|label| self.labels[*label].0.as_str())
            .find(|label| masks.hides(label) && !masks.may_probe(label))
    }

    /// How a value of that flow is redacted for the session; `None` when it may be seen. What is computed becomes NULL.
    pub fn redaction(&self, flow: &Flow, masks: &MaskScope) -> Option<RedactSpec> {
        match flow {
            Flow::Clean => None,
            Flow::Exactly(column) => {
                let redact = self.strictest(self.labels_on(*column)?, masks)?;
                let marks = self.marks(column.relation)?;
                Some(if marks.computed.contains(&column.attribute) {
                    RedactSpec::Null
                } else {
                    redact
                })
            }
            Flow::Tainted(columns) => columns
                .iter()
                .any(|column| self.hidden_label(*column, masks).is_some())
                .then_some(RedactSpec::Null),
        }
    }

    /// The name of a column's relation.
    pub fn relation_of(&self, column: ColumnId) -> Option<Name> {
        let entry = self.relations.get(&column.relation)?;
        Some(Name {
            schema: Some(entry.schema.clone()),
            name: entry.name.clone(),
        })
    }

    /// Whether a schema of that name holds something that is masked for the session.
    pub fn schema_holds_masked(&self, schema: &str, masks: &MaskScope) -> bool {
        self.relations.values().any(|entry| {
            entry.schema == schema
                && entry
                    .marks
                    .as_deref()
                    .is_some_and(|marks| self.hides_any(&marks.whole, masks))
        })
    }

    /// Views over a relation, and relations with rules about it.
    pub fn shown_by(&self, oid: u32) -> &[u32] {
        let all = self.shown_by.get_or_init(|| {
            let shows = |entry: &Entry| matches!(entry.kind, b'v' | b'm') || entry.reactions.rules;
            let mut all: HashMap<u32, Vec<u32>> = HashMap::new();
            for (oid, entry) in self.relations.iter().filter(|(_, entry)| shows(entry)) {
                let sources: BTreeSet<u32> = entry.sources.iter().copied().collect();
                for source in sources {
                    all.entry(source).or_default().push(*oid);
                }
            }
            all
        });
        all.get(&oid).map_or(&[], Vec::as_slice)
    }

    /// What goes or loses something when a relation or a column of it is dropped with CASCADE: what shows it, relations with
    /// rules about it or foreign keys to it, and what depends on it by types, functions, sequences and row policies.
    pub fn dependents(&self, oid: u32) -> Vec<u32> {
        let mut all = self.shown_by(oid).to_vec();
        if let Some(entry) = self.relations.get(&oid) {
            all.extend(entry.reactions.cascades.iter().map(|key| key.relation));
        }
        all.extend(self.along.with(u64::from(oid)));
        all
    }

    /// Whether a relation has columns, keys or expressions of another, or of what is made of that.
    pub fn is_made_with(&self, relation: u32, other: u32) -> bool {
        self.along.with(u64::from(other)).contains(&relation)
    }

    /// Relations that have something of a relation's rows: of its row type, or of what is made of that.
    pub fn holding_rows_of(&self, oid: u32) -> Vec<u32> {
        self.along.holding(u64::from(oid))
    }

    /// Objects beside relations that go along with one that is dropped with CASCADE: functions, types, operators and the like.
    pub fn objects_with(&self, oid: u32) -> Vec<Name> {
        self.along.objects_with(u64::from(oid))
    }

    /// Types that are made of a relation's rows.
    pub fn types_of_rows(&self, oid: u32) -> Vec<Name> {
        self.along.types_of(u64::from(oid))
    }

    /// Types that are made of one of that name.
    pub fn types_made_of(&self, name: &Name) -> Vec<Name> {
        let objects = self.along.named(name);
        objects
            .flat_map(|(_, object)| self.along.types_of(object))
            .collect()
    }

    /// Statistics of a table that are in other schemas than its own: they go with it, and with its columns.
    pub fn statistics_elsewhere(&self, oid: u32) -> Vec<Name> {
        let own = self.relations.get(&oid).map(|entry| entry.schema.as_str());
        let all = self.along.parts(u64::from(oid));
        let others = all.filter(|(schema, _)| Some(schema.as_str()) != own);
        others.map(|(schema, name)| named(schema, name)).collect()
    }

    /// Schemas of objects of that name beside tables and views: indexes, types, functions and the like.
    pub fn schemas_of_objects<'n>(&'n self, name: &'n Name) -> impl Iterator<Item = &'n str> {
        self.along.named(name).map(|(schema, _)| schema)
    }

    /// Whether somebody defined a function of that name outside of `pg_catalog`.
    pub fn has_function_beside(&self, name: &Name) -> bool {
        const FUNCTIONS: u64 = 1255; // pg_proc
        let mut named = self.along.named(name);
        named.any(|(schema, object)| object >> 32 == FUNCTIONS && schema != "pg_catalog")
    }

    /// Whether anything goes along with an object of that name, or loses something.
    pub fn takes_along(&self, name: &Name) -> bool {
        let mut objects = self.along.named(name);
        objects.any(|(_, object)| self.along.takes_any(object))
    }

    /// The function of that number, where somebody defined it.
    pub fn function(&self, oid: u32) -> Option<Name> {
        const FUNCTIONS: u64 = 1255; // pg_proc
        let mut parts = self.along.parts((FUNCTIONS << 32) + u64::from(oid));
        parts.next().map(|(schema, name)| named(schema, name))
    }

    /// Relations that such an object is part of, or that have columns of it or something else that depends on it.
    pub fn relations_with(&self, name: &Name) -> BTreeSet<u32> {
        self.along.with_named(name)
    }

    /// Tables and materialized views that are not the server's own.
    pub fn tables(&self) -> impl Iterator<Item = u32> {
        const OURS_FROM: u32 = 16384; // FirstNormalObjectId
        let holds_rows = |kind: u8| matches!(kind, b'r' | b'p' | b'm');
        let all = self.relations.iter();
        all.filter(move |(oid, entry)| **oid >= OURS_FROM && holds_rows(entry.kind))
            .map(|(oid, _)| *oid)
    }

    /// Views and materialized views whose query can be followed now: derived, with a body, and over nothing that is itself
    /// still to be followed.
    pub fn views_to_follow(&self) -> Vec<(u32, String)> {
        let is_derived = |oid: &u32| self.marks(*oid).is_some_and(|marks| marks.derived);
        let mut ready: Vec<(u32, String)> = self
            .relations
            .iter()
            .filter(|(oid, entry)| {
                is_derived(oid) && matches!(entry.kind, b'v' | b'm') && !entry.sources.iter().any(is_derived)
            })
            .filter_map(|(oid, entry)| Some((*oid, entry.body.as_deref()?.to_owned())))
            .collect();
        ready.sort_unstable();
        ready
    }

    /// Takes in what a view's columns hold, in order. Says no, and changes nothing, when their number differs.
    pub fn set_view(&mut self, oid: u32, flows: &[Flow]) -> bool {
        let sets: Vec<BTreeSet<usize>> = flows
            .iter()
            .map(|flow| {
                let columns = flow.columns().filter_map(|column| self.labels_on(*column));
                columns.flatten().copied().collect()
            })
            .collect();
        let same_redaction: Vec<bool> = flows
            .iter()
            .map(|flow| match flow {
                Flow::Exactly(column) => !self
                    .marks(column.relation)
                    .is_some_and(|marks| marks.computed.contains(&column.attribute)),
                _ => false,
            })
            .collect();
        let Some(entry) = self.relations.get_mut(&oid) else {
            return false;
        };
        let Some(marks) = entry.marks.as_deref_mut() else {
            return false;
        };
        if entry.columns.len() != flows.len() {
            return false;
        }
        marks.derived = false;
        marks.columns.clear();
        marks.computed.clear();
        marks.whole.clear();
        for ((column, labels), same) in entry.columns.iter().zip(sets).zip(same_redaction) {
            if labels.is_empty() {
                continue;
            }
            marks.whole.extend(&labels);
            if !same {
                marks.computed.insert(column.number);
            }
            marks.columns.insert(column.number, labels);
        }
        if marks.whole.is_empty() {
            entry.marks = None;
        }
        true
    }

    /// Forgets a view's query, so that it is not tried again.
    pub fn give_up_view(&mut self, oid: u32) {
        if let Some(entry) = self.relations.get_mut(&oid) {
            entry.body = None;
        }
    }

    /// Every labelled column with its labels: those of tables and those that views carry, as (schema, relation, column,
    /// label), sorted.
    pub fn labelled_columns(&self) -> Vec<(&str, &str, &str, &str)> {
        let mut all = Vec::new();
        for entry in self.relations.values() {
            let Some(marks) = entry.marks.as_deref() else {
                continue;
            };
            for column in &entry.columns {
                let labels = marks.columns.get(&column.number).into_iter().flatten();
                all.extend(labels.map(|label| {
                    let label = self.labels[*label].0.as_str();
                    (
                        entry.schema.as_str(),
                        entry.name.as_str(),
                        column.name.as_str(),
                        label,
                    )
                }));
            }
        }
        all.sort_unstable();
        all
    }
}

impl LabelIndex {
    /// No column carries a label, so there is nothing to follow.
    pub fn has_no_labels(&self) -> bool {
        self.labels.is_empty()
    }

    /// Every view and materialized view with a body.
    pub fn all_views(&self) -> Vec<(u32, String)> {
        let views = self.relations.iter();
        let mut all: Vec<(u32, String)> = views
            .filter(|(_, entry)| matches!(entry.kind, b'v' | b'm'))
            .filter_map(|(oid, entry)| Some((*oid, entry.body.as_deref()?.to_owned())))
            .collect();
        all.sort_unstable();
        all
    }

    /// Views that are not the system's and whose text could not be read.
    pub fn unread_views(&self) -> Vec<u32> {
        const OURS_FROM: u32 = 16384; // FirstNormalObjectId
        let views = self.relations.iter().filter(|(oid, entry)| {
            **oid >= OURS_FROM && matches!(entry.kind, b'v' | b'm') && entry.body.is_none()
        });
        views.map(|(oid, _)| *oid).collect()
    }

    /// Takes a relation, and what is built over it, to hold any label until it is followed.
    pub fn mark_derived(&mut self, oid: u32) {
        let mut work = vec![oid];
        let all: BTreeSet<usize> = (0..self.labels.len()).collect();
        while let Some(oid) = work.pop() {
            let Some(entry) = self.relations.get_mut(&oid) else {
                continue;
            };
            let marks = entry.marks.get_or_insert_default();
            if marks.derived && marks.whole == all {
                continue;
            }
            marks.derived = true;
            marks.columns.clear();
            marks.computed.clear();
            marks.whole.clone_from(&all);
            let over = self
                .relations
                .iter()
                .filter(|(_, entry)| matches!(entry.kind, b'v' | b'm') && entry.sources.contains(&oid));
            work.extend(over.map(|(oid, _)| *oid));
        }
    }
}
