//! Utility statements that run, prepare, copy, set, show, lock or maintain; definitions are in `ddl`.
//! Source: PostgreSQL manual, "SQL Commands".

use linegate_identity::Effects;
use pg_raw_parse::raw::{DiscardMode, ObjectType, ReindexObjectType, TransactionStmtKind, VariableSetKind};
use pg_raw_parse::{ConstValue, Node, nodes};

use super::{Walked, Walker, expr, names};
use crate::ReadError;
use crate::parse::plain;

/// Effects that say an explained statement would touch rows or objects.
const TOUCHES: Effects = super::DONE_LATER;

impl<'a> Walker<'a> {
    pub(super) fn utility(&mut self, node: Node<'a>) -> Walked {
        match node {
            Node::ExplainStmt(explain) => self.explain(explain)?,
            Node::CopyStmt(copy) => self.copy(copy)?,
            Node::PrepareStmt(prepare) => {
                self.does(Effects::PREPARED);
                self.found.prepares = true;
                self.visit_list(plain(prepare.argtypes()))?;
                self.statement(prepare.query())?;
            }
            Node::DeclareCursorStmt(cursor) => {
                self.found.prepares = true;
                self.statement(cursor.query())?;
            }
            Node::ExecuteStmt(execute) => {
                self.does(Effects::PREPARED);
                self.visit_list(execute.params())?;
            }
            Node::FetchStmt(_) | Node::ClosePortalStmt(_) | Node::DeallocateStmt(_) => {
                self.does(Effects::PREPARED);
            }
            Node::DoStmt(_) => {
                self.does(Effects::EXECUTE);
                self.found.changes_catalog = true;
                self.opaque("a DO block");
            }
            Node::CallStmt(call) => {
                self.does(Effects::CALL);
                self.found.changes_catalog = true;
                self.opaque("a procedure body");
                self.visit_some(call.funccall())?;
            }
            Node::VariableSetStmt(set) => self.set(set, None),
            Node::VariableShowStmt(_) => self.does(Effects::SHOW),
            Node::DiscardStmt(discard) => {
                self.does(Effects::SET);
                self.found.changes_catalog |= matches!(
                    discard.target,
                    DiscardMode::DISCARD_ALL | DiscardMode::DISCARD_TEMP
                );
                if discard.target == DiscardMode::DISCARD_ALL {
                    self.found.settings.push("*".to_owned());
                }
            }
            Node::TransactionStmt(transaction) => {
                self.does(Effects::TRANSACTION);
                if matches!(
                    transaction.kind,
                    TransactionStmtKind::TRANS_STMT_PREPARE
                        | TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
                        | TransactionStmtKind::TRANS_STMT_ROLLBACK_PREPARED
                ) {
                    // It outlives the session and is the server's to end.
                    self.does(Effects::SERVER);
                }
                // It may have changed anything.
                self.found.changes_catalog |=
                    transaction.kind == TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED;
                self.found.prepares_transaction |=
                    transaction.kind == TransactionStmtKind::TRANS_STMT_PREPARE;
            }
            Node::ConstraintsSetStmt(_) => self.does(Effects::TRANSACTION),
            Node::LockStmt(lock) => {
                self.does(Effects::LOCK);
                self.write_all(ObjectType::OBJECT_TABLE, lock.relations());
            }
            Node::TruncateStmt(truncate) => {
                self.does(Effects::TRUNCATE);
                self.found.bounded = false;
                self.write_all(ObjectType::OBJECT_TABLE, truncate.relations());
            }
            Node::ListenStmt(_) | Node::NotifyStmt(_) | Node::UnlistenStmt(_) => self.does(Effects::NOTIFY),
            Node::CheckPointStmt(_) => self.does(Effects::MAINTENANCE),
            Node::VacuumStmt(vacuum) => {
                self.does(Effects::MAINTENANCE);
                let is_full = |option: Node<'_>| matches!(option, Node::DefElem(option) if option.defname() == Some("full"));
                let rewrites = plain(vacuum.options()).iter().any(is_full);
                for node in plain(vacuum.rels()) {
                    let Node::VacuumRelation(part) = node else {
                        return Err(ReadError::UnknownNode);
                    };
                    self.write(part.relation());
                    self.holds_up(part.relation().filter(|_| rewrites));
                }
            }
            Node::ClusterStmt(cluster) => {
                self.does(Effects::MAINTENANCE);
                self.write(cluster.relation());
                self.holds_up(cluster.relation());
            }
            Node::ReindexStmt(reindex) => {
                self.does(Effects::MAINTENANCE);
                self.write(reindex.relation());
                self.holds_up(reindex.relation());
                // A schema's, or the whole database's.
                let name = reindex
                    .name()
                    .filter(|_| reindex.kind == ReindexObjectType::REINDEX_OBJECT_SCHEMA);
                let relations = name.map(|schema| self.names_in(schema)).unwrap_or_default();
                self.write_names(relations.into_iter().chain(name.map(names::bare)));
                // Whoever logs in waits for these.
                if matches!(name, Some("pg_catalog" | "pg_toast" | "information_schema")) {
                    self.does(Effects::SERVER);
                }
            }
            Node::RefreshMatViewStmt(refresh) => {
                self.does(Effects::MAINTENANCE);
                self.write(refresh.relation());
            }
            Node::LoadStmt(_) => self.does(Effects::SERVER),
            Node::AlterSystemStmt(system) => {
                self.does(Effects::SERVER);
                self.set_of(system.setstmt(), Effects::SERVER);
            }
            _ => self.definition(node)?,
        }
        Ok(())
    }

