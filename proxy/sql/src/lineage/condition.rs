//! Conditions: what is an honest look-up and what is an oracle.
//! Source: PostgreSQL manual, "Comparison Functions and Operators", "Row and Array Comparisons".
//!
//! A look-up compares a labelled column, as it is, for equality: with a constant or parameter, with values that the text
//! lists, or with another labelled column. Everything else that a condition does with a labelled value is a probe: also
//! equality with a column that carries no label, since its table can be filled with all values there are.

use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, SubLinkType};
use pg_raw_parse::{ConstValue, Node, nodes};

use super::expr::is_number_or_time;
use super::value::{Source, Value};
use super::{Reader, builtin_name, types};
use crate::parse::plain;
use crate::walk::children::any_below;
use linegate_policy::{ColumnId, parameter_bit};

impl Reader<'_> {
    /// WHERE, ON, HAVING: look-ups under AND and OR are look-ups.
    pub(super) fn condition(&mut self, node: Node<'_>) {
        if matches!(node, Node::None) || !self.enter() {
            return;
        }
        match node {
            Node::BoolExpr(expr) if expr.boolop != BoolExprType::NOT_EXPR => {
                expr.args().iter().for_each(|arm| self.condition(arm));
            }
            Node::A_Expr(expr) => self.comparison(node, expr),
            Node::SubLink(link) if link.sub_link_type == SubLinkType::ANY_SUBLINK && is_equality(link) => {
                let left = self.value(link.testexpr());
                let rows = self.query(link.subselect());
                let rows = self.listed(rows);
                match (&left, &rows.rest) {
                    (_, None) if rows.has_loose_labels() => {
                        self.probe(&left);
                        self.probe(&Value::of_set(rows.all()));
                    }
                    (Value::Row(left), None)
                        if matches!(link.testexpr(), Node::RowExpr(_)) && left.len() == rows.fields.len() =>
                    {
                        for (one, two) in left.iter().zip(&rows.fields) {
                            self.equal(&one.value, &two.value);
                        }
                    }
                    (_, None) if rows.fields.len() == 1 => self.equal(&left, &rows.first()),
                    _ => {
                        self.probe(&left);
                        self.probe(&Value::of_set(rows.all()));
                    }
                }
            }
            // What has no partner may be found by an outer join, too.
            Node::BoolExpr(_) => {
                let was_outer = std::mem::replace(&mut self.is_outer, true);
                self.strict(node);
                self.is_outer = was_outer;
            }
            node => self.strict(node),
        }
        self.leave();
    }

    /// A place where any labelled value is probed.
    pub(super) fn strict(&mut self, node: Node<'_>) {
        if matches!(node, Node::None) {
            return;
        }
        let value = self.value(node);
        self.probe(&value);
    }

    fn comparison(&mut self, node: Node<'_>, expr: &nodes::A_Expr) {
        let is_equals = builtin_name(expr.name()) == Some("=");
        match expr.kind {
            A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_NOT_DISTINCT if is_equals => {
                let (left, right) = (self.value(expr.lexpr()), self.value(expr.rexpr()));
                self.equal_as_written([expr.lexpr(), expr.rexpr()], &left, &right);
            }
            A_Expr_Kind::AEXPR_OP_ANY if is_equals => {
                let (left, right) = (self.value(expr.lexpr()), self.value(expr.rexpr()));
                self.found.spreads = true;
                // Only an array that the text or a parameter gives holds a known number of values.
                if right.is_clean() && self.is_listed(expr.rexpr()) {
                    self.equal(&left, &Value::CONSTANT); // nothing is joined, whatever the array holds
                    // Where they are charged anew, without the text, that is one already.
                    let more = elements(expr.rexpr()).saturating_sub(1);
                    let counted = &mut self.found.computed_constants;
                    *counted = counted.saturating_add(if *counted > 0 { more } else { 0 });
                } else {
                    self.probe(&left);
                    self.probe(&right);
                }
            }
            A_Expr_Kind::AEXPR_IN if is_equals => {
                let left = self.value(expr.lexpr());
                match expr.rexpr() {
                    Node::NodeList(list) => {
                        for node in list {
                            let right = self.value(node);
                            self.equal_as_written([expr.lexpr(), node], &left, &right);
                            if self.measures && list.len() > 1 {
                                self.probe(&left); // an index tells which of them stand on one page
                            }
                        }
                    }
                    other => {
                        self.probe(&left);
                        self.strict(other);
                    }
                }
            }
            _ => self.strict(node),
        }
    }

    /// An array whose values stand in the text or in one parameter and are those values whatever settings and the catalog say.
    pub(super) fn is_listed(&mut self, node: Node<'_>) -> bool {
        is_spelled_out(node) && self.is_kept(node, false)
    }

    /// Whether the values of what is spelled out stay themselves. `is_written`: they are written as another type.
    fn is_kept(&mut self, node: Node<'_>, is_written: bool) -> bool {
        match node {
            // What is written as text and taken apart again is that text.
            Node::TypeCast(cast) if is_text_of_parameter(cast) => {
                let is_known = |kind: &nodes::TypeName| {
                    types::is_built_in(kind) && !types::goes_by_names(kind) && kind.typmods().is_empty()
                };
                cast.type_name().is_some_and(is_known) && self.is_text(cast.arg())
            }
            Node::TypeCast(cast) => cast.type_name().is_some_and(|kind| {
                let varies = types::goes_by_settings(kind);
                let is_known = types::is_built_in(kind) && !types::goes_by_names(kind);
                is_known
                    && !makes_others(cast, kind)
                    && !(is_written && varies)
                    && self.is_kept(cast.arg(), is_written || !varies)
            }),
            Node::A_ArrayExpr(array) => {
                let mut elements = array.elements().iter();
                elements.all(|element| self.is_kept(element, is_written))
            }
            // Values are counted by the commas that can be seen.
            Node::FuncCall(call) => {
                let mut arguments = call.args().iter();
                arguments.all(|argument| self.is_text(argument))
            }
            Node::ParamRef(_) => match self.value(node) {
                Value::CONSTANT => true,
                Value::BY_SETTINGS => !is_written,
                _ => false,
            },
            _ => true,
        }
    }

    /// Whether all values that it holds can be seen in the text or in one parameter. `splits`: it may be taken apart as text.
    pub(super) fn is_seen(&mut self, node: Node<'_>, splits: bool) -> bool {
        match node {
            Node::NamedArgExpr(named) => self.is_seen(named.arg(), splits),
            Node::A_ArrayExpr(_) => self.is_listed(node),
            Node::TypeCast(cast) if matches!(cast.arg(), Node::A_ArrayExpr(_) | Node::A_Const(_)) => {
                let is_text = cast.type_name().is_some_and(types::becomes_text);
                self.is_listed(node) && (!is_text || self.holds_texts(cast.arg()))
            }
            // As a text, the function may take it apart by a cast.
            Node::TypeCast(cast) if !splits && matches!(cast.arg(), Node::ParamRef(_)) => {
                let is_text = cast.type_name().is_some_and(types::becomes_text);
                self.is_listed(node) && (!is_text || self.is_text(cast.arg()))
            }
            Node::ParamRef(_) if !splits => self.is_listed(node),
            _ => self.is_text(node),
        }
    }

    /// The same of all elements of an array, however deep.
    fn holds_texts(&mut self, node: Node<'_>) -> bool {
        match node {
            Node::A_ArrayExpr(array) => array.elements().iter().all(|element| self.holds_texts(element)),
            node => self.is_text(node),
        }
    }

    /// Whether it is a text, as it stands there or as a parameter that is one.
    fn is_text(&mut self, node: Node<'_>) -> bool {
        match node {
            Node::A_Const(_) => true,
            Node::TypeCast(cast) => cast.type_name().is_some_and(types::is_text) && self.is_text(cast.arg()),
            Node::ParamRef(parameter) => {
                let number = u32::try_from(parameter.number).unwrap_or_default();
                self.found.split_parameters |= parameter_bit(number);
                let declared = self.parameters.get((number as usize).wrapping_sub(1));
                let is_text = match declared {
                    Some((_, is_text)) => *is_text,
                    None => self.texts.contains(&parameter.number),
                };
                is_text && self.value(node) == Value::CONSTANT
            }
            _ => false,
        }
    }

    /// Under a collation that somebody made, other values than the same ones may be equal.
    pub(super) fn collated(&mut self, collate: &nodes::CollateClause) -> Value {
        let value = self.value(collate.arg());
        let is_built_in = builtin_name(collate.collname()).is_some_and(|name| {
            matches!(
                name,
                "C" | "POSIX" | "default" | "pg_c_utf8" | "pg_unicode_fast" | "ucs_basic" | "unicode"
            ) || name.ends_with("-x-icu")
                || name.contains(".utf8")
                || name.contains(".UTF-8")
        });
        if is_built_in {
            value
        } else {
            Value::computed([&value, &Value::OTHER])
        }
    }

    /// The same of two sides as they are written: rows that are written out are compared field by field. Any other rows the
    /// server can only sort to find those that are equal.
    fn equal_as_written(&mut self, sides: [Node<'_>; 2], one: &Value, two: &Value) {
        match (one, two) {
            (Value::Row(left), Value::Row(right))
                if left.len() == right.len() && sides.iter().all(|side| matches!(side, Node::RowExpr(_))) =>
            {
                for (one, two) in left.iter().zip(right.iter()) {
                    self.equal(&one.value, &two.value);
                }
            }
            _ => self.equal(one, two),
        }
    }

    /// Counts values that a labelled column may be compared with and that the text does not spell out.
    pub(super) fn count_computed<'v>(&mut self, values: impl IntoIterator<Item = &'v Value>) {
        for value in values {
            if matches!(*value, Value::FIXED | Value::BY_SETTINGS) {
                self.found.computed_constants = self.found.computed_constants.saturating_add(1);
                self.found.by_settings |= *value == Value::BY_SETTINGS;
            }
        }
    }

    /// Whether a value from there is one that these columns may be looked up by. What goes by settings is a date or a number of its
    /// own type, and no text that settings can spell.
    fn is_looked_up(&mut self, source: Source, columns: impl IntoIterator<Item = ColumnId> + Clone) -> bool {
        let of_time = |column| {
            let kind = self.index.type_oid(column);
            kind.is_none_or(|kind| types::oid_goes_by_settings(kind) && !is_read_in_one_way(kind))
        };
        // As which time a literal or parameter is taken, settings may say.
        if columns.clone().into_iter().any(of_time) {
            self.found.computed_constants = self.found.computed_constants.saturating_add(1);
            self.found.by_settings = true;
        }
        match source {
            Source::Constant | Source::Fixed | Source::Listed | Source::Cast => true,
            Source::BySettings => columns.into_iter().all(|column| {
                let kind = self.index.type_oid(column);
                kind.is_some_and(|kind| is_number_or_time(kind) || kind == MONEY)
            }),
            Source::Stored | Source::Other => false,
        }
    }

    /// Two values compared for equality in a condition.
    pub(super) fn equal(&mut self, one: &Value, two: &Value) {
        let is_measured = |column: &ColumnId| self.index.type_oid(*column).is_some_and(compares_sizes);
        // Rows of both sides may have to be sorted, and come in that order.
        let is_joined = |other: &Value| !other.is_constant();
        let sorts = |column: &ColumnId| self.index.type_oid(*column).is_none_or(may_be_sorted);
        let columns: Vec<ColumnId> = one.columns().into_iter().chain(two.columns()).collect();
        if columns.iter().any(is_measured)
            || is_joined(one)
                && is_joined(two)
                && (self.measures || self.explains || self.is_outer || columns.iter().any(sorts))
        {
            self.probe(one);
            self.probe(two);
            return;
        }
        match (one, two) {
            (Value::Exactly(column), Value::Clean(source))
            | (Value::Clean(source), Value::Exactly(column))
                if self.is_looked_up(*source, [*column]) =>
            {
                self.count_computed([one, two]);
                self.found.lookups.insert(*column);
            }
            (Value::OneOf(columns), Value::Clean(source)) | (Value::Clean(source), Value::OneOf(columns))
                if self.is_looked_up(*source, columns.iter().copied()) =>
            {
                self.count_computed([one, two]);
                self.found.lookups.extend(columns.iter());
            }
            (Value::Exactly(_) | Value::OneOf(_), Value::Exactly(_) | Value::OneOf(_)) => {
                self.found.lookups.extend(one.columns());
                self.found.lookups.extend(two.columns());
            }
            _ => {
                self.probe(one);
                self.probe(two);
            }
        }
    }
}

