//! What other code may run behind names than the catalog tells.

use std::collections::BTreeSet;

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement};

use crate::redirects::ANY;
use crate::{OPEN_CODE, reactions};

/// Names of functions, operators, types and relations, lower case, behind which something else may run than the catalog tells:
/// the transaction that is open made, replaced or moved it. `*` stands for every name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recoded {
    /// Whatever uses these may run it.
    pub used: BTreeSet<String>,
    /// Relations with which only changes of their rows run it.
    pub changed: BTreeSet<String>,
}

impl Recoded {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty() && self.changed.is_empty()
    }

    /// Whether it may be any name.
    pub(crate) fn is_any(&self) -> bool {
        self.used.contains(ANY)
    }

    /// Whether whatever uses that name, in any case, may run it.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        !self.used.is_empty() && self.used.contains(&name.to_lowercase())
    }

    /// Whether changes of that relation may run it.
    pub(crate) fn is_changed(&self, name: &Name) -> bool {
        !self.changed.is_empty() && self.changed.contains(&name.name.to_lowercase())
    }
}

/// Marks a statement that uses such a name, by now also through keys, views and functions that were followed.
pub(crate) fn add(statement: &mut Statement, code: &Recoded, index: Option<&LabelIndex>) {
    const NEUTRAL: Effects = Effects::TRANSACTION.with(Effects::SET);
    if code.is_empty() || statement.opaque.contains(&OPEN_CODE) {
        return;
    }
    let is_any = code.is_any() && !statement.effects.without(NEUTRAL).is_empty();
    let changes = statement.effects.intersects(reactions::FIRES)
        && statement.writes.iter().any(|name| code.is_changed(name));
    let mut named = statement.reads.iter().chain(&statement.writes);
    let mut called = statement.functions.iter();
    // Which functions the query of a followed one calls is not kept.
    let is_followed = |name: &Name| index.is_some_and(|index| index.meanings(name).is_some());
    if is_any
        || changes
        || named.any(|name| code.is_used(&name.name))
        || called.any(|name| code.is_used(&name.name) || is_followed(name))
    {
        statement.opaque.push(OPEN_CODE);
    }
}
