//! A second opinion on names: under which of them anything labelled may be reached somewhere in a text.
//! Source: PostgreSQL manual, "Table Expressions", "SELECT"; `parse_relation.c`, `parse_target.c` (FigureColname).
//!
//! `scope` works out which column a name means, as the server does; a mistake there would show a value. So here the question
//! is asked without scopes, places and order: a name is labelled when, anywhere in the text, a labelled column, an
//! expression with one, or an item that holds one goes by it. A column that `scope` finds clean counts as labelled all the
//! same if its name does, unless only one item of the whole text can be meant: `alias.column` of one plain relation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use linegate_policy::{ColumnId, LabelIndex};
use pg_raw_parse::list::{NodeList, empty_list};
use pg_raw_parse::{Node, nodes};

use super::from::called;
use super::query::{VALUES_NAME, last_star};
use super::value::{Set, Value};
use crate::parse::plain;
use crate::walk::children::any_below;
use crate::walk::names;

/// The row that an INSERT proposes, in its ON CONFLICT clause.
const PROPOSED: &str = "excluded";

/// Rounds after which names that lead to names must have settled.
const ROUNDS_MAX: usize = 64;

/// Names of one text.
#[derive(Default)]
pub(super) struct Belt {
    /// Labelled columns by their own names.
    direct: BTreeSet<String>,
    /// Other columns that hold something labelled.
    derived: BTreeSet<String>,
    /// Items with something labelled, whose whole rows go by these.
    rows: BTreeSet<String>,
    /// Functions that show something labelled.
    functions: BTreeSet<String>,
    /// Something labelled goes by a name that is not worked out.
    is_any: bool,
    /// Plain relations that one item of the text, and no other, is called.
    certain: BTreeSet<String>,
    /// Whether there is only one item at all, and no query within another.
    is_single: bool,
    /// Everything labelled in the relations of the text.
    all: Rc<Set>,
}

impl Belt {
    /// Of a text's queries.
    pub(super) fn of(nodes: &[Node<'_>], index: &LabelIndex) -> Self {
        let mut belt = Self::default();
        belt.relations(nodes, index);
        for _ in 0..ROUNDS_MAX {
            let before = (belt.derived.len(), belt.rows.len(), belt.is_any);
            let found = RefCell::new(Found::default());
            let look = |node: Node<'_>| {
                belt.look(node, &mut found.borrow_mut());
                false
            };
            let is_strange = nodes.iter().any(|node| any_below(*node, look));
            let found = found.into_inner();
            belt.derived.extend(found.names);
            belt.rows.extend(found.rows);
            belt.is_any |= found.is_any || is_strange;
            if before == (belt.derived.len(), belt.rows.len(), belt.is_any) {
                return belt;
            }
        }
        belt.is_any = true;
        belt
    }

