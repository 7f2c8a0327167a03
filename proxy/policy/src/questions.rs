//! What is asked of policy about one statement: which action on which relation, target or label.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use linegate_identity::Effects;

use crate::engine::Engine;
use crate::labelled::LabelledColumn;
use crate::labels::LabelIndex;
use crate::statement::{Name, Statement};
use crate::subject::Subject;

const OF_READS: Effects = Effects::SELECT.with(Effects::COPY_OUT);
const OF_WRITES: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::CREATE)
    .with(Effects::ALTER)
    .with(Effects::DROP)
    .with(Effects::COPY_IN);
const OF_BOTH: Effects = Effects::LOCK
    .with(Effects::MAINTENANCE)
    .with(Effects::GRANT)
    .with(Effects::EXPLAIN);

/// What happens to indexes, types, functions and the like as well, which are found along the search path as tables are.
const OF_OBJECTS: Effects = Effects::ALTER
    .with(Effects::DROP)
    .with(Effects::MAINTENANCE)
    .with(Effects::GRANT);

/// What a foreign key does to the table that it refers to: it is locked against writes, and has triggers from then on.
const OF_REFERENCES: Effects = Effects::ALTER.with(Effects::LOCK);
/// Stands for every name among what foreign keys refer to.
pub(crate) const ANY: &str = "*";

/// What happens to relations behind those that are named as well: LOCK TABLE and FOR UPDATE of a view lock what it shows, VACUUM
/// goes through partitions.
const REACHES_BELOW: Effects = Effects::LOCK.with(Effects::MAINTENANCE);

/// The effects that scope and policy must allow: what it does, and `select` where a write reads other relations.
pub(crate) fn needed(statement: &Statement) -> Effects {
    let effects = statement.effects;
    let reads_others = statement
        .reads
        .iter()
        .any(|name| !statement.writes.contains(name));
    if reads_others && effects.intersects(OF_WRITES) && !effects.intersects(OF_READS) {
        return effects.with(Effects::SELECT);
    }
    effects
}

/// One question's resource.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) uid: EntityUid,
    /// `schema.name`; `None` for the target.
    pub(crate) shown: Option<String>,
}

/// By what relations others are reached.
#[derive(Clone, Copy)]
enum Through {
    All,
    Views,
    Tables,
}

/// The relations of a statement as Cedar entities.
pub(crate) struct Tables {
    by_name: HashMap<Name, Vec<Resource>>,
    /// Relations whose rows are read through views, partitioned tables and the like.
    behind: Vec<Resource>,
    /// Children and partitions of what is written, to which the same happens.
    below: Vec<Resource>,
    /// What is locked along with what is named: what views show, and children and partitions.
    shown: Vec<Resource>,
    locked: Vec<Resource>,
    /// What is changed, locked or tended along with what is named, with the effects that policies must not forbid by relation.
    beside: Vec<(Effects, Resource)>,
    pub(crate) entities: HashMap<EntityUid, Entity>,
}

impl Tables {
    /// `None` when an entity could not be built.
    pub(crate) fn of(
        engine: &Engine,
        subject: &Subject,
        labels: Option<&LabelIndex>,
        statement: &Statement,
    ) -> Option<Self> {
        let mut tables = Self {
            by_name: HashMap::new(),
            behind: Vec::new(),
            below: Vec::new(),
            shown: Vec::new(),
            locked: Vec::new(),
            beside: Vec::new(),
            entities: HashMap::new(),
        };
        for name in statement.reads.iter().chain(&statement.writes) {
            if tables.by_name.contains_key(name) {
                continue;
            }
            let mut resources = tables.meant(engine, subject, labels, (name, statement.effects))?;
            let is_made =
                statement.leads.unplaced && name.schema.is_none() && statement.writes.contains(name);
            if let Some(schema) = labels.and_then(LabelIndex::made_in).filter(|_| is_made) {
                let made = tables.add(engine, subject, labels, schema.to_owned(), name.name.clone())?;
                if !resources.iter().any(|resource| resource.uid == made.uid) {
                    resources.push(made);
                }
            }
            tables.by_name.insert(name.clone(), resources);
        }
        let effects = OF_REFERENCES.and(subject.refused_by_relation);
        let referred = statement.leads.referred.iter().filter(|name| name.name != ANY);
        for name in referred.filter(|_| !effects.is_empty()) {
            let resources = tables.meant(engine, subject, labels, (name, effects))?;
            tables
                .beside
                .extend(resources.into_iter().map(|resource| (effects, resource)));
        }
        if let Some(labels) = labels {
            for (effects, relations) in along(statement, labels, subject.refused_by_relation) {
                for known in relations.into_iter().filter_map(|oid| labels.known_by_oid(oid)) {
                    let (schema, name) = (known.schema.to_owned(), known.name.to_owned());
                    let resource = tables.add(engine, subject, Some(labels), schema, name)?;
                    tables.beside.push((effects, resource));
                }
            }
        }
        if let Some(labels) = labels.filter(|_| subject.refused_by_relation.intersects(OF_READS)) {
            tables.behind = tables.look_behind(engine, subject, labels, (&statement.reads, Through::All))?;
        }
        let judged = subject.refused_by_relation.with(subject.permitted_by_relation);
        if let Some(labels) = labels.filter(|_| statement.effects.and(judged).intersects(REACHES_BELOW)) {
            for names in [&statement.reads, &statement.writes] {
                let shown = tables.look_behind(engine, subject, labels, (names, Through::Views))?;
                tables.shown.extend(shown);
                let locked = tables.look_behind(engine, subject, labels, (names, Through::Tables))?;
                tables.locked.extend(locked);
            }
        }
        let writes = OF_WRITES.without(Effects::CREATE);
        let is_written = statement.effects.intersects(writes);
        if let Some(labels) = labels.filter(|_| is_written && subject.refused_by_relation.intersects(writes))
        {
            tables.below =
                tables.look_behind(engine, subject, labels, (&statement.writes, Through::Tables))?;
        }
        Some(tables)
    }

