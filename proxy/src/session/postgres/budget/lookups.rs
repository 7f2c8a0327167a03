//! Look-ups: the values that a statement compares labelled columns with, and what its parameters must be beside them.
//!
//! A value is known by its digest: of the text, the parameters, the settings that its values go by and, for EXECUTE, the texts
//! behind the name. The same value costs once (MASKING's budgets); one that may be another each time costs each time.

use std::collections::BTreeSet;
use std::rc::Rc;

use linegate_identity::{Effects, UnixMillis};
use linegate_policy::{Budget, BudgetKind, Charges, ColumnId, Exhausted, Lineage, Named, lookup_digest};

use super::super::Session;
use super::super::asked::Asked;
use super::super::hold::Refusal;
use super::words::values_count;
use super::{Spending, refusal};
use crate::clock;

/// Beside larger parameters, how long a computed value is decides whether the server or linegate has room for a row.
const PARAMETERS_BYTES_MAX: usize = 1 << 20;

/// What was prepared or declared, all of it together: which of it a name runs need not be known.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) budget: Budget,
    /// Columns that it looks up.
    pub(super) lookups: BTreeSet<ColumnId>,
    /// The most values that one of them compares these with and does not spell out.
    computed: u32,
    /// Such a value may be another each time.
    by_settings: bool,
}

impl Spending {
    /// The statement can be run again by a name.
    pub fn keep(&self, asked: &Asked) {
        let mut prepared = self.prepared.borrow_mut();
        let prepared = prepared.made();
        prepared.budget.join(&asked.decision.budget);
        prepared.lookups.extend(lookups_of(asked));
        // A portal that FETCH goes on with has its parameters.
        let charged = u32::try_from(asked.values.get()).unwrap_or(u32::MAX);
        prepared.computed = prepared.computed.max(computed_constants(asked)).max(charged);
        prepared.by_settings |= goes_by_settings(asked);
    }

    pub(super) fn look_up(
        &self,
        session: &Session,
        asked: &Asked,
        charges: &Charges,
        parameters: &[Option<Vec<u8>>],
        now: UnixMillis,
    ) -> Result<(), Exhausted> {
        let statement = &asked.decision.statement;
        let is_by_name = asked.decision.effects.contains(Effects::PREPARED);
        let behind = self.behind(asked, is_by_name);
        let columns: BTreeSet<ColumnId> = lookups_of(asked).chain(behind.lookups).collect();
        if columns.is_empty() {
            return Ok(());
        }
        let runs_anew = is_by_name && !matches!(statement.runs, Some(Named::Cursor(_)));
        // What goes by settings may be another value for each row that a cursor comes to.
        let by_settings = goes_by_settings(asked) || behind.by_settings;
        let also_computed = match runs_anew || by_settings {
            true => u64::from(behind.computed) * u64::from(statement.count.max(1)),
            false => 0,
        };
        let computed = u64::from(computed_constants(asked)) + also_computed;
        // What the protocol prepared was not charged then.
        let unpaid = || asked.by_name.iter().flat_map(|ran| &ran.unpaid);
        let also_unpaid: u64 = unpaid().map(|text| values_count(text, &[], true)).sum();
        let texts = asked.by_name.iter().flat_map(|ran| &ran.texts);
        let texts = texts.filter(|_| runs_anew).chain(unpaid());
        let texts = texts.map(|text| Some(&text[..]));
        let settings = session.lexing.values_go_by();
        let moves = !statement.settings.is_empty() || statement.leads.ends && statement.count > 1;
        let varies = by_settings || settings.is_none() || moves;
        self.varied.set(self.varied.get() + u64::from(varies));
        let time = [session.id.to_string(), self.varied.get().to_string()].concat();
        let time = varies.then_some(time.as_bytes());
        let mut value = Vec::new();
        let parts = [
            Some(session.database.as_bytes()),
            Some(&asked.text),
            settings.as_deref(),
            time,
        ];
        let sent = parameters.iter().map(Option::as_deref);
        for part in parts.into_iter().chain(sent).chain(texts) {
            value.push(u8::from(part.is_some()));
            value.extend_from_slice(&(part.map_or(0, <[u8]>::len) as u64).to_le_bytes());
            value.extend_from_slice(part.unwrap_or_default());
        }
        let key = &session.core.shared.boot_key;
        // Texts and parameters may be long, and values many.
        let mut value = lookup_digest(key, &value).bytes().to_vec();
        let base = value.len();
        let spreads = is_by_name || lineage_of(asked).is_some_and(|lineage| lineage.spreads);
        let count = values_count(&asked.text, parameters, spreads) + computed + also_unpaid;
        let count = count.max(asked.values.get());
        asked.values.set(count);
        for index in 0..count {
            value.truncate(base);
            value.extend_from_slice(&index.to_le_bytes());
            let digest = lookup_digest(key, &value);
            for column in &columns {
                charges.charge_lookup(*column, digest, now)?;
            }
        }
        Ok(())
    }

