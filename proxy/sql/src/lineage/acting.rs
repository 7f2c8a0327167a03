//! Columns of queries within a text whose expressions can be seen to be evaluated.
//! Source: PostgreSQL manual, "Table Expressions"; `pull_up_subqueries` (`prepjointree.c`).
//!
//! The planner puts the expression of a sub-query's column where the column is named, so it is evaluated there, or is not:
//! a name may fail. Names are taken as they are written, wherever they are defined; where a column gets its name in a way
//! that is not looked at here, every name counts.

use std::cell::RefCell;
use std::collections::BTreeSet;

use pg_raw_parse::{Node, nodes};

use super::builtin_name;
use super::lazy::is_quiet;
use crate::parse::plain;
use crate::walk::children::any_below;

/// Names by which something that acts may be reached.
#[derive(Default)]
pub(super) struct Acting {
    names: BTreeSet<String>,
    is_any: bool,
}

impl Acting {
    /// Of the queries below these nodes.
    pub(super) fn of(nodes: &[Node<'_>]) -> Self {
        let found = RefCell::new(Self::default());
        let look = |node: Node<'_>| {
            match node {
                Node::RangeSubselect(sub) => {
                    let alias = sub.alias();
                    let is_renamed = alias.is_some_and(|alias| !alias.colnames().is_empty());
                    let name = alias.and_then(nodes::Alias::aliasname);
                    found.borrow_mut().query(sub.subquery(), name, is_renamed);
                }
                Node::CommonTableExpr(cte) => {
                    let is_renamed = !cte.aliascolnames().is_empty();
                    found
                        .borrow_mut()
                        .query(cte.ctequery(), cte.ctename(), is_renamed);
                }
                _ => {}
            }
            false
        };
        let cannot_be_told = nodes.iter().any(|node| any_below(*node, look));
        let mut found = found.into_inner();
        found.is_any |= cannot_be_told;
        found
    }

    /// Whether an expression names such a column.
    pub(super) fn is_named(&self, node: Node<'_>) -> bool {
        if !self.is_any && self.names.is_empty() {
            return false;
        }
        any_below(node, |node| match node {
            Node::ColumnRef(column) => {
                let last = column.fields().iter().next_back().and_then(Node::as_str);
                self.is_any || last.is_none_or(|name| self.names.contains(name))
            }
            _ => false,
        })
    }

    /// The columns of one query that goes by that name.
    fn query(&mut self, query: Node<'_>, name: Option<&str>, is_renamed: bool) {
        let mut acts = false;
        let mut work = vec![query];
        while let Some(node) = work.pop() {
            // What changes rows is evaluated whatever is asked of it.
            let Node::SelectStmt(select) = node else { continue };
            work.extend(
                [select.larg(), select.rarg()]
                    .into_iter()
                    .flatten()
                    .map(Node::from),
            );
            acts |= select.values_lists().iter().any(|row| !is_quiet(row, 0));
            self.is_any |= select.values_lists().iter().any(|row| !is_quiet(row, 0));
            for target in plain(select.target_list()) {
                let Node::ResTarget(target) = target else { continue };
                if is_quiet(target.val(), 0) {
                    continue;
                }
                acts = true;
                let shown = target.name().or_else(|| match target.val() {
                    Node::FuncCall(call) => builtin_name(call.funcname()),
                    _ => None,
                });
                match shown {
                    Some(shown) => drop(self.names.insert(shown.to_owned())),
                    None => self.is_any = true,
                }
            }
        }
        // A whole row, or columns by names that stand elsewhere.
        self.is_any |= acts && is_renamed;
        self.names.extend(name.filter(|_| acts).map(str::to_owned));
    }
}
