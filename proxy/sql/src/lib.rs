//! SQL text in, [`Statement`] out: what a Query or Parse message would do, in policy's own nouns.
//! Source: the server's own grammar (through libpg_query) and the PostgreSQL manual, part VI, "SQL Commands".
//!
//! A text is read whole or not at all. What the grammar refuses, what the walker has no name for and what is
//! too long or too deep becomes [`Statement::unreadable`]. One text may hold several statements; the result is
//! their union. Reading is pure: no I/O, no clock; it needs a stack of 2 MiB or more.
//!
//! - `parse` is the only file that touches the grammar's entry point and the only one with unsafe code.
//! - `walk` visits every node kind by name; `scope` resolves CTE names; `bounded` judges WHERE clauses;
//!   `output` judges result columns; `copied` reads COPY … TO STDOUT; `builtins` knows the server functions that do more than compute.
//! - `lineage` follows labelled values through a text, with the catalog at hand; `reactions` adds what the server does
//!   besides, when rows change.
//! - `catalog` reads a database's relations for the mask planner.
//! - `redirects` tells what later statements come to do by definitions; `restricted` says RESTRICT for CASCADE; `tokens` finds words.
//! - `fast_path` is a FunctionCall message as a text.

mod bounded;
pub mod builtins;
pub mod catalog;
mod copied;
pub mod fast_path;
mod lineage;
mod only_tables;
mod output;
mod parse;
mod placed;
mod reactions;
mod recoded;
mod redirects;
mod restricted;
mod scope;
mod temporary;
mod tokens;
mod walk;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use linegate_policy::{LabelIndex, Named, Statement};
use pg_raw_parse::Node;

pub use lineage::follow;
pub use lineage::types::{
    oid_goes_by_names as goes_by_names, oid_goes_by_settings as goes_by_settings,
    oid_hides_commas as hides_commas,
};
pub use reactions::FUNCTION;
pub use recoded::Recoded;

/// The longest text that is read. Longer texts are unreadable.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// [`Statement::opaque`] of what uses a name that the open transaction gave another meaning.
pub const OPEN_CODE: &str = "what the open transaction made or replaced";

/// Queries within queries that are followed (sub-selects, CTEs, EXPLAIN, right arms of set operations).
/// Expressions and left-deep UNION chains do not count: they are walked without recursion.
pub const QUERY_DEPTH_MAX: usize = 256;

/// Nodes of one text's tree that are looked at. A text within [`STATEMENT_BYTES_MAX`] stays below it unless the
/// grammar shares sub-trees.
pub const NODES_MAX: usize = 4 << 20;

/// What backup tools ask of a server where they may not read subscriptions. It has no literal and no comment, so that the
/// space between its words may differ.
const COUNT_SUBSCRIPTIONS: &str = "SELECT count(*) FROM pg_subscription WHERE subdbid = \
    (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Why a text cannot be read. Never carries any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Longer than [`STATEMENT_BYTES_MAX`].
    TooLong {
        /// The text's length.
        bytes: usize,
    },
    /// Not UTF-8: what the server would see depends on settings.
    NotUtf8,
    /// Holds a NUL byte: the server would stop reading there.
    EmbeddedNul,
    /// Not a statement in PostgreSQL's grammar.
    Syntax,
    /// Holds something the walker has no name for.
    UnknownNode,
    /// Nested deeper than [`QUERY_DEPTH_MAX`] or larger than [`NODES_MAX`].
    TooDeep,
    /// The grammar's tree was not what it promises; ours to investigate.
    Inconsistent,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(f, "text of {bytes} bytes, {STATEMENT_BYTES_MAX} are read"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::EmbeddedNul => f.write_str("text holds a NUL byte"),
            Self::Syntax => f.write_str("text is not in PostgreSQL's grammar"),
            Self::UnknownNode => f.write_str("text holds a construct that is not known here"),
            Self::TooDeep => f.write_str("text is nested too deeply or too large"),
            Self::Inconsistent => f.write_str("the parse tree contradicts itself"),
        }
    }
}

impl std::error::Error for ReadError {}

/// What `text` would do. Whatever cannot be read is [`Statement::unreadable`].
pub fn read(text: &[u8]) -> Statement {
    read_with(text, None)
}

/// What `text` would do in a database with these labels: with its lineage, and with what the server does besides.
pub fn read_with(text: &[u8], index: Option<&LabelIndex>) -> Statement {
    read_checked(text, index, None).unwrap_or_else(|_| unread(text))
}

/// The same where something else than the catalog tells may run behind some names.
pub fn read_beside(text: &[u8], index: Option<&LabelIndex>, code: &Recoded) -> Statement {
    read_checked(text, index, Some(code)).unwrap_or_else(|_| unread(text))
}

