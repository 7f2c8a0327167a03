//! A statement in policy's own nouns: what every protocol's reader produces and every decision looks at.

use linegate_identity::Effects;

use crate::lineage::Lineage;
use crate::words::Said;

/// A possibly qualified name as the statement wrote it, folded as the server folds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The schema, if written. Without one, the name stands for every relation of that name in any schema.
    pub schema: Option<String>,
    /// The last part.
    pub name: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A prepared statement or cursor by the name that a later statement runs it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// PREPARE, EXECUTE; also what the protocol prepares.
    Prepared(String),
    /// DECLARE, FETCH; also the protocol's portals.
    Cursor(String),
}

/// One top-level output column, as far as the text alone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputColumn {
    /// A literal, a parameter, `count(*)` or the like: holds no value of any relation.
    Clean,
    /// Anything else: the RowDescription's origin must name it.
    Computed,
}

/// How the rows of a COPY are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyFormat {
    /// FORMAT text.
    Text,
    /// FORMAT csv.
    Csv,
    /// FORMAT binary.
    Binary,
}

/// A COPY … TO STDOUT whose every option is understood, so that its rows can be read and written again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyOut {
    /// The query whose RowDescription describes the rows.
    pub describes: String,
    /// How cells are written.
    pub format: CopyFormat,
    /// Between cells, in text and CSV.
    pub delimiter: u8,
    /// What stands for NULL, in text and CSV.
    pub null: String,
    /// Around cells, in CSV.
    pub quote: u8,
    /// Before a quote within a cell, in CSV.
    pub escape: u8,
    /// The first row holds the names of the columns.
    pub has_header: bool,
    /// Some or all columns are quoted whether they must be or not, in CSV.
    pub quotes_all: bool,
}

/// What definitions have later statements do that these do not say. `*` stands for any name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leads {
    /// Relations whose changes reach others from now on, by views, rules, triggers, partitions or names that move.
    pub changes: Vec<Name>,
    /// Children and partitions with the parent that each comes to have: the child's triggers and keys are then met through it.
    pub parents: Vec<(Name, Name)>,
    /// Partitions that come to have their parent's triggers.
    pub cloned: Vec<Name>,
    /// Tables that are made, and are nobody else's before the transaction ends.
    pub made: Vec<Name>,
    /// Relations whose rows may be others' from now on: new children and partitions are attached, or names moved.
    pub rows: Vec<Name>,
    /// Relations that a foreign key made here refers to. Deleting or updating their rows may do the same to others'.
    pub referred: Vec<Name>,
    /// Functions, operators and the like that are made, replaced, renamed or dropped: what a use of the name runs is another.
    pub code: Vec<Name>,
    /// Using what it writes to comes to call the functions that it names: defaults, checks, policies, indexes, views.
    pub keeps_calls: bool,
    /// Relations that come to take something along when they are dropped.
    pub owners: Vec<Name>,
    /// Something may go along with what it drops or changes: CASCADE.
    pub reshapes: bool,
    /// The same text with RESTRICT in place of CASCADE, where nothing that the catalog knows goes along.
    pub weaker: Option<String>,
    /// Something that is there already comes to be made of other things. What is new has nobody yet who depends on it.
    pub rebuilds: bool,
    /// The words of a definition.
    pub said: Option<Box<Said>>,
    /// Something permanent that is there already comes to depend on what it says.
    pub remakes: bool,
    /// It makes something temporary, or may have later statements do so without saying it.
    pub makes_temporary: bool,
    /// What it makes may rest on something temporary without its words saying so: by an object's number, or by what runs by a name.
    pub rests_unseen: bool,
    /// It says CASCADE, nothing that the catalog knows goes along, and it has no such text.
    pub takes_unseen: bool,
    /// Columns go or change their type: columns of the relation's row type do the same.
    pub recasts: bool,
    /// It tends whatever there is: VACUUM, ANALYZE, CLUSTER, REINDEX without a name.
    pub tends_all: bool,
    /// It makes something without saying in which schema, or says where others will.
    pub unplaced: bool,
    /// The first schema of a path may be another behind it.
    pub moves_schemas: bool,
    /// It ends a transaction or a part of one.
    pub ends: bool,
    /// It runs what was prepared or declared, by name.
    pub runs_by_name: bool,
    /// It only gives settings back the values that the session began with.
    pub only_resets: bool,
}

impl Leads {
    /// Whether nothing that holds rows means something else than before.
    pub fn keeps_relations(&self) -> bool {
        self.changes.is_empty() && self.parents.is_empty() && self.rows.is_empty() && self.referred.is_empty()
    }
}

