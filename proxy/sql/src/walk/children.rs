//! Every node kind of a raw parse tree, by name, with the fields that hold further nodes.
//! Source: `nodes/parsenodes.h` and the raw-grammar part of `nodes/primnodes.h`, PostgreSQL 18.
//!
//! Kinds that only the analyzer or planner makes are absent on purpose: meeting one is an unknown node, and an
//! unknown node is a refusal. Fields that hold only names (String lists) are left out.

use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};

use crate::ReadError;
use crate::parse::plain;

/// A field that holds nodes.
trait Field<'a> {
    fn push(self, work: &mut Vec<Node<'a>>);
}

impl<'a> Field<'a> for Node<'a> {
    fn push(self, work: &mut Vec<Node<'a>>) {
        if !matches!(self, Node::None) {
            work.push(self);
        }
    }
}

impl<'a> Field<'a> for &'a NodeList {
    fn push(self, work: &mut Vec<Node<'a>>) {
        for node in self {
            node.push(work);
        }
    }
}

impl<'a, T> Field<'a> for &'a CastNodeList<T> {
    fn push(self, work: &mut Vec<Node<'a>>) {
        plain(self).push(work);
    }
}

impl<'a, T> Field<'a> for Option<&'a T>
where
    Node<'a>: From<&'a T>,
{
    fn push(self, work: &mut Vec<Node<'a>>) {
        if let Some(node) = self {
            work.push(Node::from(node));
        }
    }
}

macro_rules! kinds {
    ($node:expr, $work:expr; leaves { $($leaf:ident)* } $($kind:ident { $($field:ident)* })*) => {
        match $node {
            $(Node::$leaf(_))|* => {}
            $(Node::$kind(node) => { $(Field::push(node.$field(), $work);)* })*
            Node::None => {}
            Node::NodeList(list) => Field::push(list, $work),
            // The columns of `(a, b) = (…)` share one source.
            Node::MultiAssignRef(node) => if node.colno == 1 { Field::push(node.source(), $work) },
            _ => return Err(ReadError::UnknownNode),
        }
    };
}

/// Appends the node's own children to `work`.
pub(crate) fn children<'a>(node: Node<'a>, work: &mut Vec<Node<'a>>) -> Result<(), ReadError> {
    kinds! { node, work;
        leaves {
            String Integer Float Boolean BitString A_Const ParamRef A_Star ColumnRef SQLValueFunction SetToDefault
            CurrentOfExpr MergeSupportFunc RoleSpec JsonFormat Alias RangeVar TriggerTransition AccessPriv
            ReplicaIdentityStmt ATAlterConstraint ReturningOption CTESearchClause
        }
        // Expressions
        A_Expr { lexpr rexpr }
        TypeCast { arg type_name }
        TypeName { typmods array_bounds }
        CollateClause { arg }
        FuncCall { args agg_order agg_filter over }
        NamedArgExpr { arg }
        A_Indices { lidx uidx }
        A_Indirection { arg indirection }
        A_ArrayExpr { elements }
        ResTarget { indirection val }
        SortBy { node }
        WindowDef { partition_clause order_clause start_offset end_offset }
        BoolExpr { args }
        SubLink { testexpr subselect }
        CaseExpr { arg args defresult }
        CaseWhen { expr result }
        RowExpr { args }
        CoalesceExpr { args }
        MinMaxExpr { args }
        GroupingFunc { args }
        GroupingSet { content }
        NullTest { arg }
        BooleanTest { arg }
        XmlExpr { named_args args }
        XmlSerialize { expr type_name }
        JsonValueExpr { raw_expr formatted_expr }
        JsonReturning { format }
        JsonIsPredicate { expr }
        JsonBehavior { expr }
        JsonOutput { type_name returning }
        JsonArgument { val }
        JsonFuncExpr { context_item pathspec passing output on_empty on_error }
        JsonTablePathSpec { string }
        JsonTable { context_item pathspec passing columns on_error }
        JsonTableColumn { type_name pathspec columns on_empty on_error }
        JsonKeyValue { key value }
        JsonParseExpr { expr output }
        JsonScalarExpr { expr output }
        JsonSerializeExpr { expr output }
        JsonObjectConstructor { exprs output }
        JsonArrayConstructor { exprs output }
        JsonArrayQueryConstructor { query output }
        JsonAggConstructor { output agg_filter agg_order over }
        JsonObjectAgg { constructor arg }
        JsonArrayAgg { constructor arg }
        // FROM items
        JoinExpr { larg rarg quals }
        RangeSubselect { subquery }
        RangeFunction { functions coldeflist }
        RangeTableFunc { docexpr rowexpr namespaces columns }
        RangeTableFuncCol { type_name colexpr coldefexpr }
        RangeTableSample { relation args repeatable }
        // Queries
        RawStmt { stmt }
        SelectStmt {
            with_clause distinct_clause into_clause target_list from_clause where_clause group_clause having_clause
            window_clause values_lists sort_clause limit_offset limit_count locking_clause larg rarg
        }
        InsertStmt { with_clause relation cols select_stmt on_conflict_clause returning_clause }
        UpdateStmt { with_clause relation target_list from_clause where_clause returning_clause }
        DeleteStmt { with_clause relation using_clause where_clause returning_clause }
        MergeStmt { with_clause relation source_relation join_condition merge_when_clauses returning_clause }
        WithClause { ctes }
        CommonTableExpr { ctequery cycle_clause }
        CTECycleClause { cycle_mark_value cycle_mark_default }
        InferClause { index_elems where_clause }
        OnConflictClause { infer target_list where_clause }
        ReturningClause { exprs }
        MergeWhenClause { condition target_list values }
        LockingClause { locked_rels }
        IntoClause { rel options }
        ReturnStmt { returnval }
        // Parts of definitions
        DefElem { arg }
        ColumnDef { type_name raw_default coll_clause constraints fdwoptions identity_sequence }
        Constraint { raw_expr keys including exclusions options where_clause pktable fk_attrs pk_attrs fk_del_set_cols }
        TableLikeClause { relation }
        IndexElem { expr opclassopts }
        StatsElem { expr }
        PartitionElem { expr }
        PartitionSpec { part_params }
        PartitionBoundSpec { listdatums lowerdatums upperdatums }
        PartitionCmd { name bound }
        AlterTableCmd { def }
        FunctionParameter { arg_type defexpr }
        ObjectWithArgs { objargs objfuncargs }
        CreateOpClassItem { name class_args storedtype }
        VacuumRelation { relation }
        PublicationTable { relation where_clause }
        PublicationObjSpec { pubtable }
    }
    Ok(())
}

/// Whether any column is named anywhere below `node`; true as well where that cannot be told.
pub(crate) fn names_a_column(node: Node<'_>) -> bool {
    any_below(node, |node| matches!(node, Node::ColumnRef(_)))
}

/// Whether `found` holds for `node` or anything below it; true as well where that cannot be told.
pub(crate) fn any_below<'a>(node: Node<'a>, found: impl Fn(Node<'a>) -> bool) -> bool {
    let mut work = Vec::new();
    Field::push(node, &mut work);
    while let Some(node) = work.pop() {
        if found(node) || children(node, &mut work).is_err() {
            return true;
        }
    }
    false
}