/// What `text` would do, or why that cannot be told.
pub fn read_detailed(text: &[u8]) -> Result<Statement, ReadError> {
    read_checked(text, None, None)
}

fn unread(text: &[u8]) -> Statement {
    Statement {
        // A mistyped ALTER ROLE … PASSWORD still shows the password.
        carries_secret: mentions_secret(text),
        ..Statement::unreadable()
    }
}

fn read_checked(
    text: &[u8],
    index: Option<&LabelIndex>,
    code: Option<&Recoded>,
) -> Result<Statement, ReadError> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(ReadError::TooLong { bytes: text.len() });
    }
    let text = std::str::from_utf8(text).map_err(|_| ReadError::NotUtf8)?;
    if let Some(statement) = fast_path::read(text) {
        return Ok(statement);
    }
    if text.contains('\0') {
        return Err(ReadError::EmbeddedNul);
    }
    // The tree's accessors panic on a string that is not UTF-8; that is a refusal, not a crash.
    catch_unwind(AssertUnwindSafe(|| read_parsed(text, index, code))).unwrap_or(Err(ReadError::Inconsistent))
}

fn read_parsed(
    text: &str,
    index: Option<&LabelIndex>,
    code: Option<&Recoded>,
) -> Result<Statement, ReadError> {
    let tree = parse::parse(text)?;
    let mut walker = walk::Walker::new(index, code);
    let statements = parse::plain(&tree);
    let mut keeps_settings = false;
    for node in statements {
        let calls_before = walker.called().len();
        walker.top_level(node)?;
        let mut calls = walker.called().iter().skip(calls_before);
        keeps_settings |= redirects::keeps_expressions(node) && calls.any(|name| name.name == "set_config");
    }
    let output = match statements.len() {
        1 => statements.first().and_then(output::columns),
        _ => None,
    };
    let takes_children = walker.takes_children;
    let mut statement = walker.finish();
    statement.count = u32::try_from(statements.len()).unwrap_or(u32::MAX);
    statement.output = output;
    for node in statements {
        if let Node::RawStmt(raw) = node {
            by_name(raw.stmt(), &mut statement);
        }
    }
    statement.only_tables = statement.changes_catalog && only_tables::are(statements);
    statement.leads = redirects::find(statements);
    temporary::add(&mut statement, text, statements);
    if keeps_settings {
        statement.opaque.push(redirects::KEPT_SETTING);
    }
    statement.counts_subscriptions = text.split_ascii_whitespace().eq(COUNT_SUBSCRIPTIONS.split(' '));
    // Bodies and built text are not parsed, and may hold what a parsed ALTER ROLE would have marked.
    statement.carries_secret |= !statement.opaque.is_empty() && mentions_secret(text.as_bytes());
    if let Some(index) = index {
        reactions::add(&mut statement, index);
    }
    if let Some(index) = index
        && !takes_children
        && restricted::takes_nothing(statements, &statement.writes, index)
    {
        statement.leads.weaker = restricted::weaker(text, statements);
        statement.leads.takes_unseen = statement.leads.weaker.is_none();
    }
    if let Some(code) = code {
        recoded::add(&mut statement, code, index);
    }
    if let Some(index) = index {
        statement.copy_out = copied::read(text, statements, index, &statement).map(Box::new);
        statement.lineage = Some(lineage::of(statements, index, &statement));
    }
    if let Some(lineage) = statement
        .lineage
        .as_mut()
        .filter(|_| statement.opaque.contains(&OPEN_CODE))
    {
        lineage.fires_triggers |= statement.effects.intersects(reactions::FIRES);
    }
    Ok(statement)
}

/// What a statement of the text prepares, declares or runs by name.
fn by_name(node: Node<'_>, statement: &mut Statement) {
    let own = |name: Option<&str>| name.unwrap_or_default().to_owned();
    let runs = match node {
        Node::PrepareStmt(prepare) => {
            statement.defines.push(Named::Prepared(own(prepare.name())));
            return;
        }
        Node::DeclareCursorStmt(cursor) => {
            statement.defines.push(Named::Cursor(own(cursor.portalname())));
            return;
        }
        Node::ExecuteStmt(execute) => Named::Prepared(own(execute.name())),
        Node::FetchStmt(fetch) => Named::Cursor(own(fetch.portalname())),
        _ => return,
    };
    statement.runs = (statement.count == 1).then_some(runs);
}

/// Whether the text holds the word that introduces a password, anywhere and in any case.
fn mentions_secret(text: &[u8]) -> bool {
    const WORD: &[u8] = b"password";
    text.windows(WORD.len())
        .any(|window| window.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod keyed_tests;
#[cfg(test)]
mod masked_tests;
#[cfg(test)]
mod reactions_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod utility_tests;
