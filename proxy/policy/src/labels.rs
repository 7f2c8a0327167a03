//! Which columns of which relations carry a label, by origin (`pg_class.oid`, `pg_attribute.attnum`).
//!
//! Labels are configured by name and resolved against the catalog, then spread: to the column of the same name in
//! inheritance parents, children and partitions, and, as *derived*, to every view or materialized view over a labelled
//! relation. A derived relation's own columns have its own oid as origin, so which of them hold a labelled value is not
//! known here: all count as labelled, and `mask_plan` refuses them.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::catalog::{Catalog, Relation};
use crate::decide;
use crate::engine::Engine;
use crate::statement::Name;
use crate::subject::Subject;

/// A label as the configuration spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSpec {
    /// Its name, as in `Label::"name"`.
    pub name: String,
    /// The columns it names: schema, relation, column.
    pub columns: Vec<(String, String, String)>,
    /// How a cell is overwritten.
    pub redact: RedactSpec,
}

/// How a cell is overwritten, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RedactSpec {
    /// All but the last so many characters are overwritten.
    KeepLast(u8),
    /// All characters are overwritten.
    Blank,
    /// The value becomes NULL.
    Null,
}

impl RedactSpec {
    /// The one that shows less.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::KeepLast(one), Self::KeepLast(two)) => Self::KeepLast(one.min(two)),
            (one, two) => one.max(two),
        }
    }
}

/// The labels that a session may not read raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskScope {
    hidden: BTreeSet<String>,
}

impl MaskScope {
    /// Asks policy `read_raw` for every label and every member of the chain; whoever is not allowed sees it masked.
    pub fn of(engine: &Engine, subject: &Subject, labels: &[LabelSpec]) -> Self {
        let hidden = labels.iter().map(|label| &label.name);
        Self {
            hidden: hidden
                .filter(|name| !decide::may_read_raw(engine, subject, name))
                .cloned()
                .collect(),
        }
    }

