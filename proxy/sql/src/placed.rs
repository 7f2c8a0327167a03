//! Where things are made: in the schema that is written, or in the first of the search path.
//! Source: PostgreSQL manual, "The Schema Search Path", "SQL Commands" (CREATE …).

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{ObjectType, VariableSetKind};
use pg_raw_parse::{Node, nodes};

use crate::parse::{foreign_table, plain};
use crate::walk::names;

/// Whether a statement makes something without its schema, or says where others will. Indexes, triggers, rules and policies are
/// where their relation is.
pub(crate) fn is_unplaced(statement: Node<'_>) -> bool {
    match statement {
        Node::CreateStmt(create) => is_loose(create.relation()),
        Node::CreateTableAsStmt(create) => create.into().is_some_and(|into| is_loose(into.rel())),
        Node::SelectStmt(select) => leftmost(select)
            .into_clause()
            .is_some_and(|into| is_loose(into.rel())),
        Node::ExplainStmt(explain) => is_unplaced(explain.query()),
        Node::ViewStmt(view) => is_loose(view.view()),
        Node::CreateSeqStmt(create) => is_loose(create.sequence()),
        Node::CompositeTypeStmt(create) => is_loose(create.typevar()),
        Node::CreateDomainStmt(create) => is_bare(plain(create.domainname())),
        Node::CreateEnumStmt(create) => is_bare(plain(create.type_name())),
        Node::CreateRangeStmt(create) => is_bare(plain(create.type_name())),
        Node::CreateFunctionStmt(create) => is_bare(create.funcname()),
        Node::CreateStatsStmt(create) => is_bare(plain(create.defnames())),
        Node::CreateOpFamilyStmt(create) => is_bare(plain(create.opfamilyname())),
        Node::CreateOpClassStmt(create) => is_bare(plain(create.opclassname())),
        Node::CreateConversionStmt(create) => is_bare(create.conversion_name()),
        Node::CreateExtensionStmt(create) => schema_of(create).is_none(),
        Node::DefineStmt(define) => is_bare(plain(define.defnames())),
        // What later sessions make is where this says, and there linegate looks where it was.
        Node::AlterRoleSetStmt(alter) => moves_others(alter.setstmt()),
        Node::AlterDatabaseSetStmt(alter) => moves_others(alter.setstmt()),
        Node::AlterSystemStmt(alter) => moves_others(alter.setstmt()),
        other => foreign_table(other).is_some_and(|create| is_loose(create.relation())),
    }
}

/// Where an extension's objects come to be, as far as it is written.
pub(crate) fn schema_of(create: &nodes::CreateExtensionStmt) -> Option<&str> {
    plain(create.options()).iter().find_map(|option| match option {
        Node::DefElem(option) if option.defname() == Some("schema") => option.arg().as_str(),
        _ => None,
    })
}

/// Whether sessions begin with another path or as another role from then on.
fn moves_others(set: Option<&nodes::VariableSetStmt>) -> bool {
    const MOVES: [&str; 3] = ["search_path", "role", "session_authorization"];
    let is_moved = |name: &str| MOVES.iter().any(|moves| name.eq_ignore_ascii_case(moves));
    set.is_none_or(|set| set.kind == VariableSetKind::VAR_RESET_ALL || set.name().is_some_and(is_moved))
}

/// Whether the first schema of a path may be another behind a statement: it goes, gets another name, or is closed to the role.
pub(crate) fn moves_schemas(statement: Node<'_>) -> bool {
    match statement {
        Node::DropStmt(drop) => drop.remove_type == ObjectType::OBJECT_SCHEMA,
        Node::RenameStmt(rename) => rename.rename_type == ObjectType::OBJECT_SCHEMA,
        Node::GrantStmt(grant) => !grant.is_grant && grant.objtype == ObjectType::OBJECT_SCHEMA,
        Node::GrantRoleStmt(grant) => !grant.is_grant,
        Node::DropOwnedStmt(_) => true,
        _ => false,
    }
}

/// The first arm of a set operation has its INTO.
fn leftmost(mut select: &nodes::SelectStmt) -> &nodes::SelectStmt {
    while let Some(left) = select.larg() {
        select = left;
    }
    select
}

/// What is temporary is in the session's own schema.
fn is_loose(relation: Option<&nodes::RangeVar>) -> bool {
    relation.is_some_and(|relation| names::relation(relation).schema.is_none())
}

fn is_bare(parts: &NodeList) -> bool {
    parts.len() == 1
}

