//! FROM items: relations, sub-selects, joins, functions, XMLTABLE and JSON_TABLE.
//! Source: PostgreSQL manual, "Table Expressions"; `parse_clause.c` (transformFromClauseItem).
//!
//! Every item is added to the innermost level as soon as it is read, so that later ones can refer to it laterally; a
//! sub-select without LATERAL does not see its siblings. What an item contributes to `*` is the answer.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{CoercionForm, JoinType};
use pg_raw_parse::{Node, nodes};

use linegate_policy::labels::Known;
use linegate_policy::{ColumnId, Name};

use super::scope::{Item, Level, Shape};
use super::value::{Field, Source, Value};
use super::{DERIVED, EXPRESSION_IN_FROM, Reader, STRANGE_NODE, builtin_name, functions, types};
use crate::parse::plain;
use crate::walk::names;

impl Reader<'_> {
    /// Adds the items of a FROM clause to the innermost level.
    pub(super) fn read_items(&mut self, items: &NodeList) -> Shape {
        let mut star = Shape::default();
        for item in items {
            let more = self.read_item(item);
            star = beside(star, more);
        }
        star
    }

    fn add(&mut self, item: Item) {
        if let Some(level) = self.levels.last_mut() {
            level.items.push(item);
        }
    }

    pub(super) fn read_item(&mut self, node: Node<'_>) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let shape = match node {
            Node::RangeVar(relation) => self.range_var(relation),
            Node::RangeSubselect(select) => self.range_subselect(select),
            Node::JoinExpr(join) => self.join(join),
            Node::RangeFunction(function) => self.range_function(function),
            Node::RangeTableSample(sample) => {
                // Its arguments see none of the items beside it.
                let beside = self.levels.last_mut().map(std::mem::take);
                for argument in sample.args() {
                    self.strict(argument);
                }
                self.strict(sample.repeatable());
                if let (Some(beside), Some(level)) = (beside, self.levels.last_mut()) {
                    *level = beside;
                }
                self.read_item(sample.relation())
            }
            Node::RangeTableFunc(table) => self.xml_table(table),
            Node::JsonTable(table) => self.json_table(table),
            _ => Shape::opaque(self.anything(STRANGE_NODE)),
        };
        self.leave();
        shape
    }

    fn range_var(&mut self, relation: &nodes::RangeVar) -> Shape {
        let alias = relation.alias();
        let own_name = relation.relname().unwrap_or_default();
        let is_bare = relation.schemaname().is_none() && relation.catalogname().is_none();
        let cte = if is_bare { self.cte(own_name) } else { None };
        let (shape, is_relation) = match cte {
            Some(cte) => (cte.shape.clone(), false),
            None => (self.relation(&names::relation(relation)), true),
        };
        let shape = match alias {
            Some(alias) => shape.renamed(alias.colnames()),
            None => shape,
        };
        let name = alias.and_then(|alias| alias.aliasname()).unwrap_or(own_name);
        self.add(Item {
            name: Some(name.to_owned()),
            shape: shape.clone(),
            is_relation,
            is_renamed: alias.is_some_and(|alias| !alias.colnames().is_empty()),
        });
        shape
    }

    /// The columns of whatever relations a name may mean.
    pub(super) fn relation(&mut self, name: &Name) -> Shape {
        let index = self.index;
        let known: Vec<Known<'_>> = index.known(name).collect();
        if known.iter().any(|known| known.is_derived) {
            self.unknown(DERIVED);
        }
        let shape = |known: &Known<'_>| {
            let fields = known.columns.iter().map(|column| {
                let id = ColumnId {
                    relation: known.oid,
                    attribute: column.number,
                };
                Field::new(Some(&column.name), self.stored(id, known.is_temporary()))
            });
            let shape = Shape::of(fields.collect());
            // Nobody changes the shape of what is labelled under a mask.
            match shape.all().is_empty() {
                true => shape.loose(),
                false => shape,
            }
        };
        match known.as_slice() {
            [] => {
                self.found.strangers = true;
                Shape::opaque(Value::OTHER)
            }
            [one] => shape(one),
            [first, others @ ..] => {
                let same_names = |other: &Known<'_>| {
                    let names = |known: &Known<'_>| -> Vec<String> {
                        known.columns.iter().map(|column| column.name.clone()).collect()
                    };
                    names(first) == names(other)
                };
                if others.iter().all(same_names) {
                    let all = shape(first);
                    return others.iter().fold(all, |all, other| all.either(&shape(other)));
                }
                by_name(known.iter().map(shape).collect())
            }
        }
    }

    fn range_subselect(&mut self, select: &nodes::RangeSubselect) -> Shape {
        let hidden = match self.levels.last_mut() {
            Some(level) if !select.lateral => Some(std::mem::take(level)),
            _ => None,
        };
        // Its conditions may become those of an outer join that it stands in.
        let is_beside = std::mem::take(&mut self.is_beside_outer);
        let was_outer = self.is_outer;
        self.is_outer |= select.lateral && is_beside;
        let rows = self.query(select.subquery());
        let mut shape = self.listed(rows);
        (self.is_outer, self.is_beside_outer) = (was_outer, is_beside);
        if let (Some(hidden), Some(level)) = (hidden, self.levels.last_mut()) {
            *level = hidden;
        }
        if let Some(alias) = select.alias() {
            shape = shape.renamed(alias.colnames());
        }
        self.add(Item {
            name: select
                .alias()
                .and_then(|alias| alias.aliasname())
                .map(str::to_owned),
            shape: shape.clone(),
            is_relation: false,
            is_renamed: false,
        });
        shape
    }

    fn join(&mut self, join: &nodes::JoinExpr) -> Shape {
        let start = self.levels.last().map_or(0, |level| level.items.len());
        let joins_outer = join.jointype != JoinType::JOIN_INNER;
        let was_beside = self.is_beside_outer;
        self.is_beside_outer |= joins_outer;
        let left = self.read_item(join.larg());
        let right = self.read_item(join.rarg());
        self.is_beside_outer = was_beside;
        let mut merged = Vec::new();
        let names: Vec<String> = if join.is_natural {
            self.common_names(&left, &right)
        } else {
            let using = plain(join.using_clause()).iter();
            using.filter_map(Node::as_str).map(str::to_owned).collect()
        };
        // Rows without a partner come in the order in which the server looked for one.
        let was_outer = self.is_outer;
        self.is_outer |= joins_outer;
        for name in &names {
            let one = left.column(name).map_or(Value::OTHER, |(value, _)| value);
            let two = right.column(name).map_or(Value::OTHER, |(value, _)| value);
            self.touch(&one);
            self.touch(&two);
            self.equal(&one, &two);
            merged.push(Field::new(Some(name), one.or(&two)));
        }
        // What has no name of its own may be merged as well, and then stands first.
        let is_unclear = join.is_natural
            || !names.is_empty()
                && [&left, &right]
                    .iter()
                    .any(|side| side.fields.iter().any(|field| field.name.is_none()));
        let is_merged = |field: &Field| field.name.as_ref().is_some_and(|name| names.contains(name));
        let mut star = Shape::of(merged.clone());
        for side in [left, right] {
            let rest = side
                .fields
                .into_iter()
                .filter(|field| !is_merged(field))
                .collect();
            star = beside(star, Shape { fields: rest, ..side });
        }
        if is_unclear {
            star = star.uncertain();
        }
        // ON sees what is joined, and not what stands before it in the list.
        let before = self
            .levels
            .last_mut()
            .map(|level| level.items.drain(..start).collect::<Vec<_>>());
        self.condition(join.quals());
        self.is_outer = was_outer;
        if let (Some(before), Some(level)) = (before, self.levels.last_mut()) {
            level.items.splice(0..0, before);
        }
        if let Some(alias) = join.join_using_alias() {
            self.add(Item {
                name: alias.aliasname().map(str::to_owned),
                shape: Shape::of(merged),
                is_relation: false,
                is_renamed: false,
            });
        }
        if let Some(alias) = join.alias() {
            // The alias hides the names inside.
            if let Some(level) = self.levels.last_mut() {
                level.items.truncate(start);
            }
            star = star.renamed(alias.colnames());
            self.add(Item {
                name: alias.aliasname().map(str::to_owned),
                shape: star.clone(),
                is_relation: false,
                is_renamed: false,
            });
        }
        star
    }

    /// The columns that NATURAL compares. Where a side's columns are not known, every labelled one may be compared.
    fn common_names(&mut self, left: &Shape, right: &Shape) -> Vec<String> {
        let is_known = |side: &Shape| {
            side.rest.is_none()
                && side.loose == 0
                && side
                    .fields
                    .iter()
                    .all(|field| field.is_certain && field.name.is_some())
        };
        if !is_known(left) || !is_known(right) {
            self.probe(&Value::of_set(super::union([left.all(), right.all()])));
        }
        let names = left.fields.iter().filter_map(|field| field.name.clone());
        let mut names: Vec<String> = names
            .filter(|name| right.fields.iter().any(|field| field.name.as_ref() == Some(name)))
            .collect();
        names.dedup();
        names
    }

    fn range_function(&mut self, range: &nodes::RangeFunction) -> Shape {
        let alias = range.alias();
        let alias_name = alias.and_then(|alias| alias.aliasname());
        let mut shape = Shape::default();
        for node in range.functions() {
            let (function, columns) = match node {
                Node::NodeList(pair) => (
                    pair.get(0).unwrap_or(Node::None),
                    pair.get(1).and_then(|columns| columns.as_node_list()),
                ),
                other => (other, None),
            };
            if !is_plain_call(function) {
                // What it is called depends on the expression, and on the server's version.
                self.unknown(EXPRESSION_IN_FROM);
            }
            let own = columns.filter(|columns| !columns.is_empty());
            let columns = own.unwrap_or_else(|| plain(range.coldeflist()));
            let more = self.function_rows(function, columns, alias_name.filter(|_| !range.is_rowsfrom));
            shape = beside(shape, more);
        }
        shape = shape.uncertain();
        if range.ordinality {
            shape.fields.push(Field::new(Some("ordinality"), Value::OTHER));
        }
        if let Some(alias) = alias {
            shape = shape.renamed(alias.colnames());
        }
        self.add(Item {
            name: alias_name.or_else(|| called(range)).map(str::to_owned),
            shape: shape.clone(),
            is_relation: false,
            is_renamed: false,
        });
        shape
    }

    /// What a query yields, as rows: what was one constant may be many now.
    pub(super) fn listed(&mut self, mut shape: Shape) -> Shape {
        for field in &mut shape.fields {
            field.value = self.listed_value(&field.value);
        }
        shape
    }

    /// One of several values. What goes by settings is none that is counted.
    pub(super) fn listed_value(&mut self, value: &Value) -> Value {
        match *value {
            ref value if value.is_fixed() => {
                self.count_computed([value]);
                Value::Clean(Source::Listed)
            }
            Value::BY_SETTINGS => Value::OTHER,
            ref value => value.clone(),
        }
    }

    fn are_listed(&mut self, arguments: &NodeList) -> bool {
        arguments.iter().all(|argument| self.is_listed(argument))
    }

    /// The columns of one function's rows.
    fn function_rows(&mut self, function: Node<'_>, columns: &NodeList, alias: Option<&str>) -> Shape {
        let Node::FuncCall(call) = function else {
            let value = self.value(function);
            return Shape::of(vec![Field::new(alias, value)]);
        };
        let mut value = self.value(function);
        self.found.spreads = true;
        let is_listing = builtin_name(call.funcname()).is_some_and(functions::unfolds);
        if is_listing && value.is_clean() && self.are_listed(call.args()) {
            value = Value::Clean(Source::Listed);
        }
        if !columns.is_empty() {
            let fields = columns.iter().map(|column| match column {
                // As another type it may be another value, which nobody counts.
                Node::ColumnDef(column)
                    if value == Value::Clean(Source::Listed)
                        && !column.type_name().is_some_and(types::keeps_listed) =>
                {
                    Field::new(column.colname(), Value::OTHER)
                }
                Node::ColumnDef(column) => Field::new(column.colname(), value.clone()),
                _ => Field::new(None, value.clone()),
            });
            return Shape::of(fields.collect());
        }
        let name = builtin_name(call.funcname()).filter(|name| !self.index.is_user_function(name));
        match name {
            Some("unnest") if !call.func_variadic => {
                let fields = call.args().iter().map(|argument| {
                    let value = match self.value(argument) {
                        value if value.is_clean() && self.is_listed(argument) => Value::Clean(Source::Listed),
                        value => Value::computed([&value, &Value::OTHER]),
                    };
                    Field::new(
                        if call.args().len() == 1 {
                            alias.or(name)
                        } else {
                            name
                        },
                        value,
                    )
                });
                let fields: Vec<Field> = fields.collect();
                // An array of rows has as many columns as its rows.
                if fields.iter().all(|field| field.value == Value::OTHER) {
                    return Shape::opaque(Value::OTHER);
                }
                Shape::of(fields)
            }
            // As many rows as the text or a parameter lists.
            Some(name) if functions::unfolds(name) && self.are_listed(call.args()) => {
                let mut shape = Shape::opaque(Value::Clean(Source::Listed));
                if functions::returns_scalars(name) {
                    shape = Shape::of(vec![Field::new(
                        alias.or(Some(name)),
                        Value::Clean(Source::Listed),
                    )]);
                }
                shape
            }
            Some(name) if functions::returns_scalars(name) || functions::yields_scalar(name) => {
                Shape::of(vec![Field::new(alias.or(Some(name)), value)])
            }
            _ => Shape::opaque(value),
        }
    }

    fn xml_table(&mut self, table: &nodes::RangeTableFunc) -> Shape {
        let mut from = vec![self.value(table.docexpr()), self.value(table.rowexpr())];
        from.extend(self.values_of(table.namespaces()));
        let mut names = Vec::new();
        for column in plain(table.columns()) {
            let Node::RangeTableFuncCol(column) = column else {
                return Shape::opaque(self.anything(STRANGE_NODE));
            };
            from.push(self.value(column.colexpr()));
            from.push(self.value(column.coldefexpr()));
            names.push(column.colname().map(str::to_owned));
        }
        self.made_rows(&from, names, table.alias(), "xmltable")
    }

    fn json_table(&mut self, table: &nodes::JsonTable) -> Shape {
        let mut from = vec![self.json_value(table.context_item())];
        from.extend(self.values_of(table.passing()));
        let mut names = Vec::new();
        self.json_columns(plain(table.columns()), &mut names, &mut from);
        self.made_rows(&from, names, table.alias(), "json_table")
    }

    fn json_columns(&mut self, columns: &NodeList, names: &mut Vec<Option<String>>, from: &mut Vec<Value>) {
        for column in columns {
            let Node::JsonTableColumn(column) = column else {
                from.push(self.anything(STRANGE_NODE));
                continue;
            };
            for behavior in [column.on_empty(), column.on_error()].into_iter().flatten() {
                from.push(self.value(behavior.expr()));
            }
            if column.columns().is_empty() {
                names.push(column.name().map(str::to_owned));
            }
            if self.enter() {
                self.json_columns(column.columns(), names, from);
                self.leave();
            }
        }
    }

    /// Rows that an expression yields: how many there are tells about it.
    fn made_rows(
        &mut self,
        from: &[Value],
        names: Vec<Option<String>>,
        alias: Option<&nodes::Alias>,
        own_name: &str,
    ) -> Shape {
        let value = Value::computed(from.iter().chain([&Value::OTHER]));
        self.probe(&value);
        let fields = names
            .iter()
            .map(|name| Field::new(name.as_deref(), value.clone()));
        let mut shape = Shape::of(fields.collect());
        if let Some(alias) = alias {
            shape = shape.renamed(alias.colnames());
        }
        self.add(Item {
            name: alias
                .and_then(|alias| alias.aliasname())
                .or(Some(own_name))
                .map(str::to_owned),
            shape: shape.clone(),
            is_relation: false,
            is_renamed: false,
        });
        shape
    }

    /// The values of a list of expressions.
    pub(super) fn values_of(&mut self, list: &NodeList) -> Vec<Value> {
        list.iter().map(|node| self.value(node)).collect()
    }

    /// Opens a clause of its own.
    pub(super) fn open(&mut self) {
        self.levels.push(Level::default());
    }

    pub(super) fn close(&mut self) {
        self.levels.pop();
    }
}

