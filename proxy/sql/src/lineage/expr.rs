//! Every expression node of a raw parse tree, by name: what its value may hold.
//! Source: `nodes/primnodes.h` and `parsenodes.h`, PostgreSQL 18; PostgreSQL manual, "Value Expressions".
//!
//! Where an operation may fail, or choose, by a labelled value, that is a probe as well: the client sees whether it did.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{A_Expr_Kind, SQLValueFunctionOp, SubLinkType};
use pg_raw_parse::{Node, nodes};

use linegate_policy::Name;

use super::query::last_star;
use super::scope::Shape;
use super::value::{Escape, Field, Source, Value};
use super::{DISGUISED, Reader, STRANGE_NODE, builtin_name, functions, lazy, paths, types};
use crate::builtins;
use crate::parse::plain;
use crate::walk::names;

/// Who and where the session is, and what time it is.
fn of_session(function: &nodes::SQLValueFunction) -> Value {
    match function.op {
        SQLValueFunctionOp::SVFOP_CURRENT_SCHEMA => Value::OTHER,
        SQLValueFunctionOp::SVFOP_CURRENT_CATALOG
        | SQLValueFunctionOp::SVFOP_CURRENT_ROLE
        | SQLValueFunctionOp::SVFOP_CURRENT_USER
        | SQLValueFunctionOp::SVFOP_SESSION_USER
        | SQLValueFunctionOp::SVFOP_USER => Value::FIXED,
        _ => Value::BY_SETTINGS,
    }
}

