//! Parameters whose type something else in the text may decide.
//! Source: PostgreSQL manual, "PREPARE", "Operator Type Resolution"; `parse_param.c` (the first place that wants a type gives it).
//!
//! What a parameter is as text goes by its type: an OID is the name of a relation by then, a time goes by TimeZone. One that
//! stands in a single place is of the type that this place wants. Of several, each must be known to want a type whose values
//! are written in one way: a cast to such a type, a comparison with a column of one or with a literal, a number of rows.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use linegate_policy::LabelIndex;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::A_Expr_Kind;
use pg_raw_parse::{Node, nodes};

use super::statement::core;
use super::{builtin_name, types};
use crate::walk::children::any_below;
use crate::walk::names;

/// Parameters of a text, by number.
pub(super) struct Doubtful {
    /// `None` for all that there are.
    pub numbers: Option<BTreeSet<i32>>,
    /// Others are known by columns that they are compared with, as the catalog has these.
    pub by_columns: bool,
    /// Those that are text wherever they stand.
    pub texts: BTreeSet<i32>,
}

pub(super) fn doubtful(statements: &NodeList, index: &LabelIndex) -> Doubtful {
    let queries: Vec<Node<'_>> = statements.iter().map(core).collect();
    let columns = Columns::of(&queries, index);
    let (all, steady, beside_columns) = (Places::default(), Places::default(), Places::default());
    let texts = Places::default();
    let lists: RefCell<Vec<BTreeSet<i32>>> = RefCell::default();
    let beside = |node: Node<'_>, other: Node<'_>| {
        steady.count(other);
        if matches!(node, Node::ColumnRef(_)) {
            beside_columns.count(other);
        }
    };
    let look = |node: Node<'_>| {
        match node {
            Node::ParamRef(_) => all.count(node),
            // What takes other types than text is not followed where it takes them apart.
            Node::FuncCall(call) if takes_text(call, index) => {
                call.args().iter().for_each(|argument| texts.count(argument));
            }
            Node::TypeCast(cast) if cast.type_name().is_some_and(types::is_steady) => {
                steady.count(cast.arg());
                if cast.type_name().is_some_and(types::is_text) {
                    texts.count(cast.arg());
                }
            }
            Node::NullTest(test) => {
                steady.count(test.arg());
                texts.count(test.arg());
            }
            Node::SelectStmt(select) => {
                steady.count(select.limit_count());
                steady.count(select.limit_offset());
            }
            Node::A_Expr(expr) if compares(expr) => {
                if columns.is_steady(expr.lexpr()) {
                    beside(expr.lexpr(), expr.rexpr());
                    // All of a list are made one type.
                    if let Node::NodeList(list) = expr.rexpr()
                        && list.iter().all(is_of_steady_type)
                    {
                        list.iter().for_each(|node| beside(expr.lexpr(), node));
                        lists
                            .borrow_mut()
                            .push(list.iter().filter_map(number_of).collect());
                    }
                }
                if columns.is_steady(expr.rexpr()) {
                    beside(expr.rexpr(), expr.lexpr());
                }
            }
            _ => {}
        }
        false
    };
    if queries.iter().any(|query| any_below(*query, look)) {
        // Something in it is not known here.
        return Doubtful {
            numbers: None,
            by_columns: false,
            texts: BTreeSet::new(),
        };
    }
    let (all, steady) = (all.0.into_inner(), steady.0.into_inner());
    let beside_columns = beside_columns.0.into_inner();
    let is_doubtful = |number: &i32| all[number] > 1 && steady.get(number) != all.get(number);
    let is_by_columns = |number: &i32| all.get(number).is_some_and(|places| *places > 1);
    let mut numbers: BTreeSet<i32> = all.keys().copied().filter(is_doubtful).collect();
    // In a list, one gives the others its type.
    let mut lists = lists.into_inner();
    while let Some(place) = lists.iter().position(|list| !list.is_disjoint(&numbers)) {
        numbers.extend(lists.swap_remove(place));
    }
    let texts = texts.0.into_inner();
    let is_text = |number: &i32| texts.get(number) == all.get(number);
    Doubtful {
        texts: all.keys().copied().filter(is_text).collect(),
        numbers: Some(numbers),
        by_columns: beside_columns.keys().any(is_by_columns),
    }
}

fn takes_text(call: &nodes::FuncCall, index: &LabelIndex) -> bool {
    let is_own = |name: &linegate_policy::Name| index.is_user_function(&name.name);
    builtin_name(call.funcname()) == Some("string_to_array")
        || names::function(call.funcname()).is_some_and(|name| is_own(&name))
}

/// How often each parameter stands somewhere.
#[derive(Default)]
struct Places(RefCell<BTreeMap<i32, u32>>);

impl Places {
    fn count(&self, node: Node<'_>) {
        if let Node::ParamRef(parameter) = node {
            *self.0.borrow_mut().entry(parameter.number).or_default() += 1;
        }
    }
}

