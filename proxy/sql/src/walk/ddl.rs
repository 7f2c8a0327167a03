//! Statements that define, change, drop, rename and comment on relations, types, functions and other objects.
//! Source: PostgreSQL manual, "SQL Commands"; `nodes/parsenodes.h`.

use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::Name;
use pg_raw_parse::raw::{AlterTableType, DropBehavior, ObjectType};
use pg_raw_parse::{Node, nodes};

use super::{Walked, Walker, names};
use crate::ReadError;
use crate::parse::plain;

const FUNCTION_BODY: &str = "a function body";
pub(super) const SCHEMA: &str = "everything in a schema";
const DOMAIN: &str = "every column of a domain";
/// `AlterDomainStmt.subtype`.
const ADDS_CHECK: u32 = b'C' as u32;
const SETS_NOT_NULL: u32 = b'O' as u32;
const VALIDATES: u32 = b'V' as u32;
/// `AlterEventTrigStmt.tgenabled`: TRIGGER_DISABLED.
const EVENTS_DISABLED: u8 = b'D';
const DEPENDENTS: &str = "what depends on what is dropped";
const CATALOG_CODE: &str = "a user-defined operator, aggregate or cast";

/// What changing an object of that kind is, where `usual` is CREATE, ALTER or DROP for tables and the like.
/// Dropping stays a DROP whatever is dropped.
fn effects_on(kind: ObjectType::Type, usual: Effects) -> Effects {
    let class = match kind {
        ObjectType::OBJECT_ACCESS_METHOD
        | ObjectType::OBJECT_DATABASE
        | ObjectType::OBJECT_EXTENSION
        | ObjectType::OBJECT_FDW
        | ObjectType::OBJECT_FOREIGN_SERVER
        | ObjectType::OBJECT_LANGUAGE
        | ObjectType::OBJECT_TABLESPACE
        | ObjectType::OBJECT_USER_MAPPING => Effects::SERVER,
        ObjectType::OBJECT_PUBLICATION | ObjectType::OBJECT_SUBSCRIPTION => Effects::REPLICATION,
        ObjectType::OBJECT_ROLE => Effects::ROLE,
        _ => return usual,
    };
    class.with(usual.and(Effects::DROP))
}

