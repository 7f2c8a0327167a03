//! Words of names and texts, for who asks whether a text may say a name, in whatever case, quotes or dots.

use std::collections::BTreeSet;

/// Bytes of a word that count: the server cuts names at 63, and those of array types shorter still.
const WORD_BYTES_MAX: usize = 48;

/// The words of a text: runs of letters, digits and underscores in lower case, without the underscores that array types have
/// before their elements' names.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let runs = text.split(move |character| !is_part(character));
    runs.map(|run| run.trim_start_matches('_'))
        .filter(|run| !run.is_empty())
        .map(|run| run[..run.floor_char_boundary(WORD_BYTES_MAX)].to_lowercase())
}

/// Whether a schema holds what is temporary, or parts of that: the session's own, or one by its number.
pub fn is_temporary(schema: &str) -> bool {
    let number = ["pg_temp_", "pg_toast_temp_"].iter();
    let mut numbers = number.filter_map(|prefix| schema.strip_prefix(prefix));
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    schema == "pg_temp" || numbers.any(is_number)
}

/// What the words of a definition may mean of what is temporary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Said {
    /// All of them.
    pub words: BTreeSet<String>,
    /// It names a schema of temporary objects, or something in it cannot be told: escapes, strings in pieces.
    pub may_be_temporary: bool,
    /// The server cuts a name in it so that it has other words.
    pub may_be_cut: bool,
    /// A string of it is the number of something that somebody made.
    pub has_number: bool,
    /// Signs are among what it has in quotes, or a word is nothing but underscores.
    pub quotes_signs: bool,
}

impl Said {
    /// Whether it may say that name: all of the name's words are among its own. One without words is said where signs are quoted.
    pub fn says(&self, name: &[String]) -> bool {
        match name {
            [] => self.quotes_signs,
            words => words.iter().all(|word| self.words.contains(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_schemas_are_those_of_the_server() {
        for schema in ["pg_temp", "pg_temp_3", "pg_toast_temp_12"] {
            assert!(is_temporary(schema), "{schema}");
        }
        for schema in ["pg_tempx", "pg_temp_", "pg_temp_3x", "pg_toast", "public"] {
            assert!(!is_temporary(schema), "{schema}");
        }
    }

    #[test]
    fn a_name_is_said_however_it_is_written() {
        let long = "n".repeat(63);
        let array = format!("'_{}'", "n".repeat(62));
        let (kelvins, their_array) = ("\u{212a}".repeat(21), format!("_{}", "\u{212a}".repeat(20)));
        for (name, text) in [
            ("t", "NULL::T[]"),
            ("t", "'pg_temp_3.\"t\"'::regclass"),
            ("t", "'_t'::regtype"),
            ("a\"b c", "'\"a\"\"b c\"'::regclass"),
            ("A$b", "a$b"),
            (&long, &array),
            (&kelvins, &their_array),
            ("É", "'É'"),
        ] {
            let said = Said {
                words: words(text).collect(),
                ..Said::default()
            };
            let name: Vec<String> = words(name).collect();
            assert!(said.says(&name), "{name:?} in {text}");
        }
        let said = Said {
            words: words("SELECT ta, t_b FROM x").collect(),
            ..Said::default()
        };
        assert!(!said.says(&["t".to_owned()]));
        // What has no word is nobody's until signs are quoted.
        assert!(!said.says(&[]));
        let quotes_signs = true;
        assert!(Said { quotes_signs, ..said }.says(&[]));
    }
}
