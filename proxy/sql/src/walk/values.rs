//! Where written values are from: the text itself, or rows that are there.
//! Source: PostgreSQL manual, "INSERT", "UPDATE", "MERGE".

use pg_raw_parse::raw::SetOperation;
use pg_raw_parse::{Node, nodes};

use super::children::any_below;
use crate::parse::plain;

/// The row that an INSERT proposed, in its ON CONFLICT clause.
const EXCLUDED: &str = "excluded";

/// Whether assigned values (subscripts included) name a column or hold a query. With `own_row`, columns of `excluded`
/// count as what they are: values of the INSERT's text.
pub(super) fn moves(values: Node<'_>, own_row: bool) -> bool {
    any_below(values, |node| match node {
        Node::SubLink(_) | Node::SelectStmt(_) => true,
        Node::ColumnRef(column) => !(own_row && is_excluded(column)),
        _ => false,
    })
}

/// Whether an INSERT's rows are what its text says: DEFAULT VALUES, or VALUES without a query in it.
pub(super) fn is_text(source: Node<'_>) -> bool {
    match source {
        Node::None => true,
        Node::SelectStmt(values) => {
            values.op == SetOperation::SETOP_NONE
                && values.with_clause().is_none()
                && !values.values_lists().is_empty()
                && !moves(Node::NodeList(values.values_lists()), false)
                && !moves(Node::NodeList(plain(values.sort_clause())), false)
                && !moves(values.limit_offset(), false)
                && !moves(values.limit_count(), false)
        }
        _ => false,
    }
}

/// Whether `excluded` can only be the proposed row, because the target goes by another name.
pub(super) fn knows_excluded(target: Option<&nodes::RangeVar>) -> bool {
    target.is_some_and(|target| target.alias().is_none() && target.relname() != Some(EXCLUDED))
}

fn is_excluded(column: &nodes::ColumnRef) -> bool {
    let mut fields = column.fields().iter();
    matches!(
        (fields.next(), fields.next(), fields.next()),
        (Some(Node::String(relation)), Some(Node::String(_)), None) if relation.sval() == Some(EXCLUDED)
    )
}