/// What one Query or Parse would do; for several statements in one Query, the union.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    /// Everything it does, wherever in the tree.
    pub effects: Effects,
    /// Relations it reads, sorted, without duplicates. CTE names are resolved away.
    pub reads: Vec<Name>,
    /// Relations (or other objects) it changes, creates or drops, sorted.
    pub writes: Vec<Name>,
    /// Functions it calls, operators' functions excluded, sorted.
    pub functions: Vec<Name>,
    /// False when an UPDATE or DELETE has no WHERE that depends on a column.
    pub bounded: bool,
    /// What cannot be looked into: DO bodies, function bodies, dynamic text. Each a short phrase for the record.
    pub opaque: Vec<&'static str>,
    /// Output columns of a single SELECT/VALUES/RETURNING without `*`; `None` when only the server can tell.
    pub output: Option<Vec<OutputColumn>>,
    /// Statements in the text (0 for an empty query).
    pub count: u32,
    /// It prepares or declares something that later statements run by name (PREPARE, DECLARE CURSOR).
    pub prepares: bool,
    /// What it prepares or declares, by name.
    pub defines: Vec<Named>,
    /// The prepared statement or cursor whose rows it asks for, when that is all it does.
    pub runs: Option<Named>,
    /// It changes names or shapes, so the catalog must be read again.
    pub changes_catalog: bool,
    /// All that it changes of the catalog is that the tables in `writes` come or go.
    pub only_tables: bool,
    /// What it has later statements of its transaction do besides, before the catalog shows it.
    pub leads: Leads,
    /// It carries a password (ALTER ROLE … PASSWORD, user mappings); the text is redacted on record.
    pub carries_secret: bool,
    /// Settings it changes, lower case: `name=value` where the text fixes a short value, else `name`; `*` for any.
    pub settings: Vec<String>,
    /// A written value, in SET, ON CONFLICT DO UPDATE SET or a MERGE action, names a column rather than constants and
    /// parameters; or written rows come from a query. Values may so end up in other columns than their own.
    pub moves_values: bool,
    /// A RETURNING list shows more than plain columns and clean values, so the server will not name an origin for it.
    pub returns_computed: bool,
    /// PREPARE TRANSACTION is among its statements.
    pub prepares_transaction: bool,
    /// The text is one SELECT that only counts subscriptions: `pg_subscription` shows none of its columns.
    pub counts_subscriptions: bool,
    /// It is one COPY … TO STDOUT whose rows can be masked; `None` when it is not, or was read without a catalog.
    pub copy_out: Option<Box<CopyOut>>,
    /// Where values come from and go to; `None` when the text was read without a catalog.
    pub lineage: Option<Lineage>,
}

impl Statement {
    /// A statement that could not be understood.
    pub fn unreadable() -> Self {
        Self {
            effects: Effects::UNREADABLE,
            bounded: false,
            moves_values: true,
            returns_computed: true,
            opaque: vec!["text that does not parse"],
            count: 1,
            ..Self::empty()
        }
    }

    /// It changes rows of relations with triggers that somebody defined; not known without a catalog.
    pub fn fires_triggers(&self) -> bool {
        self.lineage
            .as_ref()
            .is_some_and(|lineage| lineage.fires_triggers)
    }

    /// Relations whose defaults and checks a table that it makes may come to have: it is made like one, of one, or below one.
    pub fn made_like(&self) -> impl Iterator<Item = &Name> {
        let makes_table = self.effects.contains(Effects::CREATE) && self.leads.changes.is_empty();
        let parents = self.leads.parents.iter().map(|(_, parent)| parent);
        let named = self.reads.iter().chain(&self.writes).chain(parents);
        named.filter(move |_| makes_table)
    }

    /// A statement that does nothing.
    pub fn empty() -> Self {
        Self {
            effects: Effects::NONE,
            reads: Vec::new(),
            writes: Vec::new(),
            functions: Vec::new(),
            bounded: true,
            opaque: Vec::new(),
            output: None,
            count: 0,
            prepares: false,
            defines: Vec::new(),
            runs: None,
            changes_catalog: false,
            only_tables: false,
            leads: Leads::default(),
            carries_secret: false,
            settings: Vec::new(),
            moves_values: false,
            returns_computed: false,
            prepares_transaction: false,
            counts_subscriptions: false,
            copy_out: None,
            lineage: None,
        }
    }
}
