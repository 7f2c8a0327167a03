//! XML and SQL/JSON expressions: what their values may hold, and where they tell by failing.
//! Source: PostgreSQL manual, "XML Functions", "SQL/JSON Functions", "JSON Functions and Operators".

use pg_raw_parse::raw::{JsonFormatType, XmlExprOp};
use pg_raw_parse::{Node, nodes};

use super::expr::{are_times, is_json, is_text, is_time};
use super::value::{Escape, Value};
use super::{Reader, STRANGE_NODE, builtin_name, paths};
use crate::parse::plain;

impl Reader<'_> {
    /// XML and SQL/JSON expressions.
    pub(super) fn document(&mut self, node: Node<'_>) -> Value {
        let (value, may_fail) = match node {
            Node::ResTarget(target) => (self.value(target.val()), false),
            Node::XmlExpr(xml) => {
                let mut values = self.values_of(xml.named_args());
                values.extend(self.values_of(xml.args()));
                let builds = matches!(
                    xml.op,
                    XmlExprOp::IS_XMLCONCAT | XmlExprOp::IS_XMLELEMENT | XmlExprOp::IS_XMLFOREST
                );
                // XML has no word for the end of time.
                let is_endless = |kind: u32| is_time(kind) || are_times(kind);
                let may_be_endless = values.iter().any(|value| {
                    let mut columns = value.columns().into_iter();
                    let of_time = columns.any(|column| self.index.type_oid(column).is_none_or(is_endless));
                    of_time || value.is_chosen()
                });
                (Value::made(&values), !builds || may_be_endless)
            }
            Node::XmlSerialize(xml) => (self.value(xml.expr()), true),
            Node::JsonValueExpr(value) => (self.json_value(Some(value)), false),
            Node::JsonIsPredicate(test) => {
                let value = self.value(test.expr());
                // Bytes are read as text first, and may be none.
                let is_text = match &value {
                    Value::Exactly(column) => {
                        let kind = self.index.type_oid(*column);
                        kind.is_some_and(|kind| is_text(kind) || is_json(kind))
                    }
                    value => value.is_clean(),
                };
                (value, !is_text)
            }
            Node::JsonArgument(argument) => (self.json_value(argument.val()), false),
            Node::JsonKeyValue(pair) => {
                let values = [self.value(pair.key()), self.json_value(pair.value())];
                // A key must not be NULL, and may have to be the only one.
                self.probe(&values[0]);
                (Value::made(&values), false)
            }
            Node::JsonFuncExpr(function) => (self.json_function(function), false),
            Node::JsonParseExpr(parse) => (self.json_value(parse.expr()), true),
            Node::JsonScalarExpr(scalar) => (self.value(scalar.expr()), false),
            Node::JsonSerializeExpr(serialize) => (self.json_value(serialize.expr()), true),
            // What RETURNING names may be too narrow for the result.
            Node::JsonObjectConstructor(object) => {
                (self.made_of(plain(object.exprs())), object.output().is_some())
            }
            Node::JsonArrayConstructor(array) => {
                (self.made_of(plain(array.exprs())), array.output().is_some())
            }
            Node::JsonArrayQueryConstructor(array) => {
                let rows = self.query(array.query());
                (rows.row(), array.output().is_some())
            }
            Node::JsonObjectAgg(aggregate) => {
                let value = match aggregate.arg() {
                    Some(pair) => self.value(Node::JsonKeyValue(pair)),
                    None => Value::CONSTANT,
                };
                (
                    self.json_aggregate(aggregate.constructor(), value),
                    narrows(aggregate.constructor()),
                )
            }
            Node::JsonArrayAgg(aggregate) => {
                let value = self.json_value(aggregate.arg());
                (
                    self.json_aggregate(aggregate.constructor(), value),
                    narrows(aggregate.constructor()),
                )
            }
            _ => return self.anything(STRANGE_NODE),
        };
        let (chooses, follows) = match node {
            Node::JsonIsPredicate(_) => (true, true),
            Node::JsonFuncExpr(_) | Node::ResTarget(_) => (false, true),
            _ => (false, false),
        };
        if may_fail || value.is_chosen() && !follows {
            self.probe(&value);
        }
        let how = match node {
            Node::XmlExpr(_) => Escape::Quotes,
            Node::XmlSerialize(_) | Node::JsonFuncExpr(_) | Node::ResTarget(_) => Escape::AsText,
            _ => Escape::Json,
        };
        match chooses {
            true => Value::computed([&value, &Value::OTHER]),
            false => Value::made([&value, &Value::OTHER]).written(how),
        }
    }

    /// Whether a document is certain to be jsonb, in which every element can be shown as text.
    pub(super) fn is_jsonb(&self, node: Node<'_>, value: &Value) -> bool {
        let is_jsonb_column = |column| self.index.type_oid(column) == Some(3802);
        match node {
            Node::FuncCall(call) => builtin_name(call.funcname())
                .is_some_and(|name| name == "to_jsonb" || name.starts_with("jsonb_")),
            Node::TypeCast(cast) => cast
                .type_name()
                .is_some_and(|kind| builtin_name(plain(kind.names())) == Some("jsonb")),
            Node::CoalesceExpr(coalesce) => coalesce.args().iter().any(|part| self.is_jsonb(part, value)),
            Node::A_Expr(expr) => self.is_jsonb(expr.lexpr(), value),
            Node::ColumnRef(_) => value.columns().into_iter().all(is_jsonb_column),
            _ => false,
        }
    }

    pub(super) fn json_value(&mut self, value: Option<&nodes::JsonValueExpr>) -> Value {
        let Some(value) = value else {
            return Value::CONSTANT;
        };
        let found = self.value(value.raw_expr());
        let is_parsed = value
            .format()
            .is_some_and(|format| format.format_type == JsonFormatType::JS_FORMAT_JSON);
        if is_parsed {
            self.probe(&found);
        }
        found
    }

    fn json_aggregate(&mut self, aggregate: Option<&nodes::JsonAggConstructor>, value: Value) -> Value {
        let mut from = vec![value, Value::OTHER];
        if let Some(aggregate) = aggregate {
            from.push(self.chosen_by(aggregate.agg_filter(), aggregate.agg_order(), aggregate.over()));
        }
        Value::made(&from)
    }

    fn json_function(&mut self, function: &nodes::JsonFuncExpr) -> Value {
        let context = self.json_value(function.context_item());
        let is_document = match &context {
            Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_json),
            value => matches!(value, Value::Clean(_) | Value::Part(..)),
        };
        if !is_document {
            // Text is parsed first, and that may fail.
            self.probe(&context);
        }
        let mut rest = vec![self.value(function.pathspec())];
        rest.extend(self.values_of(function.passing()));
        // What a path is made of, and what its filters compare with, decides whether anything is found.
        rest.iter().for_each(|value| self.probe(value));
        let place = match paths::json_path(function.pathspec()) {
            Some(keys) if function.passing().is_empty() => self.under(&context, &keys),
            _ if paths::only_steps(function.pathspec()) && function.passing().is_empty() => {
                Value::made([&context])
            }
            _ => {
                // Filters choose, and some mistakes in a path are found when it is followed, whatever ON ERROR says.
                self.probe(&context);
                Value::computed([&context])
            }
        };
        for behavior in [function.on_empty(), function.on_error()].into_iter().flatten() {
            rest.push(self.value(behavior.expr()));
            // ERROR ON ERROR tells by failing.
            self.probe(&place);
        }
        rest.push(place);
        rest.push(Value::OTHER);
        match function.output() {
            None => Value::made(&rest),
            // It is NULL where the value is none of that type.
            Some(_) => Value::computed(&rest),
        }
    }
}

/// Whether an aggregate's RETURNING names a type, which may be too narrow.
fn narrows(aggregate: Option<&nodes::JsonAggConstructor>) -> bool {
    aggregate.is_some_and(|aggregate| aggregate.output().is_some())
}
