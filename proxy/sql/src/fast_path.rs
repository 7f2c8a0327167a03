//! The FunctionCall message as a text, so that deciding, explaining and checking records know one kind of question.
//! Source: PostgreSQL manual, "Message Formats", FunctionCall; the server's `pg_proc` for the numbers.
//!
//! `FunctionCall 957` is no statement in any server's grammar: who sends it in a Query gets a syntax error for it. Functions
//! that client libraries call this way (large objects) are known by number and do what a call in a SELECT does; a number is
//! never given to another function. Any other may do anything, as a DO block may.

use linegate_identity::Effects;
use linegate_policy::{Name, Statement};

use crate::builtins;

const WORD: &str = "FunctionCall ";
const ANY: &str = "a function that is called by its number";

/// Functions of `pg_catalog` by number, sorted.
pub const KNOWN: &[(u32, &str)] = &[
    (715, "lo_create"),
    (764, "lo_import"),
    (765, "lo_export"),
    (767, "lo_import"),
    (952, "lo_open"),
    (953, "lo_close"),
    (954, "loread"),
    (955, "lowrite"),
    (956, "lo_lseek"),
    (957, "lo_creat"),
    (958, "lo_tell"),
    (964, "lo_unlink"),
    (1004, "lo_truncate"),
    (3170, "lo_lseek64"),
    (3171, "lo_tell64"),
    (3172, "lo_truncate64"),
    (3457, "lo_from_bytea"),
    (3458, "lo_get"),
    (3459, "lo_get"),
    (3460, "lo_put"),
];

/// The text that stands for a FunctionCall of that function.
pub fn text(function: u32) -> String {
    format!("{WORD}{function}")
}

/// The function's number, if a text stands for a FunctionCall.
pub fn number(text: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(text).ok()?.strip_prefix(WORD)?;
    number.parse().ok()
}

/// What a FunctionCall would do, if the text stands for one.
pub(crate) fn read(text: &str) -> Option<Statement> {
    let number = text.strip_prefix(WORD)?;
    let function: u32 = number.parse().ok()?;
    if number != function.to_string() {
        return None; // a sign, a zero in front
    }
    let mut statement = Statement {
        effects: Effects::FUNCTION_CALL,
        bounded: false,
        moves_values: true,
        returns_computed: true,
        count: 1,
        ..Statement::empty()
    };
    let known = KNOWN.binary_search_by_key(&function, |(number, _)| *number);
    let name = known.ok().map(|place| Name {
        schema: None, // pg_catalog, which the reader does not spell out
        name: KNOWN[place].1.to_owned(),
    });
    let builtin = name.as_ref().and_then(|name| builtins::find(name, 0));
    match (name, builtin) {
        (Some(name), Some(builtin)) => {
            statement.effects = statement.effects.with(builtin.effects);
            statement.opaque.extend(builtin.opaque);
            statement.functions.push(name);
        }
        _ => {
            statement.effects = statement.effects.with(Effects::EXECUTE);
            statement.opaque.push(ANY);
            statement.settings.push("*".to_owned());
            statement.changes_catalog = true;
        }
    }
    Some(statement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_detailed;

    #[test]
    fn a_known_number_does_what_the_function_does_in_a_select() {
        assert!(KNOWN.is_sorted_by(|one, other| one.0 < other.0));
        for (number, name) in KNOWN {
            let statement = read_detailed(text(*number).as_bytes()).expect("read");
            let called = read_detailed(format!("SELECT pg_catalog.{name}(1)").as_bytes()).expect("read");
            let called_effects = called
                .effects
                .without(Effects::SELECT)
                .with(Effects::FUNCTION_CALL);
            assert_eq!(statement.effects, called_effects, "{name}");
            assert_eq!(statement.functions, called.functions);
            assert_eq!(statement.opaque, called.opaque);
            assert!(!statement.opaque.is_empty() && !statement.bounded);
        }
    }

    #[test]
    fn any_other_number_may_be_anything() {
        for number in [0, 2311, u32::MAX] {
            let statement = read_detailed(text(number).as_bytes()).expect("read");
            assert_eq!(statement.effects, Effects::FUNCTION_CALL.with(Effects::EXECUTE));
            assert!(statement.changes_catalog && statement.settings == ["*"] && statement.opaque == [ANY]);
        }
    }

    #[test]
    fn what_is_not_written_here_is_not_read_here() {
        for text in [
            "FunctionCall",
            "FunctionCall ",
            "FunctionCall -1",
            "FunctionCall +1",
            "FunctionCall 01",
            "FunctionCall 4294967296",
            "FunctionCall 1;",
            "FunctionCall 1; DROP TABLE t",
            " FunctionCall 1",
            "functioncall 1",
        ] {
            assert!(read(text).is_none(), "{text}");
            assert!(read_detailed(text.as_bytes()).is_err(), "{text}");
        }
    }
}
