//! One text: which of its statements returns rows, and which keep the rows of a query.
//! Source: PostgreSQL manual, "SQL Commands".

use linegate_policy::{ColumnId, Flow};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{AlterTableType, SetOperation};
use pg_raw_parse::{Node, nodes};

use super::belt::Belt;
use super::scope::Shape;
use super::sizes::Sizes;
use super::value::{Field, Value};
use super::{LOOKS_MAX, NODES_MAX, NODES_MIN, PREPARED_KEPT, Reader, acting, types};
use crate::copied;
use crate::walk::children::any_below;
use crate::walk::names;

/// What a statement sends back.
enum Answer {
    /// No rows.
    Nothing,
    /// Rows of these columns, now or when the prepared statement or cursor is asked for them.
    Rows(Shape),
    /// Rows that are not known here.
    SomeRows,
}

impl Reader<'_> {
    /// What a column refers to is looked up by every row that leaves it out.
    fn refers_by_default(&mut self, relation: Option<&nodes::RangeVar>) {
        let name = relation.map(names::relation);
        for known in name.iter().flat_map(|name| self.index.known(name)) {
            let referenced = self.index.references_from(known.oid);
            self.found
                .probes
                .extend(referenced.into_iter().map(|(_, referenced)| referenced));
        }
    }

    /// A query is kept, to be run by whoever reads it: what it compares with must not be another value each time.
    fn keeps_lookups(&mut self) {
        if self.found.by_settings {
            let looked_up: Vec<ColumnId> = self.found.lookups.iter().copied().collect();
            self.found.probes.extend(looked_up);
        }
    }

    /// Follows every statement of a text.
    pub(super) fn text(&mut self, statements: &NodeList) {
        self.found.followed = true;
        let cores: Vec<Node<'_>> = statements.iter().map(core).collect();
        let looks = LOOKS_MAX.saturating_mul(nodes_below(&cores));
        self.nodes_max = looks.clamp(NODES_MIN, NODES_MAX);
        let sizes = Sizes::of(&cores);
        (self.grows, self.swells) = (sizes.grows(), sizes.swells());
        self.acts = acting::acts(&cores);
        self.belt = Belt::of(&cores, self.index);
        let mut answers = Vec::new();
        for node in statements {
            let Node::RawStmt(raw) = node else {
                self.found.followed = false;
                continue;
            };
            match self.statement(raw.stmt()) {
                Answer::Nothing => {}
                Answer::Rows(shape) => answers.push(flows(&shape)),
                Answer::SomeRows => answers.push(None),
            }
        }
        if answers.len() == 1 {
            self.found.outputs = answers.pop().flatten();
        }
    }

    fn statement(&mut self, node: Node<'_>) -> Answer {
        match node {
            Node::SelectStmt(select) => {
                let shape = self.select(select);
                if !creates(select) {
                    return Answer::Rows(shape);
                }
                self.moves(&Value::of_set(shape.all()));
                Answer::Nothing
            }
            Node::AlterTableStmt(alter) => {
                self.found.followed = false;
                if alter.cmds().iter().any(fills) {
                    self.refers_by_default(alter.relation());
                }
                Answer::Nothing
            }
            Node::CreateStmt(create) if create.partbound().is_some() => {
                self.found.followed = false;
                for parent in create.inh_relations() {
                    if let Node::RangeVar(parent) = parent {
                        self.refers_by_default(Some(parent));
                    }
                }
                Answer::Nothing
            }
            Node::InsertStmt(insert) => rows_if(self.query(node), insert.returning_clause()),
            Node::UpdateStmt(update) => rows_if(self.query(node), update.returning_clause()),
            Node::DeleteStmt(delete) => rows_if(self.query(node), delete.returning_clause()),
            Node::MergeStmt(merge) => rows_if(self.query(node), merge.returning_clause()),
            Node::ExplainStmt(explain) => {
                self.explains = true;
                self.measures |= measures(explain);
                let answer = self.statement(explain.query());
                if self.measures {
                    // Pages of an index that were looked at tell what stands on them.
                    let looked_up: Vec<ColumnId> = self.found.lookups.iter().copied().collect();
                    self.found.probes.extend(looked_up);
                }
                if let (Answer::Rows(shape), true) = (answer, serializes(explain)) {
                    // How many bytes its rows are stands in the plan.
                    self.probe(&Value::of_set(shape.all()));
                }
                Answer::Rows(Shape::of(vec![Field::new(Some("QUERY PLAN"), Value::OTHER)]))
            }
            Node::PrepareStmt(prepare) => {
                self.parameters = prepare.argtypes().iter().map(declared).collect();
                let answer = self.statement(prepare.query());
                self.parameters.clear();
                answer
            }
            Node::DeclareCursorStmt(cursor) => self.statement(cursor.query()),
            Node::ExecuteStmt(execute) => {
                for value in self.values_of(execute.params()) {
                    self.moves(&value);
                }
                self.found.arguments_vary |= !execute.params().iter().all(is_written);
                Answer::SomeRows
            }
            Node::CreateTableAsStmt(create) => {
                match create.query() {
                    Node::ExecuteStmt(_) => self.unknown(PREPARED_KEPT),
                    query => {
                        self.selects += 1; // its rows are kept, and so nothing is only shown
                        let shape = self.query(query);
                        self.selects -= 1;
                        self.moves(&Value::of_set(shape.all()));
                        self.keeps_lookups();
                    }
                }
                Answer::Nothing
            }
            Node::ViewStmt(view) => {
                self.selects += 1;
                let shape = self.query(view.query());
                self.selects -= 1;
                self.moves(&Value::of_set(shape.all()));
                self.keeps_lookups();
                Answer::Nothing
            }
            Node::CopyStmt(copy) if !copy.is_from => self.copy_out(copy),
            Node::CopyStmt(copy) => {
                self.copied_in(copy);
                Answer::Nothing
            }
            Node::FetchStmt(fetch) if fetch.ismove => Answer::Nothing,
            Node::FetchStmt(_) | Node::VariableShowStmt(_) | Node::CallStmt(_) => Answer::SomeRows,
            Node::TransactionStmt(_)
            | Node::VariableSetStmt(_)
            | Node::ListenStmt(_)
            | Node::NotifyStmt(_)
            | Node::UnlistenStmt(_)
            | Node::DeallocateStmt(_)
            | Node::ClosePortalStmt(_)
            | Node::LockStmt(_)
            | Node::TruncateStmt(_)
            | Node::DiscardStmt(_)
            | Node::ConstraintsSetStmt(_) => Answer::Nothing,
            _ => {
                self.found.followed = false;
                Answer::Nothing
            }
        }
    }

    /// Rows like a query's where they can be masked; else values that leave.
    fn copy_out(&mut self, copy: &nodes::CopyStmt) -> Answer {
        let shape = match copy.relation() {
            None => self.query(copy.query()),
            Some(relation) => {
                let shape = self.relation(&names::relation(relation));
                let columns = match copied::columns(copy, self.index) {
                    Some(columns) => columns,
                    None => copy.attlist().iter().filter_map(Node::as_str).collect(),
                };
                if columns.is_empty() {
                    shape
                } else {
                    let values = columns.into_iter().map(|name| match shape.column(name) {
                        Some((value, true)) => value,
                        _ => Value::of_set(shape.all()),
                    });
                    Shape::of(values.map(|value| Field::new(None, value)).collect())
                }
            }
        };
        let all = Value::of_set(shape.all());
        self.touch(&all);
        if self.copies_rows && flows(&shape).is_some() {
            return Answer::Rows(shape);
        }
        self.moves(&all);
        Answer::Nothing
    }
}

