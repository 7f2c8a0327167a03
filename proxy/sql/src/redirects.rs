//! Whether a text has changes of one relation reach another from now on: views, rules and triggers made, names that move, parts
//! attached. Until the catalog shows that, a change says less of itself than it does.
//! Source: PostgreSQL manual, "The Rule System", "Updatable Views", "Table Partitioning", "Overview of Trigger Behavior".

use linegate_policy::Name;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{AlterTableType, ObjectType};
use pg_raw_parse::{Node, nodes};

use crate::parse::foreign_table;
use crate::walk::names::{self, holds_rows};

/// Stands for every name.
pub(crate) const ANY: &str = "*";

/// Names of relations.
#[derive(Default)]
pub(crate) struct Redirects {
    /// Whose changes reach others.
    pub(crate) names: Vec<Name>,
    /// Whose rows others refer to: when these are deleted or changed, theirs may be as well.
    pub(crate) referred: Vec<Name>,
}

fn any() -> Name {
    Name {
        schema: None,
        name: ANY.to_owned(),
    }
}

/// Those of all statements of a text.
pub(crate) fn find(statements: &NodeList) -> Redirects {
    let mut all = Redirects::default();
    for statement in statements {
        match statement {
            Node::RawStmt(raw) => {
                add(raw.stmt(), &mut all.names);
                refer(raw.stmt(), &mut all.referred);
            }
            _ => all.names.push(any()),
        }
    }
    all
}

/// Foreign keys, wherever they are written.
fn refer(statement: Node<'_>, found: &mut Vec<Name>) {
    match statement {
        Node::CreateStmt(create) => create
            .table_elts()
            .iter()
            .for_each(|element| keys(element, found)),
        Node::AlterTableStmt(alter) => {
            for command in alter.cmds() {
                if let Node::AlterTableCmd(command) = command {
                    keys(command.def(), found);
                    if command.subtype == AlterTableType::AT_AlterConstraint {
                        found.push(any()); // of some relation: it may come to be enforced
                    }
                }
            }
        }
        Node::CreateSchemaStmt(create) => create
            .schema_elts()
            .iter()
            .for_each(|element| refer(element, found)),
        _ => {}
    }
}

/// A constraint, or those of a column.
fn keys(node: Node<'_>, found: &mut Vec<Name>) {
    match node {
        Node::Constraint(constraint) => {
            if let Some(parent) = constraint.pktable() {
                found.push(names::relation(parent));
            }
        }
        Node::ColumnDef(column) => column
            .constraints()
            .iter()
            .for_each(|constraint| keys(constraint, found)),
        _ => {}
    }
}

fn add(statement: Node<'_>, found: &mut Vec<Name>) {
    let mut relation = |relation: Option<&nodes::RangeVar>| {
        found.push(relation.map_or_else(any, names::relation));
    };
    match statement {
        Node::ViewStmt(view) => relation(view.view()),
        Node::RuleStmt(rule) => relation(rule.relation()),
        Node::CreateTrigStmt(trigger) => relation(trigger.relation()),
        Node::RenameStmt(rename) if holds_rows(rename.rename_type) => {
            relation(rename.relation());
            let schema = rename
                .relation()
                .and_then(|relation| names::relation(relation).schema);
            found.extend(rename.newname().map(|name| Name {
                schema,
                name: name.to_owned(),
            }));
        }
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_SCHEMA => found.push(any()),
        Node::AlterObjectSchemaStmt(alter) if holds_rows(alter.object_type) => relation(alter.relation()),
        Node::CreateSchemaStmt(create) if !create.schema_elts().is_empty() => found.push(any()),
        // Their rows are its parents', too.
        Node::CreateStmt(create) => {
            create
                .inh_relations()
                .iter()
                .for_each(|parent| relation(range_var(parent)));
        }
        Node::AlterTableStmt(alter) => {
            for command in alter.cmds() {
                let Node::AlterTableCmd(command) = command else {
                    return found.push(any());
                };
                match command.subtype {
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
                foreign
                    .inh_relations()
                    .iter()
                    .for_each(|parent| relation(range_var(parent)));
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
    use linegate_policy::Name;

    use crate::read;

    fn told(names: &[Name]) -> String {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_leads_elsewhere_is_told_by_name() {
        for (text, names) in [
            ("CREATE TEMP VIEW v AS SELECT * FROM t", "pg_temp.v"),
            (
                "CREATE RULE r AS ON INSERT TO s.t DO INSTEAD DELETE FROM u",
                "s.t",
            ),
            ("CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()", "t"),
            ("ALTER TABLE v RENAME TO w", "v w"),
            ("ALTER VIEW v RENAME TO w", "v w"),
            ("ALTER VIEW v SET SCHEMA s", "v"),
            ("ALTER SCHEMA s RENAME TO t", "*"),
            ("ALTER TABLE t ATTACH PARTITION u DEFAULT", "t"),
            ("ALTER TABLE t INHERIT u", "t u"),
            ("ALTER TABLE t ENABLE TRIGGER ALL", "t"),
            ("CREATE TABLE t PARTITION OF u DEFAULT", "u"),
            ("CREATE TABLE t () INHERITS (u, s.v)", "u s.v"),
            ("CREATE FOREIGN TABLE t () INHERITS (u) SERVER s", "t u"),
            ("SELECT 1; CREATE VIEW v AS SELECT 1", "v"),
            ("CREATE FOREIGN TABLE t (id int) SERVER s", "t"),
        ] {
            assert_eq!(told(&read(text.as_bytes()).redirects), names, "{text}");
        }
        for (text, names) in [
            (
                "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE",
                "u",
            ),
            ("ALTER TABLE t ADD COLUMN a int REFERENCES s.u", "s.u"),
            ("CREATE TABLE t (a int REFERENCES u, b int REFERENCES v)", "u v"),
            ("CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES u)", "u"),
            ("ALTER TABLE t ALTER CONSTRAINT k DEFERRABLE", "*"),
        ] {
            let found = read(text.as_bytes());
            assert_eq!(told(&found.referred), names, "{text}");
            assert!(found.redirects.is_empty(), "{text}");
        }
        let schema = read(b"CREATE SCHEMA s CREATE TABLE t (a int REFERENCES u)");
        assert_eq!(
            (told(&schema.redirects), told(&schema.referred)),
            ("*".into(), "u".into())
        );
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
            let found = read(text.as_bytes());
            assert!(found.redirects.is_empty() && found.referred.is_empty(), "{text}");
        }
    }
}
