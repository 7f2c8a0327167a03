//! Which columns of which relations carry a label, by origin (`pg_class.oid`, `pg_attribute.attnum`).
//!
//! Labels are configured by name and resolved against the catalog, then spread: to the column of the same name in
//! inheritance parents, children and partitions, to generated columns that read one, and, as *derived*, to every view or
//! materialized view over a labelled relation. A derived relation's own columns have its own oid as origin. Once its query
//! has been followed (`columns`, by the protocol's reader) each of them carries what it holds; until then all count as
//! labelled, and `mask_plan` refuses them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::OnceLock;

use crate::catalog::{Catalog, Column, Reactions, Relation, Test};
use crate::decide;
use crate::engine::Engine;
use crate::statement::Name;
use crate::subject::Subject;
use crate::words::{Said, words};

mod along;
mod behind;
mod columns;
mod functions;
mod suspects;

pub use columns::Known;
pub use functions::{Meaning, ToFollow};

use crate::redact::EVERY_ELEMENT;
pub use crate::redact::RedactSpec;

/// A label as the configuration spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSpec {
    /// Its name, as in `Label::"name"`.
    pub name: String,
    /// The columns it names: schema, relation, column.
    pub columns: Vec<(String, String, String)>,
    /// Places within JSON columns that the label is about, each a list of keys and `[*]`, every element; empty when it is
    /// about whole values. A value that can be shown to lie elsewhere in the document is not redacted.
    pub paths: Vec<Vec<String>>,
    /// How a cell is overwritten.
    pub redact: RedactSpec,
}

/// The labels that a session may not read raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskScope {
    hidden: BTreeSet<String>,
    probes: BTreeSet<String>,
}

impl MaskScope {
    /// The same scope, with the labels that may be searched, sorted and grouped by although their values are masked.
    #[must_use]
    pub fn with_probes(mut self, labels: impl IntoIterator<Item = String>) -> Self {
        self.probes = labels.into_iter().collect();
        self
    }

    /// Whether conditions, orders and groups may look at that label's values. Nobody may by default.
    pub fn may_probe(&self, label: &str) -> bool {
        self.probes.contains(label)
    }

    /// Asks policy `read_raw` for every label and every member of the chain; whoever is not allowed sees it masked, as does whoever is
    /// refused to `read` it at all.
    pub fn of(engine: &Engine, subject: &Subject, labels: &[LabelSpec]) -> Self {
        let hidden = labels.iter().map(|label| &label.name);
        Self {
            hidden: hidden
                .filter(|name| {
                    !decide::may_read_raw(engine, subject, name)
                        || decide::is_read_refused(engine, subject, name)
                })
                .cloned()
                .collect(),
            probes: BTreeSet::new(),
        }
        .with_probes(
            labels
                .iter()
                .map(|label| &label.name)
                .filter(|name| decide::may_probe(engine, subject, name))
                .cloned(),
        )
    }

    /// What either of two scopes hides; only what both may probe may be probed.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let may_probe = |label: &&String| {
            let may = |scope: &Self| !scope.hides(label) || scope.may_probe(label);
            may(self) && may(other)
        };
        Self {
            hidden: self.hidden.union(&other.hidden).cloned().collect(),
            probes: self
                .probes
                .union(&other.probes)
                .filter(may_probe)
                .cloned()
                .collect(),
        }
    }

    /// Every label masked.
    pub fn all(labels: &[LabelSpec]) -> Self {
        Self {
            hidden: labels.iter().map(|label| label.name.clone()).collect(),
            probes: BTreeSet::new(),
        }
    }

    /// Nothing is masked for the session.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// Whether that label is masked for the session.
    pub fn hides(&self, label: &str) -> bool {
        self.hidden.contains(label)
    }

    /// The masked labels, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hidden.iter().map(String::as_str)
    }
}

/// One known relation.
#[derive(Debug)]
struct Entry {
    schema: String,
    name: String,
    kind: u8,
    columns: Box<[Column]>,
    keys: Box<[i16]>,
    tests: Box<[Test]>,
    marks: Option<Box<Marks>>,
    body: Option<Box<str>>,
    sources: Box<[u32]>,
    /// Generated columns that read others.
    generated: Box<[i16]>,
    reactions: Reactions,
}

/// What is labelled in a relation. Numbers index `LabelIndex::labels`.
#[derive(Debug, Default)]
struct Marks {
    /// By attribute number.
    columns: HashMap<i16, BTreeSet<usize>>,
    /// Labels on anything in it, also those that came through a view.
    whole: BTreeSet<usize>,
    /// Columns that hold something computed: no redaction of the label fits them, so they become NULL.
    computed: BTreeSet<i16>,
    /// It is built over a labelled relation and was not followed.
    derived: bool,
}

