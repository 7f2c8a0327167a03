//! What the configuration can ask for, and which of two wishes shows less.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

/// How a cell is redacted, as a label asks for it. What becomes of a cell of some type is `action`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedactSpec {
    /// All but the last so many characters are overwritten.
    KeepLast(u8),
    /// The local part of a mail address is overwritten, its domain stays.
    KeepDomain,
    /// Digits become other digits with a valid check digit; separators stay.
    Digits(Kept),
    /// Dates keep their year, or year and month.
    Date(DateUnit),
    /// Numbers go down, towards zero, to a multiple of the step.
    Round(NonZeroU64),
    /// The value becomes a token that is the same for the same value.
    Pseudonym,
    /// All characters are overwritten.
    Blank,
    /// The value becomes this text.
    Constant(Constant),
    /// The value becomes NULL.
    Null,
}

/// The digits that a format-preserving redaction leaves as they are, as long as enough others are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Digits at the start, at most [`Kept::FIRST_MAX`]: a card's issuer.
    pub first: u8,
    /// Digits at the end, at most [`Kept::LAST_MAX`].
    pub last: u8,
}

impl Kept {
    /// The most digits kept at the start.
    pub const FIRST_MAX: u8 = 6;
    /// The most digits kept at the end.
    pub const LAST_MAX: u8 = 4;
}

/// What a date keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateUnit {
    /// Year and month; the day becomes the first.
    Month,
    /// The year; the day becomes the first of January.
    Year,
}

/// A constant from the configuration. Copies are cheap: a text is kept once, for as long as the process runs, however
/// often a configuration that names it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Constant(&'static str);

impl Constant {
    /// The longest constant, bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Keeps a text; `None` when it is too long or holds a NUL, which no PostgreSQL text can.
    pub fn new(text: &str) -> Option<Self> {
        static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        if text.len() > Self::BYTES_MAX || text.contains('\0') {
            return None;
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get(text) {
            return Some(Self(kept));
        }
        let kept: &'static str = Box::leak(text.into());
        known.insert(kept);
        Some(Self(kept))
    }

    /// Its text.
    pub fn text(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl RedactSpec {
    /// The one that shows less of a value, whatever its type; NULL where neither does.
    ///
    /// Each redaction shows something else: blank a length, a pseudonym which values are equal. So only these are
    /// ordered: NULL shows nothing; a constant shows that there is a value; blank shows no more than what keeps the
    /// length and some characters; and one kind with a stronger parameter shows less than with a weaker one.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        use RedactSpec::{Blank, Constant, Date, Digits, KeepDomain, KeepLast, Null, Round};
        match (self, other) {
            (one, two) if one == two => one,
            (Null, _) | (_, Null) | (Constant(_), Constant(_)) => Null,
            (Constant(text), _) | (_, Constant(text)) => Constant(text),
            (Blank, KeepLast(_) | KeepDomain | Digits(_)) | (KeepLast(_) | KeepDomain | Digits(_), Blank) => {
                Blank
            }
            (KeepLast(one), KeepLast(two)) => KeepLast(one.min(two)),
            (Digits(one), Digits(two)) => Digits(Kept {
                first: one.first.min(two.first),
                last: one.last.min(two.last),
            }),
            (Date(one), Date(two)) => Date(one.max(two)),
            (Round(one), Round(two)) if one.get().is_multiple_of(two.get()) => Round(one),
            (Round(one), Round(two)) if two.get().is_multiple_of(one.get()) => Round(two),
            _ => Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(step: u64) -> RedactSpec {
        RedactSpec::Round(NonZeroU64::new(step).expect("a step"))
    }

    #[test]
    fn the_one_that_shows_less_wins_in_either_order() {
        use RedactSpec::{Blank, Constant as Const, Date, Digits, KeepDomain, KeepLast, Null, Pseudonym};
        let constant = |text| Const(Constant::new(text).expect("short"));
        let digits = |first, last| Digits(Kept { first, last });
        let cases = [
            (KeepLast(4), KeepLast(2), KeepLast(2)),
            (KeepLast(4), Blank, Blank),
            (KeepDomain, Blank, Blank),
            (digits(0, 4), Blank, Blank),
            (digits(6, 0), digits(4, 4), digits(4, 0)),
            (Date(DateUnit::Month), Date(DateUnit::Year), Date(DateUnit::Year)),
            (round(10), round(1000), round(1000)),
            (round(4), round(6), Null),
            (constant("a"), constant("a"), constant("a")),
            (constant("a"), constant("b"), Null),
            (constant("a"), Pseudonym, constant("a")),
            (constant("a"), Blank, constant("a")),
            (constant("a"), Null, Null),
            (Pseudonym, Pseudonym, Pseudonym),
            (Pseudonym, Blank, Null),
            (Pseudonym, digits(0, 0), Null),
            (KeepLast(2), KeepDomain, Null),
            (KeepLast(2), digits(0, 2), Null),
            (Date(DateUnit::Year), Blank, Null),
            (round(10), Date(DateUnit::Year), Null),
            (round(10), KeepLast(1), Null),
            (Null, Blank, Null),
        ];
        for (one, two, expected) in cases {
            assert_eq!(one.stricter(two), expected, "{one:?}, {two:?}");
            assert_eq!(two.stricter(one), expected, "{two:?}, {one:?}");
        }
    }

    #[test]
    fn a_constant_is_kept_once_and_bounded() {
        let one = Constant::new("kept once").expect("short");
        let two = Constant::new(&String::from("kept once")).expect("short");
        assert!(std::ptr::eq(one.text(), two.text()));
        assert_eq!(Constant::new(&"x".repeat(Constant::BYTES_MAX + 1)), None);
        assert!(Constant::new(&"x".repeat(Constant::BYTES_MAX)).is_some());
        assert_eq!(Constant::new("a\0b"), None);
    }
}
