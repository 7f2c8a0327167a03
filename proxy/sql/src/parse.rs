//! The grammar's door: text to parse tree, and the three casts its Rust types lack. All unsafe code is here.
//! Source: libpg_query 18 (`gram.y` of PostgreSQL 18) through `pg_raw_parse` 0.1; `nodes/parsenodes.h`.
//!
//! `pg_raw_parse`'s own `walk()` is not used: it panics on many utility statements. Its typed lists are not
//! iterated as typed either: they panic where the C header's comment on the element type is not the whole truth
//! (GRANT objects, for one).

use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::{Node, Owned, StmtList, nodes, raw};

use crate::ReadError;

/// Parses a text that holds no NUL. The tree lives in its own memory context and is freed with the result.
pub(crate) fn parse(text: &str) -> Result<Owned<StmtList>, ReadError> {
    pg_raw_parse::parse(text)
        .map(pg_raw_parse::ParseResult::into_inner)
        .map_err(|_| ReadError::Syntax)
}

/// A typed list as a list of nodes, whose elements are told apart by their own tags.
pub(crate) fn plain<T>(list: &CastNodeList<T>) -> &NodeList {
    const { assert!(size_of::<CastNodeList<nodes::RangeVar>>() == size_of::<NodeList>()) }
    // SAFETY: CastNodeList<T> is repr(transparent) over NodeList beside a PhantomData, whatever T is, and the
    // result borrows for as long as the argument does.
    unsafe { &*std::ptr::from_ref(list).cast::<NodeList>() }
}

/// CREATE FOREIGN TABLE, which starts with a whole CreateStmt and therefore has no variant of its own.
pub(crate) fn foreign_table(node: Node<'_>) -> Option<&nodes::CreateStmt> {
    match node {
        Node::Invalid(node) if node.type_ == raw::NodeTag::T_CreateForeignTableStmt => {
            // SAFETY: parsenodes.h declares `struct CreateForeignTableStmt { CreateStmt base; … }`, so a node
            // of this tag starts with a whole, initialised CreateStmt; the borrow is kept.
            Some(unsafe { &*std::ptr::from_ref(node).cast::<nodes::CreateStmt>() })
        }
        _ => None,
    }
}
