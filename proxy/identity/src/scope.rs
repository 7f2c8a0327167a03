//! What a lease may do at most, whatever policy would allow.
//!
//! Grammar of `--scope`: words between commas, together the union of what each names.
//!
//! ```text
//! scope   = word { "," word }
//! word    = effect | "read" | "write" | "ddl" | "all" | "none" | "table:" pattern | "no-table"
//! pattern = "*" | name ".*" | name "." name
//! name    = as in SQL: unquoted (folded to lower case) or "quoted"
//! ```
//!
//! Without a `table:` word every relation is in scope. At least one word must name effects: a scope that lists only
//! tables would otherwise have to guess between nothing and everything.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Effects, Fault};

/// The longest scope text.
pub const SCOPE_BYTES_MAX: usize = 4096;
/// The longest SQL name (NAMEDATALEN less its terminator); the server would cut a longer one to another name.
const SQL_NAME_BYTES_MAX: usize = 63;

/// A lease's bounds. A derived lease's scope is the intersection with its parent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The effect classes that are in scope.
    pub effects: Effects,
    /// Relations in scope as `schema.name`, `schema.*` or `*`; `None` is every relation.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
}

impl Scope {
    /// Effects of the word `read`.
    pub const READ: Effects = Effects::SELECT
        .with(Effects::SHOW)
        .with(Effects::EXPLAIN)
        .with(Effects::TRANSACTION)
        .with(Effects::SET)
        .with(Effects::PREPARED)
        .with(Effects::COPY_OUT);
    /// Effects of the word `write`; `read` is part of it.
    pub const WRITE: Effects = Self::READ
        .with(Effects::INSERT)
        .with(Effects::UPDATE)
        .with(Effects::DELETE)
        .with(Effects::COPY_IN)
        .with(Effects::LOCK)
        .with(Effects::NOTIFY);
    /// Effects of the word `ddl`.
    pub const DDL: Effects = Effects::CREATE
        .with(Effects::ALTER)
        .with(Effects::DROP)
        .with(Effects::TRUNCATE)
        .with(Effects::MAINTENANCE);

    /// Everything: the bounds are policy's alone.
    pub fn all() -> Self {
        Self {
            effects: Effects::all(),
            tables: None,
        }
    }

    /// Reads the grammar above; every mistake in the text is in the error.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SCOPE_BYTES_MAX {
            return Err(ScopeError {
                problems: vec![ScopeProblem::TooLong],
            });
        }
        let (mut effects, mut names_effects) = (Effects::NONE, false);
        let mut tables: Option<BTreeSet<TablePattern>> = None;
        let mut problems = Vec::new();
        for word in split_words(text) {
            if let Some(pattern) = word.strip_prefix("table:") {
                match TablePattern::parse(pattern) {
                    Some(pattern) => _ = tables.get_or_insert_default().insert(pattern),
                    None => problems.push(ScopeProblem::Table {
                        word: word.to_owned(),
                    }),
                }
            } else if word == "no-table" {
                tables.get_or_insert_default();
            } else if let Some(named) = effects_by_word(&word.to_ascii_lowercase()) {
                effects = effects.with(named);
                names_effects = true;
            } else {
                let suggestion = nearest(&word.to_ascii_lowercase());
                problems.push(ScopeProblem::Unknown {
                    word: word.to_owned(),
                    suggestion,
                });
            }
        }
        if problems.is_empty() && !names_effects {
            problems.push(ScopeProblem::NoEffects);
        }
        if !problems.is_empty() {
            return Err(ScopeError { problems });
        }
        Ok(Self {
            effects,
            tables: tables.and_then(rendered),
        })
    }

    /// What both scopes allow.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let tables = match (&self.tables, &other.tables) {
            (None, tables) | (tables, None) => tables.clone(),
            (Some(ours), Some(theirs)) => {
                let theirs: Vec<_> = theirs
                    .iter()
                    .filter_map(|text| TablePattern::parse(text))
                    .collect();
                let both = ours.iter().filter_map(|text| TablePattern::parse(text));
                rendered(
                    both.flat_map(|one| theirs.iter().filter_map(move |other| one.intersect(other)))
                        .collect(),
                )
            }
        };
        Self {
            effects: self.effects.and(other.effects),
            tables,
        }
    }

    /// Whether every one of these effects is in scope.
    pub fn allows_effects(&self, effects: Effects) -> bool {
        self.effects.contains(effects)
    }

    /// Whether the relation is in scope.
    ///
    /// A name without a schema may mean any relation of that name, `pg_temp`'s included, so it is in scope only where
    /// every relation is: without `table:` words, or with `table:*`.
    pub fn allows_table(&self, schema: Option<&str>, name: &str) -> bool {
        let Some(tables) = &self.tables else { return true };
        tables
            .iter()
            .filter_map(|text| TablePattern::parse(text))
            .any(|pattern| match (&pattern, schema) {
                (TablePattern::Any, _) => true,
                (_, None) => false,
                (TablePattern::Schema(wanted), Some(schema)) => wanted == schema,
                (TablePattern::Table(wanted, table), Some(schema)) => wanted == schema && table == name,
            })
    }
}

