//! What a client under a mask reads of an error or notice: by SQLSTATE, in words that hold no value.
//!
//! Source: PostgreSQL manual, "Error and Notice Message Fields" and "PostgreSQL Error Codes". A server's message may quote
//! any value that a statement met, so it is replaced by a template. What a template says beyond its SQLSTATE are names:
//! relations and columns that the catalog knows, constraints and types that the server names beside such a relation.
//! One kind of message stays: what the server says about the text of the client's own statement while it reads it. Only
//! there does it give a position; functions that parse values at run time (`to_tsquery`, `regclass`) give none.
//!
//! Code that somebody wrote (triggers, functions) can fill every field as it likes. The server adds a context then, and no
//! field is kept.

use std::borrow::Cow;

use crate::labels::LabelIndex;
use crate::statement::Name;

/// The longest name, PostgreSQL's NAMEDATALEN less one.
const NAME_BYTES_MAX: usize = 63;
/// The longest message about a statement's own text.
const OWN_WORDS_BYTES_MAX: usize = 1024;

/// An error or notice as the server sent it; a field that is absent is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Problem<'a> {
    /// `C`.
    pub sqlstate: [u8; 5],
    /// `M`.
    pub message: &'a [u8],
    /// `P`: characters into the client's statement, from 1.
    pub position: Option<&'a [u8]>,
    /// `s`.
    pub schema: Option<&'a [u8]>,
    /// `t`.
    pub table: Option<&'a [u8]>,
    /// `c`.
    pub column: Option<&'a [u8]>,
    /// `n`.
    pub constraint: Option<&'a [u8]>,
    /// `d`.
    pub data_type: Option<&'a [u8]>,
    /// `W`.
    pub context: Option<&'a [u8]>,
    /// `q` or `p` is there: a query that no client sent.
    pub internal: bool,
}

/// What of it may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// For `M`.
    pub message: Cow<'static, str>,
    /// Further fields by code, in the order of the manual.
    pub fields: Vec<(u8, &'a str)>,
}

/// Names that the server gave and that are no values.
#[derive(Clone, Copy, Debug, Default)]
struct Names<'a> {
    schema: Option<&'a str>,
    table: Option<&'a str>,
    column: Option<&'a str>,
    constraint: Option<&'a str>,
    data_type: Option<&'a str>,
}

impl<'a> Problem<'a> {
    /// It comes out of code that somebody stored at the server. A lone line about COPY data is the server's own;
    /// `copies_in` says that the statement takes such data.
    pub fn is_from_stored_code(&self, copies_in: bool) -> bool {
        let is_copy =
            |context: &[u8]| copies_in && context.starts_with(b"COPY ") && !context.contains(&b'\n');
        self.internal || self.context.is_some_and(|context| !is_copy(context))
    }

    /// What a client under a mask may read of it. `statement_bytes` bounds the position; `labels` knows names.
    pub fn tell(&self, labels: Option<&LabelIndex>, statement_bytes: usize) -> Told<'a> {
        if self.context.is_some() || self.internal {
            return Told {
                message: template(self.sqlstate, &Names::default()),
                fields: Vec::new(),
            };
        }
        let position = self.own_position(statement_bytes);
        let names = labels.map_or_else(Names::default, |labels| self.names(labels));
        let message = match position {
            Some(_) if is_about_text(self.sqlstate) => own_words(self.message),
            _ => template(self.sqlstate, &names),
        };
        let fields = [
            (b'P', position),
            (b's', names.schema),
            (b't', names.table),
            (b'c', names.column),
            (b'd', names.data_type),
            (b'n', names.constraint),
        ];
        Told {
            message,
            fields: fields
                .into_iter()
                .filter_map(|(code, value)| Some((code, value?)))
                .collect(),
        }
    }

    /// A position that can be one in the client's statement.
    fn own_position(&self, statement_bytes: usize) -> Option<&'a str> {
        let digits = std::str::from_utf8(self.position?).ok()?;
        if digits.len() > 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let position: usize = digits.parse().ok()?;
        // One past the end is where the server found the text to be over.
        (1..=statement_bytes.saturating_add(1))
            .contains(&position)
            .then_some(digits)
    }

    /// The names that the catalog vouches for. Constraints and types it does not know: they count where the server names
    /// them in an integrity violation, which no built-in function reports.
    fn names(&self, labels: &LabelIndex) -> Names<'a> {
        let text = |field: Option<&'a [u8]>| field.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let mut names = Names::default();
        if let (Some(schema), Some(table)) = (text(self.schema), text(self.table)) {
            let name = Name {
                schema: Some(schema.to_owned()),
                name: table.to_owned(),
            };
            let mut known = labels.known(&name).peekable();
            if known.peek().is_some() {
                (names.schema, names.table) = (Some(schema), Some(table));
                names.column = text(self.column).filter(|column| {
                    known.any(|relation| relation.columns.iter().any(|known| known.name == *column))
                });
            }
        }
        if self.sqlstate.starts_with(b"23") {
            names.data_type = text(self.data_type).filter(|name| is_plain(name));
            // A constraint belongs to a relation or a domain.
            let has_owner = names.table.is_some() || names.data_type.is_some();
            names.constraint = text(self.constraint).filter(|name| has_owner && is_plain(name));
        }
        names
    }
}

