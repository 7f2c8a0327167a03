//! SELECT, VALUES, set operations and WITH.
//! Source: PostgreSQL manual, "SELECT", "VALUES", "WITH Queries"; `parse_clause.c`, `parse_cte.c`, `parse_target.c`.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::SetOperation;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::from::beside;
use super::scope::{Cte, Item, Shape};
use super::value::{Field, Value};
use super::{Reader, STRANGE_NODE, TOO_DEEP, builtin_name};
use crate::parse::plain;
use crate::walk::children::any_below;

/// Rounds after which the columns of recursive queries must have settled.
const ROUNDS_MAX: usize = 16;

impl Reader<'_> {
    /// Whatever may stand in a WITH list, a sub-select or a FROM item.
    pub(super) fn query(&mut self, node: Node<'_>) -> Shape {
        match node {
            Node::SelectStmt(select) => self.select(select),
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            _ => Shape::opaque(self.anything(STRANGE_NODE)),
        }
    }

    pub(super) fn select(&mut self, select: &nodes::SelectStmt) -> Shape {
        if !self.enter() {
            return Shape::opaque(self.in_reach());
        }
        let mark = self.ctes.len();
        self.selects += 1;
        let was_report = std::mem::take(&mut self.is_report);
        self.with(select.with_clause());
        let shape = if select.op != SetOperation::SETOP_NONE {
            self.set_operation(select)
        } else if select.values_lists().is_empty() {
            self.simple(select)
        } else {
            self.values_lists(select)
        };
        self.is_report = was_report;
        self.selects -= 1;
        self.ctes.truncate(mark);
        self.leave();
        shape
    }

    fn simple(&mut self, select: &nodes::SelectStmt) -> Shape {
        self.open();
        let star = self.read_items(select.from_clause());
        self.condition(select.where_clause());
        // One relation's rows, shown as they are found: nothing is done with what they are worked out to.
        self.is_report = self.selects == 1
            && select.with_clause().is_none()
            && select.group_clause().is_empty()
            && select.window_clause().is_empty()
            && select.distinct_clause().is_empty()
            && select.from_clause().len() == 1
            && matches!(select.from_clause().first(), Some(Node::RangeVar(_)))
            // A query in a condition is joined as well.
            && !(self.measures && any_below(select.where_clause(), |node| matches!(node, Node::SubLink(_))));
        let shape = self.targets(plain(select.target_list()), &star);
        if self.measures && !(self.is_report && select.sort_clause().is_empty()) {
            // How much memory its rows took to be joined or sorted stands in the plan.
            self.probe(&Value::of_set(shape.all()));
        }
        self.is_report = false;
        for key in select.group_clause() {
            self.key(key, &shape);
        }
        self.condition(select.having_clause());
        for window in select.window_clause() {
            match window {
                Node::WindowDef(window) => self.window(window),
                _ => self.unknown(STRANGE_NODE),
            }
        }
        for key in select.distinct_clause() {
            match key {
                // Plain DISTINCT: all columns are compared.
                Node::None => self.probe(&Value::of_set(shape.all())),
                key => self.key(key, &shape),
            }
        }
        self.order_and_limit(select, &shape);
        self.close();
        shape
    }

    fn order_and_limit(&mut self, select: &nodes::SelectStmt, shape: &Shape) {
        for key in plain(select.sort_clause()) {
            match key {
                Node::SortBy(sort) => self.key(sort.node(), shape),
                _ => self.unknown(STRANGE_NODE),
            }
        }
        self.strict(select.limit_offset());
        self.strict(select.limit_count());
    }

    /// A key of ORDER BY, GROUP BY or DISTINCT ON: a result column by number or name, or an expression.
    fn key(&mut self, node: Node<'_>, shape: &Shape) {
        if !self.enter() {
            return;
        }
        match node {
            Node::A_Const(constant) => {
                if let Some(ConstValue::Integer(number)) = constant.val() {
                    let field = usize::try_from(number)
                        .ok()
                        .and_then(|n| shape.fields.get(n.checked_sub(1)?));
                    match (field, &shape.rest) {
                        (Some(field), None) if !shape.has_loose_labels() => self.probe(&field.value),
                        _ => self.probe(&Value::of_set(shape.all())),
                    }
                }
            }
            Node::ColumnRef(column) if column.fields().len() == 1 => {
                let name = column.fields().first().and_then(Node::as_str).unwrap_or_default();
                let of_result = shape.column(name).map(|(value, _)| value);
                let mut of_input = self.unqualified(name);
                if of_result.is_none()
                    && let Some(doubt) = of_input.as_ref().and_then(|value| self.belt.doubt(column, value))
                {
                    of_input = Some(doubt);
                }
                if of_result.is_none() && of_input.is_none() {
                    return {
                        self.strict(node);
                        self.leave();
                    };
                }
                for value in [of_result, of_input].into_iter().flatten() {
                    self.touch(&value);
                    self.probe(&value);
                }
            }
            Node::GroupingSet(set) => set.content().iter().for_each(|key| self.key(key, shape)),
            Node::RowExpr(row) => row.args().iter().for_each(|key| self.key(key, shape)),
            Node::NodeList(list) => list.iter().for_each(|key| self.key(key, shape)),
            node => self.strict(node),
        }
        self.leave();
    }

    /// PARTITION BY, ORDER BY and the frame of a window.
    pub(super) fn window(&mut self, window: &nodes::WindowDef) {
        let none = Shape::default();
        for key in window.partition_clause() {
            self.strict(key);
        }
        for key in plain(window.order_clause()) {
            match key {
                Node::SortBy(sort) => match sort.node() {
                    Node::A_Const(_) => {}
                    node => self.key(node, &none),
                },
                _ => self.unknown(STRANGE_NODE),
            }
        }
        self.strict(window.start_offset());
        self.strict(window.end_offset());
    }

    /// A target or RETURNING list.
    pub(super) fn targets(&mut self, targets: &NodeList, star: &Shape) -> Shape {
        let mut shape = Shape::default();
        for target in targets {
            let Node::ResTarget(target) = target else {
                return Shape::opaque(self.anything(STRANGE_NODE));
            };
            let value = target.val();
            let more = match (last_star(value), value) {
                (true, Node::ColumnRef(column)) => {
                    let parts: Vec<&str> = column.fields().iter().filter_map(Node::as_str).collect();
                    match parts.last() {
                        None => star.clone(),
                        Some(relation) => self.star_of_parts(&parts, relation),
                    }
                }
                (true, Node::A_Indirection(path)) => match self.indirection(path) {
                    // Of a relation's row, there may be more by then.
                    Value::Row(fields) => Shape::of(fields.to_vec()).uncertain(),
                    value => Shape::opaque(value),
                },
                _ => {
                    let name = target.name().map(str::to_owned).or_else(|| chosen_name(value, 0));
                    let value = self.value(value);
                    Shape::of(vec![Field::new(name.as_deref(), value)])
                }
            };
            self.touch(&Value::of_set(more.all()));
            shape = beside(shape, more);
        }
        shape
    }

    /// What `relation.*` or `schema.relation.*` expands to.
    fn star_of_parts(&self, parts: &[&str], relation: &str) -> Shape {
        if parts.len() > 1 && self.is_shared(Some(relation)) {
            return Shape::opaque(self.in_reach());
        }
        let shape = self.star_of(relation);
        match self.belt.doubt_row(parts) {
            Some(doubt) if shape.all().is_empty() => Shape::opaque(doubt),
            _ => shape,
        }
    }

    fn values_lists(&mut self, select: &nodes::SelectStmt) -> Shape {
        self.open();
        let mut columns: Vec<Value> = Vec::new();
        let mut is_even = true;
        let rows = select.values_lists().len();
        for (index, row) in select.values_lists().iter().enumerate() {
            let Node::NodeList(row) = row else {
                self.close();
                return Shape::opaque(self.anything(STRANGE_NODE));
            };
            for (at, node) in row.iter().enumerate() {
                is_even &= !last_star(node) && (index == 0 || row.len() == columns.len());
                let mut value = self.value(node);
                if rows > 1 {
                    value = self.listed_value(&value);
                }
                match columns.get_mut(at) {
                    Some(column) => {
                        self.one_type(column, &value);
                        *column = column.or(&value);
                    }
                    None => columns.push(value),
                }
            }
        }
        let fields = (1..).zip(columns).map(|(number, value)| {
            let name = format!("column{number}");
            Field::new(Some(&name), value)
        });
        let mut shape = Shape::of(fields.collect());
        if !is_even {
            shape.rest = Some(Value::of_set(shape.all()));
        }
        // ORDER BY sees the list's columns.
        if let Some(level) = self.levels.last_mut() {
            level.items.push(Item {
                name: Some(VALUES_NAME.to_owned()),
                shape: shape.clone(),
                is_relation: false,
                is_renamed: false,
            });
        }
        self.order_and_limit(select, &shape);
        self.close();
        shape
    }

    /// UNION, INTERSECT, EXCEPT. The left spine of a chain is followed in a loop: it may be long.
    fn set_operation(&mut self, select: &nodes::SelectStmt) -> Shape {
        let mut arms = Vec::new();
        let mut compares = false;
        let mut current = select;
        loop {
            compares |= !current.all || current.op != SetOperation::SETOP_UNION;
            arms.extend(current.rarg());
            let Some(left) = current.larg() else { break };
            let is_chain = left.op != SetOperation::SETOP_NONE
                && left.with_clause().is_none()
                && plain(left.sort_clause()).is_empty()
                && matches!(left.limit_count(), Node::None)
                && matches!(left.limit_offset(), Node::None);
            if !is_chain {
                arms.push(left);
                break;
            }
            current = left;
        }
        let mut shape: Option<Shape> = None;
        for arm in arms.into_iter().rev() {
            let next = self.select(arm);
            let next = self.listed(next);
            shape = Some(match shape {
                None => next,
                Some(before) => {
                    for (one, two) in before.fields.iter().zip(&next.fields) {
                        self.one_type(&one.value, &two.value);
                    }
                    before.or(&next)
                }
            });
        }
        let shape = shape.unwrap_or_default();
        if compares {
            self.probe(&Value::of_set(shape.all()));
        }
        // ORDER BY sees the result's columns and nothing else.
        self.open();
        let item = Item {
            name: None,
            shape: shape.clone(),
            is_relation: false,
            is_renamed: false,
        };
        if let Some(level) = self.levels.last_mut() {
            level.items.push(item);
        }
        self.order_and_limit(select, &shape);
        self.close();
        shape
    }

    /// Rows of several queries have columns of one type, which what was chosen may not fit.
    fn one_type(&mut self, one: &Value, two: &Value) {
        for value in [one, two] {
            if value.is_chosen() {
                self.probe(value);
            }
        }
    }

    /// Enters a WITH list's names. The caller takes them out of scope.
    pub(super) fn with(&mut self, with: Option<&nodes::WithClause>) {
        let Some(with) = with else { return };
        let mut ctes = Vec::new();
        for node in plain(with.ctes()) {
            match node {
                Node::CommonTableExpr(cte) => ctes.push(cte),
                _ => self.unknown(STRANGE_NODE),
            }
        }
        if with.recursive {
            return self.with_recursive(&ctes);
        }
        for cte in ctes {
            let shape = self.query(cte.ctequery());
            let shape = self.named_cte(cte, shape);
            self.ctes
                .push((cte.ctename().unwrap_or_default().to_owned(), Cte { shape }));
        }
    }

    /// Every name is in scope in every query of the list. Starts with the terms that need none of them and goes on until
    /// nothing changes.
    fn with_recursive(&mut self, ctes: &[&nodes::CommonTableExpr]) {
        let base = self.ctes.len();
        for cte in ctes {
            let shape = Shape::opaque(Value::OTHER);
            self.ctes
                .push((cte.ctename().unwrap_or_default().to_owned(), Cte { shape }));
        }
        for (at, cte) in ctes.iter().enumerate() {
            let first = match cte.ctequery() {
                Node::SelectStmt(select)
                    if select.op == SetOperation::SETOP_UNION && select.with_clause().is_none() =>
                {
                    select.larg().map(|left| self.select(left))
                }
                _ => None,
            };
            if let Some(shape) = first {
                self.ctes[base + at].1.shape = self.named_cte(cte, endless(shape));
            }
        }
        for _ in 0..ROUNDS_MAX {
            let mut is_settled = true;
            for (at, cte) in ctes.iter().enumerate() {
                let shape = endless(self.query(cte.ctequery()));
                let shape = self.named_cte(cte, shape);
                let known = &mut self.ctes[base + at].1.shape;
                if known.fields != shape.fields || known.rest != shape.rest {
                    is_settled = false;
                    *known = shape;
                }
            }
            if is_settled {
                return;
            }
        }
        self.unknown(TOO_DEEP);
    }

    /// A WITH query's columns under their names, with those that SEARCH and CYCLE add.
    fn named_cte(&mut self, cte: &nodes::CommonTableExpr, shape: Shape) -> Shape {
        let mut shape = self.listed(shape).renamed(cte.aliascolnames());
        let mut added = Vec::new();
        if let Some(search) = cte.search_clause() {
            added.push(search.search_seq_column());
        }
        if let Some(cycle) = cte.cycle_clause() {
            added.extend([cycle.cycle_mark_column(), cycle.cycle_path_column()]);
            self.strict(cycle.cycle_mark_value());
            self.strict(cycle.cycle_mark_default());
        }
        if !added.is_empty() {
            let all = Value::of_set(shape.all());
            self.probe(&all);
            shape
                .fields
                .extend(added.into_iter().map(|name| Field::new(name, all.clone())));
        }
        shape
    }
}

