//! Functions that do more than compute, and sampling methods.
//! Source: PostgreSQL manual, "Functions and Operators"; `crate::builtins` for the list.

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::children::names_a_column;
use super::{Walker, names};
use crate::builtins;
use crate::parse::plain;
use crate::reactions;

/// `setval` of a sequence that the text does not name.
const SOME_SEQUENCE: &str = "a sequence whose name is computed";
/// Longer values of settings are left out: those that matter are words.
const VALUE_BYTES_MAX: usize = 64;

/// The text of a string literal under collations and casts that leave it as it is.
fn literal(mut node: Node<'_>) -> Option<&str> {
    loop {
        match node {
            Node::A_Const(value) => {
                return match value.val() {
                    Some(ConstValue::String(text)) => Some(text),
                    _ => None,
                };
            }
            Node::TypeCast(cast) if cast.type_name().is_some_and(keeps_text) => node = cast.arg(),
            Node::CollateClause(collate) => node = collate.arg(),
            _ => return None,
        }
    }
}

/// `text` and `varchar` without a length: `'role-x'::char(4)` is another text than its literal.
fn keeps_text(kind: &nodes::TypeName) -> bool {
    kind.typmods().is_empty()
        && kind.array_bounds().is_empty()
        && matches!(
            names::function(plain(kind.names())),
            Some(name) if matches!(name.schema.as_deref(), None | Some("pg_catalog"))
                && matches!(name.name.as_str(), "text" | "varchar")
        )
}

