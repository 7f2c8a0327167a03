//! What a target's database holds, as far as masking needs it. Read by a side connection, never on the hot path.

use std::collections::HashSet;

/// One column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// `pg_attribute.attnum`, 1-based; dropped columns are left out.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
}

/// A table, view, materialized view, partition, foreign table or sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema name.
    pub schema: String,
    /// Relation name.
    pub name: String,
    /// `pg_class.relkind`: `r`, `v`, `m`, `p`, `f`, `S`, `t`.
    pub kind: u8,
    /// Live columns by number.
    pub columns: Vec<Column>,
    /// OIDs of the relations its rows may come from: a view's or rule's sources, inheritance parents and children.
    pub sources: Vec<u32>,
    /// The query of a view or materialized view outside the system's schemas, as the server prints it with an empty
    /// search path. `None` where there is none or it could not be read.
    pub body: Option<String>,
    /// Pairs of a generated column and a column that its expression reads, by number.
    pub generated: Vec<(i16, i16)>,
    /// What else a change of its rows does.
    pub reactions: Reactions,
    /// Columns that tell rows apart, by number: those of primary keys and unique indexes, the first of every index, and those
    /// of foreign keys.
    pub keys: Vec<i16>,
    /// Constraints that look at values when rows change.
    pub tests: Vec<Test>,
}

/// A CHECK or exclusion constraint. Whether it holds is an answer about what it looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Test {
    /// `pg_constraint.oid`.
    pub oid: u32,
    /// Other rows are compared with the one that changes.
    pub of_others: bool,
    /// Columns whose change has it tested, by number; 0 is the whole row.
    pub columns: Vec<i16>,
    /// Those of which it tells more than whether they are equal.
    pub tells: Vec<i16>,
}

/// What the server does besides, when rows of a relation change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reactions {
    /// It has triggers that somebody defined, or defaults, checks, indexes or row policies that call somebody's functions; what
    /// these do when rows change is not known.
    pub triggers: bool,
    /// Reading it calls somebody's functions: its query does, or a row policy.
    pub calls: bool,
    /// It has rules on INSERT, UPDATE or DELETE.
    pub rules: bool,
    /// Reading it locks rows of what it shows: its query says FOR UPDATE or the like.
    pub locks: bool,
    /// Relations with foreign keys that point at it, and what these do when its rows go or change.
    pub cascades: Vec<Cascade>,
}

/// A foreign key, column by column, and its actions, if it has any, seen from the relation it points at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cascade {
    /// OID of the relation with the foreign key.
    pub relation: u32,
    /// The column there, by number.
    pub column: i16,
    /// The column here that it points at.
    pub referenced: i16,
    /// Deleting here deletes there.
    pub deletes_on_delete: bool,
    /// Deleting here updates there.
    pub updates_on_delete: bool,
    /// Updating here updates there.
    pub updates_on_update: bool,
}

/// A function or procedure outside `pg_catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Schema name.
    pub schema: String,
    /// Its name; several functions may share it.
    pub name: String,
    /// Arguments that a call may pass.
    pub arguments_count: u16,
    /// `pg_proc.proargtypes`.
    pub argument_types: Vec<u32>,
    /// Its body, for a function (not a procedure, aggregate or window function) in language SQL without settings of its
    /// own: the text of its statements. `None` for all others.
    pub sql_body: Option<String>,
}

/// A database's relations and functions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Grows with every read that found a difference.
    pub epoch: u64,
    /// Every relation, system catalogs included, by OID.
    pub relations: Vec<Relation>,
    /// Lower-case names of functions and procedures outside `pg_catalog` (any schema), and of those in it that are not known to
    /// be harmless: opaque when called.
    pub user_functions: HashSet<String>,
    /// Lower-case names of operators and types whose use calls such a function.
    pub calling: HashSet<String>,
    /// The types among them, by OID.
    pub calling_types: HashSet<u32>,
    /// Event triggers run beside definitions.
    pub event_triggers: bool,
    /// The functions behind those names, as far as they could be read.
    pub functions: Vec<Function>,
    /// Functions of extensions that are known to compute with their arguments only: schema and lower-case name. Their names
    /// are not among `user_functions`.
    pub extension_functions: HashSet<(String, String)>,
    /// Pairs of an object and what goes along when it is dropped with CASCADE, beside what views, rules, foreign keys and children
    /// tell. A relation is its OID, any other object its own OID beside that of its catalog in the upper half.
    pub dependents: Vec<(u64, u64)>,
    /// Objects beside tables and views whose names are looked up along the search path: schema, name and what they are, as in
    /// `dependents`; an index is its table.
    pub objects: Vec<(String, String, u64)>,
    /// Names of what depends on something temporary, whoever has that, and is not temporary itself.
    pub on_temporary: Vec<String>,
    /// The schema in which the role makes what it names without one, where there is one.
    pub made_in: Option<String>,
    /// What the server's catalogs looked like when they were read: another answer to the same question means a change.
    pub version: Option<String>,
}

impl Relation {
    /// A relation with nothing but columns.
    pub fn new(oid: u32, schema: &str, name: &str, kind: u8, columns: Vec<Column>) -> Self {
        Self {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind,
            columns,
            sources: Vec::new(),
            body: None,
            generated: Vec::new(),
            reactions: Reactions::default(),
            keys: Vec::new(),
            tests: Vec::new(),
        }
    }
}