/// float4, float8 and bytea: only how they are written goes by settings.
fn is_read_in_one_way(type_oid: u32) -> bool {
    matches!(type_oid, 17 | 700 | 701)
}

/// `money`, whose literals go by `lc_monetary`.
const MONEY: u32 = 790;

/// Types whose `=` compares areas or numbers of points: path, box, polygon, circle.
fn compares_sizes(type_oid: u32) -> bool {
    matches!(type_oid, 602 | 603 | 604 | 718)
}

/// Types that the server can join by sorting only: those without hash operators, and dates and times, which have none with
/// each other. Others' types are taken for such as have.
fn may_be_sorted(type_oid: u32) -> bool {
    // money, date, timestamp, timestamptz, bit, varbit, tsvector
    matches!(type_oid, 790 | 1082 | 1114 | 1184 | 1560 | 1562 | 3614)
}

/// Whether a cast makes other values of a parameter's: cuts them, or is one of several that need not hold the same. What a
/// literal is made of stands there for each place anew.
fn makes_others(cast: &nodes::TypeCast, kind: &nodes::TypeName) -> bool {
    let is_parameter = |node: Node<'_>| matches!(node, Node::ParamRef(_));
    let is_again = match cast.arg() {
        Node::TypeCast(inner) => {
            let keeps = |kind: &nodes::TypeName| types::keeps_listed(kind);
            !(keeps(kind) && inner.type_name().is_some_and(keeps))
        }
        _ => false,
    };
    let cuts = types::cuts(kind) || !kind.typmods().is_empty();
    (is_again || cuts) && any_below(cast.arg(), is_parameter)
}

