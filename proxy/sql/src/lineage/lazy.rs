//! What the server evaluates only sometimes: AND and OR, COALESCE, IN lists, BETWEEN, rows compared from the left.
//! Source: PostgreSQL manual, "Expression Evaluation Rules", "Conditional Expressions", "Row and Array Comparisons".
//!
//! Whether a later part is evaluated tells about the values before it, if that part can be seen to have been evaluated: it
//! fails, it is counted (sequences, plans), it leaves something behind. Parts that are plain reading are quiet.

use pg_raw_parse::raw::A_Expr_Kind;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::value::Value;
use super::{Reader, acting, builtin_name, functions};
use crate::parse::plain;
use crate::walk::children::any_below;

/// Expressions within each other that are looked into.
const DEPTH_MAX: u32 = 24;

/// Types to which a literal is made while the statement is read, so that it fails always or never.
const LITERALS: &[&str] = &[
    "bool",
    "bpchar",
    "bytea",
    "char",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "name",
    "numeric",
    "oid",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "varchar",
];

/// A whole number, as a literal or a column that is not text.
fn is_number(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => matches!(constant.val(), Some(ConstValue::Integer(_))),
        _ => false,
    }
}

/// Whether a subscript is written out as a number. A parameter's type, and what a literal is cast to by way of a catalog, may
/// be found not to fit only when a row's subscript is evaluated.
pub(super) fn is_fixed(node: Node<'_>) -> bool {
    matches!(node, Node::None) || is_number(node)
}

/// A literal as it stands, without a type of its own.
pub(super) fn is_plain_literal(node: Node<'_>) -> bool {
    match node {
        Node::None => true,
        Node::A_Const(constant) => !matches!(constant.val(), Some(ConstValue::Float(_))),
        _ => false,
    }
}

/// A text that is written out.
pub(super) fn is_plain_text(node: Node<'_>) -> bool {
    matches!(node, Node::A_Const(constant) if matches!(constant.val(), Some(ConstValue::String(_))))
}

/// The literal `''`.
pub(super) fn is_empty_text(node: Node<'_>) -> bool {
    matches!(node, Node::A_Const(constant) if matches!(constant.val(), Some(ConstValue::String(""))))
}

/// Functions that fail for no arguments, of whatever collation: of two that do not go together, the server says so only when
/// it compares.
const QUIET: &[&str] = &[
    "ascii",
    "btrim",
    "concat",
    "concat_ws",
    "left",
    "ltrim",
    "md5",
    "now",
    "reverse",
    "right",
    "rtrim",
];

