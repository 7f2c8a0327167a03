//! What definitions lead elsewhere: changes and rows of one relation that come to be another's, by views, rules, triggers, names that
//! move and parts that are attached, and names of code that is made or replaced. Until the catalog shows that, a later statement
//! says less of itself than it does.
//! Source: PostgreSQL manual, "The Rule System", "Updatable Views", "Table Partitioning", "Overview of Trigger Behavior",
//! "Extending SQL".

use linegate_policy::{Leads, Name};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{
    AlterTableType, DropBehavior, ObjectType, ReindexObjectType, TransactionStmtKind, VariableSetKind,
};
use pg_raw_parse::{Node, nodes};

use crate::output::is_builtin_operator;
use crate::parse::{foreign_table, plain};
use crate::placed;
use crate::walk::children::any_below;
use crate::walk::names::{self, is_code, is_relation};

/// Stands for every name.
pub(crate) const ANY: &str = "*";

fn any() -> Name {
    names::bare(ANY)
}

/// Those of all statements of a text.
pub(crate) fn find(statements: &NodeList) -> Leads {
    let mut leads = Leads::default();
    for statement in statements {
        match statement {
            Node::RawStmt(raw) => {
                add(raw.stmt(), &mut leads);
                refer(raw.stmt(), &mut leads.referred);
                recode(raw.stmt(), &mut leads.code);
                leads.keeps_calls |= keeps_calls(raw.stmt());
                leads.reshapes |= reshapes(raw.stmt());
                leads.rebuilds |= rebuilds(raw.stmt());
                leads.recasts |= recasts(raw.stmt());
                leads.tends_all |= tends_all(raw.stmt());
                leads.ends |= ends(raw.stmt());
                leads.runs_by_name |= runs_by_name(raw.stmt());
                leads.unplaced |= placed::is_unplaced(raw.stmt());
                leads.moves_schemas |= placed::moves_schemas(raw.stmt());
            }
            _ => {
                leads.rebuilds = true;
                leads.changes.push(any());
            }
        }
    }
    let mut all = statements.iter();
    leads.only_resets =
        !statements.is_empty() && all.all(|node| matches!(node, Node::RawStmt(raw) if resets(raw.stmt())));
    leads
}

/// [`linegate_policy::Statement::opaque`] of a definition that changes a setting of whoever uses it.
pub(crate) const KEPT_SETTING: &str = "a definition that changes settings";

/// Whether a statement is a definition whose expressions whoever uses it runs.
pub(crate) fn keeps_expressions(node: Node<'_>) -> bool {
    let Node::RawStmt(raw) = node else { return true };
    matches!(
        raw.stmt(),
        Node::CreateStmt(_)
            | Node::AlterTableStmt(_)
            | Node::ViewStmt(_)
            | Node::IndexStmt(_)
            | Node::CreateDomainStmt(_)
            | Node::AlterDomainStmt(_)
            | Node::CreatePolicyStmt(_)
            | Node::AlterPolicyStmt(_)
            | Node::CreateSchemaStmt(_)
    )
}

/// RESET, SET … TO DEFAULT, DISCARD ALL.
fn resets(statement: Node<'_>) -> bool {
    match statement {
        Node::DiscardStmt(_) => true,
        Node::VariableSetStmt(set) => matches!(
            set.kind,
            VariableSetKind::VAR_RESET | VariableSetKind::VAR_RESET_ALL | VariableSetKind::VAR_SET_DEFAULT
        ),
        _ => false,
    }
}

/// Whether something goes along with what is dropped.
fn reshapes(statement: Node<'_>) -> bool {
    const CASCADE: DropBehavior::Type = DropBehavior::DROP_CASCADE;
    match statement {
        Node::DropStmt(drop) => drop.behavior == CASCADE,
        Node::AlterTableStmt(alter) => alter.cmds().iter().any(|command| match command {
            Node::AlterTableCmd(command) => command.behavior == CASCADE,
            _ => true,
        }),
        _ => false,
    }
}