    /// What a name may mean to a statement with these effects.
    fn meant(
        &mut self,
        engine: &Engine,
        subject: &Subject,
        labels: Option<&LabelIndex>,
        (name, effects): (&Name, Effects),
    ) -> Option<Vec<Resource>> {
        let mut meant: Vec<(String, String)> = Vec::new();
        if let Some(labels) = labels {
            let relations = labels.candidates(name);
            meant.extend(relations.map(|(schema, name)| (schema.to_owned(), name.to_owned())));
            if name.schema.is_none() && effects.intersects(OF_OBJECTS) {
                let schemas = labels.schemas_of_objects(name);
                meant.extend(schemas.map(|schema| (schema.to_owned(), name.name.clone())));
            }
        }
        if meant.is_empty() {
            let schema = name.schema.clone().unwrap_or_else(|| "?".to_owned());
            meant.push((schema, name.name.clone()));
        }
        let found = meant
            .into_iter()
            .map(|(schema, table)| self.add(engine, subject, labels, schema, table));
        found.collect()
    }

    /// One relation as an entity.
    fn add(
        &mut self,
        engine: &Engine,
        subject: &Subject,
        labels: Option<&LabelIndex>,
        schema: String,
        table: String,
    ) -> Option<Resource> {
        let uid = engine.nouns.table(&subject.target, &schema, &table);
        let full = Name {
            schema: Some(schema),
            name: table,
        };
        let resource = Resource {
            uid: uid.clone(),
            shown: Some(full.to_string()),
        };
        let label_names = labels.map(|labels| labels.labels_of(&full)).unwrap_or_default();
        let mut parents: HashSet<EntityUid> = label_names
            .into_iter()
            .map(|label| engine.nouns.label(label))
            .collect();
        parents.insert(subject.target_uid.clone());
        let text = |value: Option<String>| RestrictedExpression::new_string(value.unwrap_or_default());
        let attributes = HashMap::from([
            ("schema".to_owned(), text(full.schema)),
            ("name".to_owned(), text(Some(full.name))),
        ]);
        let entity = Entity::new(uid.clone(), attributes, parents).ok()?;
        self.entities.insert(uid, entity);
        Some(resource)
    }

    /// What is reached through relations: of tables their children and partitions; of views what they show. (Changes through
    /// views are the statement's own.)
    fn look_behind(
        &mut self,
        engine: &Engine,
        subject: &Subject,
        labels: &LabelIndex,
        (names, through): (&[Name], Through),
    ) -> Option<Vec<Resource>> {
        let named = names.iter().flat_map(|name| labels.known(name));
        let named = named.filter(|known| match through {
            Through::All => true,
            Through::Views => known.kind == b'v',
            // A materialized view has rows of its own.
            Through::Tables => !matches!(known.kind, b'v' | b'm'),
        });
        let behind: BTreeSet<u32> = named
            .flat_map(|known| labels.relations_behind(known.oid))
            .collect();
        let mut found = Vec::new();
        for known in behind.into_iter().filter_map(|oid| labels.known_by_oid(oid)) {
            let (schema, name) = (known.schema.to_owned(), known.name.to_owned());
            found.push(self.add(engine, subject, Some(labels), schema, name)?);
        }
        Some(found)
    }

    fn resources<'n>(&self, names: impl Iterator<Item = &'n Name>) -> Vec<Resource> {
        // Two spellings may mean one relation; it is asked about once.
        let mut found = BTreeMap::new();
        for resource in names.filter_map(|name| self.by_name.get(name)).flatten() {
            found
                .entry(resource.shown.clone())
                .or_insert_with(|| resource.clone());
        }
        found.into_values().collect()
    }
}

