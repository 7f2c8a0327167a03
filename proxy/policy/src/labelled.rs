//! The labelled columns that a statement uses, as policy's entities: what a forbid on `read` is asked about.
//!
//! Where the reader followed every value, these are the columns it touched; otherwise every labelled column of every
//! relation that the statement names, and of a view that was not followed, the view as one column named `*`. A column of a
//! view stands for the tables' columns behind it as well, and whoever reads a view reads what its conditions look at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{Entity, RestrictedExpression};

use crate::catalog::Column;
use crate::engine::Engine;
use crate::labels::{Known, LabelIndex, LabelSpec, MaskScope, RedactSpec};
use crate::lineage::ColumnId;
use crate::statement::{Name, Statement};
use crate::subject::Subject;

/// A labelled column as Cedar sees it.
pub(crate) struct LabelledColumn {
    pub(crate) entity: Entity,
    /// `schema.name.column`.
    pub(crate) shown: String,
}

/// Whether its reader knows every labelled column that it uses.
pub(crate) fn is_followed(statement: &Statement) -> bool {
    let lineage = statement.lineage.as_ref();
    lineage.is_some_and(|lineage| lineage.unknown.is_empty()) && statement.opaque.is_empty()
}

/// (schema, relation, column) and the labels it bears.
type Columns = BTreeMap<(String, String, String), BTreeSet<String>>;

/// Every labelled column that the statement uses; `None` when an entity could not be built.
pub(crate) fn columns(
    engine: &Engine,
    subject: &Subject,
    labels: &LabelIndex,
    statement: &Statement,
) -> Option<Vec<LabelledColumn>> {
    let mut found = Columns::new();
    match &statement.lineage {
        Some(lineage) if is_followed(statement) => {
            for column in &lineage.touched {
                of_column(labels, *column, &mut found)?;
            }
        }
        _ => {
            for name in statement.reads.iter().chain(&statement.writes) {
                for relation in labels.known(name).filter(|relation| relation.is_labelled) {
                    of_relation(labels, &relation, None, &mut found);
                    for column in relation.columns {
                        let id = ColumnId {
                            relation: relation.oid,
                            attribute: column.number,
                        };
                        if labels.is_labelled(id) {
                            of_column(labels, id, &mut found)?;
                        }
                    }
                }
            }
        }
    }
    for name in statement.reads.iter().chain(&statement.writes) {
        for relation in labels.known(name) {
            for column in labels.always_read(relation.oid) {
                of_column(labels, column, &mut found)?;
            }
        }
    }
    let entities = found.into_iter().map(|((schema, table, name), on)| {
        let mut parents: HashSet<_> = on.iter().map(|label| engine.nouns.label(label)).collect();
        parents.insert(engine.nouns.table(&subject.target, &schema, &table));
        let uid = engine.nouns.column(&subject.target, &schema, &table, &name);
        let attributes = HashMap::from([("name".to_owned(), RestrictedExpression::new_string(name.clone()))]);
        Some(LabelledColumn {
            entity: Entity::new(uid, attributes, parents).ok()?,
            shown: format!("{schema}.{table}.{name}"),
        })
    });
    entities.collect()
}

/// A column that bears a label, whichever it is.
pub(crate) fn any_column(engine: &Engine, subject: &Subject, label: &str) -> Option<Entity> {
    let uid = engine.nouns.column(&subject.target, "*", "*", "*");
    let attributes = HashMap::from([(
        "name".to_owned(),
        RestrictedExpression::new_string("*".to_owned()),
    )]);
    Entity::new(uid, attributes, HashSet::from([engine.nouns.label(label)])).ok()
}

/// A labelled column and those that its values are from.
fn of_column(labels: &LabelIndex, column: ColumnId, found: &mut Columns) -> Option<()> {
    for origin in labels.origins(column) {
        let relation = labels.known_by_oid(origin.relation)?;
        of_relation(labels, &relation, Some(origin.attribute), found);
    }
    Some(())
}

/// One column of a relation with its labels, or all of them. A column whose own labels are not known bears the relation's.
fn of_relation(labels: &LabelIndex, relation: &Known<'_>, only: Option<i16>, found: &mut Columns) {
    let name = Name {
        schema: Some(relation.schema.to_owned()),
        name: relation.name.to_owned(),
    };
    let whole = labels.labels_of(&name);
    let mut keep = |column: &str, on: BTreeSet<String>| {
        let place = (
            relation.schema.to_owned(),
            relation.name.to_owned(),
            column.to_owned(),
        );
        found.entry(place).or_default().extend(on);
    };
    let mut any = false;
    for column in relation.columns {
        let id = ColumnId {
            relation: relation.oid,
            attribute: column.number,
        };
        if only.is_none_or(|asked| asked == column.number) && labels.is_labelled(id) {
            let bears = |label: &&&str| labels.hidden_label(id, &alone(label)).is_some();
            keep(
                &column.name,
                whole
                    .iter()
                    .filter(bears)
                    .map(|label| (*label).to_owned())
                    .collect(),
            );
            any = true;
        }
    }
    if !any {
        let number = |column: &&Column| Some(column.number) == only;
        let named = relation
            .columns
            .iter()
            .find(number)
            .map_or("*", |column| column.name.as_str());
        keep(named, whole.into_iter().map(str::to_owned).collect());
    }
}

/// A scope that masks one label only.
fn alone(label: &str) -> MaskScope {
    MaskScope::all(&[LabelSpec {
        name: label.to_owned(),
        columns: Vec::new(),
        paths: Vec::new(),
        redact: RedactSpec::Null,
    }])
}