impl Reader<'_> {
    /// Whether an expression is NULL only where what is stored is: no labelled value decides it. A function that is not
    /// called for NULL, and fails when it is called, would tell.
    pub(super) fn keeps_null(&mut self, node: Node<'_>) -> bool {
        if !self.enter() {
            return false;
        }
        let keeps = match node {
            Node::None | Node::A_Const(_) | Node::ParamRef(_) => true,
            Node::TypeCast(cast) => self.keeps_null(cast.arg()),
            Node::CollateClause(collate) => self.keeps_null(collate.arg()),
            Node::CoalesceExpr(coalesce) => coalesce.args().iter().all(|part| self.keeps_null(part)),
            Node::A_Expr(expr)
                if expr.kind == A_Expr_Kind::AEXPR_OP && builtin_name(expr.name()) == Some("||") =>
            {
                self.keeps_null(expr.lexpr()) && self.keeps_null(expr.rexpr())
            }
            Node::FuncCall(call) => {
                let keeps = match builtin_name(call.funcname()) {
                    // By a pattern, it is NULL where that is not found.
                    Some("substring") => call.args().iter().skip(1).all(is_number),
                    Some(name) => functions::keeps_null(name),
                    None => false,
                };
                let is_simple = call.over().is_none() && matches!(call.agg_filter(), Node::None);
                keeps && is_simple && call.args().iter().all(|part| self.keeps_null(part))
                    || self.value(node).is_clean()
            }
            node => self.value(node).is_plain(),
        };
        self.leave();
        keeps
    }

    /// Whether nobody can tell if an expression was evaluated, what the columns that it names stand for included.
    pub(super) fn is_quiet(&self, node: Node<'_>) -> bool {
        is_quiet(node, 0) && !(self.acts && acting::is_named(node))
    }

    /// Parts of which each may be skipped by the values of those before it.
    pub(super) fn lazily<'n>(&mut self, parts: impl IntoIterator<Item = Node<'n>>, values: &[Value]) {
        let last = parts
            .into_iter()
            .enumerate()
            .filter(|(_, part)| !self.is_quiet(*part))
            .map(|(index, _)| index)
            .last();
        for value in values.iter().take(last.unwrap_or(0)) {
            self.probe(value);
        }
    }

    /// An operation whose right side, or parts of whose rows, may not be looked at.
    pub(super) fn in_turn(&mut self, expr: &nodes::A_Expr) {
        let (left, right) = (expr.lexpr(), expr.rexpr());
        let (may_stop, sides): (bool, Vec<Node<'_>>) = match (expr.kind, right) {
            (A_Expr_Kind::AEXPR_IN, Node::NodeList(list)) => (list.len() > 1, list.iter().collect()),
            (
                A_Expr_Kind::AEXPR_BETWEEN
                | A_Expr_Kind::AEXPR_NOT_BETWEEN
                | A_Expr_Kind::AEXPR_BETWEEN_SYM
                | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM,
                Node::NodeList(bounds),
            ) => (true, bounds.iter().collect()),
            (_, right) => (false, vec![right]),
        };
        // The left side may be evaluated again for every element.
        let again = may_stop
            && !self.is_quiet(left)
            && (any_below(left, may_act) || self.acts && acting::is_named(left));
        let skips = may_stop && sides.iter().any(|side| !self.is_quiet(*side));
        let in_row = [left].iter().chain(&sides).any(|side| match side {
            Node::RowExpr(row) => row.args().iter().skip(1).any(|part| !self.is_quiet(part)),
            _ => false,
        });
        if again || skips || in_row {
            for node in [left, right] {
                let value = self.value(node);
                self.probe(&value);
            }
        }
    }
}

/// A function that may fail or leave something behind each time it is called, or a query.
fn may_act(node: Node<'_>) -> bool {
    match node {
        Node::FuncCall(call) => !builtin_name(call.funcname()).is_some_and(functions::is_steady),
        Node::SubLink(_) => true,
        _ => false,
    }
}

/// Whether nobody can tell if an expression was evaluated, as far as it says itself.
pub(super) fn is_quiet(node: Node<'_>, depth: u32) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let quiet = |node: Node<'_>| is_quiet(node, depth + 1);
    match node {
        Node::None
        | Node::A_Const(_)
        | Node::ParamRef(_)
        | Node::SQLValueFunction(_)
        | Node::GroupingFunc(_) => true,
        // `x.f` may be f(x).
        Node::ColumnRef(column) => {
            let last = column.fields().iter().next_back().and_then(Node::as_str);
            column.fields().len() == 1 || last.is_some_and(|name| !is_function(name))
        }
        Node::NullTest(test) => quiet(test.arg()),
        Node::BooleanTest(test) => quiet(test.arg()),
        Node::CollateClause(collate) => quiet(collate.arg()),
        Node::BoolExpr(expr) => expr.args().iter().all(quiet),
        Node::CoalesceExpr(coalesce) => {
            fits_together(coalesce.args().iter()) && coalesce.args().iter().all(quiet)
        }
        Node::RowExpr(row) => row.args().iter().all(quiet),
        Node::NodeList(list) => list.iter().all(quiet),
        Node::CaseExpr(case) => {
            let results = case.args().iter().map(|when| match when {
                Node::CaseWhen(when) => when.result(),
                other => other,
            });
            matches!(case.arg(), Node::None)
                && fits_together(results.chain([case.defresult()]))
                && quiet(case.defresult())
                && case.args().iter().all(|when| match when {
                    Node::CaseWhen(when) => quiet(when.expr()) && quiet(when.result()),
                    _ => false,
                })
        }
        Node::TypeCast(cast) => {
            let Some(kind) = cast.type_name() else {
                return false;
            };
            let name = builtin_name(plain(kind.names())).filter(|_| kind.array_bounds().is_empty());
            match cast.arg() {
                Node::A_Const(_) => name.is_some_and(|name| LITERALS.contains(&name)),
                arg => matches!(name, Some("text" | "varchar" | "bpchar")) && quiet(arg),
            }
        }
        Node::A_Expr(expr) => is_quiet_operator(expr) && quiet(expr.lexpr()) && quiet(expr.rexpr()),
        Node::FuncCall(call) => match builtin_name(call.funcname()) {
            // Aggregates and window functions are computed before anything else is.
            Some(name) if functions::is_aggregate(name) || call.over().is_some() => true,
            Some(name) => QUIET.contains(&name) && call.args().iter().all(quiet),
            None => false,
        },
        _ => false,
    }
}

