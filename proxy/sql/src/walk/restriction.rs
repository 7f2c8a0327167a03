//! The query with which backup tools set `restrict_nonsystem_relation_kind` only on servers that have it.
//! Source: PostgreSQL manual, "Client Connection Defaults", "pg_settings"; release notes of 15.8.
//!
//! `SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = '…'` hands a column to a function
//! that keeps what it is given. Both constants have to be these: whatever row a relation of that name or an operator of
//! the session's own brings up, no identity, encoding or message level takes this value.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::A_Expr_Kind;
use pg_raw_parse::{Node, nodes};

use super::expr::constant;
use super::{Walker, names};
use crate::parse::plain;

/// The relation that the query reads.
pub(super) const VIEW: &str = "pg_settings";
const COLUMN: &str = "name";
const SETTING: &str = "restrict_nonsystem_relation_kind";
const VALUE: &str = "view, foreign-table";

/// The `set_config` call of such a query: all that its target list holds.
pub(super) fn find(select: &nodes::SelectStmt) -> Option<&nodes::FuncCall> {
    let (Node::RangeVar(view), Node::ResTarget(target)) =
        (only(select.from_clause())?, only(plain(select.target_list()))?)
    else {
        return None;
    };
    let (Node::FuncCall(call), Node::A_Expr(condition)) = (target.val(), select.where_clause()) else {
        return None;
    };
    let alias = view.alias();
    if view.relname() != Some(VIEW)
        || !matches!(view.schemaname(), None | Some("pg_catalog"))
        || view.catalogname().is_some()
        || alias.is_some_and(|alias| !alias.colnames().is_empty())
    {
        return None;
    }
    let shown = alias.and_then(|alias| alias.aliasname()).unwrap_or(VIEW);
    let equates = condition.kind == A_Expr_Kind::AEXPR_OP
        && only(condition.name())?.as_str() == Some("=")
        && is_name(condition.lexpr(), shown)
        && constant(condition.rexpr()).as_deref() == Some(SETTING);
    (equates && sets(call, shown)).then_some(call)
}

/// `set_config(name, 'view, foreign-table', true or false)` and nothing that a call may have besides.
fn sets(call: &nodes::FuncCall, shown: &str) -> bool {
    let is_set_config = names::function(call.funcname()).is_some_and(|name| {
        name.name == "set_config" && matches!(name.schema.as_deref(), None | Some("pg_catalog"))
    });
    let mut arguments = call.args().iter();
    let (Some(name), Some(value), Some(is_local), None) = (
        arguments.next(),
        arguments.next(),
        arguments.next(),
        arguments.next(),
    ) else {
        return false;
    };
    is_set_config
        && !call.func_variadic
        && call.over().is_none()
        && matches!(call.agg_filter(), Node::None)
        && call.agg_order().is_empty()
        && is_name(name, shown)
        && constant(value).as_deref() == Some(VALUE)
        && constant(is_local).is_some_and(|is_local| matches!(is_local.as_str(), "on" | "off"))
}

/// The column `name`, alone or after the name under which the view is shown.
fn is_name(node: Node<'_>, shown: &str) -> bool {
    let Node::ColumnRef(column) = node else {
        return false;
    };
    let mut parts = column.fields().iter().map(Node::as_str);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Some(name)), None, None) => name == COLUMN,
        (Some(Some(relation)), Some(Some(name)), None) => relation == shown && name == COLUMN,
        _ => false,
    }
}

fn only(list: &NodeList) -> Option<Node<'_>> {
    let mut nodes = list.iter();
    let first = nodes.next()?;
    nodes.next().is_none().then_some(first)
}

impl<'a> Walker<'a> {
    /// Takes in what [`find`] found; its arguments are known.
    pub(super) fn restriction(&mut self, call: &'a nodes::FuncCall) {
        self.setting(SETTING, Some(VALUE), None);
        self.found.functions.extend(names::function(call.funcname()));
    }
}
