//! `redact` and `paths` of a label: how a cell is redacted, and which values of a document.

use std::fmt;
use std::num::NonZeroU64;

use crate::mistake::quoted;
use crate::section::Wrong;

/// The longest constant, bytes.
const CONSTANT_BYTES_MAX: usize = 1024;
/// The largest step of rounding.
const STEP_MAX: u64 = 1_000_000_000_000_000;
/// Most digits that stay at the start and at the end.
const FIRST_MAX: u8 = 6;
const LAST_MAX: u8 = 4;
/// Most steps of a path.
const STEPS_MAX: usize = 64;
/// The step that means every element.
const EVERY: &str = "[*]";

/// How a labelled cell is redacted. A cell of a type that cannot hold the redaction becomes NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redact {
    /// Every byte becomes `*`.
    Blank,
    /// As blank, but up to so many characters at the end stay readable, 1 to 8.
    KeepLast(u8),
    /// As blank, but the domain of a mail address stays readable.
    KeepDomain,
    /// Digits become other digits with a valid check digit; these many at the start and at the end stay, 0 to 6 and 0 to 4.
    Digits {
        /// At the start.
        first: u8,
        /// At the end.
        last: u8,
    },
    /// Dates become the first of January of their year.
    DateYear,
    /// Dates become the first day of their month.
    DateMonth,
    /// Numbers go down, towards zero, to a multiple, 2 or more.
    Round(NonZeroU64),
    /// The value becomes a token that is the same for the same value.
    Pseudonym,
    /// The value becomes this text, at most 1024 bytes.
    Constant(String),
    /// The value becomes NULL.
    Null,
}

impl Redact {
    /// Whether a value inside a document can be redacted like this.
    pub fn fits_paths(&self) -> bool {
        matches!(
            self,
            Self::Blank | Self::Pseudonym | Self::Constant(_) | Self::Null
        )
    }
}