    /// Every label masked.
    pub fn all(labels: &[LabelSpec]) -> Self {
        Self {
            hidden: labels.iter().map(|label| label.name.clone()).collect(),
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
    columns_max: i16,
    marks: Option<Box<Marks>>,
}

/// What is labelled in a relation. Numbers index `LabelIndex::labels`.
#[derive(Debug, Default)]
struct Marks {
    /// By attribute number.
    columns: HashMap<i16, BTreeSet<usize>>,
    /// Labels on anything in it, also those that came through a view.
    whole: BTreeSet<usize>,
    /// It is a view over a labelled relation.
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
    relations: HashMap<u32, Entry>,
    by_name: HashMap<String, Vec<u32>>,
    user_functions: HashSet<String>,
}

impl LabelIndex {
    /// Finds the labelled columns in a catalog. The second part lists what a label names and the catalog lacks.
    pub fn resolve(catalog: &Catalog, labels: &[LabelSpec]) -> (Self, Vec<String>) {
        let mut index = Self {
            epoch: catalog.epoch,
            labels: labels
                .iter()
                .map(|label| (label.name.clone(), label.redact))
                .collect(),
            user_functions: catalog.user_functions.clone(),
            ..Self::default()
        };
        let mut by_oid = HashMap::new();
        for relation in &catalog.relations {
            let columns_max = relation
                .columns
                .iter()
                .map(|column| column.number)
                .max()
                .unwrap_or(0);
            let (schema, name) = (relation.schema.clone(), relation.name.clone());
            index.by_name.entry(name.clone()).or_default().push(relation.oid);
            index.relations.insert(
                relation.oid,
                Entry {
                    schema,
                    name,
                    columns_max,
                    marks: None,
                },
            );
            by_oid.insert(relation.oid, relation);
        }
        let mut missing = Vec::new();
        let mut marked = Vec::new();
        for (number, label) in labels.iter().enumerate() {
            for (schema, table, column) in &label.columns {
                let relation = catalog
                    .relations
                    .iter()
                    .find(|r| r.schema == *schema && r.name == *table);
                let attribute = relation.and_then(|r| r.columns.iter().find(|c| c.name == *column));
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
        index.spread_columns(&by_oid, marked);
        index.spread_derived(&by_oid);
        (index, missing)
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
        entries.filter(|(_, entry)| name.schema.as_ref().is_none_or(|schema| *schema == entry.schema))
    }

    /// Every relation that a name may mean, as (schema, name). Without a schema that is every relation of the name.
    pub fn candidates<'i>(&'i self, name: &'i Name) -> impl Iterator<Item = (&'i str, &'i str)> {
        self.matching(name)
            .map(|(_, entry)| (entry.schema.as_str(), entry.name.as_str()))
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
        let hidden = |labels: &BTreeSet<usize>| {
            let labels = labels.iter().map(|label| &self.labels[*label]);
            labels
                .filter(|(name, _)| masks.hides(name))
                .map(|(_, redact)| *redact)
                .reduce(RedactSpec::stricter)
        };
        if let Some(redact) = marks.columns.get(&attribute).and_then(hidden) {
            return Origin::Masked(redact);
        }
        match hidden(&marks.whole) {
            None => Origin::Clear,
            Some(_) if marks.derived => Origin::Derived,
            Some(_) if attribute <= 0 => Origin::MaskedWhole,
            Some(_) if attribute > entry.columns_max => Origin::Unknown,
            Some(_) => Origin::Clear,
        }
    }

    /// Whether a function of that name exists outside `pg_catalog`.
    pub fn is_user_function(&self, name: &str) -> bool {
        self.user_functions.contains(&name.to_lowercase())
    }
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
pub(crate) mod tests {
    use super::*;
    use crate::catalog::Column;

    fn relation(oid: u32, schema: &str, name: &str, kind: u8, columns: &[&str], sources: &[u32]) -> Relation {
        let columns = (1..).zip(columns);
        let columns = columns.map(|(number, name)| Column {
            number,
            name: (*name).to_owned(),
            type_oid: 25,
        });
        Relation {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind,
            columns: columns.collect(),
            sources: sources.to_vec(),
        }
    }

    /// A shop: customers (email, ssn labelled) with a partition, views over them, orders, a namesake in another schema.
    pub(crate) fn shop() -> Catalog {
        Catalog {
            epoch: 7,
            relations: vec![
                relation(
                    10,
                    "app",
                    "customers",
                    b'p',
                    &["id", "name", "email", "ssn"],
                    &[11],
                ),
                relation(
                    11,
                    "app",
                    "customers_eu",
                    b'r',
                    &["ssn", "email", "id", "name", "vat"],
                    &[10],
                ),
                relation(12, "app", "orders", b'r', &["id", "customer_id", "total"], &[]),
                relation(13, "app", "people", b'v', &["id", "name"], &[10]),
                relation(14, "app", "people_daily", b'm', &["day", "count"], &[13]),
                relation(15, "archive", "orders", b'r', &["id"], &[]),
                relation(16, "app", "audit", b'r', &["id", "what"], &[12]),
                relation(17, "app", "order_totals", b'v', &["total"], &[12]),
                relation(18, "app", "cards", b'r', &["id", "number"], &[]),
                relation(1259, "pg_catalog", "pg_class", b'r', &["oid", "relname"], &[]),
                relation(3118, "pg_catalog", "pg_stats", b'v', &["schemaname"], &[]),
            ],
            user_functions: ["peek", "lower"].map(str::to_owned).into(),
        }
    }

    pub(crate) fn specs() -> Vec<LabelSpec> {
        let column = |table: &str, name: &str| ("app".to_owned(), table.to_owned(), name.to_owned());
        vec![
            LabelSpec {
                name: "pii".to_owned(),
                columns: vec![column("customers", "email"), column("customers", "ssn")],
                redact: RedactSpec::Blank,
            },
            LabelSpec {
                name: "cards".to_owned(),
                columns: vec![column("cards", "number"), column("customers", "ssn")],
                redact: RedactSpec::KeepLast(4),
            },
        ]
    }

    pub(crate) fn index() -> LabelIndex {
        let (index, missing) = LabelIndex::resolve(&shop(), &specs());
        assert_eq!(missing, Vec::<String>::new());
        index
    }

    fn name(text: &str) -> Name {
        match text.split_once('.') {
            Some((schema, name)) => Name {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            },
            None => Name {
                schema: None,
                name: text.to_owned(),
            },
        }
    }

    fn hiding(labels: &[&str]) -> MaskScope {
        MaskScope {
            hidden: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    #[test]
    fn columns_spread_by_name_to_partitions_and_back() {
        let masks = MaskScope::all(&specs());
        let index = index();
        assert_eq!(index.origin(10, 3, &masks), Origin::Masked(RedactSpec::Blank));
        assert_eq!(
            index.origin(11, 2, &masks),
            Origin::Masked(RedactSpec::Blank),
            "email of the partition"
        );
        assert_eq!(
            index.origin(11, 1, &masks),
            Origin::Masked(RedactSpec::Blank),
            "ssn: the stricter of two labels"
        );
        assert_eq!(
            index.origin(11, 1, &hiding(&["cards"])),
            Origin::Masked(RedactSpec::KeepLast(4))
        );
        assert_eq!(index.origin(11, 3, &masks), Origin::Clear);
        assert_eq!(index.origin(10, 0, &masks), Origin::MaskedWhole);
        assert_eq!(index.origin(10, -1, &masks), Origin::MaskedWhole);
        assert_eq!(
            index.origin(10, 9, &masks),
            Origin::Unknown,
            "a column newer than the catalog"
        );
        assert_eq!(index.origin(12, 0, &masks), Origin::Clear);
        assert_eq!(index.origin(999, 1, &masks), Origin::Unknown);
        assert_eq!(index.origin(10, 3, &MaskScope::default()), Origin::Clear);

        let child_first = LabelSpec {
            name: "pii".to_owned(),
            columns: vec![("app".to_owned(), "customers_eu".to_owned(), "email".to_owned())],
            redact: RedactSpec::Null,
        };
        let (index, _) = LabelIndex::resolve(&shop(), &[child_first]);
        assert_eq!(
            index.origin(10, 3, &masks),
            Origin::Masked(RedactSpec::Null),
            "a scan of the parent shows the child"
        );
    }

    #[test]
    fn views_over_labelled_relations_are_derived() {
        let masks = MaskScope::all(&specs());
        let index = index();
        assert_eq!(index.origin(13, 1, &masks), Origin::Derived);
        assert_eq!(index.origin(14, 2, &masks), Origin::Derived, "through two steps");
        assert_eq!(index.origin(17, 1, &masks), Origin::Clear);
        assert_eq!(index.origin(13, 1, &hiding(&["other"])), Origin::Clear);
        assert!(index.touches(&name("app.people_daily")) && !index.touches(&name("order_totals")));
        assert_eq!(
            index.labels_of(&name("people")).into_iter().collect::<Vec<_>>(),
            ["cards", "pii"]
        );
    }

    #[test]
    fn an_unqualified_name_means_every_relation_of_that_name() {
        let index = index();
        assert!(index.touches(&name("customers")) && index.touches(&name("app.customers")));
        assert!(!index.touches(&name("archive.customers")) && !index.touches(&name("nowhere")));
        let orders = name("orders");
        let mut found: Vec<_> = index.candidates(&orders).collect();
        found.sort_unstable();
        assert_eq!(found, [("app", "orders"), ("archive", "orders")]);
        assert!(index.touches_masked(&name("customers"), &hiding(&["cards"])));
        assert!(!index.touches_masked(&name("cards"), &hiding(&["pii"])));
    }

    #[test]
    fn a_rule_that_reads_a_labelled_relation_derives_its_table() {
        let mut catalog = shop();
        catalog
            .relations
            .push(relation(20, "app", "inbox", b'r', &["line"], &[10]));
        let (index, _) = LabelIndex::resolve(&catalog, &specs());
        assert_eq!(index.origin(20, 1, &MaskScope::all(&specs())), Origin::Derived);
    }

    #[test]
    fn what_the_catalog_lacks_is_said() {
        let mut specs = specs();
        specs[0].columns = vec![
            ("app".to_owned(), "customers".to_owned(), "fax".to_owned()),
            ("app".to_owned(), "clients".to_owned(), "email".to_owned()),
        ];
        let (_, missing) = LabelIndex::resolve(&shop(), &specs);
        assert_eq!(
            missing,
            [
                "label pii: relation app.customers has no column fax",
                "label pii: no relation app.clients"
            ]
        );
    }

    #[test]
    fn the_stricter_redaction_wins() {
        use RedactSpec::{Blank, KeepLast, Null};
        assert_eq!(KeepLast(4).stricter(KeepLast(2)), KeepLast(2));
        assert_eq!(KeepLast(0).stricter(Blank), Blank);
        assert_eq!(Null.stricter(Blank), Null);
        assert_eq!(Blank.stricter(KeepLast(9)), Blank);
    }
}