/// What one result column's origin means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Holds nothing that is masked.
    Clear,
    /// Holds a masked column.
    Masked(RedactSpec),
    /// A whole row or system column of a relation with a masked column.
    MaskedWhole,
    /// A column of a view over a masked column.
    Derived,
    /// A relation or column that the catalog did not know.
    Unknown,
}

/// Labels by origin and by name, for one database at one catalog epoch.
#[derive(Debug, Default)]
pub struct LabelIndex {
    epoch: u64,
    labels: Vec<(String, RedactSpec)>,
    /// By label, keys only: where a value lies is told without counting elements.
    paths: Vec<Vec<Vec<String>>>,
    /// By label, with their steps to every element.
    document_paths: Vec<Vec<Vec<String>>>,
    relations: HashMap<u32, Entry>,
    by_name: HashMap<String, Vec<u32>>,
    user_functions: HashSet<String>,
    calling: HashSet<String>,
    calling_types: HashSet<u32>,
    event_triggers: bool,
    extension_functions: HashSet<(String, String)>,
    functions: HashMap<String, Vec<functions::Entry>>,
    along: along::Along,
    /// The words of names of what depends on something temporary, and is not.
    on_temporary: Vec<Vec<String>>,
    /// Something does that is used without its name.
    unnamed_on_temporary: bool,
    made_in: Option<String>,
    /// Views that were followed.
    behind: HashMap<u32, behind::Behind>,
    sightings: suspects::Sightings,
    /// By relation, what shows it: views over it, and relations with rules about it. Found when it is first asked for.
    shown_by: OnceLock<HashMap<u32, Vec<u32>>>,
}

impl LabelIndex {
    /// Finds the labelled columns in a catalog. The second part lists what a label names and the catalog lacks.
    pub fn resolve(catalog: &Catalog, labels: &[LabelSpec]) -> (Self, Vec<String>) {
        Self::resolve_after(catalog, labels, None)
    }

    /// The same, after an earlier look at the same database with the same labels: columns of tables that carried a label keep
    /// it for as long as they exist, whatever they are called now and wherever they stand. The values are the same.
    pub fn resolve_after(
        catalog: &Catalog,
        labels: &[LabelSpec],
        before: Option<&Self>,
    ) -> (Self, Vec<String>) {
        let mut index = Self {
            epoch: catalog.epoch,
            labels: labels
                .iter()
                .map(|label| (label.name.clone(), label.redact))
                .collect(),
            paths: labels.iter().map(|label| keys_only(&label.paths)).collect(),
            document_paths: labels.iter().map(|label| label.paths.clone()).collect(),
            user_functions: catalog.user_functions.clone(),
            calling: catalog.calling.clone(),
            calling_types: catalog.calling_types.clone(),
            event_triggers: catalog.event_triggers,
            extension_functions: catalog.extension_functions.clone(),
            functions: functions::by_name(&catalog.functions),
            along: along::Along::of(catalog),
            on_temporary: catalog
                .on_temporary
                .iter()
                .filter(|name| *name != crate::questions::ANY)
                .map(|name| words(name).collect())
                .collect(),
            unnamed_on_temporary: catalog
                .on_temporary
                .iter()
                .any(|name| name == crate::questions::ANY),
            made_in: catalog.made_in.clone(),
            ..Self::default()
        };
        let mut by_oid = HashMap::new();
        for relation in &catalog.relations {
            let (schema, name) = (relation.schema.clone(), relation.name.clone());
            index.by_name.entry(name.clone()).or_default().push(relation.oid);
            index.relations.insert(
                relation.oid,
                Entry {
                    schema,
                    name,
                    kind: relation.kind,
                    columns: relation.columns.clone().into_boxed_slice(),
                    keys: relation.keys.clone().into_boxed_slice(),
                    tests: relation.tests.clone().into_boxed_slice(),
                    marks: None,
                    body: relation.body.as_deref().map(Box::from),
                    sources: relation.sources.clone().into_boxed_slice(),
                    generated: relation.generated.iter().map(|(column, _)| *column).collect(),
                    reactions: relation.reactions.clone(),
                },
            );
            by_oid.insert(relation.oid, relation);
        }
        let mut missing = Vec::new();
        let mut marked = Vec::new();
        let (mut found, mut unseen) = (HashMap::new(), Vec::new());
        for (number, label) in labels.iter().enumerate() {
            for (place, (schema, table, column)) in label.columns.iter().enumerate() {
                let relation = catalog
                    .relations
                    .iter()
                    .find(|r| r.schema == *schema && r.name == *table);
                let attribute = relation.and_then(|r| r.columns.iter().find(|c| c.name == *column));
                match relation.filter(|_| attribute.is_some()) {
                    Some(relation) => drop(found.insert((number, place), relation.oid)),
                    None => unseen.push((number, place)),
                }
                match (relation, attribute) {
                    (Some(relation), Some(attribute)) => {
                        marked.push((relation.oid, attribute.number, number))
                    }
                    (Some(_), None) => missing.push(format!(
                        "label {}: relation {schema}.{table} has no column {column}",
                        label.name
                    )),
                    (None, _) => missing.push(format!("label {}: no relation {schema}.{table}", label.name)),
                }
            }
        }
        let before = before.filter(|before| before.is_of(labels));
        index.spread_columns(&by_oid, marked);
        index.spread_generated(catalog);
        if let Some(before) = before {
            missing.extend(index.keep(&by_oid, before));
            index.spread_generated(catalog);
        }
        index.sight(found, &unseen, before, &by_oid);
        missing.extend(index.mark_suspects(&by_oid));
        index.spread_derived(&by_oid);
        (index, missing)
    }

