//! How long texts may become by what a text of SQL does with values: how long a row is decides whether it fits, and so may tell
//! what is in it.
//! Source: PostgreSQL manual, "PostgreSQL Limits", "String Functions and Operators", "JSON Functions and Operators".

use std::cell::RefCell;

use pg_raw_parse::{ConstValue, Node};

use super::builtin_name;
use crate::parse::plain;
use crate::walk::children::any_below;

/// Values that a text may join, in queries within each other even, without coming near the largest length that the server
/// takes (1 GB): three to the power of eight times what is stored.
const JOINED_MAX: usize = 24;

/// Values that a text may put in quotes again after it quoted them: each time, what is quoted may become six times as long.
const QUOTED_MAX: usize = 4;

/// What a text has that makes long texts.
#[derive(Default)]
pub(super) struct Sizes {
    /// Values that are joined, one by one.
    joined: usize,
    /// Values that are written with quotes or escapes where they hold something to be escaped, as text at once or when cast.
    quoted: usize,
    escaped: usize,
    /// Those that are made text.
    made_text: usize,
    /// Something is done again and again.
    recurs: bool,
    /// Somewhere, a text of any length is made out of nothing.
    repeats: bool,
}

impl Sizes {
    pub(super) fn of(cores: &[Node<'_>]) -> Self {
        let sizes = RefCell::new(Self::default());
        let look = |node: Node<'_>| {
            let mut sizes = sizes.borrow_mut();
            sizes.joined += joined(node);
            sizes.repeats |= grows(node);
            sizes.recurs |= matches!(node, Node::WithClause(with) if with.recursive);
            match escapes(node) {
                Some(Escape::Quotes) => sizes.quoted += 1,
                Some(Escape::Builds) => sizes.escaped += 1,
                Some(Escape::AsText) => sizes.made_text += 1,
                None => {}
            }
            false
        };
        let is_unknown = cores.iter().any(|node| any_below(*node, look));
        let mut sizes = sizes.into_inner();
        sizes.repeats |= is_unknown;
        sizes
    }

    /// Whether joined texts may become too long for the server.
    pub(super) fn grows(&self) -> bool {
        self.repeats || self.joined > JOINED_MAX || self.joined > 0 && self.recurs
    }

    /// Whether how long something is may be made to tell what a value holds, many times over.
    pub(super) fn swells(&self) -> bool {
        let again = self.quoted + self.escaped.min(self.made_text);
        self.repeats || again > QUOTED_MAX || again > 0 && self.recurs
    }
}

/// A call that makes a text of any length out of nothing.
fn grows(node: Node<'_>) -> bool {
    let Node::FuncCall(call) = node else { return false };
    let is_small = |at: usize| match call.args().get(at) {
        Some(Node::A_Const(constant)) => {
            matches!(constant.val(), Some(ConstValue::Integer(number)) if number <= 65_536)
        }
        _ => false,
    };
    match builtin_name(call.funcname()) {
        Some("repeat" | "lpad" | "rpad") => !is_small(1),
        _ => false,
    }
}

/// What writes a value with quotes or escapes where it holds something that needs them.
enum Escape {
    /// As text.
    Quotes,
    /// In a document, an array or a row: when that is written.
    Builds,
    /// A document, array or row is made text.
    AsText,
}

/// Whether a node escapes values.
fn escapes(node: Node<'_>) -> Option<Escape> {
    match node {
        Node::FuncCall(call) => match builtin_name(call.funcname())? {
            "encode" | "quote_ident" | "quote_literal" | "quote_nullable" => Some(Escape::Quotes),
            "array_agg" | "array_append" | "array_prepend" | "row_to_json" => Some(Escape::Builds),
            name if name.starts_with("json") || name.starts_with("to_json") => Some(Escape::Builds),
            _ => None,
        },
        Node::RowExpr(_) | Node::A_ArrayExpr(_) | Node::XmlExpr(_) => Some(Escape::Builds),
        Node::JsonObjectConstructor(_) | Node::JsonArrayConstructor(_) | Node::JsonScalarExpr(_) => {
            Some(Escape::Builds)
        }
        Node::XmlSerialize(_) => Some(Escape::AsText),
        Node::TypeCast(cast) if !matches!(cast.arg(), Node::A_Const(_) | Node::ParamRef(_)) => {
            let name = cast
                .type_name()
                .and_then(|kind| builtin_name(plain(kind.names())));
            let is_text = matches!(
                name,
                Some("text" | "varchar" | "bpchar" | "name" | "json" | "jsonb" | "xml")
            );
            is_text.then_some(Escape::AsText)
        }
        _ => None,
    }
}

/// How many values the joining functions and operators of a text join, one by one.
fn joined(node: Node<'_>) -> usize {
    match node {
        Node::FuncCall(call) => match builtin_name(call.funcname()) {
            Some(
                "concat" | "concat_ws" | "format" | "json_build_array" | "jsonb_build_array"
                | "json_build_object" | "jsonb_build_object",
            ) => call.args().iter().count(),
            _ => 0,
        },
        Node::A_Expr(expr) if builtin_name(expr.name()) == Some("||") => 1,
        _ => 0,
    }
}
