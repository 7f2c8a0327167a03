//! Types by their names, and definitions that could give a name another meaning.
//! Source: PostgreSQL manual, "The Schema Search Path" (`pg_temp` is searched before `pg_catalog` for types and relations),
//! "Domain Types", "Nondeterministic Collations".
//!
//! A cast to `text` keeps a value as it is because of what `text` means. Whoever could make a type of that name in front of
//! it would decide what is kept, and which values fail; whoever could compare under a collation of their own would decide
//! what is equal. A domain brings both, so that under a mask none is made, and no relation or type takes a built-in type's
//! name (a relation's name is a type's as well).

use pg_raw_parse::raw::ObjectType;
use pg_raw_parse::{Node, nodes};

use linegate_policy::Name;

use super::{OURS_FROM, builtin_name};
use crate::parse::plain;
use crate::walk::names;

/// Types of `pg_catalog` that statements name, as the grammar or people spell them.
const BUILT_IN: &[&str] = &[
    "aclitem",
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "date",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4range",
    "int8",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "unknown",
    "uuid",
    "varbit",
    "varchar",
    "xid",
    "xid8",
    "xml",
];

/// Whether a type is one of the server's own, or an array of them.
pub(super) fn is_built_in(kind: &nodes::TypeName) -> bool {
    !kind.pct_type && builtin_name(plain(kind.names())).is_some_and(is_built_in_name)
}

/// Built-in types whose values are read and written in one way, whatever settings and the catalog say.
const STEADY: [&str; 30] = [
    "bit",
    "bool",
    "bpchar",
    "char",
    "cidr",
    "inet",
    "int2",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "json",
    "jsonb",
    "jsonpath",
    "macaddr",
    "macaddr8",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "text",
    "tid",
    "tsquery",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
];

/// Whether what a literal of the type means, or how its values are written, may go by settings.
pub(super) fn goes_by_settings(kind: &nodes::TypeName) -> bool {
    let name = builtin_name(plain(kind.names()));
    let steady = |name: &str| STEADY.binary_search(&name.trim_start_matches('_')).is_ok();
    !name.is_some_and(steady)
}

/// Whether a literal of the type is a name that the catalog holds.
pub(super) fn goes_by_names(kind: &nodes::TypeName) -> bool {
    builtin_name(plain(kind.names())).is_some_and(|name| name.trim_start_matches('_').starts_with("reg"))
}

/// Whether values of the type are read and written in one way, whatever settings and the catalog say.
pub(super) fn is_steady(kind: &nodes::TypeName) -> bool {
    is_built_in(kind) && !goes_by_settings(kind) && !goes_by_names(kind)
}

/// Whether a value of the type is the text that it was given as, all of it.
pub(super) fn is_text(kind: &nodes::TypeName) -> bool {
    let name = builtin_name(plain(kind.names())).filter(|_| kind.array_bounds().is_empty());
    matches!(name, Some("text" | "varchar" | "bpchar" | "unknown")) && kind.typmods().is_empty()
}

/// Whether a value of the type, or of arrays of it, may be a part of what it was cast from.
pub(super) fn cuts(kind: &nodes::TypeName) -> bool {
    let name = builtin_name(plain(kind.names())).map(|name| name.trim_start_matches('_'));
    matches!(name, Some("name" | "char" | "bpchar" | "bit" | "varbit"))
}

/// The same by `pg_type.oid`: "char", name, bpchar, bit, varbit and their arrays.
pub(super) fn oid_cuts(oid: u32) -> bool {
    matches!(oid, 18 | 19 | 1002 | 1003 | 1014 | 1042 | 1560..=1563)
}

/// Whether what wants a text takes a value of the type as one, of whatever length.
pub(super) fn becomes_text(kind: &nodes::TypeName) -> bool {
    let name = builtin_name(plain(kind.names())).filter(|_| kind.array_bounds().is_empty());
    matches!(
        name,
        Some("text" | "varchar" | "bpchar" | "unknown" | "name" | "char")
    )
}

/// Whether values of the type are bytes, or arrays of such.
pub(super) fn is_bytes(kind: &nodes::TypeName) -> bool {
    builtin_name(plain(kind.names())).is_some_and(|name| name.trim_start_matches('_') == "bytea")
}

/// By `pg_type.oid`: whether a value's text may hold commas that what was sent does not show. Of texts, numbers, times and the like
/// it does not.
pub fn oid_hides_commas(oid: u32) -> bool {
    const PLAIN: [u32; 26] = [
        0, 16, 18, 19, 20, 21, 23, 25, 26, 650, 700, 701, 705, 774, 829, 869, 1042, 1043, 1082, 1083, 1114,
        1184, 1186, 1266, 1700, 2950,
    ];
    !PLAIN.contains(&oid)
}

