//! What built-in functions do with a labelled argument.
//! Source: PostgreSQL manual, "Functions and Operators".
//!
//! A function that is not here takes the label from its arguments to its result, and counts as a probe of them: whether it
//! fails, or how many rows it yields, may depend on the value. Those that are here never do.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::A_Expr_Kind;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::value::{Escape, Value};
use super::{builtin_name, lazy};
use crate::walk::children::any_below;

/// Aggregates and window functions over the values of rows.
const AGGREGATES: &[&str] = &[
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "every",
    "first_value",
    "json_agg",
    "json_agg_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "mode",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Scalar functions that fail for no value of their first argument.
const FIRST: &[&str] = &[
    "age",
    "array_prepend",
    "ascii",
    "bit_length",
    "btrim",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "date",
    "encode",
    "floor",
    "initcap",
    "json_extract_path",
    "json_extract_path_text",
    "json_typeof",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_pretty",
    "jsonb_strip_nulls",
    "jsonb_typeof",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "overlay",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_substr",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sign",
    "split_part",
    "substr",
    "substring",
    "to_char",
    "trunc",
    "upper",
];

/// Scalar functions that fail for no value of any argument.
const ANY: &[&str] = &[
    "array_length",
    "array_to_string",
    "concat",
    "concat_ws",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "position",
    "replace",
    "row_to_json",
    "starts_with",
    "strpos",
    "to_json",
    "to_jsonb",
    "translate",
];

/// Functions whose second argument is the value.
const SECOND: &[&str] = &["array_append", "date_part", "date_trunc", "extract", "timezone"];

/// Scalar functions whose result is an array.
const ARRAYS: &[&str] = &["array_prepend", "regexp_match"];

/// What is the same for every row of a statement, given constants.
const STEADY: &[&str] = &[
    "abs",
    "current_user",
    "decode",
    "make_date",
    "make_timestamp",
    "make_timestamptz",
    "now",
    "statement_timestamp",
    "to_date",
    "to_number",
    "to_timestamp",
    "transaction_timestamp",
];

/// Functions that may fail by their other arguments: called only where the labelled one is not NULL, they tell whether it is.
const BY_OTHERS: &[&str] = &[
    "date_part",
    "date_trunc",
    "encode",
    "extract",
    "lpad",
    "overlay",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_substr",
    "rpad",
    "split_part",
    "substr",
    "substring",
    "timezone",
    "to_char",
];

/// Functions whose result is NULL where an argument is, and nowhere else; aggregates: where there is none but NULL.
const KEEP_NULL: &[&str] = &[
    "any_value",
    "ascii",
    "avg",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "date_trunc",
    "encode",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "max",
    "md5",
    "min",
    "octet_length",
    "overlay",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "split_part",
    "string_agg",
    "substr",
    "sum",
    "to_char",
    "translate",
    "trunc",
    "upper",
];

/// Whether the function may fail by arguments that are not labelled.
pub(super) fn fails_by_others(name: &str) -> bool {
    BY_OTHERS.contains(&name)
}

/// Whether the result is NULL only where an argument is.
pub(super) fn keeps_null(name: &str) -> bool {
    KEEP_NULL.contains(&name)
}

/// Whether the function keeps or sends an argument where another statement finds it.
pub(super) fn carries(name: &str) -> bool {
    matches!(
        name,
        "set_config" | "setval" | "setseed" | "pg_notify" | "pg_logical_emit_message"
    ) || name.starts_with("pg_advisory_")
        || name.starts_with("pg_try_advisory_")
}

/// Whether neither an error nor a number of rows tells about the arguments of which `labelled` says that they are
/// labelled.
pub(super) fn is_total(name: &str, labelled: &[bool]) -> bool {
    let only = |at: usize| labelled.iter().enumerate().all(|(index, is)| !is || index == at);
    if name == "string_agg" {
        return true;
    }
    if matches!(name, "json_object_agg" | "jsonb_object_agg") {
        return only(1); // a key must not be NULL
    }
    if AGGREGATES.contains(&name) || FIRST.contains(&name) {
        return only(0);
    }
    if SECOND.contains(&name) {
        return only(1);
    }
    ANY.contains(&name)
}

/// Whether the result is one constant when the arguments are.
pub(super) fn is_steady(name: &str) -> bool {
    [FIRST, ANY, SECOND, STEADY]
        .iter()
        .any(|list| list.contains(&name))
}

/// The same, whatever settings, the clock and the catalog say.
pub(super) fn is_fixed(name: &str) -> bool {
    let goes_by_them = matches!(name, "age" | "date" | "quote_ident" | "to_char") || name.contains("json");
    let lists = [FIRST, ANY].iter().any(|list| list.contains(&name));
    lists && !goes_by_them || matches!(name, "abs" | "array_append" | "current_user" | "decode")
}

/// Whether it makes a time of constants, as settings say.
pub(super) fn makes_time(name: &str) -> bool {
    matches!(
        name,
        "make_date"
            | "make_timestamp"
            | "make_timestamptz"
            | "to_date"
            | "to_timestamp"
            | "timezone"
            | "date_trunc"
    )
}

/// Whether it tells the time.
pub(super) fn goes_by_clock(name: &str) -> bool {
    matches!(name, "now" | "statement_timestamp" | "transaction_timestamp")
}

/// Whether the result is one value, whatever the arguments are.
pub(super) fn yields_scalar(name: &str) -> bool {
    matches!(
        name,
        "concat" | "concat_ws" | "replace" | "translate" | "string_agg" | "array_to_string"
    ) || FIRST.contains(&name) && !ARRAYS.contains(&name)
}

/// Aggregates, and functions over windows, that are computed before the expression around them.
pub(super) fn is_aggregate(name: &str) -> bool {
    name == "count" || AGGREGATES.contains(&name) && !matches!(name, "lag" | "lead")
}

/// Texts that are put into a value are no longer than this.
const PIECE_BYTES_MAX: usize = 64;

/// Whether a labelled text that such a function works on cannot become too long for the server by what it holds.
pub(super) fn stays_short(name: &str, arguments: &NodeList, values: &[Value]) -> bool {
    if !matches!(name, "replace" | "regexp_replace" | "lpad" | "rpad") || values.iter().all(Value::is_clean) {
        return true;
    }
    let is_stored = matches!(
        values.first(),
        Some(Value::Exactly(_) | Value::OneOf(_) | Value::Part(..))
    );
    let is_piece = |node: Node<'_>| match node {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::String(text)) => text.len() <= PIECE_BYTES_MAX,
            Some(ConstValue::Integer(number)) => number <= 4096,
            _ => true,
        },
        _ => false,
    };
    (is_stored || arguments.first().is_some_and(shortens)) && arguments.iter().skip(1).all(is_piece)
}