/// Whether something that is there already may come to depend on something else. New relations and columns have nobody yet who
/// would go along with them, and what is dropped or gets another name for a column comes to depend on nothing.
fn rebuilds(statement: Node<'_>) -> bool {
    match statement {
        // Keys to a partitioned table come to refer to its new partition.
        Node::CreateStmt(create) => !create.inh_relations().is_empty(),
        Node::CreateTableAsStmt(_)
        | Node::CreateSeqStmt(_)
        | Node::DropStmt(_)
        | Node::TruncateStmt(_)
        | Node::SelectStmt(_)
        | Node::InsertStmt(_)
        | Node::UpdateStmt(_)
        | Node::DeleteStmt(_)
        | Node::MergeStmt(_)
        | Node::CopyStmt(_)
        | Node::TransactionStmt(_)
        | Node::VariableSetStmt(_)
        | Node::VariableShowStmt(_) => false,
        Node::ViewStmt(view) => view.replace,
        Node::RenameStmt(rename) => rename.rename_type != ObjectType::OBJECT_COLUMN,
        Node::AlterTableStmt(alter) => {
            alter.objtype != ObjectType::OBJECT_TABLE || !alter.cmds().iter().all(only_adds_or_drops)
        }
        _ => true,
    }
}

/// Whether a command of ALTER TABLE makes a column or takes something away.
fn only_adds_or_drops(command: Node<'_>) -> bool {
    use AlterTableType::{AT_AddColumn, AT_DropColumn, AT_DropConstraint, AT_DropNotNull, AT_SetNotNull};
    let harmless = [
        AT_AddColumn,
        AT_DropColumn,
        AT_DropConstraint,
        AT_DropNotNull,
        AT_SetNotNull,
    ];
    matches!(command, Node::AlterTableCmd(command) if harmless.contains(&command.subtype))
}

/// Whether a relation's rows get another type.
fn recasts(statement: Node<'_>) -> bool {
    let goes = |command: Node<'_>| match command {
        Node::AlterTableCmd(command) => matches!(
            command.subtype,
            AlterTableType::AT_DropColumn | AlterTableType::AT_AlterColumnType
        ),
        _ => true,
    };
    matches!(statement, Node::AlterTableStmt(alter) if alter.cmds().iter().any(goes))
}

/// EXECUTE, FETCH and MOVE, also within EXPLAIN and CREATE TABLE AS.
fn runs_by_name(statement: Node<'_>) -> bool {
    match statement {
        Node::ExecuteStmt(_) | Node::FetchStmt(_) => true,
        Node::ExplainStmt(explain) => runs_by_name(explain.query()),
        Node::CreateTableAsStmt(create) => runs_by_name(create.query()),
        _ => false,
    }
}

/// COMMIT, ROLLBACK, ROLLBACK TO, PREPARE TRANSACTION.
fn ends(statement: Node<'_>) -> bool {
    let begins = |kind| {
        matches!(
            kind,
            TransactionStmtKind::TRANS_STMT_BEGIN
                | TransactionStmtKind::TRANS_STMT_START
                | TransactionStmtKind::TRANS_STMT_SAVEPOINT
                | TransactionStmtKind::TRANS_STMT_RELEASE
        )
    };
    matches!(statement, Node::TransactionStmt(transaction) if !begins(transaction.kind))
}