/// Words between commas, commas inside double quotes excepted.
fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
    .map(str::trim)
    .filter(|word| !word.is_empty())
}

/// Words that name several effects, the widest first, so that `Display` finds the shortest text.
const BUNDLES: [(&str, Effects); 3] = [
    ("write", Scope::WRITE),
    ("read", Scope::READ),
    ("ddl", Scope::DDL),
];

fn effects_by_word(word: &str) -> Option<Effects> {
    match word {
        "all" => Some(Effects::all()),
        "none" => Some(Effects::NONE),
        _ => BUNDLES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, effects)| *effects)
            .or_else(|| Effects::by_name(word)),
    }
}

/// The known word that takes the fewest edits, if it takes few.
fn nearest(word: &str) -> Option<&'static str> {
    let known = Effects::NAMES.iter().map(|(_, name)| *name);
    let known = known
        .chain(BUNDLES.iter().map(|(name, _)| *name))
        .chain(["all", "none", "no-table"]);
    known
        .map(|name| (edits(word, name), name))
        .filter(|(edits, name)| *edits <= 2 && *edits < name.len().min(word.len()))
        .min()
        .map(|(_, name)| name)
}

/// Edit distance, a swap of neighbours counting as one. Both texts are short: longer words suggest nothing.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().take(32).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// One entry of [`Scope::tables`], taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TablePattern {
    Any,
    Schema(String),
    Table(String, String),
}

impl TablePattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (schema, rest) = take_name(text)?;
        match rest.strip_prefix('.')? {
            "*" => Some(Self::Schema(schema)),
            rest => match take_name(rest)? {
                (name, "") => Some(Self::Table(schema, name)),
                _ => None,
            },
        }
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        let covers = |wide: &Self, narrow: &Self| match (wide, narrow) {
            (Self::Any, _) => true,
            (Self::Schema(one), Self::Schema(two) | Self::Table(two, _)) => one == two,
            _ => wide == narrow,
        };
        if covers(self, other) {
            Some(other.clone())
        } else {
            covers(other, self).then(|| self.clone())
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Schema(schema) => write!(f, "{}.*", quoted(schema)),
            Self::Table(schema, name) => write!(f, "{}.{}", quoted(schema), quoted(name)),
        }
    }
}

/// The patterns as `Scope::tables` holds them: sorted, and none at all where `*` is among them.
fn rendered(patterns: BTreeSet<TablePattern>) -> Option<Vec<String>> {
    (!patterns.contains(&TablePattern::Any)).then(|| patterns.iter().map(ToString::to_string).collect())
}

/// A leading SQL name, folded as the server folds it, and what follows.
fn take_name(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(mut rest) => {
            let mut name = String::new();
            loop {
                let (part, after) = rest.split_once('"')?;
                name.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        rest = more;
                    }
                    None => break (name, after),
                }
            }
        }
        None => {
            let end = text.find(|c| !is_name_char(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            if !name.starts_with(|c: char| is_name_char(c) && !c.is_ascii_digit() && c != '$') {
                return None;
            }
            (name.to_ascii_lowercase(), rest)
        }
    };
    let is_sound =
        !name.is_empty() && name.len() <= SQL_NAME_BYTES_MAX && !name.chars().any(char::is_control);
    is_sound.then_some((name, rest))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || (!c.is_ascii() && c.is_alphanumeric())
}

