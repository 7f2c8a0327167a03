//! Parameters whose type something else in the text may decide.
//! Source: PostgreSQL manual, "PREPARE", "Operator Type Resolution"; `parse_param.c` (the first place that wants a type gives it).
//!
//! What a parameter is as text goes by its type: an OID is the name of a relation by then, a time goes by TimeZone. One that
//! stands in a single place is of the type that this place wants. Of several, each must be known to want a type whose values
//! are written in one way: a cast to such a type, a comparison with a column of one or with a literal, a number of rows.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use linegate_policy::{LabelIndex, Name};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::A_Expr_Kind;
use pg_raw_parse::{Node, nodes};

use super::{builtin_name, types};
use crate::walk::children::any_below;

/// The parameters of a text that names these relations, by number.
pub(super) fn doubtful<'n>(
    statements: &NodeList,
    relations: impl Iterator<Item = &'n Name>,
    index: &LabelIndex,
) -> BTreeSet<i32> {
    let columns = Columns::of(statements, relations, index);
    let (all, steady) = (Places::default(), Places::default());
    any_below(Node::NodeList(statements), |node| {
        match node {
            Node::ParamRef(_) => all.count(node),
            Node::TypeCast(cast) if cast.type_name().is_some_and(types::is_steady) => {
                steady.count(cast.arg())
            }
            Node::NullTest(test) => steady.count(test.arg()),
            Node::SelectStmt(select) => {
                steady.count(select.limit_count());
                steady.count(select.limit_offset());
            }
            Node::A_Expr(expr) if compares(expr) => {
                if columns.is_steady(expr.lexpr()) {
                    steady.count(expr.rexpr());
                    // All of a list are made one type.
                    if let Node::NodeList(list) = expr.rexpr()
                        && list.iter().all(is_of_steady_type)
                    {
                        list.iter().for_each(|node| steady.count(node));
                    }
                }
                if columns.is_steady(expr.rexpr()) {
                    steady.count(expr.lexpr());
                }
            }
            _ => {}
        }
        false
    });
    let (all, steady) = (all.0.into_inner(), steady.0.into_inner());
    let is_doubtful = |number: &i32| all[number] > 1 && steady.get(number) != all.get(number);
    all.keys().copied().filter(is_doubtful).collect()
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

/// Columns of the relations that a text names, where no name of one may be another's.
struct Columns(BTreeMap<String, bool>);

impl Columns {
    fn of<'n>(statements: &NodeList, relations: impl Iterator<Item = &'n Name>, index: &LabelIndex) -> Self {
        let mut columns = BTreeMap::new();
        if any_below(Node::NodeList(statements), names_columns) {
            return Self(columns);
        }
        for name in relations {
            let mut is_known = false;
            for column in index.known(name).flat_map(|known| known.columns) {
                is_known = true;
                let kind = column.type_oid;
                let is_steady = !types::oid_goes_by_settings(kind) && !types::oid_goes_by_names(kind);
                *columns.entry(column.name.clone()).or_insert(true) &= is_steady;
            }
            if !is_known {
                return Self(BTreeMap::new());
            }
        }
        Self(columns)
    }

    /// Whether it is a literal, or a column whose type's values are written in one way.
    fn is_steady(&self, node: Node<'_>) -> bool {
        match node {
            Node::ColumnRef(column) => {
                let last = column.fields().iter().next_back().and_then(Node::as_str);
                last.is_some_and(|name| self.0.get(name) == Some(&true))
            }
            node => is_literal(node),
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