/// A constant as SET takes it.
pub(super) fn constant(node: Node<'_>) -> Option<String> {
    let Node::A_Const(value) = node else { return None };
    match value.val()? {
        ConstValue::String(text) | ConstValue::Float(text) => Some(text.to_owned()),
        ConstValue::Integer(number) => Some(number.to_string()),
        ConstValue::Boolean(is) => Some(if is { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

/// The text of a constant that names a relation, also as a `regclass`.
fn regclass(mut node: Node<'_>) -> Option<String> {
    loop {
        match node {
            Node::TypeCast(cast) if cast.type_name().is_some_and(is_regclass) => node = cast.arg(),
            Node::NamedArgExpr(named) => node = named.arg(),
            node => return literal(node).map(str::to_owned),
        }
    }
}

fn is_regclass(kind: &nodes::TypeName) -> bool {
    let name = names::function(plain(kind.names()));
    kind.array_bounds().is_empty()
        && name.is_some_and(|name| name.schema.is_none() && name.name == "regclass")
}

impl<'a> Walker<'a> {
    /// A call; the arguments are the caller's to visit.
    pub(super) fn function(&mut self, call: &'a nodes::FuncCall) {
        let Some(name) = names::function(call.funcname()) else {
            return;
        };
        if name.name == "set_config" {
            self.set_config(call);
        }
        if name.name == "setval" {
            self.set_sequence(call);
        }
        // With the catalog at hand, it is known whether a labelled value goes there.
        if self.index.is_none() && builtins::carries(&name) && names_a_column(Node::NodeList(call.args())) {
            self.opaque(builtins::CARRIES);
        }
        // A relation's name before PostgreSQL 16.
        let is_relation = |index: &LabelIndex| index.known(&name).next().is_some();
        if name.name == "system_user" && self.index.is_some_and(is_relation) {
            self.found.reads.push(names::bare("system_user"));
        }
        let may_check = self.index.is_none_or(LabelIndex::has_calling_types)
            || self.code.is_some_and(|code| !code.is_empty());
        if may_check && builtins::takes_type(&name) {
            self.opaque(builtins::OF_ANY_TYPE);
        }
        let does = builtins::find(&name, call.args().len());
        // A type's name may be called like a function, to cast to it.
        self.uses_name(name.schema.as_deref(), &name.name);
        self.calls(name, does);
    }

    /// What an older server reads as a call of a function of that name.
    pub(super) fn keywords(&mut self, node: Node<'a>) {
        for name in builtins::keywords(node) {
            if self.index.is_some_and(|index| index.is_user_function(name)) {
                self.found.functions.push(names::bare(name));
            }
            self.uses_name(None, name);
        }
    }

    /// Names after a dot: `x.f` and `(x).f` call f(x) where x has no such column. Functions that are not harmless count as
    /// called by their name alone: no column of the server's own is named so. For others the column is looked for.
    pub(super) fn disguised(&mut self, path: impl IntoIterator<Item = Node<'a>>) {
        for name in path.into_iter().filter_map(Node::as_str) {
            if self.is_code(name) {
                self.opaque(crate::OPEN_CODE);
            }
            let is_refused = linegate_policy::builtins::is_refused(name);
            let is_defined = || self.index.is_some_and(|index| index.is_user_function(name));
            if !is_refused && !is_defined() {
                continue;
            }
            let called = names::bare(name);
            let does = builtins::find(&called, 1);
            if is_refused || does.is_some() {
                self.calls(called, does);
            } else {
                self.steps.push(name);
            }
        }
    }

    /// An operator or a type, by its name's parts: whether it calls somebody's function.
    pub(super) fn uses(&mut self, parts: &NodeList) {
        let Some(name) = names::qualified(parts) else {
            return;
        };
        self.uses_name(name.schema.as_deref(), &name.name);
    }

    /// What compares without an operator of its own.
    pub(super) fn compares(&mut self) {
        self.uses_name(None, "=");
    }

    fn uses_name(&mut self, schema: Option<&str>, name: &str) {
        let is_calling = |index: &LabelIndex| {
            index.is_calling(name)
                || schema.is_some_and(|schema| index.is_calling(&format!("{schema}.{name}")))
        };
        if self.index.is_some_and(is_calling) {
            self.opaque(reactions::FUNCTION);
        }
        if self.is_code(name) {
            self.opaque(crate::OPEN_CODE);
        }
    }

    fn is_code(&self, name: &str) -> bool {
        self.code.is_some_and(|code| code.is_used(name))
    }

    fn calls(&mut self, name: Name, does: Option<builtins::Builtin>) {
        if let Some(builtin) = does {
            self.does(builtin.effects);
            self.found.carries_secret |= builtin.carries_secret;
            self.found.changes_catalog |= builtin.effects.intersects(Effects::EXECUTE);
            builtin.opaque.into_iter().for_each(|phrase| self.opaque(phrase));
        }
        self.found.functions.push(name);
    }

    /// `set_config(name, value, is_local)`: the name decides what it is, if the text says it.
    fn set_config(&mut self, call: &'a nodes::FuncCall) {
        let argument = |name: &str, position: usize| {
            let named = call.args().iter().find_map(|argument| match argument {
                Node::NamedArgExpr(named) if named.name() == Some(name) => Some(named.arg()),
                _ => None,
            });
            let argument = named.or_else(|| call.args().get(position));
            argument.filter(|_| !call.func_variadic).and_then(literal)
        };
        match argument("setting_name", 0) {
            Some(name) => self.setting(name, argument("new_value", 1), None),
            None => self.setting("*", None, Some(Effects::SET.with(Effects::ROLE))),
        }
    }

    /// `setval(sequence, …)` changes what every later row of others is numbered from.
    fn set_sequence(&mut self, call: &'a nodes::FuncCall) {
        self.does(Effects::UPDATE);
        self.found.bounded = false;
        let sequence = call.args().first();
        let written = match sequence {
            // Of a table's column: as much the table's.
            Some(Node::FuncCall(of))
                if names::function(of.funcname())
                    .is_some_and(|name| name.name == "pg_get_serial_sequence") =>
            {
                of.args().first().and_then(literal).map(str::to_owned)
            }
            sequence => sequence.and_then(regclass),
        };
        match written.as_deref().and_then(names::spelled) {
            Some(name) => self.write_names([name]),
            None => self.opaque(SOME_SEQUENCE),
        }
    }

    /// A setting's name, its value if the text fixes it, and what changing it is (by default: SET, or ROLE for the
    /// identity settings).
    pub(super) fn setting(&mut self, name: &str, value: Option<&str>, effects: Option<Effects>) {
        let mut name = name.to_ascii_lowercase();
        self.does(effects.unwrap_or(match name.as_str() {
            "role" | "session_authorization" => Effects::ROLE,
            _ => Effects::SET,
        }));
        // A name with the separator in it is no setting's; it must not be taken for a pair.
        if let Some(value) = value
            && value.len() <= VALUE_BYTES_MAX
            && !name.contains('=')
        {
            name.push('=');
            name.push_str(value);
        }
        self.found.settings.push(name);
    }

    /// TABLESAMPLE names a function; all but the two built-in methods are somebody's code.
    pub(super) fn sampling_method(&mut self, sample: &'a nodes::RangeTableSample) {
        let method = names::function(sample.method());
        self.found
            .functions
            .extend(method.filter(|method| !matches!(method.name.as_str(), "bernoulli" | "system")));
    }
}
