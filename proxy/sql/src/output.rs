//! What the text alone says about the values of each result column.
//! Source: PostgreSQL manual, "SELECT", "Aggregate Functions", "Date/Time Functions", "System Information".
//!
//! Known only where the text fixes the number of columns: one SELECT or VALUES without set operation and `*`, or a
//! RETURNING list. Clean columns hold literals, parameters, counts, clocks and what is computed from these.

use linegate_policy::OutputColumn;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{A_Expr_Kind, SetOperation};
use pg_raw_parse::{Node, nodes};

use crate::parse::plain;

/// Nested expressions that are followed; what lies deeper counts as computed.
const DEPTH_MAX: u32 = 32;

/// Functions whose result holds nothing of any relation's rows, given clean arguments.
const CLEAN_FUNCTIONS: &[&str] = &[
    "abs",
    "clock_timestamp",
    "concat",
    "current_database",
    "current_schema",
    "current_setting",
    "currval",
    "gen_random_uuid",
    "generate_series",
    "lastval",
    "length",
    "lower",
    "nextval",
    "now",
    "pg_backend_pid",
    "pg_is_in_recovery",
    "random",
    "set_config",
    "setval",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "txid_current",
    "upper",
    "version",
];

/// The result columns of a text's only statement, if the text tells their number.
pub(crate) fn columns(statement: Node<'_>) -> Option<Vec<OutputColumn>> {
    let Node::RawStmt(statement) = statement else {
        return None;
    };
    match statement.stmt() {
        Node::SelectStmt(select) => of_select(select),
        Node::InsertStmt(insert) => of_returning(insert.returning_clause()),
        Node::UpdateStmt(update) => of_returning(update.returning_clause()),
        Node::DeleteStmt(delete) => of_returning(delete.returning_clause()),
        Node::MergeStmt(merge) => of_returning(merge.returning_clause()),
        _ => None,
    }
}

fn of_returning(returning: Option<&nodes::ReturningClause>) -> Option<Vec<OutputColumn>> {
    of_targets(returning?.exprs())
}

/// Whether a RETURNING list holds more than columns as they are and clean values.
pub(crate) fn shows_computed(targets: &NodeList) -> bool {
    targets.iter().any(|target| match target {
        Node::ResTarget(target) => {
            !matches!(target.val(), Node::ColumnRef(_)) && judge(target.val()) == OutputColumn::Computed
        }
        _ => true,
    })
}

fn of_select(select: &nodes::SelectStmt) -> Option<Vec<OutputColumn>> {
    if select.op != SetOperation::SETOP_NONE || select.into_clause().is_some() {
        return None;
    }
    if select.values_lists().is_empty() {
        return of_targets(plain(select.target_list()));
    }
    let mut columns: Vec<OutputColumn> = Vec::new();
    for (index, row) in select.values_lists().iter().enumerate() {
        let Node::NodeList(row) = row else { return None };
        if index == 0 {
            columns.resize(row.len(), OutputColumn::Clean);
        }
        if row.len() != columns.len() {
            return None;
        }
        for (column, value) in columns.iter_mut().zip(row) {
            if is_star(value) {
                return None;
            }
            if judge(value) == OutputColumn::Computed {
                *column = OutputColumn::Computed;
            }
        }
    }
    Some(columns)
}

fn of_targets(targets: &NodeList) -> Option<Vec<OutputColumn>> {
    targets
        .iter()
        .map(|target| match target {
            Node::ResTarget(target) if !is_star(target.val()) => Some(judge(target.val())),
            _ => None,
        })
        .collect()
}

/// `*`, `t.*` and `(value).*`, which the server expands.
fn is_star(node: Node<'_>) -> bool {
    let last = match node {
        Node::ColumnRef(column) => column.fields().iter().next_back(),
        Node::A_Indirection(path) => path.indirection().iter().next_back(),
        _ => None,
    };
    matches!(last, Some(Node::A_Star(_)))
}

fn judge(node: Node<'_>) -> OutputColumn {
    if is_clean(node, 0) {
        OutputColumn::Clean
    } else {
        OutputColumn::Computed
    }
}

fn is_clean(node: Node<'_>, depth: u32) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let clean = |node: Node<'_>| is_clean(node, depth + 1);
    let all_clean = |list: &NodeList| list.iter().all(clean);
    match node {
        Node::A_Const(_) | Node::ParamRef(_) | Node::SQLValueFunction(_) => true,
        Node::TypeCast(cast) => clean(cast.arg()),
        Node::CollateClause(collate) => clean(collate.arg()),
        Node::A_ArrayExpr(array) => all_clean(array.elements()),
        Node::CoalesceExpr(coalesce) => all_clean(coalesce.args()),
        Node::BoolExpr(expr) => all_clean(expr.args()),
        Node::A_Expr(expr) => {
            expr.kind == A_Expr_Kind::AEXPR_OP
                && is_builtin_operator(expr.name())
                && (matches!(expr.lexpr(), Node::None) || clean(expr.lexpr()))
                && clean(expr.rexpr())
        }
        Node::FuncCall(call) => is_clean_call(call, all_clean),
        _ => false,
    }
}

/// Arithmetic, comparison and `||`: not the operators that extensions add, nor a schema's own.
pub(crate) fn is_builtin_operator(name: &NodeList) -> bool {
    let mut parts = name.iter().map(Node::as_str);
    let (Some(Some(operator)), None) = (parts.next(), parts.next()) else {
        return false;
    };
    matches!(
        operator,
        "+" | "-" | "*" | "/" | "%" | "^" | "||" | "=" | "<>" | "<" | ">" | "<=" | ">="
    )
}

fn is_clean_call(call: &nodes::FuncCall, all_clean: impl Fn(&NodeList) -> bool) -> bool {
    let parts: Vec<&str> = call.funcname().iter().filter_map(Node::as_str).collect();
    match parts.as_slice() {
        ["count"] | ["pg_catalog", "count"] => true,
        [name] | ["pg_catalog", name] if CLEAN_FUNCTIONS.contains(name) => {
            call.over().is_none()
                && matches!(call.agg_filter(), Node::None)
                && call.agg_order().is_empty()
                && all_clean(call.args())
        }
        _ => false,
    }
}
