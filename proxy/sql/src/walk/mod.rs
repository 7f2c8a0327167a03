//! The walker: visits every node of a parse tree and gathers what the statement does.
//!
//! Statements recurse (bounded by `QUERY_DEPTH_MAX`); everything between two statements is taken from a work list,
//! so that an expression's depth costs no stack. `query` knows SELECT and the data-changing statements, `expr` the
//! functions and FROM items, `utility`, `ddl` and `administration` the rest, `dependents` what definitions take with them; `restriction` the one query that sets a setting
//! only where the server has it; `values` says where written values are from; `children` names the fields of every other kind.

mod administration;
pub(crate) mod children;
mod ddl;
mod dependents;
mod expr;
pub(crate) mod names;
mod query;
mod restriction;
mod utility;
mod values;

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use crate::parse::plain;
use crate::reactions;
use crate::scope::Scopes;
use crate::{NODES_MAX, QUERY_DEPTH_MAX, ReadError, Recoded};
use children::children;

/// What walking yields; the findings are in the walker.
pub(crate) type Walked = Result<(), ReadError>;

/// Effects on rows and objects that do not happen when a statement is only explained or only defined.
const DONE_LATER: Effects = Effects::SELECT
    .with(Effects::INSERT)
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::CREATE)
    .with(Effects::LOCK)
    .with(Effects::MAINTENANCE);

/// Gathers what one text does.
pub(crate) struct Walker<'a> {
    found: Statement,
    /// The catalog, when it is known.
    index: Option<&'a LabelIndex>,
    /// Names behind which something else than it tells may run.
    code: Option<&'a Recoded>,
    /// Steps after a dot that are names of functions which are not known.
    steps: Vec<&'a str>,
    scopes: Scopes<'a>,
    work: Vec<Node<'a>>,
    depth: usize,
    nodes: usize,
    /// CASCADE takes children along.
    pub(crate) takes_children: bool,
}

impl<'a> Walker<'a> {
    /// A walker that has seen nothing.
    pub(crate) fn new(index: Option<&'a LabelIndex>, code: Option<&'a Recoded>) -> Self {
        Self {
            found: Statement::empty(),
            index,
            code,
            steps: Vec::new(),
            scopes: Scopes::default(),
            work: Vec::new(),
            depth: 0,
            nodes: 0,
            takes_children: false,
        }
    }

    /// Takes in one statement of the text.
    pub(crate) fn top_level(&mut self, node: Node<'a>) -> Walked {
        match node {
            Node::RawStmt(raw) => self.statement(raw.stmt()),
            _ => Err(ReadError::UnknownNode),
        }
    }

    /// What was found, in order and without duplicates.
    pub(crate) fn finish(self) -> Statement {
        let mut found = self.found;
        let is_disguised = |index| reactions::disguised(&self.steps, &found.reads, index);
        if self.index.is_some_and(is_disguised) {
            found.opaque.push(reactions::FUNCTION);
        }
        for names in [&mut found.reads, &mut found.writes, &mut found.functions] {
            names.sort_unstable();
            names.dedup();
        }
        found.settings.sort_unstable();
        found.settings.dedup();
        found
    }

    /// Takes in a statement, wherever it stands.
    fn statement(&mut self, node: Node<'a>) -> Walked {
        if self.depth == QUERY_DEPTH_MAX {
            return Err(ReadError::TooDeep);
        }
        self.depth += 1;
        let walked = match node {
            Node::SelectStmt(select) => self.select(select),
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            Node::ReturnStmt(body) => self.visit(body.returnval()),
            _ => self.utility(node),
        };
        self.depth -= 1;
        walked
    }

