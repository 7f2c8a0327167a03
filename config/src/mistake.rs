//! What is wrong with a configuration: all of it at once, each with its place, the line's text and a hint.
//!
//! Passwords must not reach a terminal or a log by way of a mistake: a line that may hold one is named but not shown.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// The longest source line that is shown, characters.
const EXCERPT_CHARS_MAX: usize = 160;

/// Words that make a line one that may hold a secret.
const SECRET_WORDS: &[&str] = &["pass", "pwd", "secret", "credential", "plain:"];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Line, from 1; 0 when the file itself is the mistake.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The line's text; `None` where it may hold a secret.
    pub excerpt: Option<String>,
    /// How many characters of the excerpt, from `column`, the mistake is about.
    pub marked: u32,
}

/// Everything that is wrong with one configuration, in file order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    /// What the file is called in messages.
    pub path: String,
    /// The mistakes.
    pub mistakes: Vec<Mistake>,
}

impl Mistakes {
    /// A file that could not be read at all.
    pub(crate) fn unreadable(path: &str, what: String, hint: Option<&str>) -> Self {
        let mistake = Mistake {
            line: 0,
            column: 0,
            what,
            hint: hint.map(str::to_owned),
            excerpt: None,
            marked: 0,
        };
        Self {
            path: path.to_owned(),
            mistakes: vec![mistake],
        }
    }
}

impl fmt::Display for Mistakes {
    /// One block per mistake, `linegate.toml:12:5: what`, the line, the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match mistake.line {
                0 => write!(f, "{}: {}", self.path, mistake.what)?,
                line => write!(f, "{}:{line}:{}: {}", self.path, mistake.column, mistake.what)?,
            }
            if let Some(excerpt) = &mistake.excerpt {
                let width = mistake.line.to_string().len();
                let (before, marked) = (mistake.column as usize - 1, mistake.marked.max(1) as usize);
                // Tabs stay tabs, so that the marks stand under what they mark.
                let indent: String = excerpt
                    .chars()
                    .take(before)
                    .map(|one| if one == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(
                    f,
                    "\n  {} | {excerpt}\n  {:width$} | {indent}{}",
                    mistake.line,
                    "",
                    "^".repeat(marked)
                )?;
            }
            if let Some(hint) = &mistake.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// How much of a line a mistake may show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// The line.
    Line,
    /// The line up to the key; the value is not what the mistake is about.
    Key,
    /// Nothing: the value may be a secret.
    Nothing,
}

/// Makes a mistake about `span`, a range of bytes of `text`.
pub(crate) fn at(text: &str, span: Range<usize>, show: Show, what: String, hint: Option<String>) -> Mistake {
    let start = floor_char_boundary(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..]
        .split('\n')
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r');
    let marked_end = span.end.clamp(start, (line_start + line.len()).max(start));
    let marked_end = floor_char_boundary(text, marked_end);
    let shown = match show {
        _ if may_hold_a_secret(line) => None,
        Show::Nothing => None,
        Show::Line => Some(line.to_owned()),
        Show::Key => Some(match line.get(..marked_end - line_start) {
            Some(key) if key.len() < line.len() => format!("{key} …"),
            _ => line.to_owned(),
        }),
    };
    let column = text[line_start..start].chars().count() as u32 + 1;
    Mistake {
        line: text[..line_start].bytes().filter(|byte| *byte == b'\n').count() as u32 + 1,
        column,
        what,
        hint,
        // A mark past the excerpt's end would point at nothing.
        excerpt: shown
            .filter(|_| (column as usize) < EXCERPT_CHARS_MAX)
            .map(|line| line.chars().take(EXCERPT_CHARS_MAX).collect()),
        marked: (text[start..marked_end].chars().count() as u32)
            .min(EXCERPT_CHARS_MAX as u32 - column.min(EXCERPT_CHARS_MAX as u32)),
    }
}

/// The nearest character boundary at or before `index`.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

fn may_hold_a_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| line.contains(word))
}

/// A value as a message may quote it: on one line, in backticks, at most 60 characters.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(60).flat_map(char::escape_debug).collect();
    if value.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// `a`, `b` and `c`.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}

/// The word that was probably meant: near enough that a slip of the fingers explains the difference.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > 64 {
        return None; // no slip of ours, and the table below grows with it
    }
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let slips_max = (typed.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|word| (slips(&typed, &word.to_ascii_lowercase().replace('-', "_")), word))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// Optimal string alignment: insertions, removals, changes and swaps of neighbours between two words.
fn slips(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (row, from) in left.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let change = rows[row][column] + usize::from(from != to);
            let mut best = change.min(rows[row][column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to {
                best = best.min(rows[row - 1][column - 1] + 1);
            }
            next.push(best);
        }
        rows.push(next);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_forgives_slips_and_nothing_more() {
        let known = ["listen", "address", "tls_ca", "record", "redact"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("ilsten", known), Some("listen"));
        assert_eq!(nearest("Listen", known), Some("listen"));
        assert_eq!(nearest("tls-ca", known), Some("tls_ca"));
        assert_eq!(nearest("recrod", known), Some("record"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }

    #[test]
    fn a_place_is_counted_in_characters() {
        let text = "a = 1\r\nä = 'é' # x\n";
        let from = text.find("'é'").unwrap();
        let mistake = at(text, from..from + 4, Show::Line, "w".into(), None);
        assert_eq!((mistake.line, mistake.column, mistake.marked), (2, 5, 3));
        assert_eq!(mistake.excerpt.as_deref(), Some("ä = 'é' # x"));
        let end = at(text, text.len()..text.len(), Show::Line, "w".into(), None);
        assert_eq!((end.line, end.column, end.marked), (3, 1, 0));
    }

    #[test]
    fn a_long_line_is_cut_and_a_secret_one_withheld() {
        let long = format!("x = '{}'", "y".repeat(1000));
        let mistake = at(&long, 4..1006, Show::Line, "w".into(), None);
        assert_eq!(
            mistake.excerpt.map(|line| line.chars().count()),
            Some(EXCERPT_CHARS_MAX)
        );
        assert!(mistake.marked as usize <= EXCERPT_CHARS_MAX);
        assert_eq!(
            at("PASSWORD = 'x'", 0..8, Show::Line, "w".into(), None).excerpt,
            None
        );
        let key = at("tokn = 'abc'", 0..4, Show::Key, "w".into(), None);
        assert_eq!(key.excerpt.as_deref(), Some("tokn …"));
    }
}