impl<'a> Walker<'a> {
    /// The last resort of the dispatch: a kind that is not here is refused.
    pub(super) fn definition(&mut self, node: Node<'a>) -> Walked {
        match node {
            Node::CreateStmt(create) => {
                self.defines(Effects::CREATE);
                self.create_table(create)
            }
            Node::CreateTableAsStmt(create) => {
                if let Some(into) = create.into() {
                    self.create_into(into)?;
                }
                self.statement(create.query())
            }
            Node::ViewStmt(view) => {
                self.defines(Effects::CREATE);
                self.write(view.view());
                self.visit_list(view.options())?;
                self.statement(view.query())
            }
            Node::AlterTableStmt(alter) => self.alter_table(alter),
            Node::DropStmt(drop) => {
                self.defines(effects_on(drop.remove_type, Effects::DROP));
                self.write_all(drop.remove_type, drop.objects());
                let is_all = drop.behavior == DropBehavior::DROP_CASCADE;
                if drop.remove_type == ObjectType::OBJECT_SCHEMA && is_all {
                    let schemas: BTreeSet<&str> = drop.objects().iter().filter_map(Node::as_str).collect();
                    let names: Vec<Name> = schemas
                        .into_iter()
                        .flat_map(|schema| self.names_in(schema))
                        .collect();
                    self.write_names(names.iter().cloned());
                    self.with_dependents(names);
                }
                if drop.remove_type == ObjectType::OBJECT_EXTENSION {
                    self.opaque(DEPENDENTS); // whatever was made part of it
                }
                let kind = drop.remove_type;
                let objects = drop.objects().iter();
                let dropped: Vec<Name> = objects.flat_map(|object| names::object(kind, object)).collect();
                if names::holds_rows(kind) {
                    self.with_statistics(self.tables(&dropped));
                }
                if is_all && names::holds_rows(kind) {
                    self.with_dependents(dropped);
                } else if is_all {
                    self.opaque(DEPENDENTS);
                }
                Ok(())
            }
            Node::IndexStmt(index) => {
                self.defines(Effects::CREATE);
                self.write(index.relation());
                self.visit_list(plain(index.index_params()))?;
                self.visit_list(index.index_including_params())?;
                self.visit(index.where_clause())
            }
            Node::CreateSeqStmt(create) => {
                self.defines(Effects::CREATE);
                self.write(create.sequence());
                Ok(())
            }
            Node::AlterSeqStmt(alter) => {
                self.defines(Effects::ALTER);
                self.write(alter.sequence());
                Ok(())
            }
            Node::CreateSchemaStmt(create) => {
                self.defines(Effects::CREATE);
                let of_role = create.authrole().and_then(|role| role.rolename());
                self.write_names(create.schemaname().or(of_role).map(names::bare));
                for element in create.schema_elts() {
                    self.statement(element)?;
                    // What says no schema is made in this one.
                    let made = match element {
                        Node::CreateStmt(table) => table.relation().map(names::relation),
                        Node::CreateSeqStmt(sequence) => sequence.sequence().map(names::relation),
                        Node::ViewStmt(view) => view.view().map(names::relation),
                        _ => None,
                    };
                    let schema = create.schemaname().or(of_role).map(str::to_owned);
                    let made = made.filter(|made| made.schema.is_none());
                    self.write_names(made.map(|made| Name { schema, ..made }));
                }
                Ok(())
            }
            Node::CreateStatsStmt(create) => {
                self.defines(Effects::CREATE);
                self.write_names(names::qualified(plain(create.defnames())));
                self.write_all(ObjectType::OBJECT_TABLE, plain(create.relations()));
                // The server refuses joins and sub-selects there; the grammar does not.
                for relation in plain(create.relations()) {
                    if !matches!(relation, Node::RangeVar(_)) {
                        self.visit(relation)?;
                    }
                }
                self.visit_list(create.exprs())
            }
            Node::RenameStmt(rename) => {
                self.rename(rename);
                Ok(())
            }
            Node::AlterObjectSchemaStmt(alter) => {
                let moved = self.alter_object(alter.object_type, alter.relation(), alter.object());
                self.does(Effects::CREATE); // to its new schema it is new
                let schema = alter.newschema().map(str::to_owned);
                self.write_names(moved.map(|name| Name {
                    schema,
                    name: name.name,
                }));
                Ok(())
            }
            Node::AlterOwnerStmt(alter) => {
                self.alter_object(alter.object_type, alter.relation(), alter.object());
                Ok(())
            }
            Node::AlterObjectDependsStmt(alter) => {
                self.alter_object(alter.object_type, alter.relation(), alter.object());
                Ok(())
            }
            Node::CommentStmt(comment) => {
                self.does(effects_on(comment.objtype, Effects::ALTER));
                self.write_names(names::object(comment.objtype, comment.object()));
                Ok(())
            }
            Node::SecLabelStmt(label) => {
                self.does(effects_on(label.objtype, Effects::ALTER));
                self.write_names(names::object(label.objtype, label.object()));
                Ok(())
            }
            _ => self.code(node),
        }
    }