/// Comparisons whose sides are of one type.
fn compares(expr: &nodes::A_Expr) -> bool {
    let is_kind = matches!(
        expr.kind,
        A_Expr_Kind::AEXPR_OP
            | A_Expr_Kind::AEXPR_OP_ANY
            | A_Expr_Kind::AEXPR_IN
            | A_Expr_Kind::AEXPR_DISTINCT
            | A_Expr_Kind::AEXPR_NOT_DISTINCT
            | A_Expr_Kind::AEXPR_LIKE
            | A_Expr_Kind::AEXPR_ILIKE
            | A_Expr_Kind::AEXPR_BETWEEN
    );
    let is_known = builtin_name(expr.name()).is_some_and(|name| {
        matches!(
            name,
            "=" | "<>" | "<" | ">" | "<=" | ">=" | "~~" | "!~~" | "~~*" | "!~~*" | "BETWEEN"
        )
    });
    is_kind && is_known
}

/// Columns of labelled relations, by what these are called: nobody under a mask gives them other types. Of other relations, the open
/// transaction may have made something else than the catalog says.
#[derive(Default)]
struct Columns {
    items: BTreeMap<String, BTreeMap<String, bool>>,
    /// There are no others, so that a column without its relation is one of theirs.
    is_all: bool,
}

impl Columns {
    fn of(queries: &[Node<'_>], index: &LabelIndex) -> Self {
        let columns = RefCell::new(Self {
            is_all: true,
            ..Self::default()
        });
        let look = |node: Node<'_>| {
            if let Node::RangeVar(relation) = node {
                columns.borrow_mut().add(relation, index);
            }
            names_columns(node)
        };
        match queries.iter().any(|query| any_below(*query, look)) {
            true => Self::default(),
            false => columns.into_inner(),
        }
    }

    fn add(&mut self, relation: &nodes::RangeVar, index: &LabelIndex) {
        let name = names::relation(relation);
        let called = relation.alias().and_then(|alias| alias.aliasname());
        let called = called.unwrap_or(&name.name).to_owned();
        let mut own: Option<BTreeMap<String, bool>> = None;
        for known in index.known(&name) {
            if !known.is_labelled {
                own = None;
                break;
            }
            let columns = own.get_or_insert_default();
            for column in known.columns {
                let kind = column.type_oid;
                let is_steady = !types::oid_goes_by_settings(kind) && !types::oid_goes_by_names(kind);
                *columns.entry(column.name.clone()).or_insert(true) &= is_steady;
            }
        }
        self.is_all &= own.is_some();
        let own = own.unwrap_or_default();
        match self.items.get_mut(&called) {
            // Two of one name: what both have.
            Some(columns) => columns.retain(|name, is_steady| {
                *is_steady &= own.get(name) == Some(&true);
                *is_steady
            }),
            None => {
                self.items.insert(called, own);
            }
        }
    }

    /// Whether it is a literal, or a column whose type's values are written in one way.
    fn is_steady(&self, node: Node<'_>) -> bool {
        let Node::ColumnRef(column) = node else {
            return is_literal(node);
        };
        let parts: Vec<&str> = column.fields().iter().filter_map(Node::as_str).collect();
        match parts[..] {
            [name] if self.is_all && column.fields().len() == 1 => {
                let mut found = self
                    .items
                    .values()
                    .filter_map(|columns| columns.get(name))
                    .peekable();
                found.peek().is_some() && found.all(|is_steady| *is_steady)
            }
            [item, name] if column.fields().len() == 2 => {
                let columns = self.items.get(item);
                columns.and_then(|columns| columns.get(name)) == Some(&true)
            }
            _ => false,
        }
    }
}

/// A parameter, a literal, or whatever is cast to a type whose values are written in one way.
fn is_of_steady_type(node: Node<'_>) -> bool {
    match node {
        Node::ParamRef(_) | Node::A_Const(_) => true,
        Node::TypeCast(cast) => cast.type_name().is_some_and(types::is_steady),
        _ => false,
    }
}

fn number_of(node: Node<'_>) -> Option<i32> {
    match node {
        Node::ParamRef(parameter) => Some(parameter.number),
        _ => None,
    }
}

/// A literal of a type whose values are written in one way.
fn is_literal(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(_) => true,
        Node::TypeCast(cast) => {
            matches!(cast.arg(), Node::A_Const(_)) && cast.type_name().is_some_and(types::is_steady)
        }
        _ => false,
    }
}

/// Whether it gives columns that are no relation's names of their own.
fn names_columns(node: Node<'_>) -> bool {
    match node {
        Node::RangeVar(relation) => relation.alias().is_some_and(|alias| !alias.colnames().is_empty()),
        Node::JoinExpr(join) => join.alias().is_some() || join.join_using_alias().is_some(),
        Node::RangeSubselect(_)
        | Node::RangeFunction(_)
        | Node::RangeTableFunc(_)
        | Node::JsonTable(_)
        | Node::CommonTableExpr(_) => true,
        _ => false,
    }
}
