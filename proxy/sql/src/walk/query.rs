//! SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE and their WITH lists.
//! Source: PostgreSQL manual, the reference pages of these commands and "WITH Queries".

use linegate_identity::Effects;
use pg_raw_parse::raw::{CmdType, MergeMatchKind, OnConflictAction, SetOperation};
use pg_raw_parse::{Node, nodes};

use super::children::names_a_column;
use super::{Walked, Walker, restriction, values};
use crate::parse::plain;
use crate::reactions::CATALOG_ROWS;
use crate::{bounded, output};

/// Whether a data-changing statement's source rows come from anything but its own text. A function among a SELECT's results
/// may yield any number of them.
fn reads_rows(source: Node<'_>) -> bool {
    super::children::any_below(source, |node| match node {
        Node::SelectStmt(select) => {
            !select.from_clause().is_empty()
                || select.op != SetOperation::SETOP_NONE
                || super::children::any_below(
                    Node::NodeList(plain(select.target_list())),
                    bounded::makes_rows,
                )
        }
        _ => false,
    })
}

impl<'a> Walker<'a> {
    pub(super) fn select(&mut self, select: &'a nodes::SelectStmt) -> Walked {
        self.does(Effects::SELECT);
        self.rows(select)
    }

    /// A SELECT's parts, without saying that rows are read. The left spine of a chain of set operations is walked
    /// in a loop: it may be as long as the text.
    fn rows(&mut self, select: &'a nodes::SelectStmt) -> Walked {
        let mark = self.scopes.mark();
        let mut current = select;
        loop {
            self.with(current.with_clause())?;
            if let Some(into) = current.into_clause() {
                self.create_into(into)?;
            }
            self.visit_list(current.distinct_clause())?;
            match restriction::find(current).filter(|_| !self.scopes.holds(restriction::VIEW)) {
                Some(call) => self.restriction(call),
                None => self.visit_list(plain(current.target_list()))?,
            }
            self.visit_list(current.from_clause())?;
            self.visit(current.where_clause())?;
            self.visit_list(current.group_clause())?;
            self.visit(current.having_clause())?;
            self.visit_list(current.window_clause())?;
            self.visit_list(current.values_lists())?;
            self.visit_list(plain(current.sort_clause()))?;
            self.visit(current.limit_offset())?;
            self.visit(current.limit_count())?;
            if !current.locking_clause().is_empty() {
                // FOR UPDATE OF names aliases of this FROM clause, not relations.
                self.does(Effects::LOCK);
            }
            if current.op == SetOperation::SETOP_NONE {
                break;
            }
            if let Some(right) = current.rarg() {
                self.statement(Node::SelectStmt(right))?;
            }
            match current.larg() {
                Some(left) => current = left,
                None => break,
            }
        }
        self.scopes.leave(mark);
        Ok(())
    }

    /// The new relation of SELECT INTO, CREATE TABLE AS and CREATE MATERIALIZED VIEW.
    pub(super) fn create_into(&mut self, into: &'a nodes::IntoClause) -> Walked {
        self.does(Effects::CREATE);
        self.found.changes_catalog = true;
        self.write(into.rel());
        self.visit_list(into.options())
    }

