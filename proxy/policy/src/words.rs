//! Words of names and texts, for who asks whether a text may say a name, in whatever case, quotes or dots.

use std::collections::BTreeSet;

/// Bytes of a word that count: the server cuts names, and those of array types shorter still.
const WORD_BYTES_MAX: usize = 60;

/// The words of a text: runs of letters, digits and underscores in lower case, without the underscores that array types have
/// before their elements' names.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let runs = text.split(move |character| !is_part(character));
    runs.map(|run| run.trim_start_matches('_'))
        .filter(|run| !run.is_empty())
        .map(|run| {
            let mut word = run.to_lowercase();
            word.truncate(word.floor_char_boundary(WORD_BYTES_MAX));
            word
        })
}

/// What the words of a definition may mean of what is temporary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Said {
    /// All of them.
    pub words: BTreeSet<String>,
    /// It names a schema of temporary objects, or something in it cannot be told: escapes, strings in pieces.
    pub may_be_temporary: bool,
    /// A string of it is the number of something that somebody made.
    pub has_number: bool,
}

impl Said {
    /// Whether it may say that name: all of the name's words are among its own.
    pub fn says(&self, name: &[String]) -> bool {
        name.iter().all(|word| self.words.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_said_however_it_is_written() {
        let long = "n".repeat(63);
        let array = format!("'_{}'", "n".repeat(62));
        for (name, text) in [
            ("t", "NULL::T[]"),
            ("t", "'pg_temp_3.\"t\"'::regclass"),
            ("t", "'_t'::regtype"),
            ("a\"b c", "'\"a\"\"b c\"'::regclass"),
            ("A$b", "a$b"),
            (&long, &array),
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
    }
}
