//! INSERT, UPDATE, DELETE and MERGE: which values are written where, and what RETURNING shows.
//! Source: PostgreSQL manual, the reference pages of these commands.
//!
//! A labelled value may stay in columns that carry its labels, unchanged. Anything else leaves its label behind.

use linegate_policy::{ColumnId, Name};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{CmdType, MergeMatchKind};
use pg_raw_parse::{Node, nodes};

use super::from::beside;
use super::query::last_star;
use super::scope::{Item, Shape};
use super::tested::{self, Written};
use super::value::{Field, Value};
use super::{Reader, STRANGE_NODE, paths};
use crate::parse::plain;
use crate::walk::names;

/// The relation that a statement changes.
pub(super) struct Target {
    pub(super) name: Name,
    /// The name its columns go by.
    shown: String,
    shape: Shape,
}

impl Reader<'_> {
    fn target(&mut self, relation: Option<&nodes::RangeVar>) -> Target {
        let Some(relation) = relation else {
            return Target {
                name: names::bare(""),
                shown: String::new(),
                shape: Shape::opaque(self.anything(STRANGE_NODE)),
            };
        };
        let name = names::relation(relation);
        let alias = relation.alias().and_then(|alias| alias.aliasname());
        let shape = self.relation(&name);
        if self.measures {
            // How much of the log a change takes tells what of the row it leaves as it is.
            self.probe(&Value::of_set(shape.all()));
        }
        Target {
            shown: alias.unwrap_or(&name.name).to_owned(),
            shape,
            name,
        }
    }

    fn show(&mut self, name: &str, shape: &Shape) {
        let item = Item {
            name: Some(name.to_owned()),
            shape: shape.clone(),
            is_relation: true,
            is_renamed: false,
        };
        if let Some(level) = self.levels.last_mut() {
            level.items.push(item);
        }
    }

    pub(super) fn insert(&mut self, insert: &nodes::InsertStmt) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let mark = self.ctes.len();
        self.selects += 1; // no query in it is the outermost
        self.with(insert.with_clause());
        let target = self.target(insert.relation());
        let source = match insert.select_stmt() {
            Node::None => Shape::default(),
            source => {
                let rows = self.query(source);
                self.listed(rows)
            }
        };
        let columns: Vec<Option<String>> = if insert.cols().is_empty() {
            target
                .shape
                .fields
                .iter()
                .map(|field| field.name.clone())
                .collect()
        } else {
            let named = insert.cols().iter().map(|column| match column {
                Node::ResTarget(column) => column.name().map(str::to_owned),
                _ => None,
            });
            named.collect()
        };
        if source.rest.is_some()
            || source.has_loose_labels() && (source.loose > 1 || insert.cols().is_empty())
            || insert.cols().is_empty() && target.shape.rest.is_some()
        {
            // Which value goes where cannot be told.
            self.moves(&Value::of_set(source.all()));
        }
        let mut proposed = Vec::new();
        let mut written: Vec<Written> = Vec::new();
        let is_listed = match insert.select_stmt() {
            Node::SelectStmt(select) => !select.values_lists().is_empty(),
            _ => true,
        };
        for (index, field) in source.fields.iter().enumerate() {
            let column = columns.get(index).cloned().flatten();
            let is_part = matches!(insert.cols().get(index), Some(Node::ResTarget(into)) if !into.indirection().is_empty());
            if is_part {
                // Within a document or array, a value is at another place than the one its label is about.
                self.moves(&field.value);
            } else {
                self.assign(&target, column.as_deref(), &field.value);
            }
            if insert.on_conflict_clause().is_some() {
                self.one_of_many(&target, column.as_deref());
            }
            if !is_listed {
                self.many(&target, column.as_deref(), &field.value);
            }
            proposed.push(Field::new(column.as_deref(), field.value.clone()));
            written.push((column, (!is_part).then(|| field.value.clone())));
        }
        self.tested(&target.name, &written, true);
        if let Some(conflict) = insert.on_conflict_clause() {
            self.open();
            self.show(&target.shown, &target.shape);
            // Columns that are not proposed hold defaults.
            let excluded = Shape {
                fields: proposed,
                rest: Some(source.rest.clone().unwrap_or(Value::OTHER)),
                loose: 0,
            };
            self.show("excluded", &excluded);
            self.assignments(&target, plain(conflict.target_list()));
            self.condition(conflict.where_clause());
            self.close();
        }
        self.open();
        self.show(&target.shown, &target.shape);
        let shape = self.returning(insert.returning_clause(), &target.shape.clone(), &target);
        self.close();
        self.selects -= 1;
        self.ctes.truncate(mark);
        self.leave();
        shape
    }

    pub(super) fn update(&mut self, update: &nodes::UpdateStmt) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let mark = self.ctes.len();
        self.selects += 1; // no query in it is the outermost
        self.with(update.with_clause());
        let target = self.target(update.relation());
        self.open();
        self.show(&target.shown, &target.shape);
        let others = self.read_items(update.from_clause());
        self.condition(update.where_clause());
        self.assignments(&target, plain(update.target_list()));
        let star = beside(target.shape.clone(), others);
        let shape = self.returning(update.returning_clause(), &star, &target);
        self.close();
        self.selects -= 1;
        self.ctes.truncate(mark);
        self.leave();
        shape
    }

    pub(super) fn delete(&mut self, delete: &nodes::DeleteStmt) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let mark = self.ctes.len();
        self.selects += 1; // no query in it is the outermost
        self.with(delete.with_clause());
        let target = self.target(delete.relation());
        self.open();
        self.show(&target.shown, &target.shape);
        let others = self.read_items(delete.using_clause());
        self.condition(delete.where_clause());
        self.referred_to(&target.name, None);
        let star = beside(target.shape.clone(), others);
        let shape = self.returning(delete.returning_clause(), &star, &target);
        self.close();
        self.selects -= 1;
        self.ctes.truncate(mark);
        self.leave();
        shape
    }

    pub(super) fn merge(&mut self, merge: &nodes::MergeStmt) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let mark = self.ctes.len();
        self.selects += 1; // no query in it is the outermost
        self.with(merge.with_clause());
        let target = self.target(merge.relation());
        self.open();
        self.show(&target.shown, &target.shape);
        let source = self.read_item(merge.source_relation());
        // Rows that are not matched come in the order of what was compared: all values of the target, or the source's own.
        let is_unmatched = |node: Node<'_>| {
            matches!(node, Node::MergeWhenClause(when)
                if when.match_kind == MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_SOURCE)
        };
        let is_outer = !source.all().is_empty() || plain(merge.merge_when_clauses()).iter().any(is_unmatched);
        let was_outer = std::mem::replace(&mut self.is_outer, is_outer);
        self.condition(merge.join_condition());
        self.is_outer = was_outer;
        for node in plain(merge.merge_when_clauses()) {
            let Node::MergeWhenClause(when) = node else {
                self.unknown(STRANGE_NODE);
                continue;
            };
            self.condition(when.condition());
            if when.command_type == CmdType::CMD_DELETE {
                self.referred_to(&target.name, None);
            }
            if when.command_type == CmdType::CMD_INSERT {
                self.merge_insert(&target, when);
            } else {
                self.assignments(&target, when.target_list());
            }
        }
        // The source's columns come first.
        let star = beside(source, target.shape.clone());
        let shape = self.returning(merge.returning_clause(), &star, &target);
        self.close();
        self.selects -= 1;
        self.ctes.truncate(mark);
        self.leave();
        shape
    }

    fn merge_insert(&mut self, target: &Target, when: &nodes::MergeWhenClause) {
        let mut written: Vec<Written> = Vec::new();
        if when.values().iter().any(last_star) {
            // How many values `t.*` comes to is not worked out here.
            for value in self.values_of(when.values()) {
                self.moves(&value);
            }
        }
        for (index, value) in when.values().iter().enumerate() {
            let value = self.value(value);
            let column = if when.target_list().is_empty() {
                target
                    .shape
                    .fields
                    .get(index)
                    .and_then(|field| field.name.clone())
            } else {
                match when.target_list().get(index) {
                    Some(Node::ResTarget(column)) if column.indirection().is_empty() => {
                        column.name().map(str::to_owned)
                    }
                    _ => None,
                }
            };
            self.assign(target, column.as_deref(), &value);
            self.many(target, column.as_deref(), &value);
            written.push((column, Some(value)));
        }
        self.tested(&target.name, &written, true);
    }

    /// SET lists.
    fn assignments(&mut self, target: &Target, list: &NodeList) {
        let mut source: Option<Value> = None;
        let mut written: Vec<Written> = Vec::new();
        for node in list {
            let Node::ResTarget(column) = node else {
                self.unknown(STRANGE_NODE);
                continue;
            };
            for step in column.indirection() {
                if let Node::A_Indices(index) = step {
                    let bounds = [self.value(index.lidx()), self.value(index.uidx())];
                    bounds.iter().for_each(|bound| self.moves(bound));
                }
            }
            let value = match column.val() {
                Node::MultiAssignRef(part) => {
                    if part.colno == 1 || source.is_none() {
                        source = Some(self.value(part.source()));
                    }
                    let index = usize::try_from(part.colno).unwrap_or(1).saturating_sub(1);
                    match (&source, part.ncolumns) {
                        // One column takes what one column of the query holds, a whole row as well.
                        (Some(value), 1) if !matches!(part.source(), Node::RowExpr(_)) => value.clone(),
                        (Some(Value::Row(fields)), _) => match fields.get(index) {
                            Some(field) => field.value.clone(),
                            None => Value::computed(&source),
                        },
                        (Some(value), 1) => value.clone(),
                        _ => Value::computed(&source),
                    }
                }
                value => self.value(value),
            };
            let name = column.name().map(str::to_owned);
            if column.indirection().is_empty() {
                self.assign(target, column.name(), &value);
                if tested::goes_by_row(column.val()) {
                    self.many(target, column.name(), &value);
                }
                written.push((name, Some(value)));
            } else {
                // A part of a value: whether it fits there goes by what is there.
                let field = target
                    .shape
                    .fields
                    .iter()
                    .find(|field| field.name.as_deref() == column.name());
                if let Some(there) = field.map(|field| field.value.clone())
                    && !self.is_beside(&there, column.indirection())
                {
                    self.probe(&there);
                }
                self.moves(&value);
                written.push((name, None));
            }
        }
        self.tested(&target.name, &written, false);
        self.referred_to(&target.name, Some(&written));
    }

    /// Whether that place of a document holds nothing labelled, and nothing labelled is below or above it.
    fn is_beside(&mut self, document: &Value, path: &NodeList) -> bool {
        let key = |step: Node<'_>| match step {
            Node::A_Indices(index) if !index.is_slice => paths::key(index.uidx()),
            _ => None,
        };
        let keys: Option<Vec<String>> = path.iter().map(key).collect();
        keys.is_some_and(|keys| self.under(document, &keys).is_clean())
    }

    /// A value on its way into a column.
    fn assign(&mut self, target: &Target, column: Option<&str>, value: &Value) {
        if value.is_clean() {
            return;
        }
        self.touch(value);
        let Value::Exactly(from) = value else {
            return self.moves(value);
        };
        let index = self.index;
        let mut targets = index.known(&target.name).peekable();
        let stays = targets.peek().is_some()
            && targets.all(|known| {
                let into = known
                    .columns
                    .iter()
                    .find(|known| Some(known.name.as_str()) == column);
                !known.is_derived
                    && into.is_some_and(|into| {
                        let into = ColumnId {
                            relation: known.oid,
                            attribute: into.number,
                        };
                        index.carries(into, *from) && index.type_oid(into) == index.type_oid(*from)
                    })
            });
        // Without its schema, the target may be a table that was made a moment ago: in this text, in a transaction that is
        // open, or by somebody else.
        if !stays || target.name.schema.is_none() {
            self.moves(value);
        }
    }

    fn returning(
        &mut self,
        returning: Option<&nodes::ReturningClause>,
        star: &Shape,
        target: &Target,
    ) -> Shape {
        let Some(returning) = returning else {
            return Shape::default();
        };
        let shape = target.shape.clone();
        for name in ["old", "new"] {
            self.show(name, &shape);
        }
        for option in plain(returning.options()) {
            match option {
                Node::ReturningOption(option) => self.show(option.value().unwrap_or_default(), &shape),
                _ => self.unknown(STRANGE_NODE),
            }
        }
        self.targets(returning.exprs(), star)
    }
}