    /// Enters a WITH list's names. The caller leaves the scope.
    fn with(&mut self, with: Option<&'a nodes::WithClause>) -> Walked {
        let Some(with) = with else { return Ok(()) };
        let ctes = || plain(with.ctes()).iter();
        if with.recursive {
            for node in ctes() {
                if let Node::CommonTableExpr(cte) = node {
                    self.scopes.enter(cte.ctename().unwrap_or_default());
                }
            }
        }
        for node in ctes() {
            let Node::CommonTableExpr(cte) = node else {
                return Err(crate::ReadError::UnknownNode);
            };
            self.statement(cte.ctequery())?;
            self.visit_some(cte.cycle_clause())?;
            if !with.recursive {
                self.scopes.enter(cte.ctename().unwrap_or_default());
            }
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, insert: &'a nodes::InsertStmt) -> Walked {
        let mark = self.scopes.mark();
        self.does(Effects::INSERT);
        self.with(insert.with_clause())?;
        self.target(insert.relation());
        self.visit_list(insert.cols())?;
        match insert.select_stmt() {
            // A list of VALUES reads nothing unless a sub-select in it does.
            Node::SelectStmt(values)
                if values.op == SetOperation::SETOP_NONE && !values.values_lists().is_empty() =>
            {
                self.rows(values)?;
            }
            source => self.visit(source)?,
        }
        let is_text = values::is_text(insert.select_stmt());
        self.found.moves_values |= !is_text;
        // RETURNING shows what this statement just wrote, unless it met rows that were there.
        let mut shows = Effects::NONE;
        if let Some(conflict) = insert.on_conflict_clause() {
            self.visit_some(conflict.infer())?;
            self.visit_list(plain(conflict.target_list()))?;
            self.visit(conflict.where_clause())?;
            if conflict.action == OnConflictAction::ONCONFLICT_UPDATE {
                self.does(Effects::UPDATE);
                shows = Effects::SELECT;
                let own_row = is_text && values::knows_excluded(insert.relation());
                self.found.moves_values |=
                    values::moves(Node::NodeList(plain(conflict.target_list())), own_row);
                self.reads_target(insert.relation());
                self.found.bounded &= !reads_rows(insert.select_stmt());
            }
        }
        self.returning(insert.returning_clause(), insert.relation(), shows)?;
        self.scopes.leave(mark);
        Ok(())
    }

    pub(super) fn update(&mut self, update: &'a nodes::UpdateStmt) -> Walked {
        let mark = self.scopes.mark();
        self.does(Effects::UPDATE);
        self.with(update.with_clause())?;
        self.target(update.relation());
        self.settings_view(update.relation());
        self.visit_list(plain(update.target_list()))?;
        self.other_rows(update.from_clause())?;
        self.visit(update.where_clause())?;
        let set = Node::NodeList(plain(update.target_list()));
        self.found.moves_values |= values::moves(set, false);
        if names_a_column(update.where_clause()) || names_a_column(set) {
            self.reads_target(update.relation());
        }
        self.returning(update.returning_clause(), update.relation(), Effects::SELECT)?;
        self.found.bounded &= bounded::is_bounded(
            update.where_clause(),
            update.relation(),
            update.from_clause().iter(),
            self.index,
        );
        self.scopes.leave(mark);
        Ok(())
    }

    pub(super) fn delete(&mut self, delete: &'a nodes::DeleteStmt) -> Walked {
        let mark = self.scopes.mark();
        self.does(Effects::DELETE);
        self.with(delete.with_clause())?;
        self.target(delete.relation());
        self.other_rows(delete.using_clause())?;
        self.visit(delete.where_clause())?;
        if names_a_column(delete.where_clause()) {
            self.reads_target(delete.relation());
        }
        self.returning(delete.returning_clause(), delete.relation(), Effects::SELECT)?;
        self.found.bounded &= bounded::is_bounded(
            delete.where_clause(),
            delete.relation(),
            delete.using_clause().iter(),
            self.index,
        );
        self.scopes.leave(mark);
        Ok(())
    }

    pub(super) fn merge(&mut self, merge: &'a nodes::MergeStmt) -> Walked {
        let mark = self.scopes.mark();
        self.does(Effects::SELECT);
        self.with(merge.with_clause())?;
        self.target(merge.relation());
        self.reads_target(merge.relation());
        self.visit(merge.source_relation())?;
        self.visit(merge.join_condition())?;
        // Without keys, nothing tells how many rows a source's row meets.
        let names_rows = self.index.is_some()
            && bounded::is_bounded(
                merge.join_condition(),
                merge.relation(),
                [merge.source_relation()].into_iter(),
                self.index,
            );
        let clauses = || plain(merge.merge_when_clauses()).iter();
        let does = |clause: Node<'_>| match clause {
            Node::MergeWhenClause(when) => when.command_type != CmdType::CMD_NOTHING,
            _ => true,
        };
        if !clauses().any(does) {
            // It holds up whoever changes shapes, as one that changes rows does.
            self.does(Effects::LOCK);
        }
        for node in clauses() {
            let Node::MergeWhenClause(when) = node else {
                return Err(crate::ReadError::UnknownNode);
            };
            let is_bounded =
                names_rows && when.match_kind != MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_SOURCE;
            match when.command_type {
                CmdType::CMD_INSERT => self.does(Effects::INSERT),
                CmdType::CMD_UPDATE => {
                    self.does(Effects::UPDATE);
                    self.found.bounded &= is_bounded;
                    self.settings_view(merge.relation());
                }
                CmdType::CMD_DELETE => {
                    self.does(Effects::DELETE);
                    self.found.bounded &= is_bounded;
                }
                CmdType::CMD_NOTHING => {}
                _ => return Err(crate::ReadError::UnknownNode),
            }
            self.found.moves_values |= values::moves(Node::NodeList(when.target_list()), false)
                || values::moves(Node::NodeList(when.values()), false);
            self.visit(node)?;
        }
        self.returning(merge.returning_clause(), merge.relation(), Effects::SELECT)?;
        self.scopes.leave(mark);
        Ok(())
    }

