//! Whether an UPDATE's or DELETE's WHERE limits it to rows that were named.
//! Source: PostgreSQL manual, "Value Expressions", "Comparison Functions and Operators".
//!
//! Bounded means: on every arm of every OR there is a conjunct that says a column of the target *equals* something
//! that is fixed before the rows are looked at (literal, parameter, an expression without columns, a list of
//! these, one value of a sub-select that provably does not look at the target's row), or the statement is at a
//! cursor's row. Ranges, NULL tests, LIKE, plain boolean columns, sub-select lists, self-comparisons and constants
//! limit nothing that can be relied on. Doubt is unbounded.
//!
//! Where the catalog is known, only columns that tell rows apart count: those of unique indexes and foreign keys, and the
//! first of every index. A column of a list that the text holds (VALUES, a SELECT without FROM) is then fixed as well.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, SetOperation, SubLinkType};
use pg_raw_parse::{Node, nodes};

use linegate_policy::{LabelIndex, Name};

use crate::lineage::is_spelled_out;
use crate::parse::plain;
use crate::walk::children::{any_below, names_a_column};
use crate::walk::names;

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
    /// Names of lists that stand beside it.
    lists: Vec<&'a str>,
    /// The catalog, with its name there.
    known: Option<(&'a LabelIndex, Name)>,
}

impl Target<'_> {
    /// Whether a column of that name tells its rows apart. What the catalog does not know yet, and tables of the session's
    /// own, are judged by the text.
    fn is_key(&self, column: &str) -> bool {
        let Some((index, name)) = &self.known else {
            return true;
        };
        column == "ctid"
            || index
                .known(name)
                .all(|known| known.is_temporary() && known.kind != b'v' || known.is_key(column))
    }
}

/// Whether `condition` limits a statement on `target` with `others` in its FROM or USING list.
pub(crate) fn is_bounded<'a>(
    condition: Node<'_>,
    target: Option<&'a nodes::RangeVar>,
    others: impl Iterator<Item = Node<'a>> + Clone,
    index: Option<&'a LabelIndex>,
) -> bool {
    let Some(relation) = target else { return false };
    let alias = relation.alias().and_then(|alias| alias.aliasname());
    let lists = match index {
        Some(_) => others.clone().filter_map(list).collect(),
        None => Vec::new(),
    };
    let target = Target {
        name: alias.or_else(|| relation.relname()).unwrap_or_default(),
        relation: relation.relname().unwrap_or_default(),
        joined: others.count() > 0,
        lists,
        known: index.map(|index| (index, names::relation(relation))),
    };
    limits(condition, &target, 0)
}

/// The name of an item whose rows the text or its parameters list.
fn list(item: Node<'_>) -> Option<&str> {
    let Node::RangeSubselect(item) = item else {
        return None;
    };
    let Node::SelectStmt(select) = item.subquery() else {
        return None;
    };
    let is_plain = select.op == SetOperation::SETOP_NONE
        && select.with_clause().is_none()
        && select.into_clause().is_none()
        && select.from_clause().is_empty();
    let of_text =
        |list: &NodeList| is_fixed_list(Node::NodeList(list)) && !any_below(Node::NodeList(list), makes_rows);
    let is_listed = is_plain && of_text(select.values_lists()) && of_text(plain(select.target_list()));
    is_listed.then(|| item.alias()?.aliasname()).flatten()
}

/// A function that may return any number of rows; `unnest` returns those of its argument.
pub(crate) fn makes_rows(node: Node<'_>) -> bool {
    let Node::FuncCall(call) = node else { return false };
    let Some(name) = names::function(call.funcname()) else {
        return true;
    };
    if name
        .schema
        .as_deref()
        .is_some_and(|schema| schema != "pg_catalog")
    {
        return true;
    }
    match name.name.as_str() {
        "unnest" => !call.args().iter().all(is_spelled_out),
        name => !FIXED.contains(&name) && !ONE_VALUE.contains(&name),
    }
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
        A_Expr_Kind::AEXPR_NOT_DISTINCT if !is_value(left) && !is_value(right) => false,
        A_Expr_Kind::AEXPR_NOT_DISTINCT => equal(left, right, target),
        A_Expr_Kind::AEXPR_OP_ANY if is_equals(expr.name()) => {
            // An array may be made that holds every value there is.
            is_column(left, target) && is_spelled_out(right)
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
    if column.fields().len() > 2 {
        return false; // with its schema, it may be another relation of that name
    }
    let mut parts = column.fields().iter().rev().map(Node::as_str);
    match (parts.next(), parts.next()) {
        (Some(Some(name)), None) => !target.joined && !SHARED.contains(&name) && target.is_key(name),
        (Some(Some(name)), Some(Some(relation))) => {
            relation == target.name && !SHARED.contains(&name) && target.is_key(name)
        }
        _ => false,
    }
}

/// Several values, none of which depends on a row.
fn is_fixed_list(node: Node<'_>) -> bool {
    !any_below(node, |node| match node {
        Node::ColumnRef(_) | Node::SubLink(_) => true,
        Node::A_Indirection(path) => path.indirection().iter().any(|step| step.as_str().is_some()),
        Node::FuncCall(call) => names::function(call.funcname()).is_none_or(|name| is_restless(&name)),
        _ => false,
    })
}

/// Functions that answer the same for the same arguments, and of the same order of size.
const FIXED: &[&str] = &[
    "abs",
    "btrim",
    "char_length",
    "coalesce",
    "concat",
    "current_database",
    "date",
    "date_part",
    "date_trunc",
    "decode",
    "encode",
    "floor",
    "greatest",
    "initcap",
    "least",
    "left",
    "length",
    "lower",
    "ltrim",
    "make_date",
    "make_interval",
    "make_timestamp",
    "make_timestamptz",
    "md5",
    "now",
    "right",
    "round",
    "rtrim",
    "sha256",
    "statement_timestamp",
    "string_to_array",
    "substr",
    "substring",
    "timezone",
    "to_date",
    "to_number",
    "to_timestamp",
    "transaction_timestamp",
    "trunc",
    "unnest",
    "upper",
];

/// Others that return one value.
const ONE_VALUE: &[&str] = &[
    "array_append",
    "array_cat",
    "array_prepend",
    "array_to_string",
    "clock_timestamp",
    "concat_ws",
    "count",
    "currval",
    "format",
    "gen_random_uuid",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "max",
    "min",
    "nextval",
    "random",
    "replace",
    "sum",
    "to_char",
    "to_json",
    "to_jsonb",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// A function that may answer differently for every row, or that somebody defined.
fn is_restless(name: &Name) -> bool {
    name.schema
        .as_deref()
        .is_some_and(|schema| schema != "pg_catalog")
        || !FIXED.contains(&name.name.as_str())
}

/// A column of a list beside the target.
fn is_of_list(node: Node<'_>, target: &Target<'_>) -> bool {
    match node {
        Node::TypeCast(cast) => is_of_list(cast.arg(), target),
        Node::ColumnRef(column) => {
            let mut parts = column.fields().iter().map(Node::as_str);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Some(list)), Some(Some(_)), None) => target.lists.contains(&list),
                _ => false,
            }
        }
        _ => false,
    }
}

/// A literal that is no NULL.
fn is_value(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => !constant.isnull,
        Node::TypeCast(cast) => is_value(cast.arg()),
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
        _ => is_fixed_list(node) || is_of_list(node, target),
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
