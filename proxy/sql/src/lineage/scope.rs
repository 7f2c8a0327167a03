//! Names to values: FROM clauses in reach, WITH queries, columns and whole rows.
//! Source: PostgreSQL manual, "Table Expressions", "WITH Queries"; `parse_relation.c` (scanNameSpaceForRefname,
//! colNameToVar), `parse_expr.c` (transformColumnRef).
//!
//! Where several items fit, the value is that of any of them: the server would call it ambiguous or take one.

use std::collections::BTreeSet;
use std::rc::Rc;

use linegate_policy::Name;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::value::{Field, Set, Value};
use super::{DISGUISED, Reader};

/// The columns of a query, a relation or a function.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// In order, as far as `rest` is `None`; else those that are known, in no order.
    pub(super) fields: Vec<Field>,
    /// There may be more columns, or others: what they may hold.
    pub(super) rest: Option<Value>,
    /// How many times its columns are those that a relation has when the server looks: another statement may have given them
    /// other names or places by then. What is labelled stays what it is, and so does what it is called.
    pub(super) loose: u16,
}

impl Shape {
    pub(super) fn of(fields: Vec<Field>) -> Self {
        Self {
            fields,
            rest: None,
            loose: 0,
        }
    }

    /// The same, as `*` yields it: of a relation's columns.
    pub(super) fn loose(mut self) -> Self {
        self.loose = 1;
        self
    }

    /// The same, where it is not even certain how many columns there are.
    pub(super) fn uncertain(mut self) -> Self {
        self.loose = 2;
        self
    }

    /// Columns whose order and number are not known, but no others.
    pub(super) fn jumbled(fields: Vec<Field>) -> Self {
        Self {
            fields,
            rest: Some(Value::Row(Rc::default())),
            loose: 0,
        }
    }

    /// What columns that are not known may hold.
    fn more(&self) -> Option<&Value> {
        self.rest
            .as_ref()
            .filter(|rest| !matches!(rest, Value::Row(fields) if fields.is_empty()))
    }

    /// Columns that are not known, all holding `value` or nothing.
    pub(super) fn opaque(value: Value) -> Self {
        Self {
            fields: Vec::new(),
            rest: Some(value),
            loose: 0,
        }
    }

    /// Everything in it as one value.
    pub(super) fn all(&self) -> Set {
        let mut all = Set::new();
        self.add_labelled(&mut all);
        all
    }

    pub(super) fn add_labelled(&self, all: &mut Set) {
        for field in &self.fields {
            field.value.add_columns(all);
        }
        if let Some(rest) = &self.rest {
            rest.add_columns(all);
        }
    }

    /// The only column, or the one of a scalar sub-select.
    pub(super) fn first(&self) -> Value {
        match (&self.rest, self.fields.first()) {
            (None, _) if self.has_loose_labels() => Value::of_set(self.all()),
            (None, Some(field)) => field.value.clone(),
            (None, None) => Value::OTHER,
            (Some(_), _) => Value::of_set(self.all()),
        }
    }

    /// Gives the first columns other names.
    pub(super) fn renamed(mut self, names: &NodeList) -> Self {
        if names.is_empty() {
            return self;
        }
        if self.rest.is_some() || self.has_loose_labels() {
            // Which column gets which name cannot be told, but each of these names is a column's.
            let any = Value::of_set(self.all());
            let fields = names.iter().filter_map(Node::as_str);
            return Self {
                fields: fields.map(|name| Field::new(Some(name), any.clone())).collect(),
                rest: Some(any),
                loose: self.loose,
            };
        }
        for (field, name) in self.fields.iter_mut().zip(names) {
            field.name = name.as_str().map(str::to_owned);
        }
        self
    }

    /// One of two shapes, column by column.
    pub(super) fn or(&self, other: &Self) -> Self {
        self.merged(other, Value::or)
    }

    /// The shape of one of two relations of one name.
    pub(super) fn either(&self, other: &Self) -> Self {
        self.merged(other, Value::either)
    }

    fn merged(&self, other: &Self, merge: impl Fn(&Value, &Value) -> Value) -> Self {
        let loose = self.loose.saturating_add(other.loose);
        let is_labelled = !(self.all().is_empty() && other.all().is_empty());
        if self.rest.is_some()
            || other.rest.is_some()
            || self.fields.len() != other.fields.len()
            || loose > 0 && is_labelled
        {
            let mut all = self.all();
            other.add_labelled(&mut all);
            return Self::opaque(Value::of_set(all));
        }
        let pairs = self.fields.iter().zip(&other.fields);
        let merged = Self::of(
            pairs
                .map(|(one, two)| Field {
                    name: one.name.clone(),
                    value: merge(&one.value, &two.value),
                    is_certain: true,
                })
                .collect(),
        );
        Self { loose, ..merged }
    }

