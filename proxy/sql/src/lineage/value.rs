//! What one value may hold, with what the walk needs beyond a [`Flow`]: where clean values are from, places within
//! documents, rows with their fields.

use std::collections::BTreeSet;
use std::rc::Rc;

use linegate_policy::{ColumnId, Flow};

/// Labelled columns.
pub(super) type Set = BTreeSet<ColumnId>;

/// Where a value without anything labelled is from. It decides whether comparing it with a labelled value is a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The text or its parameters: one value a statement.
    Constant,
    /// Computed of nothing but those: one value a statement, and the same each time.
    Fixed,
    /// One value of those and of settings or the clock: it may be another each time.
    BySettings,
    /// A VALUES list: as many values as the text holds.
    Listed,
    /// Those as another type. What comes of them by a second cast is not what the text holds.
    Cast,
    /// A column of a table that lasts.
    Stored,
    /// Anything else: it may be made to run through all values there are.
    Other,
}

/// How often a value was written with quotes or escapes where it holds something that needs them: each time, that becomes longer
/// by what it is, and the next time twice as long and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quoting {
    times: u8,
    /// It is JSON, which stands in JSON as it is.
    is_json: bool,
}

/// Values that were quoted more often are as good as chosen by what they hold: a thousand times as long. Documents nest less deep.
const QUOTED_MAX: u8 = 10;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// With quotes or escapes, as text.
    Quotes,
    /// In JSON.
    Json,
    /// As it is; JSON is text from then on.
    AsText,
}

fn together(one: Option<Quoting>, other: Option<Quoting>) -> Option<Quoting> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.beside(other)),
        (one, other) => one.or(other),
    }
}

impl Quoting {
    fn again(self) -> Self {
        Self {
            times: self.times.saturating_add(1),
            is_json: false,
        }
    }

    fn beside(self, other: Self) -> Self {
        Self {
            times: self.times.max(other.times),
            is_json: self.is_json && other.is_json,
        }
    }
}

/// What one value may hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing labelled.
    Clean(Source),
    /// The value of that column.
    Exactly(ColumnId),
    /// The value of one of these columns, or of a column without a label: the relation's name is not certain.
    OneOf(Rc<Set>),
    /// What stands in that column's document under these keys, and something labelled may be below.
    Part(ColumnId, Vec<String>),
    /// Made of these columns, which are in it whatever they hold; never empty. And how often it was put in quotes.
    Made(Rc<Set>, Quoting),
    /// Something that what these columns hold may have chosen: a comparison, a part found by a pattern, a number counted out.
    /// Nothing that might fail is computed from it; never empty.
    Tainted(Rc<Set>),
    /// A row. Fields without a name may go by any.
    Row(Rc<Vec<Field>>),
}

/// A column or field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// `None` where the server chooses a name that is not worked out here.
    pub(super) name: Option<String>,
    pub(super) value: Value,
    /// False when only some of the relations that are meant have it.
    pub(super) is_certain: bool,
}

impl Field {
    pub(super) fn new(name: Option<&str>, value: Value) -> Self {
        Self {
            name: name.map(str::to_owned),
            value,
            is_certain: true,
        }
    }
}

impl Value {
    pub(super) const CONSTANT: Self = Self::Clean(Source::Constant);
    pub(super) const FIXED: Self = Self::Clean(Source::Fixed);
    pub(super) const BY_SETTINGS: Self = Self::Clean(Source::BySettings);
    pub(super) const STORED: Self = Self::Clean(Source::Stored);
    pub(super) const OTHER: Self = Self::Clean(Source::Other);

    pub(super) fn of_set(set: Set) -> Self {
        if set.is_empty() {
            Self::OTHER
        } else {
            Self::Tainted(Rc::new(set))
        }
    }

    /// The labelled columns in it.
    pub(super) fn columns(&self) -> Set {
        let mut all = Set::new();
        self.add_columns(&mut all);
        all
    }

    pub(super) fn add_columns(&self, all: &mut Set) {
        match self {
            Self::Clean(_) => {}
            Self::Exactly(column) | Self::Part(column, _) => {
                all.insert(*column);
            }
            Self::Made(set, _) | Self::Tainted(set) | Self::OneOf(set) => all.extend(set.iter().copied()),
            Self::Row(fields) => fields.iter().for_each(|field| field.value.add_columns(all)),
        }
    }

