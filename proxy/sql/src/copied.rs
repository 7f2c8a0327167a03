//! COPY … TO STDOUT: how its rows are written, and the query that describes them.
//! Source: PostgreSQL manual, "COPY"; `copy.c` (ProcessCopyOptions), `copyto.c`.
//!
//! Options are an allow-list: one that is not known, has an odd value or stands twice makes the rows unreadable, and a COPY
//! of labelled columns refused. In text a value may look like the null string, so that only a few null strings are taken.

use linegate_identity::Effects;
use linegate_policy::{CopyFormat, CopyOut, LabelIndex, Statement};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use crate::parse;
use crate::tokens::{Token, tokens};
use crate::walk::names;

/// Null strings of the text format. No value is written like the first; the others tell no more than that a value may be one of
/// these words.
const TEXT_NULLS: &[&str] = &["\\N", "", "NULL", "null", "NA", "None"];
/// What the server refuses as a delimiter in text.
const NO_DELIMITERS: &[u8] = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
const TABLE: u8 = b'r';

/// What a text that is one COPY … TO STDOUT copies; `None` where that is not known in every detail.
pub(crate) fn read(
    text: &str,
    statements: &NodeList,
    index: &LabelIndex,
    statement: &Statement,
) -> Option<CopyOut> {
    let mut nodes = statements.iter();
    let (Some(Node::RawStmt(raw)), None) = (nodes.next(), nodes.next()) else {
        return None;
    };
    let Node::CopyStmt(copy) = raw.stmt() else {
        return None;
    };
    let effects = statement.effects;
    let only_reads = effects.contains(Effects::COPY_OUT)
        && effects
            .without(Effects::SELECT.with(Effects::COPY_OUT))
            .is_empty()
        && statement.writes.is_empty()
        && statement.settings.is_empty()
        && statement.opaque.is_empty();
    let is_plain = !copy.is_from
        && !copy.is_program
        && copy.filename().is_none()
        && matches!(copy.where_clause(), Node::None);
    if !only_reads || !is_plain {
        return None;
    }
    let describes = match (copy.relation(), copy.query()) {
        (Some(relation), Node::None) => of_relation(relation, &columns(copy, index)?),
        (None, Node::SelectStmt(_)) => of_query(text)?,
        _ => return None,
    };
    options(copy, describes)
}

/// The columns of a relation that a COPY sends, in order; `None` where it is not known which relation or columns these are.
pub(crate) fn columns<'n>(copy: &'n nodes::CopyStmt, index: &'n LabelIndex) -> Option<Vec<&'n str>> {
    let relation = copy.relation()?;
    if relation.catalogname().is_some() {
        return None;
    }
    let name = names::relation(relation);
    let mut oids = index.known(&name).map(|known| known.oid);
    let (Some(oid), None) = (oids.next(), oids.next()) else {
        return None;
    };
    let known = index.known_by_oid(oid)?;
    if known.kind != TABLE || known.is_derived {
        return None;
    }
    let is_of = |name: &&str| known.columns.iter().any(|column| column.name == *name);
    let listed = copy.attlist();
    let columns: Vec<&str> = if listed.is_empty() {
        let stored = known
            .columns
            .iter()
            .filter(|column| !known.generated.contains(&column.number));
        stored.map(|column| column.name.as_str()).collect()
    } else {
        let names: Option<Vec<&str>> = listed.iter().map(Node::as_str).collect();
        names.filter(|names| names.iter().all(is_of))?
    };
    (!columns.is_empty()).then_some(columns)
}

