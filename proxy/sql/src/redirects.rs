//! Whether a text has changes of one relation reach another from now on: views, rules and triggers made, names that move, parts
//! attached. Until the catalog shows that, a change says less of itself than it does.
//! Source: PostgreSQL manual, "The Rule System", "Updatable Views", "Table Partitioning", "Overview of Trigger Behavior".

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{AlterTableType, ObjectType};
use pg_raw_parse::{Node, nodes};

use crate::parse::foreign_table;
use crate::walk::names::holds_rows;

/// Stands for every name.
pub(crate) const ANY: &str = "*";

/// Names of relations whose changes reach others, without schemas, of all statements of a text.
pub(crate) fn names(statements: &NodeList) -> Vec<String> {
    let mut found = Vec::new();
    for statement in statements {
        match statement {
            Node::RawStmt(raw) => add(raw.stmt(), &mut found),
            _ => found.push(ANY.to_owned()),
        }
    }
    found
}

fn add(statement: Node<'_>, found: &mut Vec<String>) {
    let mut relation = |relation: Option<&nodes::RangeVar>| {
        found.push(
            relation
                .and_then(nodes::RangeVar::relname)
                .unwrap_or(ANY)
                .to_owned(),
        );
    };
    match statement {
        Node::ViewStmt(view) => relation(view.view()),
        Node::RuleStmt(rule) => relation(rule.relation()),
        Node::CreateTrigStmt(trigger) => relation(trigger.relation()),
        Node::RenameStmt(rename) if holds_rows(rename.rename_type) => {
            relation(rename.relation());
            found.extend(rename.newname().map(str::to_owned));
        }
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_SCHEMA => {
            found.push(ANY.to_owned())
        }
        Node::AlterObjectSchemaStmt(alter) if holds_rows(alter.object_type) => relation(alter.relation()),
        Node::CreateSchemaStmt(create) if !create.schema_elts().is_empty() => found.push(ANY.to_owned()),
        Node::CreateStmt(create) => {
            if create.partbound().is_some() {
                create
                    .inh_relations()
                    .iter()
                    .for_each(|parent| relation(range_var(parent)));
            }
        }
        Node::AlterTableStmt(alter) => {
            for command in alter.cmds() {
                let Node::AlterTableCmd(command) = command else {
                    return found.push(ANY.to_owned());
                };
                match command.subtype {
                    AlterTableType::AT_AddConstraint => {
                        if let Node::Constraint(key) = command.def()
                            && let Some(parent) = key.pktable()
                        {
                            relation(Some(parent)); // its rows take others with them
                        }
                    }
                    AlterTableType::AT_AddInherit => {
                        relation(alter.relation());
                        relation(range_var(command.def()));
                    }
                    AlterTableType::AT_AttachPartition
                    | AlterTableType::AT_EnableAlwaysRule
                    | AlterTableType::AT_EnableAlwaysTrig
                    | AlterTableType::AT_EnableReplicaRule
                    | AlterTableType::AT_EnableReplicaTrig
                    | AlterTableType::AT_EnableRule
                    | AlterTableType::AT_EnableTrig
                    | AlterTableType::AT_EnableTrigAll
                    | AlterTableType::AT_EnableTrigUser => relation(alter.relation()),
                    _ => {}
                }
            }
        }
        other => {
            if let Some(foreign) = foreign_table(other) {
                relation(foreign.relation());
            }
        }
    }
}

fn range_var(node: Node<'_>) -> Option<&nodes::RangeVar> {
    match node {
        Node::RangeVar(relation) => Some(relation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn what_leads_elsewhere_is_told_by_name() {
        for (text, names) in [
            ("CREATE TEMP VIEW v AS SELECT * FROM t", "v"),
            ("CREATE RULE r AS ON INSERT TO s.t DO INSTEAD DELETE FROM u", "t"),
            ("CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()", "t"),
            ("ALTER TABLE v RENAME TO w", "v w"),
            ("ALTER VIEW v RENAME TO w", "v w"),
            ("ALTER VIEW v SET SCHEMA s", "v"),
            ("ALTER SCHEMA s RENAME TO t", "*"),
            ("ALTER TABLE t ATTACH PARTITION u DEFAULT", "t"),
            ("ALTER TABLE t INHERIT u", "t u"),
            ("ALTER TABLE t ENABLE TRIGGER ALL", "t"),
            (
                "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE",
                "u",
            ),
            ("CREATE TABLE t PARTITION OF u DEFAULT", "u"),
            ("SELECT 1; CREATE VIEW v AS SELECT 1", "v"),
            ("CREATE FOREIGN TABLE t (id int) SERVER s", "t"),
        ] {
            assert_eq!(read(text.as_bytes()).redirects.join(" "), names, "{text}");
        }
        for text in [
            "CREATE TABLE t (id int PRIMARY KEY)",
            "ALTER TABLE t ADD COLUMN c int",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "ALTER INDEX i RENAME TO j",
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)",
            "ALTER TABLE t DISABLE TRIGGER ALL",
            "CREATE SCHEMA s",
            "DROP VIEW v",
            "INSERT INTO t VALUES (1)",
            "",
        ] {
            assert!(read(text.as_bytes()).redirects.is_empty(), "{text}");
        }
    }
}