    /// What a name may stand for: the one text that is known, or all that was prepared.
    fn behind(&self, asked: &Asked, is_by_name: bool) -> Prepared {
        let prepared = self.prepared.borrow();
        let nothing = Prepared::default();
        let prepared = prepared.get().unwrap_or(&nothing);
        match &asked.named {
            _ if !is_by_name => Prepared::default(),
            None => Prepared {
                budget: Budget::default(),
                lookups: prepared.lookups.clone(),
                ..*prepared
            },
            Some(run) => {
                let lineage = run.decision.statement.lineage.as_ref();
                let is_by_settings = prepared.by_settings || lineage.is_some_and(|found| found.by_settings);
                Prepared {
                    budget: Budget::default(),
                    lookups: lineage.map(|found| found.lookups.clone()).unwrap_or_default(),
                    computed: match is_by_settings {
                        true => prepared.computed, // with its parameters, which are not at hand
                        false => lineage.map_or(0, |found| found.computed_constants),
                    },
                    by_settings: is_by_settings,
                }
            }
        }
    }

    /// Whether a value that it compares with may be another each time, or one of what it runs by name.
    fn varies(&self, asked: &Asked) -> bool {
        let is_by_name = asked.decision.effects.contains(Effects::PREPARED);
        goes_by_settings(asked) || self.behind(asked, is_by_name).by_settings
    }

    /// Charges what a portal compares with anew each time that it goes on.
    pub fn goes_on(&self, session: &Session, asked: &Asked) -> Result<(), Refusal> {
        let limits = |charges: &&Rc<Charges>| charges.limits(BudgetKind::Lookups);
        match asked.charges.as_ref().filter(limits) {
            Some(charges) if self.varies(asked) => self
                .look_up(session, asked, charges, &[], clock::now())
                .map_err(refusal),
            _ => Ok(()),
        }
    }
}

/// Whether a statement's parameters may stand beside what it does with masked columns; none is looked at before Bind.
pub fn may_take(session: &Session, asked: &Asked, parameters: &[Option<Vec<u8>>]) -> Result<(), Refusal> {
    if !asked.is_masked(session) {
        return Ok(());
    }
    let spells = asked.by_name.as_ref().is_some_and(|ran| ran.spells);
    if spells || asked.types.name && asked.looks_up() {
        return Err(Refusal {
            sqlstate: *b"42501",
            message: "parameters of types that the catalog spells do not go with a look-up of masked columns"
                .to_owned(),
            hint: Some("Declare them as text.".to_owned()),
        });
    }
    let split = lineage_of(asked).map_or(0, |lineage| lineage.split_parameters);
    if split & asked.types.hides != 0 && asked.looks_up() {
        return Err(Refusal {
            sqlstate: *b"42501",
            message: "a parameter that is taken apart for a look-up of masked columns must be text"
                .to_owned(),
            hint: Some("Declare it as text, or pass an array.".to_owned()),
        });
    }
    let bytes: usize = parameters.iter().flatten().map(Vec::len).sum();
    if bytes > PARAMETERS_BYTES_MAX && asked.computes() {
        return Err(Refusal {
            sqlstate: *b"42501",
            message: "parameters are too large for a statement that computes with masked columns".to_owned(),
            hint: Some("Send at most 1 MB.".to_owned()),
        });
    }
    Ok(())
}

fn lineage_of(asked: &Asked) -> Option<&Lineage> {
    asked.decision.statement.lineage.as_ref()
}

/// Values that labelled columns are compared with and that the text does not spell out.
fn computed_constants(asked: &Asked) -> u32 {
    lineage_of(asked).map_or(0, |lineage| lineage.computed_constants)
}

/// Whether such a value may be another each time.
fn goes_by_settings(asked: &Asked) -> bool {
    let lineage = lineage_of(asked);
    lineage.is_some_and(|lineage| lineage.by_settings || asked.types.vary && !lineage.lookups.is_empty())
}

fn lookups_of(asked: &Asked) -> impl Iterator<Item = ColumnId> {
    let lineage = asked.decision.statement.lineage.as_ref();
    lineage
        .into_iter()
        .flat_map(|lineage| lineage.lookups.iter().copied())
}