    /// Definitions that bring in code, and those on types and operators.
    fn code(&mut self, node: Node<'a>) -> Walked {
        match node {
            Node::CreateFunctionStmt(create) => self.create_function(create),
            Node::AlterFunctionStmt(alter) => {
                self.defines(Effects::ALTER);
                self.opaque(FUNCTION_BODY);
                self.write_names(
                    alter
                        .func()
                        .and_then(|function| names::qualified(function.objname())),
                );
                Ok(())
            }
            Node::CreateTrigStmt(create) => {
                self.defines(Effects::CREATE);
                self.opaque(FUNCTION_BODY);
                self.write(create.relation());
                self.visit_some(create.constrrel())?;
                self.found.functions.extend(names::function(create.funcname()));
                self.visit(create.when_clause())
            }
            Node::CreateEventTrigStmt(create) => {
                self.defines(Effects::CREATE);
                self.opaque(FUNCTION_BODY);
                self.write_names(create.trigname().map(names::bare));
                self.found.functions.extend(names::function(create.funcname()));
                Ok(())
            }
            Node::AlterEventTrigStmt(alter) => {
                if alter.tgenabled as u8 != EVENTS_DISABLED {
                    self.opaque(FUNCTION_BODY); // it runs beside the next definition
                }
                self.changes(Effects::ALTER, alter.trigname().map(names::bare))
            }
            Node::RuleStmt(rule) => {
                self.defines(Effects::CREATE);
                self.opaque("a rule body");
                self.write(rule.relation());
                self.visit(rule.where_clause())?;
                // Whoever may make the rule has its statements run, in another's name or without a word in the record.
                rule.actions()
                    .iter()
                    .try_for_each(|action| self.statement(action))
            }
            Node::CreatePolicyStmt(policy) => {
                self.defines(Effects::CREATE);
                self.write(policy.table());
                self.visit(policy.qual())?;
                self.visit(policy.with_check())
            }
            Node::AlterPolicyStmt(policy) => {
                self.defines(Effects::ALTER);
                self.write(policy.table());
                self.visit(policy.qual())?;
                self.visit(policy.with_check())
            }
            Node::DefineStmt(define) => {
                self.defines(Effects::CREATE);
                if matches!(
                    define.kind,
                    ObjectType::OBJECT_AGGREGATE
                        | ObjectType::OBJECT_OPERATOR
                        | ObjectType::OBJECT_TSPARSER
                        | ObjectType::OBJECT_TSTEMPLATE
                        | ObjectType::OBJECT_TYPE
                ) {
                    self.opaque(CATALOG_CODE);
                }
                self.write_names(names::qualified(plain(define.defnames())));
                self.visit_list(define.args())?;
                self.visit_list(plain(define.definition()))
            }
            Node::CreateDomainStmt(create) => {
                self.defines(Effects::CREATE);
                self.write_names(names::qualified(plain(create.domainname())));
                self.visit_some(create.type_name())?;
                self.visit_list(plain(create.constraints()))
            }
            Node::AlterDomainStmt(alter) => {
                // A new rule is tried on every value of the domain, in whatever table: an answer about each.
                if matches!(
                    u32::from(alter.subtype as u8),
                    ADDS_CHECK | SETS_NOT_NULL | VALIDATES
                ) {
                    self.opaque(DOMAIN);
                }
                self.defines(Effects::ALTER);
                self.write_names(names::qualified(alter.type_name()));
                self.visit(alter.def())
            }
            Node::CompositeTypeStmt(create) => {
                self.defines(Effects::CREATE);
                self.write(create.typevar());
                self.visit_list(plain(create.coldeflist()))
            }
            Node::CreateEnumStmt(create) => {
                self.changes(Effects::CREATE, names::qualified(plain(create.type_name())))
            }
            Node::CreateRangeStmt(create) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::CREATE, names::qualified(plain(create.type_name())))
            }
            Node::AlterEnumStmt(alter) => {
                self.changes(Effects::ALTER, names::qualified(plain(alter.type_name())))
            }
            Node::AlterTypeStmt(alter) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::ALTER, names::qualified(alter.type_name()))
            }
            Node::AlterCollationStmt(alter) => {
                self.changes(Effects::ALTER, names::qualified(alter.collname()))
            }
            Node::AlterStatsStmt(alter) => {
                self.changes(Effects::ALTER, names::qualified(plain(alter.defnames())))
            }
            Node::AlterOperatorStmt(alter) => {
                self.opaque(CATALOG_CODE);
                let name = alter
                    .opername()
                    .and_then(|operator| names::qualified(operator.objname()));
                self.changes(Effects::ALTER, name)
            }
            Node::CreateOpClassStmt(create) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::CREATE, names::qualified(plain(create.opclassname())))
            }
            Node::CreateOpFamilyStmt(create) => {
                self.changes(Effects::CREATE, names::qualified(plain(create.opfamilyname())))
            }
            Node::AlterOpFamilyStmt(alter) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::ALTER, names::qualified(plain(alter.opfamilyname())))
            }
            Node::CreateCastStmt(create) => {
                self.opaque(CATALOG_CODE);
                let types = [create.sourcetype(), create.targettype()];
                self.changes(
                    Effects::CREATE,
                    types
                        .into_iter()
                        .flatten()
                        .filter_map(|name| names::qualified(plain(name.names()))),
                )
            }
            Node::CreateConversionStmt(create) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::CREATE, names::qualified(create.conversion_name()))
            }
            Node::CreateTransformStmt(create) => {
                self.opaque(CATALOG_CODE);
                self.changes(
                    Effects::CREATE,
                    create
                        .type_name()
                        .and_then(|name| names::qualified(plain(name.names()))),
                )
            }
            Node::AlterTSDictionaryStmt(alter) => {
                self.opaque(CATALOG_CODE);
                self.changes(Effects::ALTER, names::qualified(plain(alter.dictname())))
            }
            Node::AlterTSConfigurationStmt(alter) => {
                self.changes(Effects::ALTER, names::qualified(plain(alter.cfgname())))
            }
            _ => self.administration(node),
        }
    }

    /// Notes an effect that changes names or shapes.
    pub(super) fn defines(&mut self, effects: Effects) {
        self.does(effects);
        self.found.changes_catalog = true;
    }

    pub(super) fn changes(&mut self, effects: Effects, names: impl IntoIterator<Item = Name>) -> Walked {
        self.defines(effects);
        self.write_names(names);
        Ok(())
    }

    pub(super) fn create_table(&mut self, create: &'a nodes::CreateStmt) -> Walked {
        self.write(create.relation());
        self.with_sequences(Node::NodeList(create.table_elts()));
        // A parent's rows come to include the new table's.
        self.write_all(ObjectType::OBJECT_TABLE, create.inh_relations());
        self.visit_list(create.inh_relations())?;
        self.visit_list(create.table_elts())?;
        self.visit_some(create.partbound())?;
        self.visit_some(create.partspec())?;
        self.visit_some(create.of_typename())?;
        self.visit_list(plain(create.constraints()))?;
        self.visit_list(create.options())
    }

    fn alter_table(&mut self, alter: &'a nodes::AlterTableStmt) -> Walked {
        self.defines(Effects::ALTER);
        self.write(alter.relation());
        self.with_sequences(Node::NodeList(alter.cmds()));
        let (mut cascades, mut is_reshaped) = (false, false);
        for node in alter.cmds() {
            let Node::AlterTableCmd(command) = node else {
                return Err(ReadError::UnknownNode);
            };
            match command.def() {
                // [NO] INHERIT parent; ATTACH and DETACH PARTITION.
                Node::RangeVar(parent) => {
                    self.write(Some(parent));
                    self.read(parent);
                }
                Node::PartitionCmd(partition) => {
                    self.write(partition.name());
                    self.visit_some(partition.name())?;
                    self.visit_some(partition.bound())?;
                }
                definition => self.visit(definition)?,
            }
            if matches!(
                command.subtype,
                AlterTableType::AT_DropColumn | AlterTableType::AT_AlterColumnType
            ) {
                is_reshaped = true;
            }
            if command.behavior == DropBehavior::DROP_CASCADE && alter.objtype == ObjectType::OBJECT_TYPE {
                self.opaque(DEPENDENTS); // typed tables, and columns of the type
            } else if command.behavior == DropBehavior::DROP_CASCADE {
                cascades = true;
            }
        }
        if cascades {
            self.with_dependents(alter.relation().map(names::relation).into_iter().collect());
        } else if is_reshaped {
            self.with_rows(alter.relation());
        }
        Ok(())
    }

    /// RENAME writes the old name and, for a relation itself, the new one.
    fn rename(&mut self, rename: &'a nodes::RenameStmt) {
        if rename.rename_type == ObjectType::OBJECT_SCHEMA {
            self.opaque(SCHEMA); // all of it goes by other names
            let names = rename.subname().map(|schema| self.names_in(schema));
            self.write_names(names.into_iter().flatten());
        }
        if rename.rename_type == ObjectType::OBJECT_ATTRIBUTE && rename.behavior == DropBehavior::DROP_CASCADE
        {
            self.opaque(DEPENDENTS); // typed tables
        }
        let renamed = self.alter_object(rename.rename_type, rename.relation(), rename.object());
        if names::is_relation(rename.rename_type)
            && let (Some(old), Some(new)) = (renamed, rename.newname())
        {
            self.write_names([Name {
                schema: old.schema,
                name: new.to_owned(),
            }]);
        }
        // The old name is in `subname` where there is neither a relation nor an object: roles, databases, schemas.
        if rename.relation().is_none() {
            self.write_names(rename.subname().map(names::bare));
        }
    }

    /// Notes a change to an object and answers its name.
    fn alter_object(
        &mut self,
        kind: ObjectType::Type,
        relation: Option<&'a nodes::RangeVar>,
        object: Node<'a>,
    ) -> Option<Name> {
        self.defines(effects_on(kind, Effects::ALTER));
        if names::is_code(kind) {
            self.opaque(FUNCTION_BODY); // under its new name, other code is called
        }
        self.write(relation);
        let mut names = names::object(kind, object);
        self.write_names(names.clone());
        relation.map(names::relation).or_else(|| names.pop())
    }

    fn create_function(&mut self, create: &'a nodes::CreateFunctionStmt) -> Walked {
        self.defines(Effects::CREATE);
        self.opaque(FUNCTION_BODY);
        self.write_names(names::qualified(create.funcname()));
        self.visit_list(plain(create.parameters()))?;
        self.visit_some(create.return_type())?;
        self.body(create.sql_body())
    }

    /// Statements that run later: RETURN, BEGIN ATOMIC … END, rule actions.
    fn body(&mut self, body: Node<'a>) -> Walked {
        match body {
            Node::None => Ok(()),
            Node::NodeList(list) => list.iter().try_for_each(|statement| self.body(statement)),
            statement => self.not_now(|walker| walker.statement(statement)).map(|_| ()),
        }
    }
}