impl fmt::Display for Redact {
    /// As the configuration spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::KeepLast(last) => write!(f, "keep-last-{last}"),
            Self::KeepDomain => f.write_str("keep-domain"),
            Self::Digits { first, last } => {
                f.write_str("digits")?;
                if *first > 0 {
                    write!(f, ":keep-first-{first}")?;
                }
                if *last > 0 {
                    write!(f, ":keep-last-{last}")?;
                }
                Ok(())
            }
            Self::DateYear => f.write_str("date:year"),
            Self::DateMonth => f.write_str("date:month"),
            Self::Round(step) => write!(f, "round:{step}"),
            Self::Pseudonym => f.write_str("pseudonym"),
            Self::Constant(text) => write!(f, "constant:{text}"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// How a cell is redacted.
pub(crate) fn redact(text: &str) -> Result<Redact, Wrong> {
    let (kind, argument) = match text.split_once(':') {
        Some((kind, argument)) => (kind, Some(argument)),
        None => (text, None),
    };
    match (kind, argument) {
        ("blank", None) => Ok(Redact::Blank),
        ("null", None) => Ok(Redact::Null),
        ("keep-domain", None) => Ok(Redact::KeepDomain),
        ("pseudonym", None) => Ok(Redact::Pseudonym),
        ("digits", None) => Ok(Redact::Digits { first: 0, last: 0 }),
        ("digits", Some(kept)) => digits(text, kept),
        ("date", Some("year")) => Ok(Redact::DateYear),
        ("date", Some("month")) => Ok(Redact::DateMonth),
        ("date", _) => Err(Wrong::new(
            format!("{} does not say what of a date stays", quoted(text)),
            "`date:year` or `date:month`",
        )),
        ("round", step) => round(text, step.unwrap_or_default()),
        ("constant", Some(constant)) => self::constant(constant),
        ("constant", None) => Err(Wrong::new(
            "`constant` names no text",
            "write it behind a colon, such as `constant:hidden`",
        )),
        ("blank" | "null" | "keep-domain" | "pseudonym", Some(_)) => Err(Wrong::new(
            format!("{} has something behind `{kind}`", quoted(text)),
            format!("write `{kind}` alone"),
        )),
        _ => match text.strip_prefix("keep-last-").map(str::parse::<u8>) {
            Some(Ok(last @ 1..=8)) => Ok(Redact::KeepLast(last)),
            Some(_) => Err(Wrong::new(
                format!("{} keeps an impossible number of characters", quoted(text)),
                "`keep-last-1` to `keep-last-8`",
            )),
            None => Err(Wrong::new(
                format!("`redact` cannot be {}", quoted(text)),
                "it can be `blank`, `null`, `keep-last-N` with N from 1 to 8, `keep-domain`, `constant:TEXT`, `pseudonym`, \
                 `digits`, `digits:keep-last-4`, `date:year`, `date:month` or `round:N`",
            )),
        },
    }
}

fn digits(text: &str, kept: &str) -> Result<Redact, Wrong> {
    let wrong = || {
        Wrong::new(
            format!("{} does not say which digits stay", quoted(text)),
            "`digits`, `digits:keep-last-N` with N from 1 to 4, `digits:keep-first-N` with N from 1 to 6, or both, first then \
             last",
        )
    };
    let (mut first, mut last) = (0, 0);
    for part in kept.split(':') {
        let (slot, count, max) = match (part.strip_prefix("keep-first-"), part.strip_prefix("keep-last-")) {
            (Some(count), _) if last == 0 => (&mut first, count, FIRST_MAX),
            (_, Some(count)) => (&mut last, count, LAST_MAX),
            _ => return Err(wrong()),
        };
        let count = count.parse().ok().filter(|count| (1..=max).contains(count));
        match count {
            Some(count) if *slot == 0 => *slot = count,
            _ => return Err(wrong()),
        }
    }
    Ok(Redact::Digits { first, last })
}

fn round(text: &str, step: &str) -> Result<Redact, Wrong> {
    let step = step.parse().ok().filter(|step| (2..=STEP_MAX).contains(step));
    step.and_then(NonZeroU64::new).map(Redact::Round).ok_or_else(|| {
        Wrong::new(
            format!("{} names no step to round to", quoted(text)),
            "a whole number from 2 to 1000000000000000, such as `round:1000`",
        )
    })
}

fn constant(constant: &str) -> Result<Redact, Wrong> {
    if constant.len() > CONSTANT_BYTES_MAX || constant.contains('\0') {
        return Err(Wrong::new(
            "the constant is too long or holds a NUL",
            format!("at most {CONSTANT_BYTES_MAX} bytes of text"),
        ));
    }
    Ok(Redact::Constant(constant.to_owned()))
}

/// A place in a document: `$.name.name`, `$.name[*].name`, `$."odd name"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    steps: Vec<String>,
}

impl JsonPath {
    /// Its steps from the document's root: names, and `[*]` for every element of an array; never empty.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A JSON path.
pub(crate) fn json_path(text: &str) -> Result<JsonPath, Wrong> {
    let wrong = |hint: &str| Wrong::new(format!("{} is not a JSON path", quoted(text)), hint);
    let Some(mut rest) = text.strip_prefix('$') else {
        return Err(wrong("it starts at the document, such as `$.home.street`"));
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        if let Some(after) = rest.strip_prefix(EVERY) {
            (step, rest) = (EVERY.to_owned(), after);
        } else if rest.starts_with('[') {
            return Err(wrong(
                "an array's elements are redacted alike: `[*]` is the only index, such as `$.items[*].name`",
            ));
        } else if let Some(after) = rest.strip_prefix(".\"") {
            let Some((name, after)) = after.split_once('"') else {
                return Err(wrong("a double quote is open"));
            };
            (step, rest) = (name.to_owned(), after);
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.contains(|one: char| one.is_whitespace() || "\"*$@?()]".contains(one)) {
                return Err(wrong(
                    "odd names go in double quotes, such as `$.\"home address\"`",
                ));
            }
            (step, rest) = (name.to_owned(), after);
        } else {
            return Err(wrong("such as `$.home.street`"));
        }
        if step.is_empty() {
            return Err(wrong("such as `$.home.street`"));
        }
        if step.parse::<i64>().is_ok() {
            // In a statement it could mean an array's element, and a path must not depend on which.
            return Err(wrong("a number cannot be a name here: end the path above it"));
        }
        steps.push(step);
    }
    match steps.len() {
        0 => Err(wrong("leave `paths` out to redact the whole value")),
        count if count > STEPS_MAX => Err(wrong("it is too deep")),
        _ => Ok(JsonPath {
            text: text.to_owned(),
            steps,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_redaction_reads_as_it_is_written() {
        for text in [
            "blank",
            "null",
            "keep-last-1",
            "keep-last-8",
            "keep-domain",
            "constant:",
            "constant:hidden: by rule",
            "pseudonym",
            "digits",
            "digits:keep-last-4",
            "digits:keep-first-6",
            "digits:keep-first-6:keep-last-4",
            "date:year",
            "date:month",
            "round:2",
            "round:1000000000000000",
        ] {
            let redact = redact(text).map_err(|wrong| wrong.what);
            assert_eq!(redact.map(|redact| redact.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn every_mistake_says_what_would_be_right() {
        let long = format!("constant:{}", "x".repeat(1025));
        for (text, hint) in [
            ("hash", "digits:keep-last-4"),
            ("Blank", "`blank`"),
            ("", "`blank`"),
            ("blank:x", "`blank` alone"),
            ("null:", "`null` alone"),
            ("keep-last-9", "keep-last-8"),
            ("keep-domain:x", "alone"),
            ("constant", "constant:hidden"),
            (long.as_str(), "1024 bytes"),
            ("constant:a\0b", "text"),
            ("digits:", "keep-last-N"),
            ("digits:keep-last-5", "1 to 4"),
            ("digits:keep-last-0", "1 to 4"),
            ("digits:keep-first-7", "1 to 6"),
            ("digits:keep-last-4:keep-first-6", "first then last"),
            ("digits:keep-last-4:keep-last-4", "first then last"),
            ("date", "date:year"),
            ("date:day", "date:month"),
            ("round", "round:1000"),
            ("round:1", "round:1000"),
            ("round:1000000000000001", "round:1000"),
            ("round:-5", "round:1000"),
            ("round:1.5", "round:1000"),
        ] {
            let wrong = redact(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            let given = wrong.hint.unwrap_or_default();
            assert!(given.contains(hint), "{text}: {given}");
        }
    }

    #[test]
    fn paths_are_names_and_every_element() {
        let steps = |text| json_path(text).ok().map(|path| path.steps().join("/"));
        assert_eq!(steps("$.tax_id").as_deref(), Some("tax_id"));
        assert_eq!(steps("$.home.street").as_deref(), Some("home/street"));
        assert_eq!(steps("$.items[*].name").as_deref(), Some("items/[*]/name"));
        assert_eq!(steps("$[*][*]").as_deref(), Some("[*]/[*]"));
        assert_eq!(steps("$.\"a.b c\"[*].größe").as_deref(), Some("a.b c/[*]/größe"));
        for (text, hint) in [
            ("$", "leave `paths` out"),
            ("x", "starts at the document"),
            ("", "starts at the document"),
            ("$.", "such as"),
            ("$x", "such as"),
            ("$..x", "such as"),
            ("$.x.", "such as"),
            ("$.\"\"", "such as"),
            ("$.\"x", "double quote is open"),
            ("$.x[0]", "`[*]` is the only index"),
            ("$.x[*]y", "such as"),
            ("$.x y", "in double quotes"),
            ("$.*", "in double quotes"),
            ("$.a.1.b", "end the path above it"),
            ("$.\"-1\"", "end the path above it"),
            (&format!("${}", ".x".repeat(65)), "too deep"),
        ] {
            let wrong = json_path(text)
                .err()
                .unwrap_or_else(|| panic!("{text} was taken"));
            let given = wrong.hint.unwrap_or_default();
            assert!(given.contains(hint), "{text}: {given}");
        }
    }
}
