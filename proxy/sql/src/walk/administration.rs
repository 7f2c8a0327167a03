//! Statements on privileges, roles, servers, databases, extensions and replication.
//! Source: PostgreSQL manual, "SQL Commands"; `nodes/parsenodes.h`.

use linegate_identity::Effects;
use linegate_policy::Name;
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{GrantTargetType, ImportForeignSchemaType};

use super::ddl::SCHEMA;
use super::{Walked, Walker, names};
use crate::ReadError;
use crate::parse::{foreign_table, plain};
use crate::placed::schema_of;

const OWNED: &str = "everything that a role owns";
/// A subscription writes to whatever relations the publisher names.
const PUBLISHED: &str = "what a publisher sends";
/// Tables that only the foreign server can name.
const UNNAMED: &str = "?";

impl<'a> Walker<'a> {
    /// What none of the others knows; a kind that is not here either is refused.
    pub(super) fn administration(&mut self, node: Node<'a>) -> Walked {
        match node {
            Node::GrantStmt(grant) => {
                self.does(Effects::GRANT);
                if grant.targtype == GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA {
                    self.opaque(SCHEMA);
                }
                self.write_all(grant.objtype, plain(grant.objects()));
                Ok(())
            }
            Node::GrantRoleStmt(_) => self.acts(Effects::GRANT.with(Effects::ROLE), None),
            Node::AlterDefaultPrivilegesStmt(_) => self.acts(Effects::GRANT, None),
            Node::CreateRoleStmt(create) => self.role(create.role(), plain(create.options())),
            Node::AlterRoleStmt(alter) => self.role(
                alter.role().and_then(|role| role.rolename()),
                plain(alter.options()),
            ),
            Node::AlterRoleSetStmt(alter) => {
                self.set_of(alter.setstmt(), Effects::ROLE);
                self.acts(Effects::ROLE, alter.role().and_then(|role| role.rolename()))
            }
            Node::DropRoleStmt(drop) => {
                let roles = drop.roles().iter().filter_map(|role| match role {
                    Node::RoleSpec(role) => role.rolename().map(names::bare),
                    _ => None,
                });
                self.write_names(roles);
                self.acts(Effects::ROLE, None)
            }
            Node::DropOwnedStmt(_) => {
                self.opaque(OWNED);
                self.found.changes_catalog = true;
                self.acts(Effects::DROP.with(Effects::GRANT), None)
            }
            Node::ReassignOwnedStmt(_) => {
                self.opaque(OWNED);
                self.changes(Effects::ALTER.with(Effects::ROLE), None)
            }
            Node::CreatedbStmt(create) => self.acts(Effects::SERVER, create.dbname()),
            Node::AlterDatabaseStmt(alter) => self.acts(Effects::SERVER, alter.dbname()),
            Node::AlterDatabaseRefreshCollStmt(alter) => self.acts(Effects::SERVER, alter.dbname()),
            Node::AlterDatabaseSetStmt(alter) => {
                self.set_of(alter.setstmt(), Effects::SERVER);
                self.acts(Effects::SERVER, alter.dbname())
            }
            Node::DropdbStmt(drop) => self.acts(Effects::SERVER.with(Effects::DROP), drop.dbname()),
            Node::CreateTableSpaceStmt(create) => self.acts(Effects::SERVER, create.tablespacename()),
            Node::AlterTableSpaceOptionsStmt(alter) => self.acts(Effects::SERVER, alter.tablespacename()),
            Node::AlterTableMoveAllStmt(alter) => {
                // Each table and index there is locked and written anew.
                self.acts(
                    Effects::SERVER.with(Effects::MAINTENANCE),
                    alter.orig_tablespacename(),
                )
            }
            Node::DropTableSpaceStmt(drop) => {
                self.acts(Effects::SERVER.with(Effects::DROP), drop.tablespacename())
            }
            Node::CreateExtensionStmt(create) => {
                let name = create.extname().map(|name| Name {
                    schema: schema_of(create).map(str::to_owned),
                    ..names::bare(name)
                });
                self.changes(Effects::SERVER.with(Effects::CREATE), name)
            }
            Node::AlterExtensionStmt(alter) => {
                self.changes(Effects::SERVER, alter.extname().map(names::bare))
            }
            Node::AlterExtensionContentsStmt(alter) => {
                self.write_names(names::object(alter.objtype, alter.object()));
                self.changes(Effects::SERVER, alter.extname().map(names::bare))
            }
            Node::CreateAmStmt(create) => self.changes(Effects::SERVER, create.amname().map(names::bare)),
            Node::CreatePLangStmt(create) => self.changes(Effects::SERVER, create.plname().map(names::bare)),
            Node::CreateFdwStmt(create) => self.foreign(create.fdwname()),
            Node::AlterFdwStmt(alter) => self.foreign(alter.fdwname()),
            Node::CreateForeignServerStmt(create) => self.foreign(create.servername()),
            Node::AlterForeignServerStmt(alter) => self.foreign(alter.servername()),
            Node::CreateUserMappingStmt(create) => self.foreign(create.servername()),
            Node::AlterUserMappingStmt(alter) => self.foreign(alter.servername()),
            Node::DropUserMappingStmt(drop) => {
                self.acts(Effects::SERVER.with(Effects::DROP), drop.servername())
            }
            Node::ImportForeignSchemaStmt(import) => {
                let listed = plain(import.table_list()).iter();
                let is_listed = import.list_type == ImportForeignSchemaType::FDW_IMPORT_SCHEMA_LIMIT_TO;
                let tables = listed.filter_map(|table| match table {
                    Node::RangeVar(table) if is_listed => table.relname(),
                    _ => None,
                });
                let whole = Some(UNNAMED).filter(|_| !is_listed);
                let made = tables.chain(whole).map(|table| Name {
                    schema: import.local_schema().map(str::to_owned),
                    ..names::bare(table)
                });
                let made: Vec<Name> = made.collect();
                self.write_names(made);
                self.changes(Effects::SERVER.with(Effects::CREATE), None)
            }
            Node::CreatePublicationStmt(create) => {
                self.visit_list(create.pubobjects())?;
                self.acts(Effects::REPLICATION, create.pubname())
            }
            Node::AlterPublicationStmt(alter) => {
                self.visit_list(alter.pubobjects())?;
                self.acts(Effects::REPLICATION, alter.pubname())
            }
            Node::CreateSubscriptionStmt(create) => {
                self.opaque(PUBLISHED);
                self.found.carries_secret = true;
                self.acts(Effects::REPLICATION, create.subname())
            }
            Node::AlterSubscriptionStmt(alter) => {
                self.opaque(PUBLISHED);
                self.found.carries_secret = true;
                self.acts(Effects::REPLICATION, alter.subname())
            }
            Node::DropSubscriptionStmt(drop) => {
                self.acts(Effects::REPLICATION.with(Effects::DROP), drop.subname())
            }
            _ => match foreign_table(node) {
                Some(create) => {
                    self.found.carries_secret = true;
                    self.defines(Effects::SERVER.with(Effects::CREATE));
                    self.create_table(create)
                }
                None => Err(ReadError::UnknownNode),
            },
        }
    }

    /// Notes an effect on something outside the catalog of relations and functions.
    fn acts(&mut self, effects: Effects, name: Option<&str>) -> Walked {
        self.does(effects);
        self.write_names(name.map(names::bare));
        Ok(())
    }

    /// Foreign-data objects; their options hold passwords.
    fn foreign(&mut self, name: Option<&str>) -> Walked {
        self.found.carries_secret = true;
        self.acts(Effects::SERVER, name)
    }

    fn role(&mut self, name: Option<&str>, options: &'a NodeList) -> Walked {
        self.found.carries_secret |= options.iter().any(|option| match option {
            Node::DefElem(option) => {
                option.defname() == Some("password") && !matches!(option.arg(), Node::None)
            }
            _ => false,
        });
        self.acts(Effects::ROLE, name)
    }
}
