//! Names as the tree spells them: string lists, range variables, functions with arguments, type names.
//! The grammar has folded and truncated every part already, as the server does.

use linegate_policy::Name;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::ObjectType;
use pg_raw_parse::{Node, nodes};

use crate::parse::plain;

/// A relation's name. A database part, which can only be the current one, is dropped; what CREATE TEMP makes is in the
/// session's own schema.
pub(crate) fn relation(relation: &nodes::RangeVar) -> Name {
    const TEMPORARY: u8 = b't'; // RELPERSISTENCE_TEMP
    let is_temporary = u32::from(relation.relpersistence as u8) == u32::from(TEMPORARY);
    let own = || is_temporary.then_some("pg_temp");
    Name {
        schema: relation.schemaname().or_else(own).map(str::to_owned),
        name: relation.relname().unwrap_or_default().to_owned(),
    }
}

/// Kinds of relations that hold or show rows.
pub(crate) fn holds_rows(kind: ObjectType::Type) -> bool {
    matches!(
        kind,
        ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_FOREIGN_TABLE
    )
}

/// Whether objects of a kind share the names of tables.
pub(crate) fn is_relation(kind: ObjectType::Type) -> bool {
    holds_rows(kind) || matches!(kind, ObjectType::OBJECT_SEQUENCE | ObjectType::OBJECT_INDEX)
}

/// Whether objects of a kind are code, or say which code is called: types with their functions as well.
pub(crate) fn is_code(kind: ObjectType::Type) -> bool {
    matches!(
        kind,
        ObjectType::OBJECT_AGGREGATE
            | ObjectType::OBJECT_COLLATION
            | ObjectType::OBJECT_CONVERSION
            | ObjectType::OBJECT_DOMAIN
            | ObjectType::OBJECT_FUNCTION
            | ObjectType::OBJECT_OPCLASS
            | ObjectType::OBJECT_OPERATOR
            | ObjectType::OBJECT_OPFAMILY
            | ObjectType::OBJECT_PROCEDURE
            | ObjectType::OBJECT_ROUTINE
            | ObjectType::OBJECT_TSCONFIGURATION
            | ObjectType::OBJECT_TSDICTIONARY
            | ObjectType::OBJECT_TYPE
    )
}

/// An unqualified name.
pub(crate) fn bare(name: &str) -> Name {
    Name {
        schema: None,
        name: name.to_owned(),
    }
}

/// The last one or two of a list of strings.
pub(crate) fn qualified(list: &NodeList) -> Option<Name> {
    from_parts(&list.iter().filter_map(Node::as_str).collect::<Vec<_>>())
}

/// A function's name; `pg_catalog` is where unqualified names are looked up first and is not spelled out.
pub(crate) fn function(list: &NodeList) -> Option<Name> {
    let mut name = qualified(list)?;
    if name.schema.as_deref() == Some("pg_catalog") {
        name.schema = None;
    }
    Some(name)
}

/// The relation that a text of `regclass` spells: folded unless quoted. `None` where it spells none, as a number does.
pub(crate) fn spelled(text: &str) -> Option<Name> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text.trim();
    loop {
        let is_quoted = rest.starts_with('"');
        let part = match rest.strip_prefix('"') {
            Some(mut quoted) => {
                let mut part = String::new();
                loop {
                    let (before, after) = quoted.split_once('"')?;
                    part.push_str(before);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            part.push('"');
                            quoted = more;
                        }
                        None => {
                            rest = after.trim_start();
                            break;
                        }
                    }
                }
                part
            }
            None => {
                let (part, _) = rest.split_once('.').unwrap_or((rest, ""));
                rest = &rest[part.len()..];
                part.trim().to_ascii_lowercase() // as the server folds in UTF8
            }
        };
        // A number of an object may have a sign, and blanks before it.
        let is_name = part.starts_with(|first: char| first.is_alphabetic() || first == '_');
        if part.is_empty() || !is_quoted && !is_name {
            return None;
        }
        parts.push(kept(part));
        match rest.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    from_parts(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A name as the server keeps it: 63 bytes of it, cut between characters.
fn kept(mut name: String) -> String {
    const NAME_BYTES_MAX: usize = 63; // NAMEDATALEN - 1
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

pub(crate) fn from_parts(parts: &[&str]) -> Option<Name> {
    match parts {
        [] => None,
        [name] => Some(bare(name)),
        [.., schema, name] => Some(Name {
            schema: Some((*schema).to_owned()),
            name: (*name).to_owned(),
        }),
    }
}

/// The names under which an object of DROP, COMMENT, SECURITY LABEL, ALTER … OWNER or GRANT goes. For a part of a
/// relation (column, trigger, rule, policy, constraint) that is the relation and, unless it is a column, the part.
pub(crate) fn object(kind: ObjectType::Type, node: Node<'_>) -> Vec<Name> {
    let list = match node {
        Node::NodeList(list) => list,
        Node::RangeVar(var) => return vec![relation(var)],
        Node::String(_) => return node.as_str().map(bare).into_iter().collect(),
        Node::ObjectWithArgs(object) => return qualified(object.objname()).into_iter().collect(),
        Node::TypeName(name) => return qualified(plain(name.names())).into_iter().collect(),
        _ => return Vec::new(),
    };
    let parts: Vec<&str> = list.iter().filter_map(Node::as_str).collect();
    match (kind, parts.as_slice()) {
        (ObjectType::OBJECT_COLUMN, [of @ .., _]) => from_parts(of).into_iter().collect(),
        (
            ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY
            | ObjectType::OBJECT_TABCONSTRAINT,
            [of @ .., part],
        ) => from_parts(of).into_iter().chain([bare(part)]).collect(),
        // The access method comes first.
        (ObjectType::OBJECT_OPCLASS | ObjectType::OBJECT_OPFAMILY, [_, name @ ..]) => {
            from_parts(name).into_iter().collect()
        }
        // Casts, transforms and domain constraints are lists around type names.
        (_, []) => list.iter().flat_map(|part| object(kind, part)).collect(),
        (_, parts) => from_parts(parts)
            .into_iter()
            .chain(
                list.iter()
                    .filter(|part| matches!(part, Node::TypeName(_)))
                    .flat_map(|part| object(kind, part)),
            )
            .collect(),
    }
}
