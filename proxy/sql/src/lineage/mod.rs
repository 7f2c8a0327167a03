//! Column lineage: what each result column of a text holds, and where labelled values go besides.
//! Source: PostgreSQL manual, "SQL Syntax", "Queries", "SQL Commands"; name resolution as in `parse_relation.c`,
//! `parse_expr.c`, `parse_target.c`, `parse_cte.c`, `parse_clause.c`.
//!
//! The walk follows the raw parse tree with the catalog's labels (`LabelIndex`) at hand. Every doubt goes one way: a name
//! that may mean several things has the values of all of them, an expression of unknown kind holds everything in its reach
//! and makes the text's lineage unknown. Only labelled columns are tracked; a text that names nothing labelled is not
//! walked at all.
//!
//! - `value`: what one value may hold; `scope`: names to values; `from`: FROM items; `query`: SELECT and set operations;
//!   `write`: data changes and what keeps a query's rows; `expr`: every expression node by name; `documents`: XML and JSON; `condition`: look-ups and
//!   probes; `lazy`: what is evaluated only sometimes; `functions`: what built-in functions do with a value; `paths`: places within JSON documents;
//!   `parameters`: those whose type is in doubt; `belt`: a second opinion on names;
//!   `tested`: what constraints tell about the rows that are there;
//!   `spread`: views and SQL functions of the catalog.

mod acting;
mod arrays;
mod belt;
mod condition;
mod documents;
mod expr;
mod from;
mod functions;
mod lazy;
mod parameters;
mod paths;
mod query;
mod scope;
mod sizes;
mod spread;
mod statement;
mod tested;
pub(crate) mod types;
mod value;
mod write;

use std::collections::BTreeSet;

pub(crate) use self::condition::is_spelled_out;
use crate::reactions;
use crate::walk::children::any_below;
use linegate_identity::Effects;
use linegate_policy::lineage::DISGUISED;
use linegate_policy::{ColumnId, LabelIndex, Lineage, Name, Statement};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;

pub use spread::follow;

use scope::{Cte, Level};
use value::{Set, Value};

/// Expressions and queries within each other that are followed: each costs stack.
const DEPTH_MAX: u32 = 160;

/// Nodes that are looked at, repeated looks included: at recursive queries, and at what is evaluated only sometimes.
const NODES_MAX: usize = 1 << 20;
/// And how often each node of a text is looked at on the average; operators within operators could be looked at without end.
const LOOKS_MAX: usize = 64;
/// Nodes that any text may be worth.
const NODES_MIN: usize = 1 << 12;

/// FirstNormalObjectId: what the server came with is below.
const OURS_FROM: u32 = 16384;

const TOO_DEEP: &str = "a query that is nested too deeply or too large";
const EXPRESSION_IN_FROM: &str = "an expression in FROM that is no function call";
const STRANGE_NODE: &str = "an expression that is not known here";
const PREPARED_EXPLAINED: &str = "the plan of a prepared statement";
const PREPARED_KEPT: &str = "rows of a prepared statement, kept";
/// What event triggers run beside.
const DEFINES: Effects = Effects::CREATE
    .with(Effects::ALTER)
    .with(Effects::DROP)
    .with(Effects::GRANT)
    .with(Effects::MAINTENANCE);
const SHADOWS: &str = "a domain, a collation, or a built-in type's name";
const DERIVED: &str = "a view that could not be followed";

/// The lineage of a parsed text. `statement` is what the walker found in it.
pub(crate) fn of(statements: &NodeList, index: &LabelIndex, statement: &Statement) -> Lineage {
    let mut reader = Reader::new(index);
    reader.copies_rows = statement.copy_out.is_some();
    let names = || statement.reads.iter().chain(&statement.writes);
    // What is created is new by nature.
    let changes = statement.effects.intersects(reactions::FIRES);
    let changed = statement.writes.iter().filter(|_| changes);
    reader.found.strangers = statement
        .reads
        .iter()
        .chain(changed.clone())
        .any(|name| index.known(name).next().is_none());
    reader.found.fires_triggers = changed.into_iter().any(|name| reactions::fires(name, index));
    reader.found.fires_triggers |= statement.effects.intersects(DEFINES) && index.has_event_triggers();
    reader.found.through_definitions = statement.runs.is_some()
        || names().any(|name| {
            index
                .known(name)
                .any(|known| known.kind == b'v' && known.oid >= OURS_FROM)
        })
        || statement
            .functions
            .iter()
            .any(|name| index.meanings(name).is_some());
    let explains = index.has_user_functions() && statements.iter().any(statement::explains_prepared)
        || statements.iter().any(statement::measures_prepared);
    if explains {
        reader.unknown(PREPARED_EXPLAINED);
    }
    let keeps_prepared = statements.iter().any(statement::keeps_prepared);
    if keeps_prepared {
        reader.unknown(PREPARED_KEPT);
    }
    let shadows = statements.iter().any(types::shadows);
    if shadows {
        reader.unknown(SHADOWS);
    }
    let shows = |name: &Name| {
        let meanings = index.meanings(name).unwrap_or_default();
        meanings.iter().any(|meaning| !meaning.touched.is_empty())
    };
    // `t.f` and `(t).f` call f(t) where t has no such column.
    let may_call = |node: Node<'_>| match node {
        Node::ColumnRef(column) => column.fields().len() > 1 && ends_in_function(column.fields(), index),
        Node::A_Indirection(path) => ends_in_function(path.indirection(), index),
        _ => false,
    };
    let is_tied = |name: &Name| !tested::references(index, name).is_empty() || tested::refers(index, name);
    let is_about_labels = names().any(|name| index.touches(name))
        || statement.functions.iter().any(shows)
        || (changes || statements.iter().any(statement::refills)) && statement.writes.iter().any(is_tied);
    let may_be_called = || index.has_user_functions() && any_below(Node::NodeList(statements), may_call);
    if !(is_about_labels || may_be_called()) {
        reader.found.followed = !keeps_prepared && !explains && !shadows;
        return reader.found;
    }
    let doubtful = parameters::doubtful(statements, index);
    reader.doubtful = doubtful.numbers;
    reader.texts = doubtful.texts;
    reader.found.typed_by_columns = doubtful.by_columns;
    reader.text(statements);
    if statement.settings.iter().any(|setting| moves_values(setting)) {
        // Within one text, a literal may be another value for each row.
        let looked_up: Vec<ColumnId> = reader.found.lookups.iter().copied().collect();
        reader.found.probes.extend(looked_up);
    }
    reader.found
}

