//! Whether an UPDATE's or DELETE's WHERE limits it to rows that were named.
//! Source: PostgreSQL manual, "Value Expressions", "Comparison Functions and Operators".
//!
//! Bounded means: on every arm of every OR there is a conjunct that says a column of the target *equals* something
//! that is fixed before the rows are looked at (literal, parameter, an expression without columns, a list of
//! these, one value of a sub-select that provably does not look at the target's row), or the statement is at a
//! cursor's row. Ranges, NULL tests, LIKE, plain boolean columns, sub-select lists, self-comparisons and constants
//! limit nothing that can be relied on. Doubt is unbounded.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, SetOperation, SubLinkType};
use pg_raw_parse::{Node, nodes};

use crate::parse::plain;
use crate::walk::children::{any_below, names_a_column};

/// AND within OR within AND … that is followed.
const DEPTH_MAX: u32 = 64;

/// The names by which a column can be one of the target's.
struct Target<'a> {
    /// Its alias, or its name.
    name: &'a str,
    /// Its own name.
    relation: &'a str,
    /// Other relations stand beside it, so an unqualified column may be theirs.
    joined: bool,
}

/// Whether `condition` limits a statement on `target`; `joined` if it has a FROM or USING list.
pub(crate) fn is_bounded(condition: Node<'_>, target: Option<&nodes::RangeVar>, joined: bool) -> bool {
    let Some(relation) = target else { return false };
    let alias = relation.alias().and_then(|alias| alias.aliasname());
    let target = Target {
        name: alias.or_else(|| relation.relname()).unwrap_or_default(),
        relation: relation.relname().unwrap_or_default(),
        joined,
    };
    limits(condition, &target, 0)
}

fn limits(condition: Node<'_>, target: &Target<'_>, depth: u32) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let arm = |arm| limits(arm, target, depth + 1);
    match condition {
        Node::BoolExpr(expr) => match expr.boolop {
            BoolExprType::AND_EXPR => expr.args().iter().any(arm),
            BoolExprType::OR_EXPR => !expr.args().is_empty() && expr.args().iter().all(arm),
            _ => false,
        },
        Node::CurrentOfExpr(_) => true,
        Node::A_Expr(expr) => equates(expr, target),
        _ => false,
    }
}

/// `=`, `IS NOT DISTINCT FROM`, `IN` and `= ANY` with a column on one side and fixed values on the other.
fn equates(expr: &nodes::A_Expr, target: &Target<'_>) -> bool {
    let (left, right) = (expr.lexpr(), expr.rexpr());
    match expr.kind {
        A_Expr_Kind::AEXPR_OP if is_equals(expr.name()) => equal(left, right, target),
        // Any number of rows may have no value.
        A_Expr_Kind::AEXPR_NOT_DISTINCT if is_null(left) || is_null(right) => false,
        A_Expr_Kind::AEXPR_NOT_DISTINCT => equal(left, right, target),
        A_Expr_Kind::AEXPR_OP_ANY if is_equals(expr.name()) => {
            is_column(left, target) && is_fixed_list(right)
        }
        A_Expr_Kind::AEXPR_IN if is_equals(expr.name()) => match right {
            Node::NodeList(values) => is_among(left, values, target),
            _ => false,
        },
        _ => false,
    }
}

/// The built-in operator, not somebody's `OPERATOR(app.=)`.
fn is_equals(name: &NodeList) -> bool {
    let mut parts = name.iter().map(Node::as_str);
    matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some(Some("=")), None, None) | (Some(Some("pg_catalog")), Some(Some("=")), None)
    )
}

fn equal(left: Node<'_>, right: Node<'_>, target: &Target<'_>) -> bool {
    match (left, right) {
        (Node::RowExpr(left), Node::RowExpr(right)) if left.args().len() == right.args().len() => left
            .args()
            .iter()
            .zip(right.args())
            .any(|(left, right)| one_equals(left, right, target) || one_equals(right, left, target)),
        _ => one_equals(left, right, target) || one_equals(right, left, target),
    }
}

fn one_equals(column: Node<'_>, value: Node<'_>, target: &Target<'_>) -> bool {
    is_column(column, target) && is_fixed(value, target)
}

