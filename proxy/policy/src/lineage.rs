//! Where the values of a statement's result come from and go to, in terms of labelled columns.
//!
//! Made by the reader of a protocol's statements with the catalog at hand (`linegate-sql` for PostgreSQL), used by the
//! decision and the mask plan. Only columns that carry a label of any name appear; every other column counts as clean.
//! Which of the labels are hidden from a session is asked later (`LabelIndex`), so one lineage serves every session.

use std::collections::BTreeSet;

use crate::statement::Name;

/// A column by the server's own numbers: a rename keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId {
    /// `pg_class.oid`.
    pub relation: u32,
    /// `pg_attribute.attnum`.
    pub attribute: i16,
}

/// What one value may hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Nothing of any labelled column.
    Clean,
    /// The value of exactly this labelled column, unchanged.
    Exactly(ColumnId),
    /// Something computed from these labelled columns, or a choice between them and other values; never empty.
    Tainted(BTreeSet<ColumnId>),
}

impl Flow {
    /// The labelled columns it may show something of.
    pub fn columns(&self) -> impl Iterator<Item = &ColumnId> {
        let (one, many) = match self {
            Self::Clean => (None, None),
            Self::Exactly(column) => (Some(column), None),
            Self::Tainted(columns) => (None, Some(columns)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// A name after a dot that is no column of what stands before it, and a function's name: `x.f` calls f(x). Always refused.
pub const DISGUISED: &str = "a function in a column's clothes";

/// The lineage of one text. What could not be told is left out by the reader and shows as `None` or in `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// The flow of each result column of a text with one statement that returns rows, or that prepares or declares one;
    /// `None` when the number of columns or their meaning could not be told.
    pub outputs: Option<Vec<Flow>>,
    /// Labelled columns that the statement reads for whatever purpose.
    pub touched: BTreeSet<ColumnId>,
    /// Compared for equality with constants, parameters or another column in a condition: an honest look-up or join.
    pub lookups: BTreeSet<ColumnId>,
    /// Used in any other condition, order, group, window, limit or choice, or where the value decides whether an error
    /// comes: an oracle, policy verb `probe`.
    pub probes: BTreeSet<ColumnId>,
    /// Values that would be written to a place that does not carry the label: a table, a file, a setting, a channel.
    pub moved: BTreeSet<ColumnId>,
    /// Values that would be handed to a function that may show them elsewhere (an error, a notice, another session).
    pub exposed: BTreeSet<ColumnId>,
    /// What the reader could not follow while labelled columns were in reach, each a short phrase without any of the
    /// text. Not empty: refused for sessions under a mask.
    pub unknown: Vec<&'static str>,
    /// Every statement of the text is of a kind whose values were followed from where they are read to where they go:
    /// queries, data changes, what keeps or copies a query's rows, views. Anything else (indexes, rules, ALTER) is not.
    pub followed: bool,
    /// Somewhere it computes with labelled values, so that how long something is may tell of them.
    pub computes: bool,
    /// It runs a prepared statement with arguments that the text does not spell out: what they are, and how many values or bytes,
    /// cannot be told.
    pub arguments_vary: bool,
    /// Values that labelled columns may be compared with and that the text does not spell out: computed of constants.
    pub computed_constants: u32,
    /// One of those goes by settings or the clock: it may be another each time.
    pub by_settings: bool,
    /// It takes values apart, so that one parameter may hold many.
    pub spreads: bool,
    /// Parameters that it takes apart as text, a bit each ([`parameter_bit`]): one whose text is made of something else holds more
    /// values than can be seen.
    pub split_parameters: u64,
    /// What parameters are is known by columns of relations, as the catalog has them.
    pub typed_by_columns: bool,
    /// The first column that no relation has which it could be of, with that relation's name in the text if it stands there.
    pub misnamed: Option<Name>,
    /// It names a relation that the catalog does not hold: reading the catalog again may change this lineage.
    pub strangers: bool,
    /// It changes rows of a relation with triggers of its owner's.
    pub fires_triggers: bool,
    /// It goes through a view or a function that somebody defined: what these hold may be replaced under the same name and
    /// number.
    pub through_definitions: bool,
}

/// The bit of a parameter by its number, from 1; the last one stands for all behind it.
pub fn parameter_bit(number: u32) -> u64 {
    1 << number.saturating_sub(1).min(63)
}

impl Lineage {
    /// Bytes it holds on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let sets = [
            &self.touched,
            &self.lookups,
            &self.probes,
            &self.moved,
            &self.exposed,
        ];
        let columns: usize = sets.iter().map(|set| set.len()).sum();
        let flows = self.outputs.as_deref().unwrap_or_default();
        let tainted: usize = flows.iter().map(|flow| flow.columns().count()).sum();
        2 * (columns + tainted) * size_of::<ColumnId>()
            + size_of_val(flows)
            + self.unknown.capacity() * size_of::<&str>()
    }
}