/// Whether everything is tended that there is.
fn tends_all(statement: Node<'_>) -> bool {
    match statement {
        Node::VacuumStmt(vacuum) => plain(vacuum.rels()).is_empty(),
        Node::ClusterStmt(cluster) => cluster.relation().is_none(),
        Node::ReindexStmt(reindex) => {
            let of_schema = reindex.kind == ReindexObjectType::REINDEX_OBJECT_SCHEMA;
            reindex.relation().is_none() && !of_schema
        }
        Node::AlterTableMoveAllStmt(_) => true,
        _ => false,
    }
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

fn add(statement: Node<'_>, leads: &mut Leads) {
    let name = |relation: Option<&nodes::RangeVar>| relation.map_or_else(any, names::relation);
    match statement {
        Node::ViewStmt(view) => leads.changes.push(name(view.view())),
        Node::RuleStmt(rule) => leads.changes.push(name(rule.relation())),
        Node::CreateTrigStmt(trigger) => leads.changes.push(name(trigger.relation())),
        // The server takes ALTER INDEX and ALTER SEQUENCE for any relation.
        Node::RenameStmt(rename) if is_relation(rename.rename_type) => {
            let old = name(rename.relation());
            let new = rename.newname().map(|name| Name {
                schema: old.schema.clone(),
                name: name.to_owned(),
            });
            moves([old].into_iter().chain(new), leads);
        }
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_SCHEMA => moves([any()], leads),
        // By another column's name, another label is asked about.
        Node::RenameStmt(rename) if is_column(rename.rename_type) => {
            leads.rows.push(name(rename.relation()));
        }
        Node::AlterObjectSchemaStmt(alter) if is_relation(alter.object_type) => {
            moves([name(alter.relation())], leads);
        }
        Node::CreateSchemaStmt(create) if !create.schema_elts().is_empty() => leads.changes.push(any()),
        // It goes along with the table that it comes to be part of.
        Node::AlterSeqStmt(alter) => {
            let of = alter.options().iter().filter_map(|option| match option {
                Node::DefElem(option) if option.defname() == Some("owned_by") => Some(option.arg()),
                _ => None,
            });
            for owner in of {
                let Node::NodeList(path) = owner else { continue };
                let parts: Vec<&str> = path.iter().filter_map(Node::as_str).collect();
                if let [of @ .., _] = parts.as_slice() {
                    leads.owners.extend(names::from_parts(of));
                }
            }
        }
        // Their rows are its parents', too.
        Node::CreateStmt(create) => {
            let own = name(create.relation());
            for parent in create.inh_relations() {
                leads.parents.push((own.clone(), name(range_var(parent))));
            }
            leads.cloned.extend(create.partbound().map(|_| own.clone()));
            if !create.if_not_exists {
                leads.made.push(own);
            }
        }
        Node::AlterTableStmt(alter) => {
            for command in alter.cmds() {
                match command {
                    Node::AlterTableCmd(command) => altered(alter, command, leads),
                    _ => leads.changes.push(any()),
                }
            }
        }
        other => {
            if let Some(foreign) = foreign_table(other) {
                let own = name(foreign.relation());
                for parent in foreign.inh_relations() {
                    leads.parents.push((own.clone(), name(range_var(parent))));
                }
                leads.changes.push(own);
            }
        }
    }
}

/// These names have another's rows now.
fn moves(names: impl IntoIterator<Item = Name>, leads: &mut Leads) {
    for name in names {
        leads.rows.push(name.clone());
        leads.changes.push(name);
    }
}

fn altered(alter: &nodes::AlterTableStmt, command: &nodes::AlterTableCmd, leads: &mut Leads) {
    let own = || alter.relation().map_or_else(any, names::relation);
    match command.subtype {
        AlterTableType::AT_AddInherit => {
            let parent = range_var(command.def()).map_or_else(any, names::relation);
            leads.parents.push((own(), parent.clone()));
            leads.rows.push(parent);
        }
        AlterTableType::AT_AttachPartition => {
            let part = match command.def() {
                Node::PartitionCmd(part) => part.name().map_or_else(any, names::relation),
                _ => any(),
            };
            leads.cloned.push(part.clone());
            leads.parents.push((part, own()));
            leads.rows.push(own());
        }
        AlterTableType::AT_EnableAlwaysRule
        | AlterTableType::AT_EnableAlwaysTrig
        | AlterTableType::AT_EnableReplicaRule
        | AlterTableType::AT_EnableReplicaTrig
        | AlterTableType::AT_EnableRule
        | AlterTableType::AT_EnableTrig
        | AlterTableType::AT_EnableTrigAll
        | AlterTableType::AT_EnableTrigUser => leads.changes.push(own()),
        _ => {}
    }
}

fn is_column(kind: ObjectType::Type) -> bool {
    matches!(kind, ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_ATTRIBUTE)
}

fn range_var(node: Node<'_>) -> Option<&nodes::RangeVar> {
    match node {
        Node::RangeVar(relation) => Some(relation),
        _ => None,
    }
}

/// Names of code that is another from now on. What is used without being named (casts, operator classes) may be met anywhere.
fn recode(statement: Node<'_>, found: &mut Vec<Name>) {
    match statement {
        Node::CreateFunctionStmt(create) => found.extend(names::qualified(create.funcname())),
        Node::AlterFunctionStmt(alter) => {
            let function = alter.func().map(|function| function.objname());
            found.push(function.and_then(names::qualified).unwrap_or_else(any));
        }
        Node::RenameStmt(rename) if is_code(rename.rename_type) => {
            found.extend(names::object(rename.rename_type, rename.object()));
            found.extend(rename.newname().map(names::bare));
        }
        Node::AlterObjectSchemaStmt(alter) if is_code(alter.object_type) => {
            found.extend(names::object(alter.object_type, alter.object()));
        }
        Node::AlterOwnerStmt(alter) if is_code(alter.object_type) => {
            found.extend(names::object(alter.object_type, alter.object()));
        }
        Node::DropStmt(drop) if is_code(drop.remove_type) => {
            let dropped = drop.objects().iter();
            found.extend(dropped.flat_map(|object| names::object(drop.remove_type, object)));
        }
        Node::DefineStmt(define) => {
            found.extend(names::qualified(plain(define.defnames())));
            if define.kind == ObjectType::OBJECT_TYPE {
                found.push(any());
            }
        }
        Node::AlterOperatorStmt(alter) => {
            let operator = alter.opername().map(|operator| operator.objname());
            found.push(operator.and_then(names::qualified).unwrap_or_else(any));
        }
        Node::CreateCastStmt(_)
        | Node::CreateOpClassStmt(_)
        | Node::AlterOpFamilyStmt(_)
        | Node::CreateRangeStmt(_)
        | Node::AlterTypeStmt(_)
        | Node::CreateTransformStmt(_)
        | Node::CreateEventTrigStmt(_)
        | Node::AlterEventTrigStmt(_) => found.push(any()),
        // With a check, wherever a value of it is made: by that name, or in a column.
        Node::CreateDomainStmt(create) => {
            let may_call = |node: Node<'_>| match node {
                Node::FuncCall(_) | Node::TypeCast(_) => true,
                Node::A_Expr(expr) => !is_builtin_operator(expr.name()),
                _ => false,
            };
            if any_below(Node::NodeList(plain(create.constraints())), may_call) {
                found.extend(names::qualified(plain(create.domainname())));
            }
        }
        // In columns, views and types that are there already.
        Node::AlterDomainStmt(_) => found.push(any()),
        Node::AlterTableStmt(alter) if alter.objtype == ObjectType::OBJECT_TYPE => found.push(any()),
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_SCHEMA => found.push(any()),
        Node::CreateSchemaStmt(create) => create
            .schema_elts()
            .iter()
            .for_each(|element| recode(element, found)),
        _ => {}
    }
}