fn rows_if<T>(shape: Shape, returning: Option<&T>) -> Answer {
    match returning {
        Some(_) => Answer::Rows(shape),
        None => Answer::Nothing,
    }
}

fn flows(shape: &Shape) -> Option<Vec<Flow>> {
    match shape.rest {
        Some(_) => None,
        None => {
            // Two relations' columns may have changed in number so that what is computed stands elsewhere. What is a
            // relation's own is known by its origin.
            let may_shift = shape.loose > 1 && shape.fields.iter().any(|field| !field.value.is_plain());
            let all = || Value::of_set(shape.all()).flow();
            let flow = |field: &Field| match field.value.flow() {
                Flow::Clean if may_shift => all(),
                flow => flow,
            };
            Some(shape.fields.iter().map(flow).collect())
        }
    }
}

/// SELECT INTO, which the first arm of a set operation may say.
fn creates(select: &nodes::SelectStmt) -> bool {
    let mut current = select;
    loop {
        if current.into_clause().is_some() {
            return true;
        }
        match current.larg() {
            Some(left) if current.op != SetOperation::SETOP_NONE => current = left,
            _ => return false,
        }
    }
}

/// What a parameter of that type is, and whether it is text.
fn declared(kind: &nodes::TypeName) -> (Value, bool) {
    let value = if !types::is_built_in(kind) || types::goes_by_names(kind) {
        Value::OTHER
    } else if types::goes_by_settings(kind) {
        Value::BY_SETTINGS
    } else {
        Value::CONSTANT
    };
    (value, types::is_text(kind))
}