/// An identifier that nobody needs to quote, apart from case.
fn is_plain(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Syntax, names and types: with a position, these speak about the statement's text and about definitions only.
fn is_about_text(sqlstate: [u8; 5]) -> bool {
    matches!(
        &sqlstate,
        b"42601" // syntax error
            | b"42602" | b"42622" // invalid name, name too long
            | b"42701" | b"42712" // duplicate column, duplicate alias
            | b"42702" | b"42725" // ambiguous column, function
            | b"42703" | b"42704" | b"42883" | b"42P01" | b"42P02" // undefined column, object, function, table, parameter
            | b"42803" // grouping error
            | b"42804" | b"42846" | b"42P18" // datatype mismatch, cannot coerce, indeterminate type
            | b"42P09" | b"42P10" // ambiguous alias, invalid column reference
            | b"42P19" | b"42P20" | b"42P21" | b"42P22" // recursion, window, collations
    )
}

fn own_words(message: &[u8]) -> Cow<'static, str> {
    let text = String::from_utf8_lossy(message);
    let end = text.floor_char_boundary(OWN_WORDS_BYTES_MAX);
    Cow::Owned(text[..end].to_owned())
}

/// ` "name"`, or nothing.
fn quoted(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" \"{name}\""))
}

/// The words for a SQLSTATE.
fn template(sqlstate: [u8; 5], names: &Names<'_>) -> Cow<'static, str> {
    let constraint = quoted(names.constraint);
    let relation = quoted(names.table);
    match &sqlstate {
        b"23502" => format!(
            "null value in column{} of relation{relation} violates not-null constraint",
            quoted(names.column)
        )
        .into(),
        b"23503" => format!("change of table{relation} violates foreign key constraint{constraint}").into(),
        b"23505" => format!("duplicate key value violates unique constraint{constraint}").into(),
        b"23514" if names.table.is_none() && names.data_type.is_some() => format!(
            "value for domain{} violates check constraint{constraint}",
            quoted(names.data_type)
        )
        .into(),
        b"23514" => format!("new row for relation{relation} violates check constraint{constraint}").into(),
        b"23P01" => format!("conflicting key value violates exclusion constraint{constraint}").into(),
        _ => plain(sqlstate).into(),
    }
}

/// Words without names.
fn plain(sqlstate: [u8; 5]) -> &'static str {
    match &sqlstate {
        b"21000" => "more than one row returned by a subquery used as an expression, or a row affected twice",
        b"22001" => "value too long for its type",
        b"22003" => "numeric value out of range",
        b"22004" | b"22002" => "null value not allowed",
        b"22007" => "invalid input syntax for a date or time",
        b"22008" => "date/time value out of range",
        b"22009" => "time zone displacement out of range",
        b"22011" => "negative substring length not allowed",
        b"22012" => "division by zero",
        b"22019" | b"22025" => "invalid escape sequence",
        b"2201B" => "invalid regular expression",
        b"2201E" | b"2201F" => "invalid argument for a logarithm or power function",
        b"22021" => "invalid byte sequence for the encoding",
        b"22023" => "invalid parameter value",
        b"22026" => "string length mismatch",
        b"22030" => "duplicate JSON object key value",
        b"22032" => "invalid JSON text",
        b"2202E" => "array subscript error",
        b"22P01" => "floating-point exception",
        b"22P02" => "invalid input syntax",
        b"22P03" => "invalid binary representation",
        b"22P04" => "bad COPY file format",
        b"22P05" => "untranslatable character",
        b"23001" => "change violates a RESTRICT setting of a foreign key",
        b"25001" => "a transaction is in progress",
        b"25006" => "cannot execute in a read-only transaction",
        b"25P01" => "no transaction is in progress",
        b"25P02" => "current transaction is aborted, commands ignored until end of transaction block",
        b"25P03" => "terminating connection due to idle-in-transaction timeout",
        b"26000" => "prepared statement does not exist",
        b"34000" => "cursor or portal does not exist",
        b"3B001" => "savepoint does not exist",
        b"3F000" => "schema does not exist",
        b"40001" => "could not serialize access",
        b"40P01" => "deadlock detected",
        b"42501" => "permission denied",
        b"42601" => "syntax error",
        b"42703" => "column does not exist",
        b"42704" => "object does not exist",
        b"42710" => "object already exists",
        b"42804" => "datatype mismatch",
        b"42846" => "cannot cast",
        b"42883" => "function or operator does not exist",
        b"42P01" => "relation does not exist",
        b"42P03" => "cursor already exists",
        b"42P05" => "prepared statement already exists",
        b"42P06" => "schema already exists",
        b"42P07" => "relation already exists",
        b"44000" => "new row violates the check option of a view",
        b"54001" => "statement too complex",
        b"55000" => "object is not in the state that this needs",
        b"55006" => "object is in use",
        b"55P03" => "lock not available",
        b"57014" => "canceling statement",
        b"57P01" => "terminating connection due to administrator command",
        b"57P02" => "terminating connection because of a crash of another server process",
        b"57P03" => "the database system is not accepting connections",
        b"57P05" => "terminating connection due to idle-session timeout",
        b"53100" => "disk full",
        b"53200" => "out of memory",
        b"53300" => "too many connections",
        _ => by_class(sqlstate),
    }
}

