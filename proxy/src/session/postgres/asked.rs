//! A statement that a client asked for, with what was decided about it.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::{Charges, CopyOut, Decision, Lineage, MaskScope, Statement};

use super::deciding::Types;
use super::names::{ByName, Run};
use crate::policy_service::Standing;

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
    /// The prepared statement or cursor that it runs, where that is known.
    pub named: Option<Rc<Run>>,
    /// All that it may run by name.
    pub by_name: Option<Rc<ByName>>,
    /// The text was read; else the server may read it in another way, whenever it is decided again.
    pub is_read: bool,
    /// Values that it was charged for comparing labelled columns with.
    pub values: Cell<u64>,
    /// What its parameters were declared as.
    pub types: Types,
    /// What the session was allowed and saw masked when it was decided.
    pub standing: Arc<Standing>,
    /// How many changes of shapes had been sent when it was last found to mean what was decided.
    pub mark: Cell<u64>,
}

impl Asked {
    /// Whether what it says or shows may hold a value that this session must not see.
    pub fn touches_mask(&self, session: &super::Session) -> bool {
        self.is_masked(session) && (self.may_show_label || self.decision.touches_label)
    }

    /// Whether something is masked: now, or when it was decided.
    pub fn is_masked(&self, session: &super::Session) -> bool {
        session.is_masked() || !self.standing.masks.is_empty()
    }

    /// What is masked in its result: all that was when it was decided, and all that is now.
    pub fn masks<'m>(&'m self, now: &'m Arc<Standing>) -> Cow<'m, MaskScope> {
        if Arc::ptr_eq(now, &self.standing) || now.masks == self.standing.masks {
            Cow::Borrowed(&now.masks)
        } else {
            Cow::Owned(now.masks.joined(&self.standing.masks))
        }
    }

    /// What its rows hold: for EXECUTE and FETCH, what those of the statement behind the name do.
    pub fn lineage(&self) -> Option<&Lineage> {
        let named = self.named.as_ref().map(|run| &run.decision);
        named.unwrap_or(&self.decision).statement.lineage.as_ref()
    }

    /// Whether it computes with labelled values, or may do so by a name.
    pub fn computes(&self) -> bool {
        let is_known =
            |statement: &Statement| statement.lineage.as_ref().is_some_and(|found| !found.computes);
        !self.statements().all(is_known)
    }

    /// Whether it compares labelled columns with values.
    pub fn looks_up(&self) -> bool {
        self.statements().any(looks_up)
    }

    /// The statement, and those that it may run by name.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        let also = self.by_name.iter().flat_map(|ran| &ran.more);
        std::iter::once(&self.decision)
            .chain(also)
            .map(|decision| &decision.statement)
    }

    /// How its rows are written, where it is one COPY whose rows can be masked.
    pub fn copy_out(&self) -> Option<&CopyOut> {
        self.decision.statement.copy_out.as_deref()
    }

    /// Its effects, and those of what it may run by name.
    pub fn effects(&self) -> Effects {
        let also = self.by_name.iter().flat_map(|ran| &ran.more);
        also.fold(self.decision.effects, |all, decision| all.with(decision.effects))
    }

    /// Whether the server may answer it by waiting for COPY data.
    pub fn may_copy_in(&self) -> bool {
        self.effects()
            .intersects(Effects::COPY_IN.with(Effects::UNREADABLE))
    }

    /// What its rows are of may be other than the catalog said when it was decided: they go through views or functions, or
    /// belong to relations that it did not hold.
    pub fn is_to_be_confirmed(&self) -> bool {
        let doubtful = |lineage: &Lineage| lineage.through_definitions || lineage.strangers;
        self.lineage().is_some_and(doubtful)
    }

    /// It reads through views or functions, which somebody may replace and put back within a moment.
    pub fn is_through_definitions(&self) -> bool {
        self.lineage().is_some_and(|lineage| lineage.through_definitions)
    }

    /// It names relations that the catalog did not hold.
    pub fn has_strangers(&self) -> bool {
        self.lineage().is_some_and(|lineage| lineage.strangers)
    }

    /// The same statement as it was decided later: what it is charged and may show stays.
    pub fn like(&self, newer: &Self) -> Rc<Self> {
        Rc::new(Self {
            number: self.number,
            decision: newer.decision.clone(),
            text: newer.text.clone(),
            epoch: newer.epoch,
            may_show_label: self.may_show_label || newer.may_show_label,
            charges: self.charges.clone(),
            named: newer.named.clone(),
            by_name: newer.by_name.clone(),
            is_read: newer.is_read,
            values: self.values.clone(),
            types: newer.types,
            standing: newer.standing.clone(),
            mark: newer.mark.clone(),
        })
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
            by_name: self.by_name.clone(),
            is_read: self.is_read,
            values: self.values.clone(),
            types: self.types,
            standing: self.standing.clone(),
            mark: self.mark.clone(),
        })
    }
}

/// Whether a statement compares labelled columns with values, or may do so.
pub fn looks_up(statement: &Statement) -> bool {
    let lineage = statement.lineage.as_ref();
    lineage.is_none_or(|lineage| !lineage.lookups.is_empty())
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
            by_name: None,
            is_read: true,
            values: Cell::new(0),
            types: Types::default(),
            standing: Arc::new(Standing::for_tests()),
            mark: Cell::new(0),
        }
    }
}