    /// Whether a text may name something that depends on what is temporary: the server drops both together.
    pub fn rests_on_temporary(&self, said: &Said) -> bool {
        self.on_temporary.iter().any(|name| said.says(name))
    }

    /// Whether any text may use something that depends on what is temporary, without naming it: an operator or a cast.
    pub fn unnamed_on_temporary(&self) -> bool {
        self.unnamed_on_temporary
    }

    /// The schema in which the role makes what it names without one, unless its session has moved `search_path`.
    pub fn made_in(&self) -> Option<&str> {
        self.made_in.as_deref()
    }

    /// The relations of a schema.
    pub fn names_in(&self, schema: &str) -> Vec<Name> {
        let mut names: Vec<Name> = self
            .relations
            .values()
            .filter(|entry| entry.schema == schema)
            .map(|entry| Name {
                schema: Some(entry.schema.clone()),
                name: entry.name.clone(),
            })
            .collect();
        names.sort_unstable();
        names
    }

    fn is_of(&self, labels: &[LabelSpec]) -> bool {
        let names = labels.iter().map(|label| (label.name.as_str(), label.redact));
        self.labels
            .iter()
            .map(|(name, redact)| (name.as_str(), *redact))
            .eq(names)
    }

    /// Takes over the marks of table columns that still exist, and says which of them no label names any more. A table that
    /// was made anew under its name takes over the marks of the columns that it has again, however late it comes.
    fn keep(&mut self, by_oid: &HashMap<u32, &Relation>, before: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        let mut computed = Vec::new();
        let mut take_over = |index: &Self,
                             relation: &Relation,
                             column: &Column,
                             marked: suspects::Marked<'_>| {
            let now = index.marks(relation.oid);
            let now = now.and_then(|marks| marks.columns.get(&column.number));
            if marked.is_computed && now.is_none() {
                computed.push((relation.oid, column.number));
            }
            let lost = marked
                .labels
                .iter()
                .filter(|label| now.is_none_or(|now| !now.contains(label)));
            for label in lost {
                kept.push((
                    (relation.oid, column.number, *label),
                    format!(
                        "label {}: {}.{}.{} goes by another name or stands elsewhere than the label says, and keeps it",
                        index.labels[*label].0, relation.schema, relation.name, column.name
                    ),
                ));
            }
        };
        for (oid, entry) in &before.relations {
            let (Some(relation), Some(marks)) = (by_oid.get(oid), entry.marks.as_deref()) else {
                continue;
            };
            if !is_table(relation) {
                continue;
            }
            for (attribute, labels) in &marks.columns {
                let labels = &before.firm(*oid, *attribute, labels);
                if let Some(column) = relation.columns.iter().find(|c| c.number == *attribute) {
                    let is_computed = !labels.is_empty() && marks.computed.contains(attribute);
                    take_over(self, relation, column, suspects::Marked { labels, is_computed });
                }
            }
        }
        let graves = before.graves(by_oid);
        for (place, columns) in &graves {
            let Some(relation) = self.namesake(place).and_then(|oid| by_oid.get(&oid)) else {
                continue;
            };
            for (name, labels, is_computed) in columns {
                if let Some(column) = relation.columns.iter().find(|c| c.name == *name) {
                    let is_computed = *is_computed;
                    take_over(self, relation, column, suspects::Marked { labels, is_computed });
                }
            }
        }
        self.bury(graves);
        kept.sort_unstable();
        let (marked, warnings) = kept.into_iter().unzip();
        self.spread_columns(by_oid, marked);
        for (oid, attribute) in computed {
            if let Some(marks) = self
                .relations
                .get_mut(&oid)
                .and_then(|entry| entry.marks.as_deref_mut())
            {
                marks.computed.insert(attribute);
            }
        }
        warnings
    }

    /// Marks columns, then the columns of the same name in the tables they are inherited from or by.
    fn spread_columns(&mut self, by_oid: &HashMap<u32, &Relation>, mut work: Vec<(u32, i16, usize)>) {
        let mut kin: HashMap<u32, Vec<u32>> = HashMap::new();
        for relation in by_oid.values().filter(|relation| is_table(relation)) {
            for source in relation
                .sources
                .iter()
                .filter(|source| by_oid.get(source).is_some_and(|r| is_table(r)))
            {
                kin.entry(relation.oid).or_default().push(*source);
                kin.entry(*source).or_default().push(relation.oid);
            }
        }
        while let Some((oid, attribute, label)) = work.pop() {
            let Some(entry) = self.relations.get_mut(&oid) else {
                continue;
            };
            let marks = entry.marks.get_or_insert_default();
            marks.whole.insert(label);
            if !marks.columns.entry(attribute).or_default().insert(label) {
                continue;
            }
            let name = by_oid[&oid]
                .columns
                .iter()
                .find(|c| c.number == attribute)
                .map(|c| c.name.as_str());
            for other in kin.get(&oid).into_iter().flatten() {
                let twin = by_oid[other]
                    .columns
                    .iter()
                    .find(|column| Some(column.name.as_str()) == name);
                work.extend(twin.map(|column| (*other, column.number, label)));
            }
        }
    }

    /// Marks generated columns that read a marked column; another generated column they cannot read.
    fn spread_generated(&mut self, catalog: &Catalog) {
        for relation in catalog.relations.iter().filter(|r| !r.generated.is_empty()) {
            let Some(marks) = self
                .relations
                .get_mut(&relation.oid)
                .and_then(|entry| entry.marks.as_deref_mut())
            else {
                continue;
            };
            for (column, source) in &relation.generated {
                let Some(carried) = marks.columns.get(source).cloned() else {
                    continue;
                };
                if !marks.columns.contains_key(column) {
                    marks.computed.insert(*column);
                }
                marks.columns.entry(*column).or_default().extend(carried);
            }
        }
    }

    /// Marks what is built over labelled relations, through any number of views.
    fn spread_derived(&mut self, by_oid: &HashMap<u32, &Relation>) {
        let mut dependents: HashMap<u32, Vec<u32>> = HashMap::new();
        for relation in by_oid.values() {
            for source in relation.sources.iter().filter_map(|source| by_oid.get(source)) {
                if !is_inheritance(relation, source) {
                    dependents.entry(source.oid).or_default().push(relation.oid);
                }
            }
        }
        let mut work: Vec<u32> = self
            .relations
            .iter()
            .filter(|(_, entry)| entry.marks.is_some())
            .map(|(oid, _)| *oid)
            .collect();
        while let Some(oid) = work.pop() {
            let Some(whole) = self.marks(oid).map(|marks| marks.whole.clone()) else {
                continue;
            };
            for other in dependents.get(&oid).into_iter().flatten() {
                let Some(entry) = self.relations.get_mut(other) else {
                    continue;
                };
                let marks = entry.marks.get_or_insert_default();
                let before = (marks.whole.len(), marks.derived);
                marks.whole.extend(&whole);
                marks.derived = true;
                if before != (marks.whole.len(), true) {
                    work.push(*other);
                }
            }
        }
    }

    fn marks(&self, oid: u32) -> Option<&Marks> {
        self.relations.get(&oid)?.marks.as_deref()
    }

    /// The catalog epoch it was resolved at.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn matching<'i>(&'i self, name: &'i Name) -> impl Iterator<Item = (u32, &'i Entry)> {
        let oids = self.by_name.get(&name.name).map_or(&[][..], Vec::as_slice);
        let entries = oids
            .iter()
            .filter_map(|oid| Some((*oid, self.relations.get(oid)?)));
        entries.filter(|(_, entry)| {
            let is_in = |schema: &String| {
                // The session's own temporary schema has a number, and several sessions have one.
                *schema == entry.schema || schema == TEMPORARY && is_temporary(&entry.schema)
            };
            name.schema.as_ref().is_none_or(is_in)
        })
    }

    /// Every relation that a name may mean, as (schema, name). Without a schema that is every relation of the name. The
    /// temporary schema of any session is `pg_temp`.
    pub fn candidates<'i>(&'i self, name: &'i Name) -> impl Iterator<Item = (&'i str, &'i str)> {
        self.matching(name)
            .map(|(_, entry)| (shown_schema(&entry.schema), entry.name.as_str()))
    }

    /// Labels on anything that a name may mean, sorted.
    pub fn labels_of(&self, name: &Name) -> BTreeSet<&str> {
        let marks = self
            .matching(name)
            .filter_map(|(_, entry)| entry.marks.as_deref());
        marks
            .flat_map(|marks| &marks.whole)
            .map(|label| self.labels[*label].0.as_str())
            .collect()
    }

    /// Whether a name may mean a relation that carries or is built over a label.
    pub fn touches(&self, name: &Name) -> bool {
        self.matching(name).any(|(_, entry)| entry.marks.is_some())
    }

    /// Whether a name may mean a relation with something that is masked for the session.
    pub fn touches_masked(&self, name: &Name, masks: &MaskScope) -> bool {
        self.matching(name).any(|(_, entry)| {
            entry
                .marks
                .as_deref()
                .is_some_and(|m| self.hides_any(&m.whole, masks))
        })
    }

    /// The redaction that shows least, of those labels that are masked for the session.
    fn strictest(&self, labels: &BTreeSet<usize>, masks: &MaskScope) -> Option<RedactSpec> {
        labels
            .iter()
            .map(|label| &self.labels[*label])
            .filter(|(name, _)| masks.hides(name))
            .map(|(_, redact)| *redact)
            .reduce(RedactSpec::stricter)
    }

    fn hides_any(&self, labels: &BTreeSet<usize>, masks: &MaskScope) -> bool {
        labels.iter().any(|label| masks.hides(&self.labels[*label].0))
    }

    /// What a result column with this origin holds. The oid must not be 0.
    pub fn origin(&self, table_oid: u32, attribute: i16, masks: &MaskScope) -> Origin {
        if masks.is_empty() {
            return Origin::Clear;
        }
        let Some(entry) = self.relations.get(&table_oid) else {
            return Origin::Unknown;
        };
        let Some(marks) = entry.marks.as_deref() else {
            return Origin::Clear;
        };
        let hidden = |labels: &BTreeSet<usize>| self.strictest(labels, masks);
        if let Some(redact) = marks.columns.get(&attribute).and_then(hidden) {
            return Origin::Masked(if marks.computed.contains(&attribute) {
                RedactSpec::Null
            } else {
                redact
            });
        }
        match hidden(&marks.whole) {
            None => Origin::Clear,
            Some(_) if marks.derived => Origin::Derived,
            Some(_) if attribute <= 0 => Origin::MaskedWhole,
            Some(_) if entry.columns.last().is_none_or(|last| attribute > last.number) => Origin::Unknown,
            Some(_) => Origin::Clear,
        }
    }
}