impl Reader<'_> {
    /// What an expression's value may hold.
    pub(super) fn value(&mut self, node: Node<'_>) -> Value {
        if !self.enter() {
            return self.in_reach();
        }
        let mut value = self.value_here(node);
        self.leave();
        if value.is_quoted_too_often() {
            value = Value::of_set(value.columns());
        }
        let is_shown = self.is_report && !self.grows && functions::tidies(node);
        if value.is_chosen() && !is_shown && !matches!(node, Node::ColumnRef(_)) {
            // Whether something was found decides how large a row is, how rows are joined and sorted, what fails.
            self.probe(&value);
        }
        if matches!(value, Value::Made(..) | Value::Tainted(_)) {
            self.found.computes = true;
            if self.measures || self.swells {
                // How large it is stands in the plan, or decides whether there is room for it.
                self.probe(&value);
            }
        }
        value
    }

    fn value_here(&mut self, node: Node<'_>) -> Value {
        let is_somebodys = |name: &&str| self.index.is_user_function(name);
        if builtins::keywords(node).iter().any(is_somebodys) {
            return self.anything(STRANGE_NODE);
        }
        match node {
            Node::None
            | Node::String(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Boolean(_)
            | Node::BitString(_)
            | Node::A_Const(_)
            | Node::CurrentOfExpr(_) => Value::CONSTANT,
            // What a default comes to, its sequence and the clock decide.
            Node::SetToDefault(_) => Value::OTHER,
            Node::ParamRef(parameter) => {
                let number = usize::try_from(parameter.number).unwrap_or_default();
                match self.parameters.get(number.wrapping_sub(1)) {
                    Some((declared, _)) => declared.clone(),
                    None if self.is_doubtful(parameter.number) => Value::OTHER,
                    None => Value::CONSTANT,
                }
            }
            Node::SQLValueFunction(function) => of_session(function),
            Node::MergeSupportFunc(_) | Node::GroupingFunc(_) => Value::OTHER,
            Node::ColumnRef(column) => self.column_ref(column),
            Node::A_Expr(expr) => self.operator(expr),
            Node::TypeCast(cast) => self.cast(cast),
            Node::CollateClause(collate) => self.collated(collate),
            Node::FuncCall(call) => self.call(call),
            Node::NamedArgExpr(named) => self.value(named.arg()),
            Node::A_Indirection(path) => self.indirection(path),
            Node::A_ArrayExpr(array) => self.array(array),
            Node::BoolExpr(expr) => self.made_in_turn(expr.args()),
            Node::CoalesceExpr(coalesce) => self.coalesce(coalesce.args()),
            Node::MinMaxExpr(expr) => {
                let values = self.values_of(expr.args());
                let value = Value::computed(&values);
                // Of what was chosen before, or of rows, the types may be found not to fit.
                if values
                    .iter()
                    .any(|value| value.is_chosen() || matches!(value, Value::Row(_)))
                {
                    self.probe(&value);
                }
                value
            }
            Node::NodeList(list) => self.made_of(list),
            Node::SubLink(link) => self.sub_link(link),
            Node::CaseExpr(case) => self.case(case),
            // How many fields `t.*` comes to is not worked out here.
            Node::RowExpr(row) if row.args().iter().any(last_star) => {
                let values = self.values_of(row.args());
                Value::made(values.iter().chain([&Value::OTHER]))
            }
            Node::RowExpr(row) => {
                let fields = row.args().iter().map(|node| Field::new(None, self.value(node)));
                Value::Row(std::rc::Rc::new(fields.collect()))
            }
            Node::NullTest(test) => {
                let value = self.value(test.arg());
                let is_plain = |node| self.value(node).is_plain();
                if value.is_plain()
                    || matches!(test.arg(), Node::CoalesceExpr(several) if several.args().iter().all(is_plain))
                {
                    Value::OTHER
                } else {
                    // Rows are tested field by field, up to the first that decides, also behind a name of a sub-query.
                    self.probe(&value);
                    Value::computed([&value])
                }
            }
            Node::BooleanTest(test) => {
                let value = self.value(test.arg());
                Value::computed([&value])
            }
            _ => self.document(node),
        }
    }

    fn is_doubtful(&self, parameter: i32) -> bool {
        let doubtful = self.doubtful.as_ref();
        doubtful.is_none_or(|doubtful| doubtful.contains(&parameter))
    }

    pub(super) fn made_of(&mut self, list: &NodeList) -> Value {
        let values = self.values_of(list);
        Value::made(&values)
    }

    /// The first that is not NULL. All are made to one type, and what was chosen may not fit that.
    fn coalesce(&mut self, list: &NodeList) -> Value {
        let values = self.values_of(list);
        self.lazily(list, &values);
        self.merged(list, &values);
        Value::made(&values)
    }

    /// Values of which the server makes one type: what was chosen goes with plain literals only.
    fn merged<'n>(&mut self, nodes: impl IntoIterator<Item = Node<'n>>, values: &[Value]) {
        let fits = nodes
            .into_iter()
            .zip(values)
            .filter(|(node, value)| !lazy::is_plain_literal(*node) && !value.is_chosen())
            .count()
            == 0
            && values.iter().filter(|value| value.is_chosen()).count() <= 1;
        if !fits {
            for value in values.iter().filter(|value| value.is_chosen()) {
                self.probe(value);
            }
        }
    }

    /// The same, where the server stops as soon as it knows the result.
    fn made_in_turn(&mut self, list: &NodeList) -> Value {
        let values = self.values_of(list);
        self.lazily(list, &values);
        Value::computed(&values)
    }

    fn case(&mut self, case: &nodes::CaseExpr) -> Value {
        let mut chosen_by = vec![self.value(case.arg())];
        let mut results = vec![self.value(case.defresult())];
        let mut nodes = vec![case.defresult()];
        for node in case.args() {
            let Node::CaseWhen(when) = node else {
                return self.anything(STRANGE_NODE);
            };
            chosen_by.push(self.value(when.expr()));
            results.push(self.value(when.result()));
            nodes.push(when.result());
        }
        for value in &chosen_by {
            self.probe(value);
        }
        let first = results[0].clone();
        if chosen_by.iter().all(Value::is_clean) && results.iter().all(|value| *value == first) {
            match first {
                Value::Clean(_) => {}
                _ => return first,
            }
        }
        self.merged(nodes, &results);
        match chosen_by.iter().all(Value::is_clean) {
            true => Value::made(chosen_by.iter().chain(&results)),
            false => Value::computed(chosen_by.iter().chain(&results)),
        }
    }

    /// A cast keeps a value as it is between the types that are characters, and within JSON.
    fn cast(&mut self, cast: &nodes::TypeCast) -> Value {
        let value = self.value(cast.arg());
        let Some(kind) = cast.type_name() else {
            return self.anything(STRANGE_NODE);
        };
        if matches!(value, Value::Clean(_)) {
            // A type that somebody made may compare as it likes.
            return match value {
                _ if !types::is_built_in(kind) => Value::OTHER,
                Value::Clean(Source::Listed) if types::keeps_values(cast, kind) => Value::Clean(Source::Cast),
                Value::Clean(Source::Listed | Source::Cast) => Value::OTHER,
                value if !value.is_constant() => value,
                _ if types::goes_by_names(kind) => Value::OTHER,
                _ if types::goes_by_settings(kind) => Value::BY_SETTINGS,
                Value::BY_SETTINGS => Value::OTHER, // as text, or as another number
                // Another value may come of it.
                _ if !types::keeps_values(cast, kind) => Value::FIXED,
                value => value,
            };
        }
        let is_scalar = kind.array_bounds().is_empty() && !kind.setof && !kind.pct_type;
        let name = builtin_name(plain(kind.names())).filter(|_| is_scalar);
        let exact = name.filter(|_| kind.typmods().is_empty());
        let column_type = match &value {
            Value::Exactly(column) => self.index.type_oid(*column),
            _ => None,
        };
        let keeps = match (&value, exact) {
            (Value::Exactly(_), Some("text" | "varchar")) => column_type.is_some_and(is_text),
            (Value::Exactly(_), Some("json" | "jsonb")) => column_type.is_some_and(is_json),
            (Value::OneOf(columns), Some("text" | "varchar")) => {
                let is_text = |column| self.index.type_oid(column).is_some_and(is_text);
                columns.iter().copied().all(is_text)
            }
            (Value::Part(..), Some("json" | "jsonb")) => true,
            _ => false,
        };
        if keeps {
            return value;
        }
        let never_fails = match name {
            Some("text" | "varchar" | "bpchar" | "name") => true,
            Some("date" | "timestamp" | "timestamptz" | "numeric" | "float8") => {
                exact.is_some() && column_type.is_some_and(is_number_or_time)
            }
            _ => false,
        };
        let is_json = matches!(name, Some("json" | "jsonb"));
        let value = Value::made([&value]);
        if !never_fails {
            self.probe(&value);
        }
        match is_json {
            true => value,
            false => value.written(Escape::AsText),
        }
    }

    /// Field selection and subscripts.
    pub(super) fn indirection(&mut self, path: &nodes::A_Indirection) -> Value {
        let mut value = self.value(path.arg());
        for step in path.indirection() {
            value = match step {
                Node::String(name) => match &value {
                    Value::Row(fields) => {
                        let name = name.sval().unwrap_or_default();
                        match Shape::of(fields.to_vec()).column(name) {
                            Some((found, _)) => found,
                            None => {
                                if self.index.is_user_function(name) {
                                    self.unknown(DISGUISED);
                                }
                                // A function or a cast, which may fail.
                                self.probe(&value);
                                Value::computed([&value])
                            }
                        }
                    }
                    value => {
                        // A field, or `(x).f` for f(x): a function or a cast, which may fail.
                        let called = step.as_str();
                        if called.is_some_and(|name| self.index.is_user_function(name)) {
                            self.unknown(DISGUISED);
                        }
                        let value = value.clone();
                        self.probe(&value);
                        Value::computed([&value, &Value::OTHER])
                    }
                },
                Node::A_Star(_) => value,
                Node::A_Indices(index) => match paths::key(index.uidx()) {
                    Some(key) if !index.is_slice => self.under(&value, &[key]),
                    _ => {
                        let bounds = [self.value(index.lidx()), self.value(index.uidx())];
                        let is_fixed = [index.lidx(), index.uidx()].into_iter().all(lazy::is_fixed);
                        if !value.is_plain() && !is_fixed {
                            // Of a NULL array no subscript is evaluated.
                            self.probe(&value);
                        }
                        // A subscript is made an int4, which it may not fit.
                        bounds.iter().for_each(|bound| self.probe(bound));
                        Value::computed([&value, &bounds[0], &bounds[1], &Value::OTHER])
                    }
                },
                _ => return self.anything(STRANGE_NODE),
            };
        }
        value
    }

    fn sub_link(&mut self, link: &nodes::SubLink) -> Value {
        let rows = self.query(link.subselect());
        let rows = self.listed(rows);
        match link.sub_link_type {
            SubLinkType::EXISTS_SUBLINK => Value::OTHER,
            SubLinkType::EXPR_SUBLINK | SubLinkType::MULTIEXPR_SUBLINK if rows.fields.len() > 1 => rows.row(),
            SubLinkType::EXPR_SUBLINK | SubLinkType::MULTIEXPR_SUBLINK => rows.first(),
            SubLinkType::ARRAY_SUBLINK => self.array_of_rows(link, &rows),
            _ => {
                let test = self.value(link.testexpr());
                let rows = Value::of_set(rows.all());
                // The rows are read until one decides, and some of them may fail.
                self.probe(&test);
                self.probe(&rows);
                Value::computed([&test, &rows, &Value::OTHER])
            }
        }
    }

    fn operator(&mut self, expr: &nodes::A_Expr) -> Value {
        let name = builtin_name(expr.name());
        if expr.kind == A_Expr_Kind::AEXPR_OP
            && let Some(name @ ("->" | "->>" | "#>" | "#>>" | "?")) = name
        {
            let document = self.value(expr.lexpr());
            let right = self.value(expr.rexpr());
            let is_as_stored = document.is_clean() || document.is_stored();
            if !is_as_stored && !self.is_jsonb(expr.lexpr(), &document) {
                // What a client puts in its place may have an element that is no text, which only jsonb rules out.
                self.probe(&document);
            }
            let keys = match name {
                "->" | "->>" => paths::key(expr.rexpr()).map(|key| vec![key]),
                "?" => return self.has_key(&document, &right),
                _ => paths::keys(expr.rexpr()),
            };
            return match keys {
                Some(keys) => self.under(&document, &keys).written(Escape::AsText),
                None => {
                    // What stands under a key may not be text, and the key is chosen.
                    self.probe(&right);
                    Value::made([&document, &right, &Value::OTHER]).written(Escape::AsText)
                }
            };
        }
        self.in_turn(expr);
        // A chain of operators leans to the left and may be long.
        let mut chain = vec![expr];
        let mut first = expr.lexpr();
        while let Node::A_Expr(left) = first {
            let is_place = matches!(
                builtin_name(left.name()),
                None | Some("->" | "->>" | "#>" | "#>>" | "?")
            );
            if left.kind != A_Expr_Kind::AEXPR_OP || is_place {
                break;
            }
            chain.push(left);
            first = left.lexpr();
        }
        let mut value = self.value(first);
        // What was joined to a text before is one.
        let mut is_text_already = false;
        for expr in chain.into_iter().rev() {
            let right = self.value(expr.rexpr());
            let joins = builtin_name(expr.name()) == Some("||");
            // Arrays must fit each other, and a text has a largest length.
            let fits = !joins
                || !self.grows
                    && (right.is_clean() || self.is_scalar(expr.rexpr(), &right))
                    && (value.is_clean() || is_text_already || self.is_scalar(expr.lexpr(), &value));
            is_text_already = joins
                && (is_text_already
                    || lazy::is_text(expr.lexpr())
                    || lazy::is_text(expr.rexpr())
                    || self.is_scalar(expr.lexpr(), &value)
                    || self.is_scalar(expr.rexpr(), &right));
            let is_called = !functions::tells_null(expr) || value.is_clean() || self.keeps_null(expr.lexpr());
            let compares_rows = functions::compares_rows([expr.lexpr(), expr.rexpr()], [&value, &right]);
            // NULLIF(value, '') is the value unless that is as good as NULL.
            let is_emptied = expr.kind == A_Expr_Kind::AEXPR_NULLIF && lazy::is_empty_text(expr.rexpr());
            let keeps = joins || is_emptied && (value.is_stored() || functions::trims(expr.lexpr()));
            // What was put together may hold a client's own values of any type and collation beside the labelled one.
            let is_made = |value: &Value| matches!(value, Value::Made(..));
            let is_chosen =
                value.is_chosen() || right.is_chosen() || !keeps && (is_made(&value) || is_made(&right));
            if compares_rows || is_chosen || !(fits && is_called && functions::never_fails(expr, &right)) {
                self.probe(&value);
                self.probe(&right);
            }
            value = match keeps {
                true => Value::made([&value, &right]).written(Escape::AsText),
                false => Value::computed([&value, &right]),
            };
        }
        value
    }

    /// What decides which rows an aggregate or window sees, and in which order.
    pub(super) fn chosen_by(
        &mut self,
        filter: Node<'_>,
        order: &NodeList,
        over: Option<&nodes::WindowDef>,
    ) -> Value {
        let mut values = vec![self.value(filter)];
        for key in order {
            match key {
                Node::SortBy(sort) => values.push(self.value(sort.node())),
                _ => values.push(self.anything(STRANGE_NODE)),
            }
        }
        if let Some(window) = over {
            values.extend(self.values_of(window.partition_clause()));
            for key in plain(window.order_clause()) {
                if let Node::SortBy(sort) = key {
                    values.push(self.value(sort.node()));
                }
            }
            self.window(window);
        }
        let value = Value::computed(&values);
        self.probe(&value);
        value
    }

    fn call(&mut self, call: &nodes::FuncCall) -> Value {
        let arguments = self.values_of(call.args());
        let chosen_by = self.chosen_by(call.agg_filter(), plain(call.agg_order()), call.over());
        let of_arguments = Value::computed(&arguments);
        if call.agg_distinct {
            self.probe(&of_arguments);
        }
        let name = builtin_name(call.funcname());
        // A column's name before PostgreSQL 16.
        if name == Some("system_user")
            && let Some(doubt) = self.belt.doubt_name("system_user")
        {
            return doubt;
        }
        if let Some(name) = names::function(call.funcname())
            && let Some(value) = self.defined(&name, call, &arguments)
        {
            return Value::made([&value, &chosen_by]);
        }
        let Some(name) = name else {
            // Somebody's function in a schema that is not known: it may do anything with its arguments.
            self.found.exposed.extend(of_arguments.columns());
            return Value::computed([&of_arguments, &chosen_by, &Value::OTHER]);
        };
        if functions::carries(name) {
            self.moves(&of_arguments);
        }
        let is_place = matches!(
            name,
            "jsonb_extract_path" | "jsonb_extract_path_text" | "json_extract_path" | "json_extract_path_text"
        );
        if is_place && !call.func_variadic {
            let keys: Option<Vec<String>> = call.args().iter().skip(1).map(paths::key).collect();
            if let (Some(keys), Some(document)) = (keys, arguments.first()) {
                let value = self.under(document, &keys);
                return match name.ends_with("_text") {
                    true => value.written(Escape::AsText),
                    false => value,
                };
            }
        }
        // Of an array that is spread out, how many elements there are.
        let counts = name == "count" || matches!(name, "num_nulls" | "num_nonnulls") && !call.func_variadic;
        let shows_nothing = functions::shows_nothing(name) || counts && arguments.iter().all(Value::is_plain);
        if shows_nothing {
            return Value::computed([&chosen_by, &Value::OTHER]);
        }
        let labelled: Vec<bool> = arguments.iter().map(|argument| !argument.is_clean()).collect();
        let fits = match name {
            // Arrays must not be NULL or empty, and are of one size.
            "array_agg" => {
                let first = call.args().first().zip(arguments.first());
                first.is_none_or(|(node, value)| value.is_clean() || self.is_scalar(node, value))
            }
            // A text is read, and may not be one.
            "date" => arguments.iter().all(|argument| match argument {
                Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_number_or_time),
                value => value.is_clean(),
            }),
            // Of intervals and money, a sum may be too large; so may one with what the client adds, or its square.
            "avg" | "stddev" | "stddev_pop" | "stddev_samp" | "sum" | "var_pop" | "var_samp" | "variance" => {
                arguments.iter().all(|argument| match argument {
                    Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_number_or_time),
                    value => value.is_clean(),
                })
            }
            // Rows of other types than the first may come.
            "max" | "min" => !arguments.iter().any(|value| matches!(value, Value::Row(_))),
            // Bit strings must be of one length.
            "bit_and" | "bit_or" | "bit_xor" => arguments.iter().all(|argument| match argument {
                Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_integer),
                value => value.is_clean(),
            }),
            // In an encoding of the caller's choice, bytes may be no text.
            "length" => arguments.len() < 2,
            "lpad" | "rpad" | "replace" | "regexp_replace" | "string_agg" | "concat" | "concat_ws"
            | "array_to_string" | "overlay" | "translate" => {
                !self.grows && functions::stays_short(name, call.args(), &arguments)
            }
            // A key must be no NULL.
            "json_build_object" | "jsonb_build_object" => {
                !call.func_variadic && call.args().iter().step_by(2).all(lazy::is_plain_text)
            }
            // Some patterns multiply, and the product may be too large.
            "to_char" => {
                let of_time = |value: &Value| match value {
                    Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_time),
                    value => value.is_clean(),
                };
                arguments.first().is_none_or(of_time)
                    || call.args().get(1).is_some_and(functions::only_formats)
            }
            _ => true,
        };
        // What was chosen may be told by any failure, and a client can put what fails beside it.
        let is_chosen = arguments.iter().any(Value::is_chosen);
        let is_called = !functions::fails_by_others(name)
            || of_arguments.is_clean()
            || call.args().iter().all(|argument| self.keeps_null(argument));
        let goes_by_place = !call
            .args()
            .iter()
            .any(|node| matches!(node, Node::NamedArgExpr(_)));
        let is_total = goes_by_place && functions::is_total(name, &labelled);
        if name != "count" && (is_chosen || !(fits && is_called && is_total)) {
            self.probe(&of_arguments);
        }
        let mut from: Vec<&Value> = arguments.iter().chain([&chosen_by]).collect();
        if functions::goes_by_clock(name) && call.args().is_empty() {
            return Value::BY_SETTINGS;
        }
        if functions::makes_time(name) && arguments.iter().all(Value::is_constant) {
            return Value::BY_SETTINGS;
        }
        if !functions::is_fixed(name) || call.over().is_some() {
            from.push(&Value::OTHER);
        }
        // Of texts, the client's own beside them is as long as it likes.
        let is_sized = || {
            arguments.iter().all(|argument| match argument {
                Value::Exactly(column) => self.index.type_oid(*column).is_some_and(is_number_or_time),
                value => value.is_clean(),
            })
        };
        match functions::makes(call, &arguments) && (!matches!(name, "max" | "min") || is_sized()) {
            true => Value::made(from).written(functions::escapes(name)),
            false => Value::computed(from),
        }
    }

    /// A call that may mean a function somebody defined. `None` when no such function has the name.
    fn defined(&mut self, name: &Name, call: &nodes::FuncCall, arguments: &[Value]) -> Option<Value> {
        if !self.index.is_user_function(&name.name) {
            return None;
        }
        let meanings = self.index.meanings(name).unwrap_or_default();
        let spreads = meanings.iter().any(|meaning| meaning.spreads);
        let splits = meanings.iter().any(|meaning| meaning.splits);
        let are_seen = !spreads || call.args().iter().all(|argument| self.is_seen(argument, splits));
        let is_fixed = arguments
            .iter()
            .all(|argument| argument.is_fixed() || *argument == Value::Clean(Source::Listed));
        let is_listed = arguments.contains(&Value::Clean(Source::Listed));
        self.count_computed(arguments);
        let mut all = Value::computed(arguments).columns();
        self.found.exposed.extend(&all);
        for meaning in self.index.meanings(name).unwrap_or_default() {
            all.extend(&meaning.shows);
            self.found.touched.extend(&meaning.touched);
            self.found.lookups.extend(&meaning.lookups);
            self.found.probes.extend(&meaning.probes);
            let computed = &mut self.found.computed_constants;
            *computed = computed.saturating_add(meaning.computed_constants);
            self.found.by_settings |= meaning.by_settings;
            self.found.spreads |= meaning.spreads;
            let multiplies = is_listed && meaning.computed_constants > 0;
            if !is_fixed || multiplies || meaning.spreads && !are_seen {
                // A look-up for every row there is, or of what is computed of each listed value, runs through all values.
                self.found.probes.extend(&meaning.lookups);
            }
            if self.explains {
                // What is called immutable is computed by the planner, and stands in the plan.
                self.found.moved.extend(&meaning.shows);
            }
        }
        // What was chosen within was probed there.
        Some(match all.is_empty() {
            true => Value::OTHER,
            // What it does to its arguments is not followed so far.
            false => Value::Made(std::rc::Rc::new(all), Value::quoting_of(arguments)).written(Escape::Quotes),
        })
    }
}

/// Types whose value is its characters.
pub(super) fn is_text(type_oid: u32) -> bool {
    matches!(type_oid, 19 | 25 | 1042 | 1043)
}

pub(super) fn is_json(type_oid: u32) -> bool {
    matches!(type_oid, 114 | 3802)
}

/// Arrays of dates and times.
pub(super) fn are_times(type_oid: u32) -> bool {
    matches!(type_oid, 1115 | 1182 | 1183 | 1185 | 1187 | 1270)
}

/// date, time, timestamp, timestamptz, timetz and interval.
pub(super) fn is_time(type_oid: u32) -> bool {
    matches!(type_oid, 1082 | 1083 | 1114 | 1184 | 1186 | 1266)
}

/// int8, int2 and int4.
fn is_integer(type_oid: u32) -> bool {
    matches!(type_oid, 20 | 21 | 23)
}

/// int8, int2, int4, float4, float8, date, time, timestamp, timestamptz, numeric.
pub(super) fn is_number_or_time(type_oid: u32) -> bool {
    matches!(
        type_oid,
        20 | 21 | 23 | 700 | 701 | 1082 | 1083 | 1114 | 1184 | 1700
    )
}