fn is_among(left: Node<'_>, values: &NodeList, target: &Target<'_>) -> bool {
    if values.is_empty() {
        return false;
    }
    match left {
        Node::RowExpr(row) => row.args().iter().enumerate().any(|(index, part)| {
            is_column(part, target)
                && values.iter().all(|value| match value {
                    Node::RowExpr(value) => value
                        .args()
                        .get(index)
                        .is_some_and(|value| is_fixed(value, target)),
                    _ => false,
                })
        }),
        _ => is_column(left, target) && values.iter().all(|value| is_fixed(value, target)),
    }
}

/// A column that differs between rows and is, as far as the text tells, the target's.
fn is_column(node: Node<'_>, target: &Target<'_>) -> bool {
    // The same for all rows of a table, or of a transaction.
    const SHARED: &[&str] = &["tableoid", "xmin", "xmax", "cmin", "cmax"];
    let column = match node {
        Node::ColumnRef(column) => column,
        Node::CollateClause(collate) => return is_column(collate.arg(), target),
        _ => return false,
    };
    let mut parts = column.fields().iter().rev().map(Node::as_str);
    match (parts.next(), parts.next()) {
        (Some(Some(name)), None) => !target.joined && !SHARED.contains(&name),
        (Some(Some(name)), Some(Some(relation))) => relation == target.name && !SHARED.contains(&name),
        _ => false,
    }
}

/// Several values, none of which depends on a row.
fn is_fixed_list(node: Node<'_>) -> bool {
    !any_below(node, |node| matches!(node, Node::ColumnRef(_) | Node::SubLink(_)))
}

fn is_null(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => constant.isnull,
        Node::TypeCast(cast) => is_null(cast.arg()),
        _ => false,
    }
}

/// A value that does not depend on the target's row, nor is looked up among the target's rows.
fn is_fixed(node: Node<'_>, target: &Target<'_>) -> bool {
    match node {
        Node::None => false,
        Node::SubLink(link) if link.sub_link_type == SubLinkType::EXPR_SUBLINK => {
            !names_a_column(link.testexpr()) && is_uncorrelated(link.subselect(), target)
        }
        _ => is_fixed_list(node),
    }
}

/// A plain sub-select all of whose columns say which of its own relations they are from. An unqualified column could
/// be the target's: `id = (SELECT id FROM somewhere_without_id)` is true for every row.
fn is_uncorrelated(node: Node<'_>, target: &Target<'_>) -> bool {
    let Node::SelectStmt(select) = node else {
        return false;
    };
    if select.op != SetOperation::SETOP_NONE
        || select.with_clause().is_some()
        || select.into_clause().is_some()
    {
        return false;
    }
    let mut own = Vec::new();
    let mut items: Vec<Node<'_>> = select.from_clause().iter().collect();
    while let Some(item) = items.pop() {
        match item {
            Node::RangeVar(relation) if relation.relname() == Some(target.relation) => return false,
            Node::RangeVar(relation) => {
                let alias = relation.alias().and_then(|alias| alias.aliasname());
                own.extend(alias.or_else(|| relation.relname()));
            }
            // An alias on a join hides the names inside it.
            Node::JoinExpr(join) if join.alias().is_none() => items.extend([join.larg(), join.rarg()]),
            _ => return false,
        }
    }
    let is_strange = |node| match node {
        Node::SubLink(_) | Node::RangeSubselect(_) => true,
        Node::ColumnRef(column) => {
            let mut fields = column.fields().iter();
            match (fields.next().map(Node::as_str), fields.next(), fields.next()) {
                (Some(Some(first)), Some(_), None) => !own.contains(&first),
                _ => true,
            }
        }
        _ => false,
    };
    let lists = [
        select.distinct_clause(),
        plain(select.target_list()),
        select.from_clause(),
        select.group_clause(),
        select.window_clause(),
        select.values_lists(),
        plain(select.sort_clause()),
    ];
    let nodes = [
        select.where_clause(),
        select.having_clause(),
        select.limit_offset(),
        select.limit_count(),
    ];
    !lists
        .into_iter()
        .map(Node::NodeList)
        .chain(nodes)
        .any(|node| any_below(node, is_strange))
}