    /// What a column that was found to be `value` may hold by its name. `None`: there is nothing to add.
    pub(super) fn doubt(&self, column: &nodes::ColumnRef, value: &Value) -> Option<Value> {
        if self.all.is_empty() || self.is_single || !value.is_clean() {
            return None;
        }
        let parts: Vec<&str> = column.fields().iter().filter_map(Node::as_str).collect();
        let Some(last) = parts.last() else {
            return Some(Value::Tainted(self.all.clone()));
        };
        if parts.len() == 2 && self.certain.contains(parts[0]) {
            return None;
        }
        let has_star = matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)));
        if has_star {
            return self.doubt_row(&parts);
        }
        let is_row = parts.len() == 1 && self.rows.contains(*last);
        let is_labelled = self.is_any || is_row || self.is_column(last);
        is_labelled.then(|| Value::Tainted(self.all.clone()))
    }

    /// The same of a whole row that was found to hold nothing labelled, by the parts of its item's name.
    pub(super) fn doubt_row(&self, parts: &[&str]) -> Option<Value> {
        let [.., last] = parts else { return None };
        if self.all.is_empty() || self.is_single || parts.len() == 1 && self.certain.contains(*last) {
            return None;
        }
        let is_labelled = self.is_any || self.rows.contains(*last);
        is_labelled.then(|| Value::Tainted(self.all.clone()))
    }

    /// The same of a keyword that older servers read as a column's name.
    pub(super) fn doubt_name(&self, name: &str) -> Option<Value> {
        let is_named = self.is_any || self.derived.contains(name) || self.direct.contains(name);
        (is_named && !self.all.is_empty()).then(|| Value::Tainted(self.all.clone()))
    }

    /// The relations: their labelled columns' names, and which names are one relation's alone.
    fn relations(&mut self, nodes: &[Node<'_>], index: &LabelIndex) {
        let counted: RefCell<BTreeMap<String, (usize, bool)>> = RefCell::default();
        let direct: RefCell<BTreeSet<String>> = RefCell::default();
        let derived: RefCell<BTreeSet<String>> = RefCell::default();
        let rows: RefCell<BTreeSet<String>> = RefCell::default();
        let functions: RefCell<BTreeSet<String>> = RefCell::default();
        let all: RefCell<Set> = RefCell::default();
        let others = RefCell::new(0usize);
        // A WITH query goes before a relation of its name.
        let queries: RefCell<BTreeSet<String>> = RefCell::default();
        for node in nodes {
            any_below(*node, |node| {
                if let Node::CommonTableExpr(cte) = node {
                    queries.borrow_mut().extend(cte.ctename().map(str::to_owned));
                }
                false
            });
        }
        let queries = queries.into_inner();
        let count = |name: Option<&str>, is_relation: bool| {
            if let Some(name) = name {
                let mut counted = counted.borrow_mut();
                let known = counted.entry(name.to_owned()).or_insert((0, true));
                known.0 += 1;
                known.1 &= is_relation;
            }
        };
        let look = |node: Node<'_>| {
            match node {
                Node::RangeVar(relation) => {
                    let name = names::relation(relation);
                    let alias = relation.alias();
                    let shown = alias
                        .and_then(nodes::Alias::aliasname)
                        .or_else(|| relation.relname());
                    let is_plain = alias.is_none_or(|alias| alias.colnames().is_empty())
                        && !queries.contains(name.name.as_str());
                    count(shown, is_plain && index.known(&name).next().is_some());
                    let mut holds = false;
                    for known in index.known(&name) {
                        for column in known.columns {
                            let id = ColumnId {
                                relation: known.oid,
                                attribute: column.number,
                            };
                            if index.is_labelled(id) {
                                holds = true;
                                all.borrow_mut().insert(id);
                                direct.borrow_mut().insert(column.name.clone());
                            }
                        }
                    }
                    if holds {
                        rows.borrow_mut().extend(shown.map(str::to_owned));
                        derived
                            .borrow_mut()
                            .extend(alias.into_iter().flat_map(|alias| strings(alias.colnames())));
                    }
                }
                Node::RangeSubselect(sub) => {
                    *others.borrow_mut() += 1;
                    count(sub.alias().and_then(nodes::Alias::aliasname), false);
                }
                Node::CommonTableExpr(cte) => {
                    *others.borrow_mut() += 1;
                    count(cte.ctename(), false);
                }
                Node::RangeFunction(function) => {
                    *others.borrow_mut() += 1;
                    let alias = function.alias().and_then(nodes::Alias::aliasname);
                    count(alias.or_else(|| called(function)), false);
                }
                Node::SelectStmt(select) if !select.values_lists().is_empty() => {
                    count(Some(VALUES_NAME), false);
                }
                Node::JoinExpr(join) => {
                    count(join.alias().and_then(nodes::Alias::aliasname), false);
                    count(join.join_using_alias().and_then(nodes::Alias::aliasname), false);
                    *others.borrow_mut() += usize::from(join.is_natural || join.alias().is_some());
                }
                Node::FuncCall(call) => {
                    if let Some(name) = names::function(call.funcname()) {
                        for meaning in index.meanings(&name).unwrap_or_default() {
                            all.borrow_mut().extend(meaning.shows.iter().copied());
                            if !meaning.shows.is_empty() {
                                functions.borrow_mut().insert(name.name.clone());
                            }
                        }
                    }
                }
                Node::ReturningClause(returning) => {
                    let given = returning
                        .options()
                        .iter()
                        .filter_map(nodes::ReturningOption::value);
                    rows.borrow_mut().extend(given.map(str::to_owned));
                }
                Node::RangeTableFunc(table) => {
                    *others.borrow_mut() += 1;
                    count(
                        table
                            .alias()
                            .and_then(nodes::Alias::aliasname)
                            .or(Some("xmltable")),
                        false,
                    );
                }
                Node::JsonTable(table) => {
                    *others.borrow_mut() += 1;
                    count(
                        table
                            .alias()
                            .and_then(nodes::Alias::aliasname)
                            .or(Some("json_table")),
                        false,
                    );
                }
                Node::SubLink(_) => *others.borrow_mut() += 1,
                _ => {}
            }
            false
        };
        for node in nodes {
            any_below(*node, look);
        }
        let counted = counted.into_inner();
        let named = counted.iter().filter(|(name, _)| *name != VALUES_NAME);
        let items: usize = named.map(|(_, (times, _))| times).sum();
        self.is_single = others.into_inner() == 0 && items <= 1;
        // Where nothing else goes by that name, it is the row that an INSERT proposes, which is followed from where it comes.
        let is_proposed = !counted.contains_key(PROPOSED);
        self.certain = counted
            .into_iter()
            .filter(|(_, (times, is_relation))| *times == 1 && *is_relation)
            .map(|(name, _)| name)
            .chain(is_proposed.then(|| PROPOSED.to_owned()))
            .collect();
        self.direct = direct.into_inner();
        self.derived = derived.into_inner();
        self.rows = rows.into_inner();
        // Rows of the relation that a statement changes.
        self.rows.extend([PROPOSED, "new", "old"].map(str::to_owned));
        self.functions = functions.into_inner();
        self.all = Rc::new(all.into_inner());
    }

    /// Names that one node gives to something labelled.
    fn look(&self, node: Node<'_>, found: &mut Found) {
        match node {
            Node::RangeSubselect(sub) if self.shows(sub.subquery()) => {
                self.outputs(sub.subquery(), found);
                if let Some(alias) = sub.alias() {
                    found.rows.extend(alias.aliasname().map(str::to_owned));
                    self.renamed(sub.subquery(), alias.colnames(), found);
                }
            }
            Node::CommonTableExpr(cte) if self.shows(cte.ctequery()) => {
                self.outputs(cte.ctequery(), found);
                found.rows.extend(cte.ctename().map(str::to_owned));
                self.renamed(cte.ctequery(), cte.aliascolnames(), found);
            }
            // Their columns have names of their own, for ORDER BY as well.
            Node::SelectStmt(select) if !select.values_lists().is_empty() => self.outputs(node, found),
            // A WITH query by its name: what it is called here is as labelled.
            Node::RangeVar(relation) => {
                let is_labelled = relation.relname().is_some_and(|name| self.rows.contains(name));
                if is_labelled && relation.schemaname().is_none() {
                    found.alias(relation.alias());
                }
            }
            Node::JoinExpr(join) if self.holds(join.larg()) || self.holds(join.rarg()) => {
                found.alias(join.alias());
                found.alias(join.join_using_alias());
            }
            Node::RangeFunction(function) if self.holds(Node::NodeList(function.functions())) => {
                found.alias(function.alias());
                // A scalar goes by the alias; other columns have names of their own.
                let alias = function.alias().and_then(nodes::Alias::aliasname);
                found.names.extend(alias.map(str::to_owned));
                found.is_any = true;
            }
            Node::RangeTableFunc(table) if self.holds(table.docexpr()) || self.holds(table.rowexpr()) => {
                found.alias(table.alias());
                found.is_any = true;
            }
            Node::JsonTable(table) if any_below(node, |node| self.is_labelled(node)) => {
                found.alias(table.alias());
                found.is_any = true;
            }
            _ => {}
        }
    }

    /// Whether a column of a query may hold something labelled.
    fn shows(&self, query: Node<'_>) -> bool {
        self.holds(query) && self.places(query).is_none_or(|places| !places.is_empty())
    }

    /// New names for a query's columns, by place: all of them where places cannot be told.
    fn renamed(&self, query: Node<'_>, given: &NodeList, found: &mut Found) {
        let places = self.places(query);
        for (at, name) in given.iter().enumerate() {
            let is_labelled = places.as_ref().is_none_or(|places| places.contains(&at));
            found
                .names
                .extend(name.as_str().filter(|_| is_labelled).map(str::to_owned));
        }
    }

    /// Which of a query's columns hold something labelled; `None` where a star or a list of values stands among them.
    fn places(&self, query: Node<'_>) -> Option<BTreeSet<usize>> {
        let mut labelled = BTreeSet::new();
        let mut work = vec![query];
        while let Some(node) = work.pop() {
            let Node::SelectStmt(select) = node else {
                return None;
            };
            if !select.values_lists().is_empty() {
                return None;
            }
            let arms = [select.larg(), select.rarg()];
            work.extend(arms.into_iter().flatten().map(Node::from));
            for (at, target) in plain(select.target_list()).iter().enumerate() {
                let Node::ResTarget(target) = target else {
                    return None;
                };
                if last_star(target.val()) {
                    return None;
                }
                if self.holds(target.val()) {
                    labelled.insert(at);
                }
            }
        }
        Some(labelled)
    }

    /// Names of a query's columns. Those of a set operation are its first arm's, whatever the others are called.
    fn outputs(&self, query: Node<'_>, found: &mut Found) {
        let places = self.places(query);
        let is_combined = matches!(query, Node::SelectStmt(select) if select.larg().is_some());
        // The first arm may be called whatever a star stands for.
        found.is_any |= is_combined && places.is_none();
        let mut work = vec![query];
        while let Some(node) = work.pop() {
            let targets = match node {
                Node::SelectStmt(select) => {
                    let arms = [select.larg(), select.rarg()];
                    work.extend(arms.into_iter().flatten().map(Node::from));
                    for row in select.values_lists() {
                        if let Node::NodeList(row) = row {
                            found
                                .names
                                .extend((1..=row.len()).map(|at| format!("column{at}")));
                        }
                    }
                    plain(select.target_list())
                }
                Node::InsertStmt(insert) => returned(insert.returning_clause()),
                Node::UpdateStmt(update) => returned(update.returning_clause()),
                Node::DeleteStmt(delete) => returned(delete.returning_clause()),
                Node::MergeStmt(merge) => returned(merge.returning_clause()),
                _ => {
                    found.is_any = true;
                    continue;
                }
            };
            for (at, target) in targets.iter().enumerate() {
                let Node::ResTarget(target) = target else {
                    found.is_any = true;
                    continue;
                };
                let is_labelled = match &places {
                    Some(places) => places.contains(&at),
                    None => self.holds(target.val()),
                };
                if is_labelled {
                    found.target(target);
                }
            }
        }
    }

    /// Whether something labelled is named at or below a node.
    fn holds(&self, node: Node<'_>) -> bool {
        self.is_labelled(node) || any_below(node, |node| self.is_labelled(node))
    }

    fn is_labelled(&self, node: Node<'_>) -> bool {
        match node {
            Node::ColumnRef(column) => {
                let parts: Vec<&str> = column.fields().iter().filter_map(Node::as_str).collect();
                let is_star = matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)));
                match parts.as_slice() {
                    [] => false, // the items that it stands for are looked at themselves
                    [.., relation] if is_star => self.rows.contains(*relation),
                    [name] => self.is_any || self.is_column(name) || self.rows.contains(*name),
                    [relation, name] if self.certain.contains(*relation) => self.direct.contains(*name),
                    [.., name] => self.is_any || self.is_column(name),
                }
            }
            Node::FuncCall(call) => {
                let name = call.funcname().iter().next_back().and_then(Node::as_str);
                name.is_some_and(|name| self.functions.contains(name))
            }
            Node::RangeVar(relation) => {
                let alias = relation.alias().and_then(nodes::Alias::aliasname);
                let mut shown = [alias, relation.relname()].into_iter().flatten();
                shown.any(|name| self.rows.contains(name))
            }
            _ => false,
        }
    }

    fn is_column(&self, name: &str) -> bool {
        self.direct.contains(name) || self.derived.contains(name)
    }
}