    /// The relation that rows are added to, changed in or removed from.
    pub(super) fn target(&mut self, relation: Option<&'a nodes::RangeVar>) {
        self.write(relation);
        let Some(catalog) = relation.and_then(system_catalog) else {
            return;
        };
        // A superuser's DML on a catalog is DDL by another name.
        match catalog {
            "pg_settings" => {}
            "pg_authid" | "pg_auth_members" | "pg_db_role_setting" => {
                self.does(Effects::ROLE);
                self.opaque(CATALOG_ROWS);
            }
            _ => {
                self.does(Effects::ALTER);
                self.opaque(CATALOG_ROWS);
                self.found.changes_catalog = true;
            }
        }
    }

    /// `pg_settings` has a rule that turns its UPDATE into `set_config` with names from the rows.
    fn settings_view(&mut self, relation: Option<&'a nodes::RangeVar>) {
        if relation.and_then(system_catalog) == Some("pg_settings") {
            self.does(Effects::SET.with(Effects::ROLE));
            self.found.settings.push("*".to_owned());
        }
    }

    fn reads_target(&mut self, relation: Option<&'a nodes::RangeVar>) {
        self.found.reads.extend(relation.map(super::names::relation));
    }

    /// FROM of UPDATE, USING of DELETE.
    fn other_rows(&mut self, items: &'a pg_raw_parse::list::NodeList) -> Walked {
        if !items.is_empty() {
            self.does(Effects::SELECT);
        }
        self.visit_list(items)
    }

    fn returning(
        &mut self,
        returning: Option<&'a nodes::ReturningClause>,
        target: Option<&'a nodes::RangeVar>,
        shows: Effects,
    ) -> Walked {
        let Some(returning) = returning else { return Ok(()) };
        self.found.returns_computed |= output::shows_computed(returning.exprs());
        if names_a_column(Node::NodeList(returning.exprs())) {
            self.does(shows);
            self.reads_target(target);
        }
        self.visit_list(returning.exprs())
    }
}

/// The name, if it may be a system catalog.
fn system_catalog(relation: &nodes::RangeVar) -> Option<&str> {
    let name = relation.relname()?;
    let is_one = match relation.schemaname() {
        None => name.starts_with("pg_"),
        Some(schema) => matches!(schema, "pg_catalog" | "pg_toast" | "information_schema"),
    };
    is_one.then_some(name)
}
