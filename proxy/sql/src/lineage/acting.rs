//! Columns of queries within a text whose expressions can be seen to be evaluated.
//! Source: PostgreSQL manual, "Table Expressions"; `pull_up_subqueries` (`prepjointree.c`).
//!
//! The planner puts the expression of a sub-query's column where the column is named, so it is evaluated there, or is not:
//! a name may fail. By what names it can be reached is not worked out, since joins, aliases and further queries rename it:
//! where one column acts, every name may.

use pg_raw_parse::Node;

use super::lazy::is_quiet;
use crate::parse::plain;
use crate::walk::children::any_below;

/// Whether a column of a query below these nodes may be seen to be evaluated.
pub(super) fn acts(nodes: &[Node<'_>]) -> bool {
    let look = |node: Node<'_>| match node {
        Node::RangeSubselect(sub) => query_acts(sub.subquery()),
        Node::CommonTableExpr(cte) => query_acts(cte.ctequery()),
        _ => false,
    };
    nodes.iter().any(|node| any_below(*node, look))
}

/// Whether an expression names a column.
pub(super) fn is_named(node: Node<'_>) -> bool {
    any_below(node, |node| matches!(node, Node::ColumnRef(_)))
}

fn query_acts(query: Node<'_>) -> bool {
    let mut work = vec![query];
    while let Some(node) = work.pop() {
        // What changes rows is evaluated whatever is asked of it.
        let Node::SelectStmt(select) = node else { continue };
        let arms = [select.larg(), select.rarg()];
        work.extend(arms.into_iter().flatten().map(Node::from));
        let mut targets = plain(select.target_list()).iter();
        let acts = |target: Node<'_>| match target {
            Node::ResTarget(target) => !is_quiet(target.val(), 0),
            _ => true,
        };
        if targets.any(acts) || select.values_lists().iter().any(|row| !is_quiet(row, 0)) {
            return true;
        }
    }
    false
}