/// Whether a setting may be one by which literals are read.
fn moves_values(setting: &str) -> bool {
    let name = setting.split('=').next().unwrap_or_default();
    matches!(name, "*" | "timezone" | "datestyle" | "intervalstyle") || name.starts_with("lc_")
}

fn ends_in_function(path: &NodeList, index: &LabelIndex) -> bool {
    path.iter()
        .any(|step| step.as_str().is_some_and(|name| index.is_user_function(name)))
}

/// Follows the values of one text.
struct Reader<'a> {
    index: &'a LabelIndex,
    found: Lineage,
    /// FROM clauses in reach, innermost last.
    levels: Vec<Level>,
    /// WITH names in reach, innermost last.
    ctes: Vec<(String, Cte)>,
    /// Parameters whose type something else in the text may decide; `None` for all.
    doubtful: Option<BTreeSet<i32>>,
    /// Parameters that are text wherever they stand in the text.
    texts: BTreeSet<i32>,
    /// What the parameters are that PREPARE declares, and whether each is text.
    parameters: Vec<(Value, bool)>,
    /// The text is a function's body: a name that is no column is one of its arguments.
    in_body: bool,
    /// The plan is shown, not the result.
    explains: bool,
    /// What its rows took is shown.
    measures: bool,
    /// Within the condition of an outer join.
    is_outer: bool,
    /// Within the sides of one.
    is_beside_outer: bool,
    /// Queries within each other, and whether this is the target list of the outermost, of one relation's rows.
    selects: u32,
    is_report: bool,
    /// Somewhere in the text, a text of any length is made.
    grows: bool,
    /// And how long a text is may be made to tell of a value, many times over.
    swells: bool,
    /// Columns may fail where they are named.
    acts: bool,
    /// It is one COPY whose rows are masked like those of a query.
    copies_rows: bool,
    /// Names by which something labelled may be reached.
    belt: belt::Belt,
    depth: u32,
    nodes: usize,
    /// As many as are looked at.
    nodes_max: usize,
}

impl<'a> Reader<'a> {
    fn new(index: &'a LabelIndex) -> Self {
        Self {
            index,
            found: Lineage::default(),
            levels: Vec::new(),
            ctes: Vec::new(),
            doubtful: Some(BTreeSet::new()),
            texts: BTreeSet::new(),
            parameters: Vec::new(),
            in_body: false,
            explains: false,
            measures: false,
            is_outer: false,
            is_beside_outer: false,
            selects: 0,
            is_report: false,
            grows: false,
            swells: false,
            acts: false,
            copies_rows: false,
            belt: belt::Belt::default(),
            depth: 0,
            nodes: 0,
            nodes_max: NODES_MAX,
        }
    }

    fn unknown(&mut self, phrase: &'static str) {
        if !self.found.unknown.contains(&phrase) {
            self.found.unknown.push(phrase);
        }
    }

    /// Goes one step down, or finds that it is too deep.
    fn enter(&mut self) -> bool {
        self.nodes += 1;
        if self.depth >= DEPTH_MAX || self.nodes > self.nodes_max {
            self.unknown(TOO_DEEP);
            return false;
        }
        self.depth += 1;
        true
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Something that cannot be told apart: it may hold whatever is in reach.
    fn anything(&mut self, phrase: &'static str) -> Value {
        self.unknown(phrase);
        self.in_reach()
    }

    /// Everything labelled that names in reach may show.
    fn in_reach(&self) -> Value {
        let mut all = BTreeSet::new();
        for level in &self.levels {
            level.add_labelled(&mut all);
        }
        for (_, cte) in &self.ctes {
            cte.add_labelled(&mut all);
        }
        Value::of_set(all)
    }

    fn probe(&mut self, value: &Value) {
        self.found.probes.extend(value.columns());
    }

    fn moves(&mut self, value: &Value) {
        self.found.moved.extend(value.columns());
    }

    fn touch(&mut self, value: &Value) {
        self.found.touched.extend(value.columns());
    }

    /// A column of a known relation, by number.
    fn stored(&self, column: ColumnId, is_temporary: bool) -> Value {
        if self.index.is_labelled(column) {
            Value::Exactly(column)
        } else if is_temporary {
            Value::OTHER
        } else {
            Value::STORED
        }
    }
}

/// Whether a list of strings is one name, alone or in `pg_catalog`.
fn builtin_name(list: &NodeList) -> Option<&str> {
    let mut parts = list.iter().map(Node::as_str);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) | (Some(Some("pg_catalog")), Some(name), None) => name,
        _ => None,
    }
}

fn union(sets: impl IntoIterator<Item = Set>) -> Set {
    let mut all = BTreeSet::new();
    for set in sets {
        all.extend(set.iter().copied());
    }
    all
}

#[cfg(test)]
mod tests;