/// Functions of one column that add nothing to it.
fn shortens(node: Node<'_>) -> bool {
    match node {
        Node::FuncCall(call) => {
            matches!(
                builtin_name(call.funcname()),
                Some(
                    "btrim"
                        | "initcap"
                        | "left"
                        | "lower"
                        | "ltrim"
                        | "right"
                        | "rtrim"
                        | "substr"
                        | "substring"
                        | "upper"
                )
            ) && call.args().iter().all(|argument| {
                shortens(argument) || matches!(argument, Node::ColumnRef(_) | Node::A_Const(_))
            })
        }
        _ => false,
    }
}

/// How a function that shows its arguments writes them. What yields JSON is listed: of anything else, the result is text.
pub(super) fn escapes(name: &str) -> Escape {
    match name {
        "array_agg" | "array_append" | "array_prepend" | "encode" | "quote_ident" | "quote_literal"
        | "quote_nullable" | "xmlagg" => Escape::Quotes,
        "any_value" | "first_value" | "lag" | "last_value" | "lead" | "max" | "min" => Escape::Json,
        "json_agg" | "json_agg_strict" | "json_build_array" | "json_build_object" | "json_extract_path"
        | "json_object_agg" | "jsonb_agg" | "jsonb_agg_strict" | "jsonb_build_array"
        | "jsonb_build_object" | "jsonb_extract_path" | "jsonb_object_agg" | "row_to_json" | "to_json"
        | "to_jsonb" => Escape::Json,
        _ => Escape::AsText,
    }
}

/// Whether the result tells nothing of the arguments' values.
pub(super) fn shows_nothing(name: &str) -> bool {
    name == "pg_typeof"
}

