//! Functions that somebody defined: which of them are queries that were followed, and what a call of one shows.

use std::collections::{BTreeSet, HashMap};

use super::LabelIndex;
use crate::catalog::Function;
use crate::lineage::ColumnId;
use crate::statement::Name;

/// What calling a followed function means: it runs one query and does nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Relations that it reads.
    pub reads: Vec<Name>,
    /// Labelled columns that its result may show something of.
    pub shows: BTreeSet<ColumnId>,
    /// Labelled columns that it reads.
    pub touched: BTreeSet<ColumnId>,
    /// Labelled columns that it compares for equality.
    pub lookups: BTreeSet<ColumnId>,
    /// Labelled columns that its conditions, orders and groups look at.
    pub probes: BTreeSet<ColumnId>,
    /// Values that it compares these with and computes itself.
    pub computed_constants: u32,
    /// One of them may be another each time.
    pub by_settings: bool,
    /// It takes its arguments apart.
    pub spreads: bool,
    /// It does so with one that is a text.
    pub splits: bool,
}

/// A function that was not followed yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToFollow {
    /// For [`LabelIndex::set_meaning`].
    pub place: (String, usize),
    /// The text of its statements.
    pub body: String,
    /// `pg_type.oid` of its arguments.
    pub argument_types: Vec<u32>,
}

/// One function of a name.
#[derive(Debug)]
pub(super) struct Entry {
    schema: String,
    body: Option<String>,
    argument_types: Vec<u32>,
    meaning: Option<Meaning>,
}

pub(super) fn by_name(functions: &[Function]) -> HashMap<String, Vec<Entry>> {
    let mut all: HashMap<String, Vec<Entry>> = HashMap::new();
    for function in functions {
        all.entry(function.name.to_lowercase()).or_default().push(Entry {
            schema: function.schema.clone(),
            body: function.sql_body.clone(),
            argument_types: function.argument_types.clone(),
            meaning: None,
        });
    }
    all
}

impl LabelIndex {
    /// Whether event triggers run beside definitions.
    pub fn has_event_triggers(&self) -> bool {
        self.event_triggers
    }

    /// Whether values of that type are checked or made by a function that somebody defined.
    pub fn is_calling_type(&self, oid: u32) -> bool {
        self.calling_types.contains(&oid)
    }

    /// Whether there is such a type.
    pub fn has_calling_types(&self) -> bool {
        !self.calling_types.is_empty()
    }

    /// Whether a function of that name exists outside `pg_catalog`.
    pub fn is_user_function(&self, name: &str) -> bool {
        self.user_functions.contains(&name.to_lowercase())
    }

    /// Whether an operator or a type of that name calls a function that somebody defined.
    pub fn is_calling(&self, name: &str) -> bool {
        !self.calling.is_empty() && self.calling.contains(&name.to_lowercase())
    }

    /// Whether there are functions outside `pg_catalog` at all.
    pub fn has_user_functions(&self) -> bool {
        !self.user_functions.is_empty()
    }

    /// Whether that is a function of an extension that is known to compute with its arguments only.
    pub fn is_extension_function(&self, name: &Name) -> bool {
        let lower = name.name.to_lowercase();
        self.extension_functions.iter().any(|(schema, known)| {
            *known == lower && name.schema.as_ref().is_none_or(|wanted| wanted == schema)
        })
    }

    /// Whether a function of that name, in that schema if it says one, exists outside `pg_catalog` and is not an extension's
    /// that is known to be pure.
    pub(crate) fn has_function(&self, name: &Name) -> bool {
        self.functions_of(name).next().is_some()
    }

    fn functions_of(&self, name: &Name) -> impl Iterator<Item = &Entry> {
        let all = self.functions.get(&name.name.to_lowercase());
        all.into_iter()
            .flatten()
            .filter(|entry| name.schema.as_ref().is_none_or(|schema| *schema == entry.schema))
    }

    /// What a call of a defined function means, for every function that the name may mean; `None` when there is none, or
    /// one of them was not followed.
    pub fn meanings(&self, name: &Name) -> Option<Vec<&Meaning>> {
        let all: Option<Vec<&Meaning>> = self
            .functions_of(name)
            .map(|entry| entry.meaning.as_ref())
            .collect();
        all.filter(|meanings| !meanings.is_empty())
    }

    /// Those that were not followed yet and have a body.
    pub fn functions_to_follow(&self) -> Vec<ToFollow> {
        let mut all = Vec::new();
        for (name, entries) in &self.functions {
            for (index, entry) in entries.iter().enumerate() {
                if let (Some(body), None) = (&entry.body, &entry.meaning) {
                    all.push(ToFollow {
                        place: (name.clone(), index),
                        body: body.clone(),
                        argument_types: entry.argument_types.clone(),
                    });
                }
            }
        }
        all.sort_unstable();
        all
    }

    /// Takes in what a function's call means.
    pub fn set_meaning(&mut self, place: &(String, usize), meaning: Meaning) {
        if let Some(entry) = self
            .functions
            .get_mut(&place.0)
            .and_then(|entries| entries.get_mut(place.1))
        {
            entry.meaning = Some(meaning);
        }
    }
}