/// The paths without their steps to every element.
fn keys_only(paths: &[Vec<String>]) -> Vec<Vec<String>> {
    let is_key = |step: &&String| step.as_str() != EVERY_ELEMENT;
    let keys = |path: &Vec<String>| path.iter().filter(is_key).cloned().collect();
    paths.iter().map(keys).collect()
}

/// The name that a session's own temporary schema goes by.
const TEMPORARY: &str = "pg_temp";

fn is_temporary(schema: &str) -> bool {
    schema.starts_with("pg_temp_")
}

fn shown_schema(schema: &str) -> &str {
    if is_temporary(schema) { TEMPORARY } else { schema }
}

/// Ordinary, partitioned and foreign tables: what inheritance joins.
fn is_table(relation: &Relation) -> bool {
    matches!(relation.kind, b'r' | b'p' | b'f')
}

/// Whether a source stands for inheritance, not for a rule: a child has every column of its parent, by name.
fn is_inheritance(one: &Relation, two: &Relation) -> bool {
    let holds = |all: &Relation, some: &Relation| {
        some.columns
            .iter()
            .all(|column| all.columns.iter().any(|other| other.name == column.name))
    };
    is_table(one) && is_table(two) && (holds(one, two) || holds(two, one))
}

#[cfg(test)]
pub(crate) mod tests;
