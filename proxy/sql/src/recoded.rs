//! What other code may run behind names than the catalog tells.

use std::collections::BTreeSet;

use linegate_policy::Name;

use crate::redirects::ANY;

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