/// Whether rows may come to refer to others without being written.
pub(super) fn refills(node: Node<'_>) -> bool {
    match node {
        Node::RawStmt(raw) => refills(raw.stmt()),
        Node::AlterTableStmt(alter) => alter.cmds().iter().any(fills),
        Node::CreateStmt(create) => create.partbound().is_some(),
        _ => false,
    }
}

/// By a default, as another type, with another table's rows.
fn fills(command: Node<'_>) -> bool {
    let Node::AlterTableCmd(command) = command else {
        return true;
    };
    matches!(
        command.subtype,
        AlterTableType::AT_ColumnDefault
            | AlterTableType::AT_AlterColumnType
            | AlterTableType::AT_AttachPartition
    )
}

/// An argument of EXECUTE that the text spells out.
fn is_written(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(_) | Node::ParamRef(_) | Node::None => true,
        // As text, a bytea may hold what its digits do not show.
        Node::TypeCast(cast) => {
            let hides = cast.type_name().is_some_and(types::is_bytes);
            !hides && types::casts_plainly(cast) && is_written(cast.arg())
        }
        Node::A_ArrayExpr(array) => array.elements().iter().all(is_written),
        _ => false,
    }
}

/// EXPLAIN ANALYZE: how much memory and disk the rows took, and how many bytes they were, stands in the plan.
fn measures(explain: &nodes::ExplainStmt) -> bool {
    let names = explain.options().iter().filter_map(|option| option.defname());
    names.into_iter().any(|name| name.eq_ignore_ascii_case("analyze"))
}

/// EXPLAIN (ANALYZE, SERIALIZE).
fn serializes(explain: &nodes::ExplainStmt) -> bool {
    let names = explain.options().iter().filter_map(|option| option.defname());
    names
        .into_iter()
        .any(|name| name.eq_ignore_ascii_case("serialize"))
}

/// EXPLAIN ANALYZE EXECUTE: what a statement that is not in this text took.
pub(super) fn measures_prepared(node: Node<'_>) -> bool {
    match node {
        Node::RawStmt(raw) => measures_prepared(raw.stmt()),
        Node::ExplainStmt(explain) => measures(explain) && explains_prepared(node),
        _ => false,
    }
}

/// EXPLAIN EXECUTE: the plan of a statement that is not in this text. What an immutable function answered stands in it.
pub(super) fn explains_prepared(node: Node<'_>) -> bool {
    match node {
        Node::RawStmt(raw) => explains_prepared(raw.stmt()),
        Node::ExplainStmt(explain) => matches!(explain.query(), Node::ExecuteStmt(_)),
        _ => false,
    }
}

/// CREATE TABLE AS EXECUTE: the rows of a statement that is not in this text.
pub(super) fn keeps_prepared(node: Node<'_>) -> bool {
    let statement = match node {
        Node::RawStmt(raw) => raw.stmt(),
        other => other,
    };
    match statement {
        Node::CreateTableAsStmt(create) => matches!(create.query(), Node::ExecuteStmt(_)),
        Node::ExplainStmt(explain) => keeps_prepared(explain.query()),
        _ => false,
    }
}

/// The query that a statement is about, where it is about one.
pub(super) fn core(statement: Node<'_>) -> Node<'_> {
    match statement {
        Node::RawStmt(raw) => core(raw.stmt()),
        Node::ExplainStmt(explain) => core(explain.query()),
        Node::PrepareStmt(prepare) => core(prepare.query()),
        Node::DeclareCursorStmt(cursor) => core(cursor.query()),
        Node::CreateTableAsStmt(create) => core(create.query()),
        Node::ViewStmt(view) => core(view.query()),
        Node::CopyStmt(copy) if !copy.is_from && !matches!(copy.query(), Node::None) => core(copy.query()),
        other => other,
    }
}

/// How many nodes there are; as many as may be where that cannot be told.
fn nodes_below(cores: &[Node<'_>]) -> usize {
    let count = std::cell::Cell::new(0);
    let look = |_: Node<'_>| {
        count.set(count.get() + 1);
        false
    };
    match cores.iter().any(|core| any_below(*core, look)) {
        true => NODES_MAX,
        false => count.get(),
    }
}