/// Whether a cast is of a parameter that was cast before, and not from array to array only.
fn is_text_of_parameter(cast: &nodes::TypeCast) -> bool {
    let is_array = |kind: &nodes::TypeName| !kind.array_bounds().is_empty();
    let mut are_arrays = cast.type_name().is_some_and(is_array);
    let mut within = cast.arg();
    let mut casts = 1;
    while let Node::TypeCast(inner) = within {
        are_arrays &= inner.type_name().is_some_and(is_array);
        casts += 1;
        within = inner.arg();
    }
    casts > 1 && !are_arrays && matches!(within, Node::ParamRef(_))
}

/// An array whose values stand in the text or in one parameter: not one that an expression makes many of.
pub(crate) fn is_spelled_out(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(_) | Node::ParamRef(_) => true,
        Node::TypeCast(cast) => {
            // Budgets count values by the commas between them, and these have none.
            let name = cast
                .type_name()
                .and_then(|kind| builtin_name(plain(kind.names())));
            !matches!(name, Some("box" | "int2vector" | "oidvector" | "tsvector"))
                && types::casts_plainly(cast)
                && is_spelled_out(cast.arg())
        }
        Node::A_ArrayExpr(array) => array.elements().iter().all(is_spelled_out),
        Node::FuncCall(call) => {
            // Budgets count values by the commas between them.
            builtin_name(call.funcname()) == Some("string_to_array")
                && call.args().first().is_some_and(is_spelled_out)
                && call.args().len() == 2
                && call.args().get(1).is_some_and(is_comma)
        }
        _ => false,
    }
}

/// At least as many as the values that such an array holds, as far as the text spells them out.
fn elements(node: Node<'_>) -> u32 {
    match node {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::String(text)) => {
                let commas = text.bytes().filter(|byte| *byte == b',').count();
                u32::try_from(commas).unwrap_or(u32::MAX).saturating_add(1)
            }
            _ => 1,
        },
        Node::TypeCast(cast) => elements(cast.arg()),
        Node::A_ArrayExpr(array) => array.elements().iter().map(elements).fold(0, u32::saturating_add),
        Node::FuncCall(call) => call.args().first().map_or(1, elements),
        _ => 1,
    }
}

fn is_comma(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => matches!(constant.val(), Some(ConstValue::String(","))),
        _ => false,
    }
}

/// `x IN (SELECT …)` and `x = ANY (SELECT …)`.
fn is_equality(link: &nodes::SubLink) -> bool {
    link.oper_name().is_empty() || builtin_name(link.oper_name()) == Some("=")
}