/// Relations that something happens to along with what a statement names, with the effects of it that are forbidden of some
/// relations: tables of indexes, columns of types, partitions that indexes are made for, all where nothing is named.
fn along(statement: &Statement, labels: &LabelIndex, refused: Effects) -> Vec<(Effects, BTreeSet<u32>)> {
    let mut found = Vec::new();
    let with_partitions = |mut relations: BTreeSet<u32>| {
        let parts: Vec<u32> = relations
            .iter()
            .flat_map(|oid| labels.relations_behind(*oid))
            .collect();
        relations.extend(parts);
        relations
    };
    let effects = statement.effects;
    // Of an index, a type or statistics that go or change, the table changes.
    let changes = match effects.intersects(Effects::ALTER.with(Effects::DROP)) {
        true => Effects::ALTER,
        false => Effects::NONE,
    };
    let of_objects = changes.with(effects.and(Effects::MAINTENANCE)).and(refused);
    if !of_objects.is_empty() {
        let relations = statement
            .writes
            .iter()
            .flat_map(|name| labels.relations_with(name));
        found.push((of_objects, with_partitions(relations.collect())));
    }
    if effects.and(refused).contains(Effects::CREATE) {
        let written = statement.writes.iter().flat_map(|name| labels.known(name));
        let partitioned = written.filter(|known| known.kind == b'p').map(|known| known.oid);
        found.push((Effects::CREATE, with_partitions(partitioned.collect())));
    }
    if refused.contains(Effects::MAINTENANCE) && statement.leads.tends_all {
        found.push((Effects::MAINTENANCE, labels.tables().collect()));
    }
    found
}

/// One question: an action on a resource.
pub(crate) struct Question {
    pub(crate) action: EntityUid,
    /// The action's name: that of the effect class, or `read`.
    pub(crate) asked: &'static str,
    /// Its effect class; `None` for `read` and for what is read through a view, which is allowed unless a policy forbids it.
    pub(crate) effect: Option<Effects>,
    pub(crate) resource: Resource,
}

/// Every question that must not be answered with a refusal; `None` when the schema lacks an action.
pub(crate) fn questions(
    engine: &Engine,
    subject: &Subject,
    tables: &mut Tables,
    columns: Vec<LabelledColumn>,
    statement: &Statement,
) -> Option<Vec<Question>> {
    let mut found = Vec::new();
    let effects = needed(statement);
    for (effect, name) in Effects::NAMES
        .iter()
        .filter(|(effect, _)| effects.contains(*effect))
    {
        let mut resources = if OF_READS.contains(*effect) {
            tables.resources(statement.reads.iter())
        } else if OF_WRITES.contains(*effect) {
            tables.resources(statement.writes.iter())
        } else if OF_BOTH.contains(*effect) {
            tables.resources(statement.reads.iter().chain(&statement.writes))
        } else {
            Vec::new()
        };
        // Like a change, a lock through a view is one of what it shows.
        if *effect == Effects::LOCK {
            resources.extend(tables.shown.iter().cloned());
        }
        if resources.is_empty() {
            resources.push(Resource {
                uid: subject.target_uid.clone(),
                shown: None,
            });
        }
        let action = engine.nouns.action(*effect)?;
        found.extend(resources.into_iter().map(|resource| Question {
            action: action.clone(),
            asked: name,
            effect: Some(*effect),
            resource,
        }));
        // Whoever may read a view need not be permitted to read what is below it, but must not be forbidden to. Nor may
        // what is forbidden of a child be done through its parent.
        let beside: &[Resource] = if OF_READS.contains(*effect) {
            &tables.behind
        } else if OF_WRITES.without(Effects::CREATE).contains(*effect) {
            &tables.below
        } else if REACHES_BELOW.contains(*effect) {
            &tables.locked
        } else {
            &[]
        };
        found.extend(beside.iter().cloned().map(|resource| Question {
            action: action.clone(),
            asked: name,
            effect: None,
            resource,
        }));
    }
    // Nobody need be permitted to do this, but must not be forbidden to.
    for (effects, resource) in &tables.beside {
        for (effect, name) in Effects::NAMES
            .iter()
            .filter(|(effect, _)| effects.contains(*effect))
        {
            found.push(Question {
                action: engine.nouns.action(*effect)?.clone(),
                asked: name,
                effect: None,
                resource: resource.clone(),
            });
        }
    }
    for column in columns {
        let uid = column.entity.uid();
        tables.entities.insert(uid.clone(), column.entity);
        found.push(Question {
            action: engine.nouns.read_column.clone(),
            asked: "read",
            effect: None,
            resource: Resource {
                uid,
                shown: Some(column.shown),
            },
        });
    }
    Some(found)
}