fn by_class([first, second, ..]: [u8; 5]) -> &'static str {
    match &[first, second] {
        b"08" => "connection exception",
        b"0A" => "feature not supported",
        b"22" => "a value does not fit what is done with it",
        b"23" => "integrity constraint violation",
        b"25" => "invalid transaction state",
        b"40" => "transaction rolled back",
        b"53" => "insufficient resources",
        b"54" => "program limit exceeded",
        _ => WITHHELD,
    }
}

/// What is said where no template fits.
pub const WITHHELD: &str =
    "the server reported a problem; its words are withheld because they may quote masked columns";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{Catalog, Column, Relation};

    fn labels() -> LabelIndex {
        let column = Column {
            number: 1,
            name: "ssn".into(),
            type_oid: 25,
        };
        let catalog = Catalog {
            relations: vec![Relation::new(16400, "app", "customers", b'r', vec![column])],
            ..Catalog::default()
        };
        LabelIndex::resolve(&catalog, &[]).0
    }

    fn unique() -> Problem<'static> {
        Problem {
            sqlstate: *b"23505",
            message: b"duplicate key value violates unique constraint \"one_card\"",
            schema: Some(b"app"),
            table: Some(b"customers"),
            constraint: Some(b"one_card"),
            ..Problem::default()
        }
    }

    #[test]
    fn a_violation_names_its_constraint_and_relation() {
        let told = unique().tell(Some(&labels()), 0);
        assert_eq!(
            told.message,
            "duplicate key value violates unique constraint \"one_card\""
        );
        assert_eq!(
            told.fields,
            [(b's', "app"), (b't', "customers"), (b'n', "one_card")]
        );
        let null = Problem {
            sqlstate: *b"23502",
            column: Some(b"ssn"),
            constraint: None,
            ..unique()
        };
        assert_eq!(
            null.tell(Some(&labels()), 0).message,
            "null value in column \"ssn\" of relation \"customers\" violates not-null constraint"
        );
    }

    #[test]
    fn names_that_the_catalog_does_not_vouch_for_are_left_out() {
        for problem in [
            Problem {
                table: Some(b"4111111111111111"),
                ..unique()
            },
            Problem {
                schema: Some(b"536-90-4399"),
                ..unique()
            },
        ] {
            let told = problem.tell(Some(&labels()), 0);
            assert_eq!(
                (told.message.as_ref(), told.fields),
                ("duplicate key value violates unique constraint", vec![])
            );
        }
        let odd = Problem {
            constraint: Some(b"4111111111111111"),
            column: Some(b"4111"),
            ..unique()
        };
        assert_eq!(
            odd.tell(Some(&labels()), 0).fields,
            [(b's', "app"), (b't', "customers")]
        );
        assert_eq!(
            unique().tell(None, 0).fields,
            [],
            "without a catalog nothing is vouched for"
        );
    }

    #[test]
    fn stored_code_can_fill_every_field_so_none_is_kept() {
        for problem in [
            Problem {
                context: Some(b"PL/pgSQL function f() line 1 at RAISE"),
                position: Some(b"1"),
                ..unique()
            },
            Problem {
                internal: true,
                ..unique()
            },
        ] {
            assert!(problem.is_from_stored_code(true));
            let told = problem.tell(Some(&labels()), 9);
            assert_eq!(
                (told.message.as_ref(), told.fields),
                ("duplicate key value violates unique constraint", vec![])
            );
        }
        let copy = Problem {
            context: Some(b"COPY orders, line 3, column id: \"x\""),
            ..Problem::default()
        };
        assert!(!copy.is_from_stored_code(true) && copy.is_from_stored_code(false));
        let trigger = Problem {
            context: Some(b"COPY orders, line 3\nPL/pgSQL function f() line 1 at RAISE"),
            ..Problem::default()
        };
        assert!(trigger.is_from_stored_code(true));
    }

    #[test]
    fn words_about_the_statement_stay_only_with_a_position_in_it() {
        let undefined = Problem {
            sqlstate: *b"42703",
            message: b"column \"nothing\" does not exist",
            position: Some(b"8"),
            ..Problem::default()
        };
        let told = undefined.tell(None, 40);
        assert_eq!(
            (told.message.as_ref(), told.fields),
            ("column \"nothing\" does not exist", vec![(b'P', "8")])
        );
        // A cast of a value to regclass, a tsquery made of a value: same SQLSTATEs, no position.
        for (sqlstate, message, words) in [
            (
                *b"42P01",
                "relation \"4111111111111111\" does not exist",
                "relation does not exist",
            ),
            (
                *b"42601",
                "syntax error in tsquery: \"536-90-4399\"",
                "syntax error",
            ),
            (
                *b"42883",
                "function \"4111\" does not exist",
                "function or operator does not exist",
            ),
        ] {
            for position in [
                None,
                Some(&b"0"[..]),
                Some(b"42"),
                Some(b"-1"),
                Some(b"4111111111111111"),
            ] {
                let problem = Problem {
                    sqlstate,
                    message: message.as_bytes(),
                    position,
                    ..Problem::default()
                };
                let told = problem.tell(None, 40);
                assert_eq!((told.message.as_ref(), told.fields), (words, vec![]));
            }
        }
    }

    #[test]
    fn a_position_outside_syntax_brings_no_words_along() {
        let problem = Problem {
            sqlstate: *b"22P02",
            message: b"invalid input syntax for type integer: \"4111\"",
            position: Some(b"8"),
            ..Problem::default()
        };
        let told = problem.tell(None, 40);
        assert_eq!(
            (told.message.as_ref(), told.fields),
            ("invalid input syntax", vec![(b'P', "8")])
        );
    }

    proptest! {
        /// Whatever the server says at run time, nothing of its message shows.
        #[test]
        fn no_template_repeats_the_message(
            sqlstate in "[0-9A-Z]{5}", secret in "[0-9]{9,16}", field in 0_usize..6,
        ) {
            let value = Some(secret.as_bytes());
            let mut problem = Problem { message: secret.as_bytes(), ..Problem::default() };
            problem.sqlstate.copy_from_slice(sqlstate.as_bytes());
            match field {
                0 => problem.schema = value,
                1 => problem.table = value,
                2 => problem.column = value,
                3 => problem.constraint = value,
                4 => problem.data_type = value,
                _ => problem.context = value,
            }
            let told = problem.tell(Some(&labels()), 100);
            prop_assert!(!told.message.contains(&secret));
            prop_assert!(told.fields.iter().all(|(_, value)| !value.contains(&secret)));
        }
    }
}