/// By `pg_type.oid`: whether how values are written goes by settings. Whatever is within a type that somebody made.
pub fn oid_goes_by_settings(oid: u32) -> bool {
    // unknown, bool, char, name, the integers, text, oid, json, network addresses, strings of bits, numeric, uuid, text search, jsonb,
    // jsonpath, vectors and ranges of numbers.
    const SCALARS: [u32; 32] = [
        16, 18, 19, 20, 21, 22, 23, 25, 26, 27, 30, 114, 650, 705, 774, 829, 869, 1042, 1043, 1560, 1562,
        1700, 2950, 3614, 3615, 3802, 3904, 3906, 3926, 4072, 4451, 4536,
    ];
    const ARRAYS: [u32; 26] = [
        199, 651, 775, 1000, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1028, 1040, 1041, 1231, 1561,
        1563, 2951, 3643, 3645, 3807, 3905, 3907, 3927, 4073,
    ];
    !SCALARS.contains(&oid) && !ARRAYS.contains(&oid)
}

/// Whether values of that type are names that the catalog holds, or it is somebody's.
pub fn oid_goes_by_names(oid: u32) -> bool {
    // regproc, regprocedure to regtype, regconfig, regdictionary, regnamespace, regrole, regcollation
    let scalars = [24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];
    let arrays = [1008, 2207, 2208, 2209, 2210, 2211, 3735, 3770, 4090, 4097, 4192];
    oid >= OURS_FROM || scalars.contains(&oid) || arrays.contains(&oid)
}

/// Whether a value stays itself under that cast, so that no more values come of it than there were.
pub(super) fn keeps_values(cast: &nodes::TypeCast, kind: &nodes::TypeName) -> bool {
    keeps_listed(kind) && !matches!(cast.arg(), Node::TypeCast(_))
}

/// Whether a text that is listed is one value of that type, whatever settings say.
pub(super) fn keeps_listed(kind: &nodes::TypeName) -> bool {
    let is_plain = builtin_name(plain(kind.names())).is_some_and(|name| {
        matches!(
            name.trim_start_matches('_'),
            "text" | "varchar" | "int2" | "int4" | "int8" | "numeric" | "uuid" | "date"
        )
    });
    is_plain && kind.typmods().is_empty()
}

/// Whether a cast of something that is written out is one value, whatever settings and the catalog say of it.
pub(super) fn casts_plainly(cast: &nodes::TypeCast) -> bool {
    let of_settings = |kind: &nodes::TypeName| goes_by_settings(kind) || goes_by_names(kind);
    let is_written_anew =
        matches!(cast.arg(), Node::TypeCast(inner) if inner.type_name().is_some_and(of_settings));
    !is_written_anew && !cast.type_name().is_some_and(goes_by_names)
}

fn is_built_in_name(name: &str) -> bool {
    BUILT_IN.binary_search(&name).is_ok()
}

/// Whether a statement makes or renames something that casts and comparisons could then mean.
pub(super) fn shadows(node: Node<'_>) -> bool {
    let takes = |name: Option<Name>| name.is_some_and(|name| is_built_in_name(&name.name));
    let relation = |var: Option<&nodes::RangeVar>| takes(var.map(names::relation));
    match node {
        Node::RawStmt(raw) => shadows(raw.stmt()),
        Node::ExplainStmt(explain) => shadows(explain.query()),
        Node::PrepareStmt(prepare) => shadows(prepare.query()),
        Node::CreateSchemaStmt(create) => create.schema_elts().iter().any(shadows),
        Node::CreateDomainStmt(_)
        | Node::AlterDomainStmt(_)
        | Node::AlterCollationStmt(_)
        | Node::CreateConversionStmt(_)
        | Node::AlterTSDictionaryStmt(_)
        | Node::AlterTSConfigurationStmt(_) => true,
        Node::DefineStmt(define) => matches!(
            define.kind,
            ObjectType::OBJECT_COLLATION
                | ObjectType::OBJECT_TSPARSER
                | ObjectType::OBJECT_TSDICTIONARY
                | ObjectType::OBJECT_TSTEMPLATE
                | ObjectType::OBJECT_TSCONFIGURATION
                | ObjectType::OBJECT_TYPE
        ),
        Node::CompositeTypeStmt(create) => relation(create.typevar()),
        Node::CreateEnumStmt(create) => takes(names::qualified(plain(create.type_name()))),
        Node::CreateRangeStmt(create) => takes(names::qualified(plain(create.type_name()))),
        Node::CreateStmt(create) => relation(create.relation()),
        Node::ViewStmt(view) => relation(view.view()),
        Node::CreateTableAsStmt(create) => relation(create.into().and_then(|into| into.rel())),
        Node::SelectStmt(select) => relation(select.into_clause().and_then(|into| into.rel())),
        Node::RenameStmt(rename) => {
            rename.newname().is_some_and(is_built_in_name) && renames_type(rename.rename_type)
        }
        Node::AlterObjectSchemaStmt(alter) => {
            relation(alter.relation())
                || names::object(alter.object_type, alter.object())
                    .iter()
                    .any(|name| is_built_in_name(&name.name))
        }
        _ => false,
    }
}

/// Whether what is renamed is a type, or has one of its name.
fn renames_type(kind: ObjectType::Type) -> bool {
    !matches!(
        kind,
        ObjectType::OBJECT_COLUMN
            | ObjectType::OBJECT_ATTRIBUTE
            | ObjectType::OBJECT_TABCONSTRAINT
            | ObjectType::OBJECT_DOMCONSTRAINT
            | ObjectType::OBJECT_INDEX
            | ObjectType::OBJECT_POLICY
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_TRIGGER
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(BUILT_IN.is_sorted());
    }
}