    /// Adds every object of a list to what is written.
    pub(super) fn write_all(&mut self, kind: ObjectType::Type, objects: &'a pg_raw_parse::list::NodeList) {
        for object in objects {
            self.write_names(names::object(kind, object));
        }
    }

    /// EXPLAIN runs its statement only with ANALYZE, and plans it anyway.
    fn explain(&mut self, explain: &'a nodes::ExplainStmt) -> Walked {
        self.does(Effects::EXPLAIN);
        let mut runs = false;
        for node in plain(explain.options()) {
            let Node::DefElem(option) = node else {
                return Err(ReadError::UnknownNode);
            };
            runs |= option
                .defname()
                .is_some_and(|name| name.eq_ignore_ascii_case("analyze"))
                && !says_no(option.arg());
        }
        if runs {
            return self.statement(explain.query());
        }
        let effects = self.not_now(|walker| walker.statement(explain.query()))?;
        if effects.intersects(TOUCHES) {
            self.does(Effects::SELECT);
        }
        Ok(())
    }

    fn copy(&mut self, copy: &'a nodes::CopyStmt) -> Walked {
        let by_client = !copy.is_program && copy.filename().is_none();
        self.does(match (by_client, copy.is_from) {
            (true, true) => Effects::COPY_IN,
            (true, false) => Effects::COPY_OUT,
            (false, _) => Effects::SERVER,
        });
        if copy.is_from {
            self.target(copy.relation());
        } else {
            self.found.reads.extend(copy.relation().map(names::relation));
        }
        if !matches!(copy.query(), Node::None) {
            self.statement(copy.query())?;
        }
        self.visit(copy.where_clause())
    }

    /// SET and RESET, in all forms. `effects` replaces what changing the setting itself would be, for the settings of
    /// other sessions.
    fn set(&mut self, set: &'a nodes::VariableSetStmt, effects: Option<Effects>) {
        let name = set.name().unwrap_or_default();
        match set.kind {
            VariableSetKind::VAR_RESET_ALL => self.setting("*", None, effects.or(Some(Effects::SET))),
            VariableSetKind::VAR_SET_MULTI => match name {
                // SET TRANSACTION and SET TRANSACTION SNAPSHOT last as long as the transaction.
                "SESSION CHARACTERISTICS" => {
                    self.does(effects.unwrap_or(Effects::SET));
                    for option in set.args() {
                        if let Node::DefElem(option) = option {
                            let name = option.defname().unwrap_or_default();
                            self.setting(&format!("default_{name}"), None, effects);
                        }
                    }
                }
                _ => self.does(effects.unwrap_or(Effects::TRANSACTION)),
            },
            _ => {
                // A list (search_path, DateStyle) is more than one value.
                let is_reset = matches!(
                    set.kind,
                    VariableSetKind::VAR_RESET | VariableSetKind::VAR_SET_DEFAULT
                );
                let value = match set.args().len() {
                    1 => set.args().first().and_then(expr::constant),
                    // What is judged by how small it is made is known to be what an administrator set.
                    _ if is_reset && SIZES.contains(&name) => Some("default".into()),
                    _ => None,
                };
                // As DISCARD ALL does: back to the role that linegate logged in as.
                let resets = is_reset && ROLES.contains(&name) && effects.is_none();
                self.setting(name, value.as_deref(), effects.or(resets.then_some(Effects::SET)));
            }
        }
    }

    /// A SET that is part of ALTER SYSTEM, ALTER ROLE or ALTER DATABASE.
    pub(super) fn set_of(&mut self, set: Option<&'a nodes::VariableSetStmt>, effects: Effects) {
        if let Some(set) = set {
            self.set(set, Some(effects));
        }
    }
}

/// Settings of as whom a session acts.
const ROLES: [&str; 2] = ["role", "session_authorization"];
/// Settings of how much memory a statement may use before it takes its rows in portions.
const SIZES: [&str; 2] = ["hash_mem_multiplier", "work_mem"];

/// Whether a boolean option is certainly off; anything doubtful is on.
fn says_no(argument: Node<'_>) -> bool {
    match argument {
        Node::String(text) => text
            .sval()
            .is_some_and(|text| text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("off")),
        Node::Boolean(value) => !value.boolval,
        Node::Integer(value) => value.ival == 0,
        Node::A_Const(value) => matches!(
            value.val(),
            Some(ConstValue::Boolean(false) | ConstValue::Integer(0))
        ),
        _ => false,
    }
}
