//! Whether a text has changes of one relation reach another from now on: views, rules and triggers made, names that move, parts
//! attached. Until the catalog shows that, a change says less of itself than it does.
//! Source: PostgreSQL manual, "The Rule System", "Updatable Views", "Table Partitioning", "Overview of Trigger Behavior".

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::AlterTableType;

/// Of any statement of a text.
pub(crate) fn any(statements: &NodeList) -> bool {
    statements.iter().any(|statement| match statement {
        Node::RawStmt(raw) => redirects(raw.stmt()),
        _ => true,
    })
}

fn redirects(statement: Node<'_>) -> bool {
    match statement {
        Node::ViewStmt(_)
        | Node::RuleStmt(_)
        | Node::CreateTrigStmt(_)
        | Node::RenameStmt(_)
        | Node::AlterObjectSchemaStmt(_)
        | Node::CreateSchemaStmt(_) => true,
        Node::CreateStmt(create) => !create.inh_relations().is_empty() || create.partbound().is_some(),
        Node::AlterTableStmt(alter) => alter.cmds().iter().any(|command| match command {
            Node::AlterTableCmd(command) => matches!(
                command.subtype,
                AlterTableType::AT_AddConstraint
                    | AlterTableType::AT_AddInherit
                    | AlterTableType::AT_AttachPartition
                    | AlterTableType::AT_EnableAlwaysRule
                    | AlterTableType::AT_EnableAlwaysTrig
                    | AlterTableType::AT_EnableReplicaRule
                    | AlterTableType::AT_EnableReplicaTrig
                    | AlterTableType::AT_EnableRule
                    | AlterTableType::AT_EnableTrig
                    | AlterTableType::AT_EnableTrigAll
                    | AlterTableType::AT_EnableTrigUser
            ),
            _ => true,
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn what_leads_elsewhere_is_told_from_what_does_not() {
        for text in [
            "CREATE TEMP VIEW v AS SELECT * FROM t",
            "CREATE RULE r AS ON INSERT TO t DO INSTEAD DELETE FROM u",
            "CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()",
            "ALTER TABLE v RENAME TO w",
            "ALTER VIEW v SET SCHEMA s",
            "ALTER TABLE t ATTACH PARTITION u DEFAULT",
            "ALTER TABLE t INHERIT u",
            "ALTER TABLE t ENABLE TRIGGER ALL",
            "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE",
            "CREATE TABLE t () INHERITS (u)",
            "CREATE TABLE t PARTITION OF u DEFAULT",
            "SELECT 1; CREATE VIEW v AS SELECT 1",
        ] {
            assert!(read(text.as_bytes()).redirects, "{text}");
        }
        for text in [
            "CREATE TABLE t (id int PRIMARY KEY)",
            "ALTER TABLE t ADD COLUMN c int",
            "ALTER TABLE t DISABLE TRIGGER ALL",
            "DROP VIEW v",
            "INSERT INTO t VALUES (1)",
            "",
        ] {
            assert!(!read(text.as_bytes()).redirects, "{text}");
        }
    }
}
