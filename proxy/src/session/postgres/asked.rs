//! A statement that a client asked for, with what was decided about it.

use std::rc::Rc;
use std::sync::Arc;

use linegate_policy::{Charges, Decision, Lineage};

/// Shared by everything that remembers the statement: prepared statements, portals, the pipeline.
pub struct Asked {
    /// Its number within the session, from 1; 0 for a Parse that has not run.
    pub number: u64,
    /// What was decided.
    pub decision: Arc<Decision>,
    /// The exact bytes, kept to decide again when policy, lease or catalog change, and for holds.
    pub text: Rc<[u8]>,
    /// The session epoch it was decided under.
    pub epoch: u64,
    /// Whether its result may show a labelled column whose origin is lost on the way.
    pub may_show_label: bool,
    /// Where it is charged, if anywhere.
    pub charges: Option<Rc<Charges>>,
    /// What was decided of the prepared statement or cursor that it runs, where that is known.
    pub named: Option<Arc<Decision>>,
}

impl Asked {
    /// Whether what it says or shows may hold a value that this session must not see.
    pub fn touches_mask(&self, session: &super::Session) -> bool {
        session.is_masked() && (self.may_show_label || self.decision.touches_label)
    }

    /// What its rows hold: for EXECUTE and FETCH, what those of the statement behind the name do.
    pub fn lineage(&self) -> Option<&Lineage> {
        self.named
            .as_ref()
            .unwrap_or(&self.decision)
            .statement
            .lineage
            .as_ref()
    }

    /// Its rows go through views or functions, or may.
    pub fn goes_through_definitions(&self) -> bool {
        self.lineage().is_some_and(|lineage| lineage.through_definitions)
    }

    /// The same statement, about to run under this number.
    pub fn running(&self, number: u64) -> Rc<Self> {
        Rc::new(Self {
            number,
            decision: self.decision.clone(),
            text: self.text.clone(),
            epoch: self.epoch,
            may_show_label: self.may_show_label,
            charges: self.charges.clone(),
            named: self.named.clone(),
        })
    }
}

#[cfg(test)]
impl Asked {
    pub(super) fn for_tests() -> Self {
        Self {
            number: 1,
            decision: Arc::new(Decision::allowed_for_tests()),
            text: Rc::from(&b"SELECT 1"[..]),
            epoch: 1,
            may_show_label: false,
            charges: None,
            named: None,
        }
    }
}