fn quoted(name: &str) -> String {
    match take_name(name) {
        Some((same, "")) if same == name => same,
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

impl fmt::Display for Scope {
    /// The shortest text that [`Scope::parse`] reads back as this scope.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        if self.effects == Effects::all() {
            words.push("all".into());
        } else if self.effects.is_empty() {
            words.push("none".into());
        } else {
            let mut said = Effects::NONE;
            for (name, bundle) in BUNDLES {
                if self.effects.contains(bundle) && !said.contains(bundle) {
                    words.push(name.into());
                    said = said.with(bundle);
                }
            }
            words.extend(self.effects.without(said).names().map(str::to_owned));
        }
        match self.tables.as_deref() {
            None => {}
            Some([]) => words.push("no-table".into()),
            Some(tables) => words.extend(tables.iter().map(|table| format!("table:{table}"))),
        }
        f.write_str(&words.join(","))
    }
}

impl std::str::FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

/// Everything that is wrong with a scope's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeError {
    /// In the order of the text.
    pub problems: Vec<ScopeProblem>,
}

/// One thing that is wrong with a scope's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeProblem {
    /// More than [`SCOPE_BYTES_MAX`].
    TooLong,
    /// No word names an effect.
    NoEffects,
    /// A word nobody knows.
    Unknown {
        /// As written.
        word: String,
        /// What may have been meant.
        suggestion: Option<&'static str>,
    },
    /// `table:` without a readable pattern.
    Table {
        /// As written.
        word: String,
    },
}