#[cfg(test)]
mod tests {
    use linegate_identity::Effects;

    use crate::read;

    #[test]
    fn what_is_made_without_a_schema_is_told() {
        let is_unplaced = |text: &str| read(text.as_bytes()).leads.unplaced;
        for text in [
            "CREATE TABLE t (a int)",
            "CREATE TABLE t AS SELECT 1",
            "SELECT 1 AS a INTO t",
            "SELECT 1 AS a INTO t UNION SELECT 2",
            "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "CREATE MATERIALIZED VIEW v AS SELECT 1",
            "CREATE SEQUENCE s",
            "CREATE TYPE t AS (a int)",
            "CREATE TYPE t AS ENUM ('a')",
            "CREATE DOMAIN d AS int",
            "CREATE FUNCTION f() RETURNS int RETURN 1",
            "CREATE STATISTICS st ON a, b FROM s.t",
            "CREATE OPERATOR FAMILY f USING btree",
            "CREATE COLLATION c (locale = 'C')",
            "CREATE FOREIGN TABLE f (a int) SERVER s",
            "CREATE EXTENSION x",
            "SELECT 1; CREATE TABLE t (a int)",
        ] {
            assert!(is_unplaced(text), "{text}");
        }
        for text in [
            "CREATE TABLE s.t (a int)",
            "CREATE TEMP TABLE t (a int)",
            "CREATE TEMP VIEW t AS SELECT 1",
            "SELECT 1 AS a INTO TEMP t",
            "CREATE INDEX i ON t (a)",
            "CREATE SCHEMA s",
            "CREATE EXTENSION x SCHEMA s",
            "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()",
            "DROP TABLE t",
            "SELECT 1",
        ] {
            assert!(!is_unplaced(text), "{text}");
        }
    }

    #[test]
    fn whatever_gets_another_schema_is_made_there() {
        let kinds = "AGGREGATE x(int);COLLATION x;CONVERSION x;DOMAIN x;EXTENSION x;FOREIGN TABLE x;FUNCTION x(int);FUNCTION x;\
                     MATERIALIZED VIEW x;OPERATOR @@ (int, int);OPERATOR CLASS x USING btree;OPERATOR FAMILY x USING btree;\
                     PROCEDURE x();ROUTINE x;SEQUENCE x;STATISTICS x;TABLE x;TABLE IF EXISTS x;TEXT SEARCH CONFIGURATION x;\
                     TEXT SEARCH DICTIONARY x;TEXT SEARCH PARSER x;TEXT SEARCH TEMPLATE x;TYPE x;VIEW x";
        for kind in kinds.split(';') {
            let statement = read(format!("ALTER {kind} SET SCHEMA s").as_bytes());
            assert!(statement.effects.contains(Effects::CREATE), "{kind}");
            let mut made = statement.writes.iter().map(ToString::to_string);
            assert!(made.any(|made| made == "s.x" || made == "s.@@"), "{kind}");
        }
    }

    #[test]
    fn what_goes_along_and_what_is_only_reset_is_told() {
        for (text, reshapes, tends_all, only_resets) in [
            ("DROP TABLE t CASCADE", true, false, false),
            ("DROP TABLE t", false, false, false),
            ("ALTER TABLE t DROP COLUMN a", false, false, false),
            ("ALTER TABLE t ALTER a TYPE text", false, false, false),
            ("ALTER TABLE t DROP CONSTRAINT c CASCADE", true, false, false),
            ("ALTER TABLE t ADD COLUMN a int", false, false, false),
            ("ANALYZE; SELECT 1 FROM t", false, true, false),
            ("REINDEX DATABASE d", false, true, false),
            (
                "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b",
                false,
                true,
                false,
            ),
            (
                "ALTER INDEX ALL IN TABLESPACE a SET TABLESPACE b",
                false,
                true,
                false,
            ),
            ("REINDEX SCHEMA s", false, false, false),
            ("VACUUM t", false, false, false),
            ("RESET ALL", false, false, true),
            ("RESET search_path; DISCARD ALL", false, false, true),
            ("SET search_path TO DEFAULT", false, false, true),
            ("RESET ALL; SET search_path = s", false, false, false),
            ("", false, false, false),
        ] {
            let leads = read(text.as_bytes()).leads;
            assert_eq!(
                (leads.reshapes, leads.tends_all, leads.only_resets),
                (reshapes, tends_all, only_resets),
                "{text}"
            );
        }
    }
}
