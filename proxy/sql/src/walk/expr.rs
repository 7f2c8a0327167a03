//! Functions that do more than compute, and sampling methods.
//! Source: PostgreSQL manual, "Functions and Operators"; `crate::builtins` for the list.

use linegate_identity::Effects;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::children::names_a_column;
use super::{Walker, names};
use crate::builtins;

/// The text of a string literal under casts and collations.
fn literal(mut node: Node<'_>) -> Option<&str> {
    loop {
        match node {
            Node::A_Const(value) => {
                return match value.val() {
                    Some(ConstValue::String(text)) => Some(text),
                    _ => None,
                };
            }
            Node::TypeCast(cast) => node = cast.arg(),
            Node::CollateClause(collate) => node = collate.arg(),
            _ => return None,
        }
    }
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
        if let Some(builtin) = builtins::find(&name, call.args().len()) {
            self.does(builtin.effects);
            self.found.carries_secret |= builtin.carries_secret;
            self.found.changes_catalog |= builtin.effects.intersects(Effects::EXECUTE);
            builtin.opaque.into_iter().for_each(|phrase| self.opaque(phrase));
        }
        if builtins::carries(&name) && names_a_column(Node::NodeList(call.args())) {
            self.opaque(builtins::CARRIES);
        }
        self.found.functions.push(name);
    }

    /// `set_config(name, value, is_local)`: the name decides what it is, if the text says it.
    fn set_config(&mut self, call: &'a nodes::FuncCall) {
        let named = call.args().iter().find_map(|argument| match argument {
            Node::NamedArgExpr(named) if named.name() == Some("setting_name") => Some(named.arg()),
            _ => None,
        });
        let name = match named.or_else(|| call.args().first()) {
            Some(argument) if !call.func_variadic => literal(argument),
            _ => None,
        };
        match name {
            Some(name) => self.setting(name, None),
            None => self.setting("*", Some(Effects::SET.with(Effects::ROLE))),
        }
    }

    /// A setting's name, and what changing it is (by default: SET, or ROLE for the identity settings).
    pub(super) fn setting(&mut self, name: &str, effects: Option<Effects>) {
        let name = name.to_ascii_lowercase();
        self.does(effects.unwrap_or(match name.as_str() {
            "role" | "session_authorization" => Effects::ROLE,
            _ => Effects::SET,
        }));
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