    /// Takes in an expression, a FROM item or any part of a statement, with everything below it.
    fn visit(&mut self, node: Node<'a>) -> Walked {
        let base = self.work.len();
        self.work.push(node);
        while self.work.len() > base {
            let Some(node) = self.work.pop() else { break };
            self.nodes += 1;
            if self.nodes > NODES_MAX {
                return Err(ReadError::TooDeep);
            }
            match node {
                Node::SelectStmt(_)
                | Node::InsertStmt(_)
                | Node::UpdateStmt(_)
                | Node::DeleteStmt(_)
                | Node::MergeStmt(_)
                | Node::ReturnStmt(_) => self.statement(node)?,
                Node::RangeVar(relation) => self.read(relation),
                Node::FuncCall(call) => {
                    self.function(call);
                    children(node, &mut self.work)?;
                }
                Node::ColumnRef(column) if column.fields().len() > 1 => {
                    self.disguised(column.fields().iter().next_back());
                }
                Node::A_Indirection(path) => {
                    self.disguised(path.indirection());
                    children(node, &mut self.work)?;
                }
                Node::RangeTableSample(sample) => {
                    self.sampling_method(sample);
                    children(node, &mut self.work)?;
                }
                Node::A_Expr(expr) => {
                    self.uses(expr.name());
                    children(node, &mut self.work)?;
                }
                Node::SubLink(link) => {
                    self.uses(link.oper_name());
                    if link.oper_name().is_empty() {
                        self.compares();
                    }
                    children(node, &mut self.work)?;
                }
                Node::CaseExpr(_) | Node::JoinExpr(_) => {
                    self.compares();
                    children(node, &mut self.work)?;
                }
                Node::SortBy(sort) => {
                    self.uses(sort.use_op());
                    children(node, &mut self.work)?;
                }
                Node::TypeName(kind) => {
                    self.uses(plain(kind.names()));
                    children(node, &mut self.work)?;
                }
                Node::JsonParseExpr(_)
                | Node::JsonScalarExpr(_)
                | Node::JsonSerializeExpr(_)
                | Node::JsonFuncExpr(_)
                | Node::JsonObjectConstructor(_)
                | Node::JsonArrayConstructor(_)
                | Node::JsonArrayQueryConstructor(_)
                | Node::JsonObjectAgg(_)
                | Node::JsonArrayAgg(_)
                | Node::MergeSupportFunc(_) => {
                    self.keywords(node);
                    children(node, &mut self.work)?;
                }
                // These carry scope or targets and are taken apart by their statements, never met from outside.
                Node::WithClause(_)
                | Node::CommonTableExpr(_)
                | Node::IntoClause(_)
                | Node::LockingClause(_)
                | Node::RawStmt(_) => return Err(ReadError::UnknownNode),
                _ => children(node, &mut self.work)?,
            }
        }
        Ok(())
    }

    /// Functions that were called so far.
    pub(crate) fn called(&self) -> &[Name] {
        &self.found.functions
    }

    fn visit_list(&mut self, list: &'a NodeList) -> Walked {
        self.visit(Node::NodeList(list))
    }

    fn visit_some<T>(&mut self, node: Option<&'a T>) -> Walked
    where
        Node<'a>: From<&'a T>,
    {
        node.map_or(Ok(()), |node| self.visit(Node::from(node)))
    }

    /// A relation in a place where rows (or its shape) are read.
    fn read(&mut self, relation: &'a nodes::RangeVar) {
        let is_cte = relation.schemaname().is_none()
            && relation.catalogname().is_none()
            && relation.relname().is_some_and(|name| self.scopes.holds(name));
        if !is_cte {
            self.found.reads.push(names::relation(relation));
        }
    }

    /// A relation in a place where it is changed; CTEs are never meant there.
    fn write(&mut self, relation: Option<&'a nodes::RangeVar>) {
        self.found.writes.extend(relation.map(names::relation));
    }

    fn write_names(&mut self, names: impl IntoIterator<Item = Name>) {
        self.found.writes.extend(names);
    }

    fn does(&mut self, effects: Effects) {
        self.found.effects = self.found.effects.with(effects);
    }

    fn opaque(&mut self, phrase: &'static str) {
        if !self.found.opaque.contains(&phrase) {
            self.found.opaque.push(phrase);
        }
    }

    /// Takes in, through `walk`, what does not happen now: an explained statement or a body. What it would read or
    /// write is read (its existence and shape show, and a body runs later in this name); what the server works out
    /// while planning stays. The answer is what would have happened.
    fn not_now(&mut self, walk: impl FnOnce(&mut Self) -> Walked) -> Result<Effects, ReadError> {
        let outer = std::mem::replace(&mut self.found, Statement::empty());
        let walked = walk(self);
        let inner = std::mem::replace(&mut self.found, outer);
        walked?;
        self.does(inner.effects.without(DONE_LATER));
        self.found.reads.extend(inner.reads);
        self.found.reads.extend(inner.writes);
        self.found.functions.extend(inner.functions);
        self.found.settings.extend(inner.settings);
        self.found.carries_secret |= inner.carries_secret;
        self.found.moves_values |= inner.moves_values;
        for phrase in inner.opaque {
            self.opaque(phrase);
        }
        Ok(inner.effects)
    }
}