/// What the server calls a list of values.
pub(super) const VALUES_NAME: &str = "*VALUES*";

/// Rows that may be as many as wished for.
fn endless(mut shape: Shape) -> Shape {
    for field in &mut shape.fields {
        if field.value.is_clean() {
            field.value = Value::OTHER;
        }
    }
    shape
}

/// `*`, `t.*` and `(value).*`, which the server expands.
pub(super) fn last_star(node: Node<'_>) -> bool {
    let last = match node {
        Node::ColumnRef(column) => column.fields().iter().next_back(),
        Node::A_Indirection(path) => path.indirection().iter().next_back(),
        _ => None,
    };
    matches!(last, Some(Node::A_Star(_)))
}

/// The name that the server gives a column without an alias; `None` where that is not worked out here.
fn chosen_name(node: Node<'_>, depth: u32) -> Option<String> {
    if depth > 16 {
        return None;
    }
    match node {
        Node::ColumnRef(column) => column
            .fields()
            .iter()
            .rev()
            .find_map(Node::as_str)
            .map(str::to_owned),
        Node::FuncCall(call) => call.funcname().iter().next_back()?.as_str().map(str::to_owned),
        Node::A_Indirection(path) => {
            let last = path.indirection().iter().rev().find_map(Node::as_str);
            last.map(str::to_owned)
                .or_else(|| chosen_name(path.arg(), depth + 1))
        }
        Node::CollateClause(collate) => chosen_name(collate.arg(), depth + 1),
        Node::TypeCast(cast) => match cast.arg() {
            // What has no name of its own goes by its type.
            Node::A_Const(_)
            | Node::ParamRef(_)
            | Node::BoolExpr(_)
            | Node::NullTest(_)
            | Node::BooleanTest(_) => builtin_name(plain(cast.type_name()?.names())).map(str::to_owned),
            arg @ (Node::ColumnRef(_) | Node::FuncCall(_)) => chosen_name(arg, depth + 1),
            // Of several casts it depends on what is below them.
            _ => None,
        },
        _ => None,
    }
}
