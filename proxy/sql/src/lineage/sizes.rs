//! How long texts may become by what a text of SQL does with values: how long a row is decides whether it fits, and so may tell
//! what is in it.
//! Source: PostgreSQL manual, "PostgreSQL Limits", "String Functions and Operators", "JSON Functions and Operators".

use std::cell::RefCell;

use pg_raw_parse::{ConstValue, Node};

use super::builtin_name;
use crate::walk::children::any_below;

/// Values that a text may join, in queries within each other even, without coming near the largest length that the server
/// takes (1 GB): three to the power of eight times what is stored.
const JOINED_MAX: usize = 24;

/// Texts that a statement makes of its literals are no longer than this where it computes with labelled values: beside longer
/// ones, how long a value is decides whether a row has room.
const BESIDE_BYTES_MAX: usize = 16 << 20;

/// What a text has that makes long texts.
#[derive(Default)]
pub(super) struct Sizes {
    /// Values that are joined, one by one.
    joined: usize,
    /// Something is done again and again.
    recurs: bool,
    /// Somewhere, a text of any length is made out of nothing.
    repeats: bool,
    /// Bytes of all literals, and of what they are padded to.
    literal_bytes: usize,
}

impl Sizes {
    pub(super) fn of(cores: &[Node<'_>]) -> Self {
        let sizes = RefCell::new(Self::default());
        let look = |node: Node<'_>| {
            let mut sizes = sizes.borrow_mut();
            sizes.joined += joined(node);
            sizes.repeats |= grows(node);
            sizes.recurs |= matches!(node, Node::WithClause(with) if with.recursive);
            sizes.note(node);
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

    fn note(&mut self, node: Node<'_>) {
        match node {
            Node::FuncCall(call) => match builtin_name(call.funcname()) {
                Some("array_fill") => self.repeats = true,
                Some("repeat" | "lpad" | "rpad") => self.literal_bytes += padded(call.args().get(1)),
                _ => {}
            },
            Node::A_Const(constant) => {
                if let Some(ConstValue::String(text)) = constant.val() {
                    self.literal_bytes += text.len();
                }
            }
            _ => {}
        }
    }

    /// Whether a text of any length may stand beside what is computed.
    pub(super) fn swells(&self) -> bool {
        let times = 3_usize.saturating_pow(u32::try_from(self.joined / 3).unwrap_or(u32::MAX));
        let joined_bytes = self.literal_bytes.saturating_mul(times);
        self.repeats || self.joined > 0 && self.recurs || joined_bytes > BESIDE_BYTES_MAX
    }
}

/// How many bytes a written length asks for.
fn padded(length: Option<Node<'_>>) -> usize {
    match length {
        Some(Node::A_Const(constant)) => match constant.val() {
            Some(ConstValue::Integer(number)) => usize::try_from(number).unwrap_or(0),
            _ => 0,
        },
        _ => 0,
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