    /// Whether something labelled stands among columns whose places may change.
    pub(super) fn has_loose_labels(&self) -> bool {
        self.loose > 0 && self.fields.iter().any(|field| !field.value.is_clean())
    }

    /// The value of a column of that name, and whether it is certain that there is one.
    pub(super) fn column(&self, name: &str) -> Option<(Value, bool)> {
        let mut found: Option<(Value, bool)> = None;
        let mut add = |value: &Value, is_certain: bool| {
            found = Some(match &found {
                None => (value.clone(), is_certain),
                Some((before, certain)) => (before.or(value), *certain || is_certain),
            });
        };
        for field in self
            .fields
            .iter()
            .filter(|field| field.name.as_deref() == Some(name))
        {
            add(&field.value, field.is_certain);
        }
        let is_certain = found.as_ref().is_some_and(|(_, certain)| *certain);
        if is_certain {
            return found;
        }
        let mut add = |value: &Value| {
            found = Some(match &found {
                None => (value.clone(), false),
                Some((before, _)) => (before.or(value), false),
            });
        };
        for field in self.fields.iter().filter(|field| field.name.is_none()) {
            add(&field.value);
        }
        if let Some(rest) = self.more() {
            add(rest);
        }
        found
    }

    pub(super) fn row(&self) -> Value {
        match &self.rest {
            None if !self.has_loose_labels() => Value::Row(Rc::new(self.fields.clone())),
            _ => Value::of_set(self.all()),
        }
    }
}

/// One FROM item under its name.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The alias, or the relation's name; `None` for a sub-select without an alias.
    pub(super) name: Option<String>,
    pub(super) shape: Shape,
    /// A relation: its whole row and its system columns can be named.
    pub(super) is_relation: bool,
    /// Its columns go by other names here than in its row type.
    pub(super) is_renamed: bool,
}

impl Item {
    /// Its whole row as a value. Kept as one, the row of a relation has the names of its type, whatever the alias says.
    fn row(&self) -> Value {
        if self.is_renamed && self.is_relation {
            Value::computed([&self.shape.row()])
        } else {
            self.shape.row()
        }
    }
}

/// The items of one FROM clause.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) items: Vec<Item>,
}

impl Level {
    pub(super) fn add_labelled(&self, all: &mut Set) {
        self.items.iter().for_each(|item| item.shape.add_labelled(all));
    }
}

/// A WITH query.
#[derive(Clone, Debug)]
pub(super) struct Cte {
    pub(super) shape: Shape,
}

impl Cte {
    pub(super) fn add_labelled(&self, all: &mut Set) {
        self.shape.add_labelled(all);
    }
}

const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", PLACE];
/// Where a row is: how many fit on a page tells how long they are.
const PLACE: &str = "ctid";

