//! Whether a text changes nothing of the catalog but that the tables and views it writes come, go or, for views, become
//! others: CREATE TABLE of columns of its own, CREATE VIEW, and DROP TABLE or VIEW without CASCADE. What neither names
//! them nor goes through a definition means the same before and after it.
//! Source: PostgreSQL manual, "CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW".
//!
//! Not so: a table with a parent (whose rows come to include its own), of a type, as a partition, like another or with a
//! foreign key (which acts on rows of the other table), a temporary table or view (which hides others of its name), and
//! CASCADE.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{DropBehavior, ObjectType};
use pg_raw_parse::{Node, nodes};

use crate::walk::names;

/// Of all statements of a text.
pub(crate) fn are(statements: &NodeList) -> bool {
    statements.iter().all(|statement| match statement {
        Node::RawStmt(raw) => is(raw.stmt()),
        _ => false,
    })
}

fn is(statement: Node<'_>) -> bool {
    match statement {
        Node::CreateStmt(create) => stands_alone(create),
        Node::ViewStmt(view) => view.view().is_some_and(stays),
        Node::DropStmt(drop) => {
            matches!(
                drop.remove_type,
                ObjectType::OBJECT_TABLE | ObjectType::OBJECT_VIEW
            ) && drop.behavior != DropBehavior::DROP_CASCADE
        }
        _ => false,
    }
}

fn stands_alone(create: &nodes::CreateStmt) -> bool {
    create.relation().is_some_and(stays)
        && create.inh_relations().is_empty()
        && create.partbound().is_none()
        && create.of_typename().is_none()
        && create.table_elts().iter().all(|element| match element {
            Node::ColumnDef(column) => column.constraints().iter().all(is_about_itself),
            constraint => is_about_itself(constraint),
        })
}

/// It is not of the session alone.
fn stays(relation: &nodes::RangeVar) -> bool {
    names::relation(relation).schema.as_deref() != Some("pg_temp")
}

fn is_about_itself(constraint: Node<'_>) -> bool {
    matches!(constraint, Node::Constraint(constraint) if constraint.pktable().is_none())
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn tables_that_come_and_go_by_themselves_are_told_from_all_else() {
        for text in [
            "CREATE TABLE app.t (id int PRIMARY KEY, note text NOT NULL DEFAULT 'x', CHECK (id > 0), UNIQUE (note))",
            "CREATE UNLOGGED TABLE IF NOT EXISTS t ()",
            "DROP TABLE IF EXISTS app.t, t2",
            "CREATE TABLE t (id int); DROP TABLE t;",
            "CREATE VIEW v AS SELECT 1",
            "CREATE OR REPLACE VIEW app.v AS SELECT * FROM app.customers",
            "DROP VIEW v, w",
        ] {
            let statement = read(text.as_bytes());
            assert!(
                statement.only_tables && statement.changes_catalog && !statement.writes.is_empty(),
                "{text}"
            );
        }
        for text in [
            "CREATE TEMP TABLE t (id int)",
            "CREATE TABLE pg_temp.t (id int)",
            "CREATE TABLE t (id int) INHERITS (app.customers)",
            "CREATE TABLE t PARTITION OF app.customers DEFAULT",
            "CREATE TABLE t OF app.customers_type",
            "CREATE TABLE t (LIKE app.customers)",
            "CREATE TABLE t (id int REFERENCES app.customers ON DELETE CASCADE)",
            "CREATE TABLE t (id int, FOREIGN KEY (id) REFERENCES app.customers (id))",
            "CREATE TABLE t AS SELECT 1",
            "SELECT 1 AS id INTO t",
            "DROP TABLE app.customers CASCADE",
            "DROP VIEW v CASCADE",
            "DROP MATERIALIZED VIEW v",
            "CREATE TEMP VIEW v AS SELECT 1",
            "CREATE VIEW pg_temp.v AS SELECT 1",
            "CREATE MATERIALIZED VIEW v AS SELECT 1",
            "DROP SCHEMA app",
            "ALTER TABLE t RENAME TO u",
            "CREATE FOREIGN TABLE t (id int) SERVER s",
            "CREATE SCHEMA s CREATE TABLE t (id int)",
            "CREATE TABLE t (id int); ALTER TABLE t ADD c int",
            "CREATE TABLE t (id int); SELECT 1",
            "SELECT 1",
            "",
        ] {
            assert!(!read(text.as_bytes()).only_tables, "{text}");
        }
    }
}