/// Names found in one round.
#[derive(Default)]
struct Found {
    names: BTreeSet<String>,
    rows: BTreeSet<String>,
    is_any: bool,
}

impl Found {
    /// What a result is called.
    fn target(&mut self, target: &nodes::ResTarget) {
        let name = match (target.name(), target.val()) {
            (Some(name), _) => Some(name),
            // Of `t.*`, the columns keep the names by which they are known.
            (None, Node::ColumnRef(column)) if last_star(target.val()) => {
                let last = column.fields().iter().rev().find_map(Node::as_str);
                return self.names.extend(last.map(str::to_owned));
            }
            (None, Node::ColumnRef(column)) => column.fields().iter().next_back().and_then(Node::as_str),
            (None, Node::FuncCall(call)) => call.funcname().iter().next_back().and_then(Node::as_str),
            _ => None,
        };
        match name {
            Some(name) => drop(self.names.insert(name.to_owned())),
            None => self.is_any = true,
        }
    }

    fn alias(&mut self, alias: Option<&nodes::Alias>) {
        let Some(alias) = alias else { return };
        self.rows.extend(alias.aliasname().map(str::to_owned));
        self.names.extend(strings(alias.colnames()));
    }
}

/// The columns of RETURNING.
fn returned(clause: Option<&nodes::ReturningClause>) -> &NodeList {
    clause.map_or(
        plain(empty_list::<nodes::ResTarget>()),
        nodes::ReturningClause::exprs,
    )
}

fn strings(names: &NodeList) -> impl Iterator<Item = String> {
    names.iter().filter_map(Node::as_str).map(str::to_owned)
}
