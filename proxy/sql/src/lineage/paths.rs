//! Places within JSON documents: which of them a label with paths is not about.
//! Source: PostgreSQL manual, "JSON Functions and Operators", "JSON Types".
//!
//! A place is a list of object keys. Steps into an array do not count, neither an index nor a label's `[*]`: `$.home.street`
//! is about every element's street when there are several homes. A place is clean when it and each of the label's places part ways at some key.

use linegate_policy::ColumnId;
use pg_raw_parse::{ConstValue, Node};

use super::Reader;
use super::value::Value;
use crate::parse::plain;

const JSON: u32 = 114;
const JSONB: u32 = 3802;

impl Reader<'_> {
    /// The place that a value stands for, if it is one within a document whose labels are about places.
    fn place(&self, value: &Value) -> Option<(ColumnId, Vec<String>)> {
        let (column, place) = match value {
            Value::Exactly(column) => (*column, Vec::new()),
            Value::Part(column, place) => (*column, place.clone()),
            _ => return None,
        };
        let is_document = matches!(self.index.type_oid(column), Some(JSON | JSONB));
        (is_document && self.index.paths(column).is_some()).then_some((column, place))
    }

    /// What stands under those keys of a document.
    pub(super) fn under(&self, document: &Value, keys: &[String]) -> Value {
        if let Value::OneOf(columns) = document {
            let is_clean = |column: &ColumnId| self.under(&Value::Exactly(*column), keys).is_clean();
            return if columns.iter().all(is_clean) {
                Value::OTHER
            } else {
                Value::made([document])
            };
        }
        let Some((column, mut place)) = self.place(document) else {
            return Value::made([document, &Value::OTHER]);
        };
        let paths = self.index.paths(column).unwrap_or_default();
        for key in keys {
            if paths.iter().any(|path| place.starts_with(&names_of(path))) {
                // Below a labelled place, which members and elements there are is a part of the value.
                return Value::made([document, &Value::OTHER]);
            }
            if is_name(key) {
                place.push(key.clone());
            }
        }
        let parts_ways = |path: &&[String]| {
            let names = path.iter().filter(|key| is_name(key));
            names.zip(&place).any(|(one, two)| one != two)
        };
        if paths.iter().all(parts_ways) {
            Value::OTHER
        } else {
            Value::Part(column, place)
        }
    }

    /// Whether a document has a key at its top, where that shows nothing but the key.
    pub(super) fn has_key(&mut self, document: &Value, key: &Value) -> Value {
        let is_within = |(column, place): (ColumnId, Vec<String>)| {
            let paths = self.index.paths(column).unwrap_or_default();
            let names = |path: &[String]| path.iter().filter(|key| is_name(key)).count();
            paths.iter().any(|path| names(path) <= place.len())
        };
        match self.place(document).map(is_within) {
            Some(false) if key.is_fixed() => {
                self.count_computed([key]);
                // A document that is one text, or an array of texts, has that text for a key.
                self.found.lookups.extend(document.columns());
                Value::OTHER
            }
            _ => Value::computed([document, key, &Value::OTHER]),
        }
    }
}

fn names_of(path: &[String]) -> Vec<String> {
    path.iter().filter(|key| is_name(key)).cloned().collect()
}

/// A step to a member, not into an array. The server reads an index with `strtol`: space before it does not count.
fn is_name(key: &str) -> bool {
    let key = key.trim();
    !key.starts_with('[') && key.parse::<i128>().is_err()
}

/// A constant key: a text, or an array's index.
pub(super) fn key(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(text.to_owned()),
            ConstValue::Integer(number) => Some(number.to_string()),
            _ => None,
        },
        Node::TypeCast(cast) => {
            let name = super::builtin_name(plain(cast.type_name()?.names()))?;
            let is_text = matches!(name, "text" | "varchar") && cast.type_name()?.typmods().is_empty();
            if is_text { key(cast.arg()) } else { None }
        }
        _ => None,
    }
}

/// The keys of a constant text array: `'{a,b}'` or `ARRAY['a','b']`.
pub(super) fn keys(node: Node<'_>) -> Option<Vec<String>> {
    match node {
        Node::A_ArrayExpr(array) => array.elements().iter().map(key).collect(),
        Node::TypeCast(cast) => {
            let name = super::builtin_name(plain(cast.type_name()?.names()))?;
            if name == "text" && cast.type_name()?.typmods().is_empty() {
                keys(cast.arg())
            } else {
                None
            }
        }
        Node::A_Const(constant) => {
            let Some(ConstValue::String(text)) = constant.val() else {
                return None;
            };
            let inner = text.strip_prefix('{')?.strip_suffix('}')?;
            let is_simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            inner
                .split(',')
                .map(|key| (!key.is_empty() && key.chars().all(is_simple)).then(|| key.to_owned()))
                .collect()
        }
        _ => None,
    }
}

/// Whether an SQL/JSON path has members, elements and wildcards and nothing that compares, computes or can be mistaken.
pub(super) fn only_steps(node: Node<'_>) -> bool {
    let Node::A_Const(constant) = node else {
        return false;
    };
    let is_step = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '*' | '[' | ']');
    match constant.val() {
        Some(ConstValue::String(text)) => text
            .strip_prefix('$')
            .is_some_and(|steps| steps.chars().all(is_step)),
        _ => false,
    }
}

/// The keys of an SQL/JSON path that only steps into members: `$.a."b"` without quotes, filters and wildcards.
pub(super) fn json_path(node: Node<'_>) -> Option<Vec<String>> {
    let Node::A_Const(constant) = node else {
        return None;
    };
    let Some(ConstValue::String(text)) = constant.val() else {
        return None;
    };
    let is_simple = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut parts = text.split('.');
    if parts.next() != Some("$") {
        return None;
    }
    parts
        .map(|key| (!key.is_empty() && key.chars().all(is_simple)).then(|| key.to_owned()))
        .collect()
}