impl ScopeError {
    /// Whoever asked for the scope.
    pub fn fault(&self) -> Fault {
        Fault::Client
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        "the scope cannot be read"
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            match problem {
                ScopeProblem::TooLong => write!(f, "a scope has at most {SCOPE_BYTES_MAX} bytes")?,
                ScopeProblem::NoEffects => {
                    f.write_str("a scope names at least one effect, such as `read`, `write` or `all`")?;
                }
                ScopeProblem::Unknown {
                    word,
                    suggestion: None,
                } => {
                    write!(f, "`{}` is no effect, bundle or `table:`", word.escape_debug())?;
                }
                ScopeProblem::Unknown {
                    word,
                    suggestion: Some(suggestion),
                } => {
                    write!(
                        f,
                        "`{}` is unknown; did you mean `{suggestion}`?",
                        word.escape_debug()
                    )?;
                }
                ScopeProblem::Table { word } => {
                    let word = word.escape_debug();
                    write!(
                        f,
                        "`{word}` is not `table:schema.name`, `table:schema.*` or `table:*`"
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for ScopeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn bundles_hold_what_they_say() {
        assert!(
            scope("read").allows_effects(Effects::SELECT.with(Effects::COPY_OUT).with(Effects::PREPARED))
        );
        for refused in [
            Effects::INSERT,
            Effects::LOCK,
            Effects::NOTIFY,
            Effects::CALL,
            Effects::UNREADABLE,
        ] {
            assert!(!scope("read").allows_effects(refused), "{refused}");
        }
        assert!(scope("write").allows_effects(Scope::READ.with(Effects::COPY_IN).with(Effects::LOCK)));
        assert!(!scope("write").allows_effects(Effects::TRUNCATE));
        assert!(
            !scope("write").allows_effects(Effects::INSERT.with(Effects::DROP)),
            "one effect outside is outside"
        );
        assert!(
            scope("ddl").allows_effects(Effects::TRUNCATE) && !scope("ddl").allows_effects(Effects::SELECT)
        );
        assert!(scope("all").allows_effects(Effects::all()));
        assert!(scope("none").allows_effects(Effects::NONE) && !scope("none").allows_effects(Effects::SHOW));
    }

    #[test]
    fn text_is_shortened_and_reads_back() {
        for (text, shown) in [
            ("select,show,explain,transaction,set,prepared,copy-out", "read"),
            ("write , ddl, read", "write,ddl"),
            ("READ, table:App.Orders", "read,table:app.orders"),
            ("read,grant,insert", "read,insert,grant"),
            (
                r#"read,table:"My, App"."a""b",table:x.*"#,
                r#"read,table:x.*,table:"My, App"."a""b""#,
            ),
            ("read,table:*,table:a.b", "read"),
            ("none,no-table", "none,no-table"),
        ] {
            assert_eq!(scope(text).to_string(), shown);
            assert_eq!(scope(shown), scope(text));
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let error = Scope::parse("raed,slect,frobnicate,table:orders,table:a.b.c,table:\"x.y").unwrap_err();
        assert_eq!(error.problems.len(), 6);
        let text = error.to_string();
        for part in [
            "did you mean `read`",
            "did you mean `select`",
            "`frobnicate` is no",
            "`table:orders`",
            "`table:a.b.c`",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(Scope::parse("").unwrap_err().problems, [ScopeProblem::NoEffects]);
        assert_eq!(
            Scope::parse("table:a.b").unwrap_err().problems,
            [ScopeProblem::NoEffects]
        );
        assert_eq!(
            Scope::parse(&"read,".repeat(2000)).unwrap_err().problems,
            [ScopeProblem::TooLong]
        );
    }

    #[test]
    fn tables_are_matched_by_schema_and_name() {
        let scope = scope("read,table:app.orders,table:ref.*");
        assert!(scope.allows_table(Some("app"), "orders") && scope.allows_table(Some("ref"), "anything"));
        assert!(!scope.allows_table(Some("app"), "customers") && !scope.allows_table(Some("App"), "orders"));
        assert!(
            !scope.allows_table(None, "orders"),
            "an unqualified name may be any schema's"
        );
        assert!(Scope::all().allows_table(None, "orders"));
        let any = Scope {
            effects: Effects::NONE,
            tables: Some(vec!["*".into()]),
        };
        assert!(any.allows_table(None, "orders"));
        let broken = Scope {
            effects: Effects::NONE,
            tables: Some(vec!["orders".into()]),
        };
        assert!(!broken.allows_table(None, "orders") && !broken.allows_table(Some("orders"), "orders"));
    }

    #[test]
    fn an_intersection_is_in_both() {
        let both =
            scope("write,table:app.*,table:x.y").intersect(&scope("read,ddl,table:app.orders,table:z.*"));
        assert_eq!(both.to_string(), "read,table:app.orders");
        assert_eq!(
            scope("read,table:a.b").intersect(&scope("all")),
            scope("read,table:a.b")
        );
        let nothing = scope("read,table:a.b").intersect(&scope("ddl,table:c.*"));
        assert_eq!(nothing.to_string(), "none,no-table");
        assert!(!nothing.allows_table(Some("a"), "b"));
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        let table = prop_oneof![
            3 => ("[ab]", "[xy]").prop_map(|(schema, name)| TablePattern::Table(schema, name)),
            1 => "[ab]".prop_map(TablePattern::Schema),
            1 => ("[ -~é]{1,8}", "[ -~é]{1,8}").prop_map(|(schema, name)| TablePattern::Table(schema, name)),
        ];
        let tables = proptest::option::of(proptest::collection::btree_set(table, 0..5));
        (proptest::collection::vec(0..Effects::NAMES.len(), 0..30), tables).prop_map(|(classes, tables)| {
            Scope {
                effects: classes
                    .iter()
                    .fold(Effects::NONE, |all, at| all.with(Effects::NAMES[*at].0)),
                tables: tables.and_then(rendered),
            }
        })
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z:.,*\" -]{0,60}|.{0,60}") {
            if let Ok(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
            }
        }

        #[test]
        fn display_reads_back(scope in any_scope()) {
            prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
        }

        #[test]
        fn intersections_allow_exactly_what_both_allow(one in any_scope(), two in any_scope()) {
            let both = one.intersect(&two);
            prop_assert_eq!(&both, &two.intersect(&one));
            for (class, _) in Effects::NAMES {
                prop_assert_eq!(both.allows_effects(*class), one.allows_effects(*class) && two.allows_effects(*class));
            }
            for (schema, name) in [(Some("a"), "x"), (Some("a"), "y"), (Some("b"), "x"), (None, "x")] {
                let expected = one.allows_table(schema, name) && two.allows_table(schema, name);
                prop_assert_eq!(both.allows_table(schema, name), expected);
            }
        }
    }
}
