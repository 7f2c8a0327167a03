//! Arrays: what they are made of has to fit, and the server says when it does not.
//! Source: PostgreSQL manual, "Array Constructors".

use linegate_policy::ColumnId;
use pg_raw_parse::{Node, nodes};

use super::expr::{is_json, is_number_or_time, is_text};
use super::scope::Shape;
use super::value::{Escape, Value};
use super::{Reader, builtin_name, functions};
use crate::parse::plain;

impl Reader<'_> {
    /// `ARRAY[…]`: elements that are arrays themselves have to be of one size, and the server says when they are not.
    pub(super) fn array(&mut self, array: &nodes::A_ArrayExpr) -> Value {
        let values = self.values_of(array.elements());
        for (node, value) in array.elements().iter().zip(&values) {
            if !self.is_scalar(node, value) || value.is_chosen() && values.len() > 1 {
                self.probe(value);
            }
        }
        Value::made(&values).written(Escape::Quotes)
    }

    /// Whether it is certain that an expression yields no array, row or NULL array.
    pub(super) fn is_scalar(&self, node: Node<'_>, value: &Value) -> bool {
        if let Value::Exactly(column) = value {
            return self
                .index
                .type_oid(*column)
                .is_some_and(|kind| is_text(kind) || is_json(kind) || is_number_or_time(kind));
        }
        let is_text_column = |column: &ColumnId| self.index.type_oid(*column).is_some_and(is_text);
        match node {
            // The first of several texts.
            Node::CoalesceExpr(coalesce) => {
                let is_plain = |node| matches!(node, Node::A_Const(_) | Node::ColumnRef(_));
                coalesce.args().iter().all(is_plain) && value.columns().iter().all(is_text_column)
            }
            Node::A_Const(_) => true,
            Node::FuncCall(call) => builtin_name(call.funcname()).is_some_and(functions::yields_scalar),
            Node::TypeCast(cast) => cast.type_name().is_some_and(|kind| {
                let name = builtin_name(plain(kind.names()));
                kind.array_bounds().is_empty() && matches!(name, Some("text" | "varchar" | "bpchar" | "name"))
            }),
            _ => false,
        }
    }

    /// `ARRAY(SELECT …)`: rows that are arrays themselves must not be NULL, and are of one size.
    pub(super) fn array_of_rows(&mut self, link: &nodes::SubLink, rows: &Shape) -> Value {
        let first = rows.first();
        let made_by = match link.subselect() {
            Node::SelectStmt(select) => select.target_list().first().map(nodes::ResTarget::val),
            _ => None,
        };
        if !first.is_clean() && !self.is_scalar(made_by.unwrap_or(Node::None), &first) {
            self.probe(&first);
        }
        Value::made([&rows.row(), &Value::OTHER])
    }
}