/// Functions in FROM that make rows of what is listed in a document.
pub(super) fn unfolds(name: &str) -> bool {
    matches!(
        name,
        "json_array_elements"
            | "json_array_elements_text"
            | "json_populate_recordset"
            | "json_to_recordset"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "jsonb_populate_recordset"
            | "jsonb_to_recordset"
    )
}

/// Functions in FROM whose rows have one column, of no composite type.
pub(super) fn returns_scalars(name: &str) -> bool {
    matches!(
        name,
        "generate_series"
            | "generate_subscripts"
            | "json_array_elements"
            | "json_array_elements_text"
            | "json_object_keys"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "jsonb_object_keys"
            | "jsonb_path_query"
            | "regexp_matches"
            | "regexp_split_to_table"
            | "string_to_table"
    )
}

/// Functions whose result has their arguments in it as they are: nothing is found, compared or counted out.
const MAKES: &[&str] = &[
    "any_value",
    "array_agg",
    "array_append",
    "array_prepend",
    "concat",
    "concat_ws",
    "first_value",
    "initcap",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "lower",
    "max",
    "min",
    "reverse",
    "row_to_json",
    "string_agg",
    "to_json",
    "to_jsonb",
    "upper",
];

/// Numbers that are worked out of all rows, whatever their values are; of a stored column they fail for none.
const FIGURES: &[&str] = &[
    "avg",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Functions that show a value in another way or measure it, all of it and whatever it is.
const SHOWS: &[&str] = &[
    "age",
    "array_length",
    "array_to_string",
    "bit_length",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "date",
    "date_part",
    "date_trunc",
    "encode",
    "extract",
    "floor",
    "json_extract_path",
    "json_extract_path_text",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_pretty",
    "length",
    "md5",
    "octet_length",
    "overlay",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "round",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "timezone",
    "to_char",
    "trunc",
];

/// Functions of a value and whole numbers, of which the same is true.
const CUTS: &[&str] = &["left", "lpad", "right", "rpad", "substr", "substring"];

/// Whether a stored value loses the blanks around it, and nothing else.
pub(super) fn trims(node: Node<'_>) -> bool {
    match node {
        Node::FuncCall(call) => {
            matches!(builtin_name(call.funcname()), Some("btrim" | "ltrim" | "rtrim"))
                && call.args().len() == 1
                && matches!(call.args().first(), Some(Node::ColumnRef(_)))
        }
        _ => false,
    }
}

/// Whether a column is brought into another form by what reports use for that, with all else written out; or the largest shown.
pub(super) fn tidies(node: Node<'_>) -> bool {
    let Node::FuncCall(call) = node else { return false };
    let is_one = matches!(
        builtin_name(call.funcname()),
        Some(
            "btrim" | "max" | "min" | "regexp_replace" | "replace" | "split_part" | "substring" | "translate"
        )
    );
    let mut arguments = call.args().iter();
    is_one
        && matches!(arguments.next(), Some(Node::ColumnRef(_)))
        && arguments.all(|node| matches!(node, Node::A_Const(_)))
}

fn is_blanks(node: Node<'_>) -> bool {
    matches!(node, Node::A_Const(constant)
        if matches!(constant.val(), Some(ConstValue::String(text)) if text.trim().is_empty()))
}

fn is_negative(node: Node<'_>) -> bool {
    matches!(node, Node::A_Const(constant) if matches!(constant.val(), Some(ConstValue::Integer(..0))))
}

fn is_written_number(node: Node<'_>) -> bool {
    matches!(node, Node::A_Const(constant) if matches!(constant.val(), Some(ConstValue::Integer(_))))
}

/// Whether the call puts its arguments together, or cuts them by place, whatever they hold.
pub(super) fn makes(call: &nodes::FuncCall, arguments: &[Value]) -> bool {
    match builtin_name(call.funcname()) {
        // The largest of what a client put beside it is chosen.
        Some("max" | "min") => arguments
            .iter()
            .all(|value| value.is_clean() || value.is_stored()),
        Some("btrim" | "ltrim" | "rtrim") => call.args().iter().skip(1).all(is_blanks),
        Some(name) if FIGURES.contains(&name) => arguments
            .iter()
            .all(|value| value.is_clean() || value.is_stored()),
        Some(name) if CUTS.contains(&name) => {
            let mut places = call.args().iter().skip(1);
            let is_padded = matches!(name, "lpad" | "rpad");
            // A length below zero fails, where there is something to cut.
            let is_length = |node| matches!(name, "left" | "right") || !is_negative(node);
            if !call.args().iter().skip(2).all(is_length) {
                return false;
            }
            places.next().is_none_or(is_written_number)
                && places.all(|node| is_written_number(node) || is_padded && lazy::is_plain_text(node))
        }
        Some(name) => MAKES.contains(&name) || SHOWS.contains(&name),
        None => false,
    }
}

/// A pattern of `to_char` that shows any number: it neither multiplies it, nor writes it in Roman digits, which small ones have.
pub(super) fn only_formats(node: Node<'_>) -> bool {
    let Node::A_Const(constant) = node else {
        return false;
    };
    let Some(ConstValue::String(pattern)) = constant.val() else {
        return false;
    };
    let pattern = pattern.to_ascii_lowercase();
    // Shifted digits, Roman numerals and ordinals fail by the number.
    !pattern.contains('v') && !pattern.contains("rn") && !pattern.contains("th")
}

/// Whether an operator may fail by a pattern, and so tell that the text before it is not NULL.
pub(super) fn tells_null(expr: &nodes::A_Expr) -> bool {
    expr.kind == A_Expr_Kind::AEXPR_SIMILAR
        || matches!(builtin_name(expr.name()), Some("~" | "!~" | "~*" | "!~*"))
}

/// Whether rows are compared whose fields may be of other types than they seem: the server finds that out at the first field
/// that is reached. Of rows that are written out on both sides it knows before.
pub(super) fn compares_rows(sides: [Node<'_>; 2], values: [&Value; 2]) -> bool {
    let is_written = |node: &Node<'_>| match node {
        Node::RowExpr(_) => true,
        Node::NodeList(list) => list.iter().all(|node| matches!(node, Node::RowExpr(_))),
        _ => false,
    };
    let is_row = sides.iter().any(|node| matches!(node, Node::RowExpr(_)))
        || values.iter().any(|value| matches!(value, Value::Row(_)));
    is_row && !sides.iter().all(is_written)
}

/// Whether an operator fails for no value of its labelled sides.
pub(super) fn never_fails(expr: &nodes::A_Expr, right: &Value) -> bool {
    match expr.kind {
        // It stops at the first element that decides, and a later one may be malformed.
        A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL => {
            matches!(
                builtin_name(expr.name()),
                Some("=" | "<>" | "<" | ">" | "<=" | ">=" | "^@")
            )
        }
        A_Expr_Kind::AEXPR_OP => {
            match builtin_name(expr.name()) {
                Some("=" | "<>" | "<" | ">" | "<=" | ">=" | "||" | "^@") => true,
                // An array with a NULL in it may be refused.
                Some("@>" | "<@" | "&&") => [expr.lexpr(), expr.rexpr()].into_iter().all(|side| {
                    !any_below(side, |node| {
                        matches!(node, Node::A_ArrayExpr(_) | Node::FuncCall(_))
                    }) || !any_below(side, |node| matches!(node, Node::ColumnRef(_)))
                }),
                // A pattern may be malformed, the text may not.
                Some("~" | "!~" | "~*" | "!~*" | "?|" | "?&") => right.is_clean(),
                Some("~~" | "!~~" | "~~*" | "!~~*") => {
                    right.is_clean() && lazy::is_whole_pattern(expr.rexpr())
                }
                _ => false,
            }
        }
        A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => {
            right.is_clean() && lazy::is_whole_pattern(expr.rexpr())
        }
        A_Expr_Kind::AEXPR_SIMILAR => right.is_clean(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_itself_may_be_labelled() {
        assert!(is_total("left", &[true, false]) && !is_total("left", &[false, true]));
        assert!(is_total("date_trunc", &[false, true]) && !is_total("date_trunc", &[true, false]));
        assert!(is_total("concat", &[true, true]) && !is_total("sqrt", &[true]));
        assert!(carries("pg_try_advisory_lock") && !carries("lower"));
    }

    #[test]
    fn no_name_is_in_two_lists() {
        let mut all = [AGGREGATES, FIRST, ANY, SECOND, STEADY].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