/// What a function in FROM goes by without an alias: the first one's own name.
pub(super) fn called(range: &nodes::RangeFunction) -> Option<&str> {
    let call = match range.functions().first()? {
        Node::NodeList(pair) => pair.get(0)?,
        other => other,
    };
    match call {
        Node::FuncCall(call) => call.funcname().iter().next_back()?.as_str(),
        _ => None,
    }
}

/// A call as `name(…)`: not CAST, COALESCE or a keyword, some of which are names for older servers.
fn is_plain_call(node: Node<'_>) -> bool {
    matches!(node, Node::FuncCall(call) if call.funcformat == CoercionForm::COERCE_EXPLICIT_CALL)
}

/// The columns of both.
pub(super) fn beside(mut left: Shape, right: Shape) -> Shape {
    left.fields.extend(right.fields);
    left.loose = left.loose.saturating_add(right.loose);
    left.rest = match (left.rest, right.rest) {
        (None, rest) | (rest, None) => rest,
        (Some(one), Some(two)) => Some(one.or(&two)),
    };
    left
}

/// Relations of one name whose columns differ: by name, and which of them there are is not certain.
fn by_name(shapes: Vec<Shape>) -> Shape {
    let mut fields: Vec<(Field, usize)> = Vec::new();
    let count = shapes.len();
    for field in shapes.into_iter().flat_map(|shape| shape.fields) {
        match fields.iter_mut().find(|(known, _)| known.name == field.name) {
            Some((known, times)) => {
                known.value = known.value.either(&field.value);
                *times += 1;
            }
            None => fields.push((field, 1)),
        }
    }
    let fields = fields.into_iter().map(|(field, times)| Field {
        is_certain: times == count,
        ..field
    });
    Shape::jumbled(fields.collect())
}