impl Reader<'_> {
    /// A column reference that is not a star by itself.
    pub(super) fn column_ref(&mut self, column: &nodes::ColumnRef) -> Value {
        let fields: Vec<Node<'_>> = column.fields().iter().collect();
        let value = match fields.as_slice() {
            [Node::String(name)] => self.unqualified(name.sval().unwrap_or_default()),
            // With its schema it is a relation, whatever else goes by the last part of its name.
            [_, .., Node::String(relation), Node::A_Star(_)]
                if fields.len() > 2 && self.is_shared(relation.sval()) =>
            {
                Some(self.in_reach())
            }
            [.., Node::String(relation), Node::A_Star(_)] => {
                self.whole_row(relation.sval().unwrap_or_default())
            }
            [_, .., Node::String(relation), Node::String(_)]
                if fields.len() > 2 && self.is_shared(relation.sval()) =>
            {
                Some(self.in_reach())
            }
            [.., Node::String(relation), Node::String(name)] => self.qualified(
                relation.sval().unwrap_or_default(),
                name.sval().unwrap_or_default(),
            ),
            _ => None,
        };
        let value = value.unwrap_or_else(|| {
            if self.in_body {
                Value::CONSTANT // an argument of the function; the caller's arguments are judged at the call
            } else {
                // A column that the catalog does not know yet, a function in a column's clothes, or an error.
                if let [Node::String(name)] = fields.as_slice() {
                    self.misnamed(None, name.sval().unwrap_or_default());
                }
                self.in_reach()
            }
        });
        let value = self.belt.doubt(column, &value).unwrap_or(value);
        self.touch(&value);
        value
    }

    /// A name alone: a column of the innermost clause that has one, else a whole row. What a relation's columns are called may
    /// change before the server reads the name, so whatever is labelled under that name further out counts as well.
    pub(super) fn unqualified(&self, name: &str) -> Option<Value> {
        let mut found: Option<Value> = None;
        let mut add = |value: Value| {
            found = Some(match &found {
                None => value,
                Some(before) => before.or(&value),
            });
        };
        let mut is_certain = false;
        for level in self.levels.iter().rev() {
            let (mut certain, mut is_fixed) = (false, false);
            for item in &level.items {
                match item.shape.column(name) {
                    Some((value, _)) if is_certain && value.is_clean() => {}
                    Some((value, has_it)) => {
                        certain |= has_it;
                        is_fixed |= has_it && !item.is_relation && item.shape.loose == 0;
                        add(value);
                    }
                    None => {}
                }
            }
            if is_fixed {
                return found;
            }
            is_certain |= certain;
        }
        if is_certain {
            let rows = self.whole_row(name).filter(|row| !row.is_clean());
            return match rows {
                Some(row) => found.map(|found| found.or(&row)),
                None => found,
            };
        }
        if found.is_none() && name == PLACE {
            return Some(Value::computed([&self.in_reach()]));
        }
        if found.is_none() && SYSTEM_COLUMNS.contains(&name) {
            return Some(Value::OTHER);
        }
        match self.whole_row(name) {
            Some(row) => Some(found.map_or(row.clone(), |found| found.or(&row))),
            None => found,
        }
    }

    /// Whether several items go by a name.
    pub(super) fn is_shared(&self, relation: Option<&str>) -> bool {
        let items = self.levels.iter().flat_map(|level| &level.items);
        items.filter(|item| item.name.as_deref() == relation).count() > 1
    }

    /// The items that go by a name, in the innermost clause that has one.
    fn items_named(&self, relation: &str) -> Vec<&Item> {
        for level in self.levels.iter().rev() {
            let items: Vec<&Item> = level
                .items
                .iter()
                .filter(|item| item.name.as_deref() == Some(relation))
                .collect();
            if !items.is_empty() {
                return items;
            }
        }
        Vec::new()
    }

    fn qualified(&mut self, relation: &str, name: &str) -> Option<Value> {
        let items = self.items_named(relation);
        let mut found: Option<Value> = None;
        let (mut is_function, mut is_misnamed) = (false, false);
        let mut probed = Set::new();
        for item in items {
            let value = match item.shape.column(name) {
                Some((value, true)) => value,
                Some((value, false)) if item.shape.more().is_none() => value,
                Some((value, false)) => {
                    is_function |= self.index.is_user_function(name);
                    value.or(&item.shape.row())
                }
                None if item.is_relation && name == PLACE => Value::computed([&item.shape.row()]),
                None if item.is_relation && SYSTEM_COLUMNS.contains(&name) => Value::OTHER,
                None => {
                    is_function |= self.index.is_user_function(name);
                    // A function of the row (a cast may fail), or a column newer than the catalog.
                    is_misnamed = true;
                    let row = Value::computed([&item.shape.row()]);
                    probed.extend(row.columns());
                    row
                }
            };
            found = Some(found.map_or(value.clone(), |found| found.or(&value)));
        }
        if is_function {
            self.unknown(DISGUISED);
        }
        if is_misnamed {
            self.misnamed(Some(relation), name);
        }
        self.found.probes.extend(probed);
        found
    }

    fn misnamed(&mut self, relation: Option<&str>, name: &str) {
        self.found.misnamed.get_or_insert_with(|| Name {
            schema: relation.map(str::to_owned),
            name: name.to_owned(),
        });
    }

    /// A whole row of the items of that name.
    pub(super) fn whole_row(&self, relation: &str) -> Option<Value> {
        let mut rows = self.items_named(relation).into_iter().map(Item::row);
        let first = rows.next()?;
        Some(rows.fold(first, |all, row| all.or(&row)))
    }

    /// What `relation.*` or `*` expands to.
    pub(super) fn star_of(&self, relation: &str) -> Shape {
        match self.items_named(relation).as_slice() {
            [item] => item.shape.clone(),
            [] => Shape::opaque(self.in_reach()),
            items => {
                let mut all = BTreeSet::new();
                items.iter().for_each(|item| item.shape.add_labelled(&mut all));
                Shape::opaque(Value::of_set(all))
            }
        }
    }

    /// A WITH query by its name, innermost first.
    pub(super) fn cte(&self, name: &str) -> Option<&Cte> {
        let found = self.ctes.iter().rev().find(|(entered, _)| entered == name);
        found.map(|(_, cte)| cte)
    }
}