/// Whether what a statement makes calls, when it is used, the functions that the statement names.
fn keeps_calls(statement: Node<'_>) -> bool {
    !matches!(
        statement,
        Node::CreateFunctionStmt(_)
            | Node::CreateTrigStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::DropStmt(_)
            | Node::CommentStmt(_)
            | Node::GrantStmt(_)
            | Node::RenameStmt(_)
            | Node::AlterOwnerStmt(_)
            | Node::AlterObjectSchemaStmt(_)
    )
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
            ("ALTER INDEX v RENAME TO w", "v w"),
            ("ALTER SEQUENCE v RENAME TO w", "v w"),
            ("ALTER TABLE t ENABLE TRIGGER ALL", "t"),
            ("CREATE FOREIGN TABLE t () INHERITS (u) SERVER s", "t"),
            ("SELECT 1; CREATE VIEW v AS SELECT 1", "v"),
            ("CREATE FOREIGN TABLE t (id int) SERVER s", "t"),
        ] {
            assert_eq!(told(&read(text.as_bytes()).leads.changes), names, "{text}");
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
            assert_eq!(told(&found.leads.referred), names, "{text}");
            assert!(found.leads.changes.is_empty(), "{text}");
        }
        let schema = read(b"CREATE SCHEMA s CREATE TABLE t (a int REFERENCES u)");
        assert_eq!(
            (told(&schema.leads.changes), told(&schema.leads.referred)),
            ("*".into(), "u".into())
        );
        for text in [
            "CREATE TABLE t (id int PRIMARY KEY)",
            "ALTER TABLE t ADD COLUMN c int",
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)",
            "ALTER TABLE t DISABLE TRIGGER ALL",
            "CREATE SCHEMA s",
            "DROP VIEW v",
            "INSERT INTO t VALUES (1)",
            "",
        ] {
            let found = read(text.as_bytes());
            assert!(found.leads.keeps_relations(), "{text}");
        }
    }

    #[test]
    fn children_are_told_with_their_parents() {
        for (text, parents, made) in [
            ("ALTER TABLE t ATTACH PARTITION s.u DEFAULT", "s.u<t", ""),
            ("ALTER TABLE t INHERIT u", "t<u", ""),
            ("CREATE TABLE t PARTITION OF u DEFAULT", "t<u", "t"),
            ("CREATE TABLE t () INHERITS (u, s.v)", "t<u t<s.v", "t"),
            ("CREATE TABLE IF NOT EXISTS t () INHERITS (u)", "t<u", ""),
            ("CREATE FOREIGN TABLE t () INHERITS (u) SERVER s", "t<u", ""),
            ("CREATE TABLE s.t (id int)", "", "s.t"),
        ] {
            let leads = read(text.as_bytes()).leads;
            let found: Vec<String> = leads
                .parents
                .iter()
                .map(|(child, parent)| format!("{child}<{parent}"))
                .collect();
            assert_eq!(
                (found.join(" "), told(&leads.made)),
                (parents.into(), made.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn rows_and_code_that_are_others_from_now_on_are_told_by_name() {
        for (text, rows, code) in [
            ("ALTER TABLE s.t INHERIT s.u", "s.u", ""),
            ("ALTER TABLE t ATTACH PARTITION u DEFAULT", "t", ""),
            ("ALTER TABLE t RENAME TO u", "t u", ""),
            ("ALTER TABLE t SET SCHEMA s", "t", ""),
            ("ALTER TABLE t RENAME COLUMN a TO b", "t", ""),
            ("ALTER VIEW s.v RENAME a TO b", "s.v", ""),
            ("CREATE VIEW v AS SELECT f()", "", ""),
            ("CREATE OR REPLACE FUNCTION s.f() RETURNS int RETURN 1", "", "s.f"),
            ("CREATE PROCEDURE p() LANGUAGE sql AS ''", "", "p"),
            ("ALTER FUNCTION f(int) SECURITY DEFINER", "", "f"),
            ("ALTER FUNCTION s.f(int) RENAME TO g", "", "s.f g"),
            ("ALTER FUNCTION f(int) SET SCHEMA s", "", "f"),
            ("DROP FUNCTION f(int), s.g", "", "f s.g"),
            (
                "CREATE AGGREGATE s.a (int) (sfunc = int4pl, stype = int)",
                "",
                "s.a",
            ),
            (
                "CREATE OPERATOR s.=~= (function = f, leftarg = int, rightarg = int)",
                "",
                "s.=~=",
            ),
            ("DROP OPERATOR =~= (int, int)", "", "=~="),
            ("CREATE CAST (text AS s.k) WITH FUNCTION f(text)", "", "*"),
            ("CREATE DOMAIN s.d AS int CHECK (f(value))", "", "s.d"),
            (
                "CREATE DOMAIN s.d AS int CHECK (value OPERATOR(s.=) 1)",
                "",
                "s.d",
            ),
            ("CREATE DOMAIN s.d AS int CHECK (value > 0)", "", ""),
            ("INSERT INTO t VALUES (f())", "", ""),
        ] {
            let leads = read(text.as_bytes()).leads;
            assert_eq!(
                (told(&leads.rows), told(&leads.code)),
                (rows.into(), code.into()),
                "{text}"
            );
        }
        let keeps = |text: &str| read(text.as_bytes()).leads.keeps_calls;
        assert!(keeps("ALTER TABLE t ALTER a SET DEFAULT f()") && keeps("CREATE VIEW v AS SELECT f()"));
        assert!(!keeps("CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()"));
    }
}