/// Whether the server has a function of that name that is no type as well.
fn is_function(name: &str) -> bool {
    !matches!(name, "name" | "text")
        && (matches!(name, "date" | "time" | "timestamp")
            || linegate_policy::builtins::is_allowed(name)
            || linegate_policy::builtins::is_refused(name))
}

/// Whether values that are made to one type are so already: all but one are plain literals.
fn fits_together<'n>(nodes: impl Iterator<Item = Node<'n>>) -> bool {
    nodes.filter(|node| !is_plain_literal(*node)).count() <= 1
}

/// Comparisons with anything but whole numbers may fail: by collations that do not go together, by fields and elements that
/// cannot be compared, by a type that the one side does not fit.
fn is_quiet_operator(expr: &nodes::A_Expr) -> bool {
    let compares = |node: Node<'_>| match node {
        Node::NodeList(list) => list.iter().all(is_number),
        node => is_number(node),
    };
    match expr.kind {
        A_Expr_Kind::AEXPR_OP => match builtin_name(expr.name()) {
            Some("=" | "<>" | "<" | ">" | "<=" | ">=") => compares(expr.lexpr()) || compares(expr.rexpr()),
            // An array may not fit another, nor an element an array.
            Some("||") => [expr.lexpr(), expr.rexpr()].into_iter().all(is_text),
            _ => false,
        },
        A_Expr_Kind::AEXPR_DISTINCT
        | A_Expr_Kind::AEXPR_NOT_DISTINCT
        | A_Expr_Kind::AEXPR_IN
        | A_Expr_Kind::AEXPR_BETWEEN
        | A_Expr_Kind::AEXPR_NOT_BETWEEN => compares(expr.rexpr()),
        _ => false,
    }
}

/// A value that is text for certain.
pub(super) fn is_text(node: Node<'_>) -> bool {
    is_text_below(node, 0)
}

fn is_text_below(node: Node<'_>, depth: u32) -> bool {
    match node {
        // No array is written like that.
        Node::A_Const(constant) => {
            matches!(constant.val(), Some(ConstValue::String(text)) if !text.trim_start().starts_with(['{', '[']))
        }
        Node::TypeCast(cast) => cast.type_name().is_some_and(|kind| {
            let name = builtin_name(plain(kind.names()));
            kind.array_bounds().is_empty() && matches!(name, Some("text" | "varchar" | "bpchar"))
        }),
        Node::FuncCall(call) => matches!(
            builtin_name(call.funcname()),
            Some("concat" | "concat_ws" | "initcap" | "lower" | "md5" | "upper")
        ),
        Node::A_Expr(expr) if depth < 8 => {
            expr.kind == A_Expr_Kind::AEXPR_OP
                && builtin_name(expr.name()) == Some("||")
                && (is_text_below(expr.rexpr(), depth + 1) || is_text_below(expr.lexpr(), depth + 1))
        }
        _ => false,
    }
}

/// A LIKE pattern that is not cut off in the middle of an escape, also as bytes are written or after a cast that shortens it.
/// The server finds that out only where the text matches so far.
pub(super) fn is_whole_pattern(node: Node<'_>) -> bool {
    let (text, is_cast) = match node {
        Node::A_Const(constant) => (constant.val(), false),
        Node::TypeCast(cast) => match cast.arg() {
            Node::A_Const(constant) => (constant.val(), true),
            _ => return false,
        },
        _ => return false,
    };
    let Some(ConstValue::String(text)) = text else {
        return true;
    };
    let mut rest = text.split('\\').skip(1).peekable();
    let has_escapes = rest.peek().is_some();
    rest.all(|after| after.starts_with(['%', '_'])) && !(is_cast && has_escapes)
}