    /// Whether it is a stored value, or one of several, as it is.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Exactly(_) | Self::OneOf(_) | Self::Part(..))
    }

    pub(super) fn is_clean(&self) -> bool {
        match self {
            Self::Clean(_) => true,
            Self::Row(fields) => fields.iter().all(|field| field.value.is_clean()),
            _ => false,
        }
    }

    /// Whether it is one value a statement.
    pub(super) fn is_constant(&self) -> bool {
        self.is_fixed() || *self == Self::BY_SETTINGS
    }

    /// Whether it is one value, of nothing but the text and its parameters.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Clean(Source::Constant | Source::Fixed))
    }

    /// Whether it is one of several that the text or its parameters list.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self, Self::Clean(Source::Listed | Source::Cast))
    }

    /// Whether only being NULL or not can be learnt from a NULL test: nothing was computed.
    pub(super) fn is_plain(&self) -> bool {
        match self {
            Self::Clean(_) | Self::Exactly(_) | Self::OneOf(_) | Self::Part(..) => true,
            Self::Made(..) | Self::Tainted(_) => false,
            Self::Row(fields) => fields.iter().all(|field| field.value.is_plain()),
        }
    }

    /// Whether what it is may tell which values were found, not only what they are.
    pub(super) fn is_chosen(&self) -> bool {
        match self {
            Self::Tainted(_) => true,
            Self::Row(fields) => fields.iter().any(|field| field.value.is_chosen()),
            _ => false,
        }
    }

    /// One of two values, and which of them is not known (or there are rows with the one and rows with the other).
    pub(super) fn or(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        match (self, other) {
            (one, two) if one.is_fixed() && two.is_fixed() => Self::FIXED,
            (one, two) if one.is_constant() && two.is_constant() => Self::BY_SETTINGS,
            (Self::Clean(_), Self::Clean(_)) => Self::OTHER,
            _ => {
                let mut all = self.columns();
                other.add_columns(&mut all);
                match self.is_chosen() || other.is_chosen() {
                    true => Self::of_set(all),
                    false => Self::Made(Rc::new(all), Self::quoting_of([self, other])),
                }
            }
        }
    }

    /// The same column of one of two relations.
    pub(super) fn either(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Clean(_), Self::Clean(_)) => self.or(other),
            (
                Self::Clean(Source::Stored) | Self::Exactly(_) | Self::OneOf(_),
                Self::Clean(Source::Stored) | Self::Exactly(_) | Self::OneOf(_),
            ) if self != other => {
                let mut all = self.columns();
                other.add_columns(&mut all);
                Self::OneOf(Rc::new(all))
            }
            _ => self.or(other),
        }
    }

    /// What an operation on such values yields.
    pub(super) fn computed<'v>(from: impl IntoIterator<Item = &'v Self>) -> Self {
        let mut all = Set::new();
        let (mut is_constant, mut is_fixed) = (true, true);
        for value in from {
            is_constant &= value.is_constant();
            is_fixed &= value.is_fixed();
            value.add_columns(&mut all);
        }
        match all.is_empty() {
            true if is_fixed => Self::FIXED,
            true if is_constant => Self::BY_SETTINGS,
            _ => Self::of_set(all),
        }
    }

    /// What such values are put together to, each as it is.
    pub(super) fn made<'v>(from: impl IntoIterator<Item = &'v Self>) -> Self {
        let (mut is_chosen, mut quoting) = (false, None);
        let all = Self::computed(from.into_iter().inspect(|value| {
            is_chosen |= value.is_chosen();
            quoting = together(quoting, value.quoting());
        }));
        match all {
            Self::Tainted(set) if !is_chosen => Self::Made(set, quoting.unwrap_or_default()),
            all => all,
        }
    }

    /// How often what is labelled in it was quoted. A row that is written quotes its fields.
    fn quoting(&self) -> Option<Quoting> {
        match self {
            Self::Clean(_) => None,
            Self::Made(_, quoting) => Some(*quoting),
            Self::Row(fields) => {
                let fields = Self::quoting_of(fields.iter().map(|field| &field.value));
                (!self.is_clean()).then(|| fields.again())
            }
            _ => Some(Quoting::default()),
        }
    }

    pub(super) fn quoting_of<'v>(values: impl IntoIterator<Item = &'v Self>) -> Quoting {
        let all = values.into_iter().map(Self::quoting).fold(None, together);
        all.unwrap_or_default()
    }

    /// Whether how long it is may follow what it holds, many times over.
    pub(super) fn is_quoted_too_often(&self) -> bool {
        self.quoting().is_some_and(|quoting| quoting.times > QUOTED_MAX)
    }

    /// The value as it is written: with quotes once more, as JSON, or as text of its own.
    pub(super) fn written(self, how: Escape) -> Self {
        let Self::Made(set, quoting) = self else {
            return self;
        };
        let quoting = match how {
            Escape::Quotes => quoting.again(),
            Escape::Json if quoting.is_json => quoting,
            Escape::Json => Quoting {
                is_json: true,
                ..quoting.again()
            },
            Escape::AsText => Quoting {
                is_json: false,
                ..quoting
            },
        };
        Self::Made(set, quoting)
    }

    /// What leaves the walk.
    pub(super) fn flow(&self) -> Flow {
        match self {
            Self::Exactly(column) => Flow::Exactly(*column),
            _ => {
                let columns = self.columns();
                if columns.is_empty() {
                    Flow::Clean
                } else {
                    Flow::Tainted(columns)
                }
            }
        }
    }
}
