//! What built-in functions do with a labelled argument.
//! Source: PostgreSQL manual, "Functions and Operators".
//!
//! A function that is not here takes the label from its arguments to its result, and counts as a probe of them: whether it
//! fails, or how many rows it yields, may depend on the value. Those that are here never do.

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
    "json_object_agg",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "mode",
    "percentile_cont",
    "percentile_disc",
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
    "abs",
    "age",
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
    "json_typeof",
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
    "pg_column_size",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_substr",
    "repeat",
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
    "string_to_array",
    "substr",
    "substring",
    "to_char",
    "trunc",
    "upper",
];

/// Scalar functions that fail for no value of any argument.
const ANY: &[&str] = &[
    "array_append",
    "array_cat",
    "array_length",
    "array_prepend",
    "array_to_string",
    "concat",
    "concat_ws",
    "json_build_array",
    "json_extract_path",
    "json_extract_path_text",
    "jsonb_build_array",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
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
const SECOND: &[&str] = &["date_part", "date_trunc", "extract", "timezone"];

/// What is the same for every row of a statement, given constants.
const STEADY: &[&str] = &[
    "current_setting",
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
        return true;
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

/// Whether the result tells nothing of the arguments' values.
pub(super) fn shows_nothing(name: &str) -> bool {
    matches!(name, "pg_typeof" | "pg_column_compression")
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
