//! What a target's database holds, as far as masking needs it. Read by a side connection, never on the hot path.

use std::collections::HashSet;

/// One column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `pg_attribute.attnum`, 1-based; dropped columns are left out.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
}

/// A table, view, materialized view, partition, foreign table or sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// A database's relations and functions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Grows with every read that found a difference.
    pub epoch: u64,
    /// Every relation, system catalogs included, by OID.
    pub relations: Vec<Relation>,
    /// Lower-case names of functions and procedures outside `pg_catalog` (any schema): opaque when called.
    pub user_functions: HashSet<String>,
}