/// The name stays as it was written, so that the server finds the same relation by it.
fn of_relation(relation: &nodes::RangeVar, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let name = names::relation(relation);
    let schema = name.schema.map_or(String::new(), |schema| quoted(&schema) + ".");
    format!(
        "SELECT {} FROM ONLY {schema}{}",
        columns.join(", "),
        quoted(&name.name)
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query between the first parentheses, if it is one.
fn of_query(text: &str) -> Option<String> {
    let query = between_parentheses(text)?;
    let tree = parse::parse(query).ok()?;
    let mut nodes = parse::plain(&tree).iter();
    match (nodes.next(), nodes.next()) {
        (Some(Node::RawStmt(raw)), None) => {
            matches!(raw.stmt(), Node::SelectStmt(_)).then(|| query.to_owned())
        }
        _ => None,
    }
}

fn options(copy: &nodes::CopyStmt, describes: String) -> Option<CopyOut> {
    let mut seen = Vec::new();
    let (mut format, mut delimiter, mut null) = (CopyFormat::Text, None, None);
    let (mut quote, mut escape, mut has_header, mut quotes_all) = (None, None, false, false);
    for option in parse::plain(copy.options()) {
        let Node::DefElem(option) = option else {
            return None;
        };
        let name = option.defname()?;
        if option.defnamespace().is_some() || seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, option.arg()) {
            ("format", Node::String(value)) => {
                format = match value.sval()? {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    _ => return None,
                }
            }
            ("delimiter", Node::String(value)) => delimiter = Some(byte(value.sval()?)?),
            ("null", Node::String(value)) => null = Some(value.sval()?.to_owned()),
            ("quote", Node::String(value)) => quote = Some(byte(value.sval()?)?),
            ("escape", Node::String(value)) => escape = Some(byte(value.sval()?)?),
            ("header", value) => has_header = truth(value)?,
            ("force_quote", Node::A_Star(_)) => quotes_all = true,
            ("force_quote", Node::NodeList(columns))
                if columns.iter().all(|name| name.as_str().is_some()) =>
            {
                quotes_all = true;
            }
            ("encoding", Node::String(value)) => {
                let utf8 = ["utf8", "utf-8", "unicode"];
                let value = value.sval()?;
                if !utf8.iter().any(|name| name.eq_ignore_ascii_case(value)) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    let is_csv = format == CopyFormat::Csv;
    let (usual_delimiter, usual_null) = if is_csv { (b',', "") } else { (b'\t', "\\N") };
    let has_null = null.is_some();
    let copied = CopyOut {
        describes,
        format,
        delimiter: delimiter.unwrap_or(usual_delimiter),
        null: null.unwrap_or_else(|| usual_null.to_owned()),
        quote: quote.unwrap_or(b'"'),
        escape: escape.or(quote).unwrap_or(b'"'),
        has_header,
        quotes_all,
    };
    let is_delimited = delimiter.is_some() || has_null || has_header;
    let is_quoted = quote.is_some() || escape.is_some() || quotes_all;
    let null_has = |byte: u8| copied.null.bytes().any(|other| other == byte);
    let is_good = match format {
        CopyFormat::Binary => !is_delimited && !is_quoted,
        _ if b"\n\r".contains(&copied.delimiter) || null_has(b'\n') || null_has(b'\r') => false,
        _ if null_has(copied.delimiter) => false,
        CopyFormat::Text => {
            !is_quoted
                && !NO_DELIMITERS.contains(&copied.delimiter)
                && TEXT_NULLS.contains(&copied.null.as_str())
        }
        CopyFormat::Csv => {
            let special = [copied.quote, copied.escape];
            !special.contains(&copied.delimiter)
                && !special.iter().any(|byte| b"\n\r".contains(byte))
                && !null_has(copied.quote)
        }
    };
    is_good.then_some(copied)
}

/// A single ASCII character.
fn byte(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [byte @ 1..0x80] => Some(*byte),
        _ => None,
    }
}

/// HEADER as COPY TO takes it.
fn truth(value: Node<'_>) -> Option<bool> {
    match value {
        Node::None => Some(true),
        Node::Boolean(value) => Some(value.boolval),
        Node::Integer(value) => match value.ival {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Node::String(value) => {
            let value = value.sval()?;
            let is = |words: [&str; 2]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
            match (is(["true", "on"]), is(["false", "off"])) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What stands between the parentheses behind the first word, cut out by tokens. The text has parsed.
fn between_parentheses(text: &str) -> Option<&str> {
    let (mut words, mut depth, mut start) = (0, 0_usize, 0);
    for token in tokens(text) {
        match token? {
            (_, Token::Word(_)) => words += usize::from(depth == 0),
            (at, Token::Byte(b'(')) => {
                if depth == 0 {
                    if words != 1 {
                        return None;
                    }
                    start = at + 1;
                }
                depth += 1;
            }
            (at, Token::Byte(b')')) => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return text.get(start..at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
