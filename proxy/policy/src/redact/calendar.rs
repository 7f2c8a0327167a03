//! Dates and moments, taken back to the first day of their month or year.
//! Source: PostgreSQL manual, "Date/Time Types" and "Date/Time Output" (the ISO style); `date_send`, `timestamp_send`.
//! Shape: a binary date is days i32, a timestamp microseconds i64, both from 2000-01-01, in UTC where there is a zone.
//! In text: `YYYY-MM-DD[ HH:MM:SS[.ffffff][±HH[:MM[:SS]]]][ BC]`, the year with four digits or more.
//!
//! A timestamptz is taken back in UTC, in both formats, and its text says so: the session's offset would tell summer from
//! winter. Another date style, infinity and what is no date have no redaction but NULL.

use std::io::Write;

use super::action::{Form, Kind};
use super::spec::DateUnit;

const DAY_SECONDS: i64 = 86_400;
const DAY_MICROS: i64 = DAY_SECONDS * 1_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// A day of the proleptic Gregorian calendar; the year before 1 is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    year: i64,
    month: u8,
    day: u8,
}

impl Day {
    /// The day that lies so many days after 1970-01-01.
    ///
    /// Years are counted from the first of March, so that the leap day is the last, in eras of 400 years.
    fn from_days(days: i64) -> Self {
        let days = days + 719_468; // from 0000-03-01
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        // Both are small: 1 to 31 and 1 to 12.
        let day = (of_year - (153 * shifted + 2) / 5 + 1) as u8;
        let month = (if shifted < 10 { shifted + 3 } else { shifted - 9 }) as u8;
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day,
        }
    }

    /// Days since 1970-01-01.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let shifted = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * shifted + 2) / 5 + i64::from(self.day) - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * 146_097 + of_era - 719_468
    }

    fn generalised(self, unit: DateUnit) -> Self {
        Self {
            day: 1,
            month: match unit {
                DateUnit::Month => self.month,
                DateUnit::Year => 1,
            },
            ..self
        }
    }
}

/// What a date's text says.
struct Parsed {
    day: Day,
    /// Since midnight.
    seconds: i64,
    /// East of UTC.
    offset_seconds: i64,
}

/// Digits of exactly `count` bytes.
fn number(text: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    });
    *text = rest;
    value
}

fn skip(text: &mut &[u8], what: &[u8]) -> Option<()> {
    *text = text.strip_prefix(what)?;
    Some(())
}

fn parse(kind: Kind, cell: &[u8]) -> Option<Parsed> {
    let mut text = cell;
    let is_bc = text.ends_with(b" BC");
    if is_bc {
        text = &text[..text.len() - 3];
    }
    let year_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=7).contains(&year_digits) {
        return None;
    }
    let year = number(&mut text, year_digits)?;
    skip(&mut text, b"-")?;
    let month = number(&mut text, 2)?;
    skip(&mut text, b"-")?;
    let day = number(&mut text, 2)?;
    if year < 1 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut parsed = Parsed {
        day: Day {
            year: if is_bc { 1 - year } else { year },
            month: month as u8, // both were checked above
            day: day as u8,
        },
        seconds: 0,
        offset_seconds: 0,
    };
    if kind != Kind::Date {
        skip(&mut text, b" ")?;
        parsed.seconds = clock(&mut text)?;
        if text.first() == Some(&b'.') {
            let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            text = &text[1 + digits..];
        }
    }
    if kind == Kind::TimestampTz {
        let sign = match text.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        text = &text[1..];
        let mut seconds = number(&mut text, 2)? * 3600;
        for unit in [60, 1] {
            if text.first() == Some(&b':') {
                text = &text[1..];
                seconds += number(&mut text, 2)? * unit;
            }
        }
        parsed.offset_seconds = sign * seconds;
    }
    text.is_empty().then_some(parsed)
}

fn clock(text: &mut &[u8]) -> Option<i64> {
    let hours = number(text, 2)?;
    skip(text, b":")?;
    let minutes = number(text, 2)?;
    skip(text, b":")?;
    Some(hours * 3600 + minutes * 60 + number(text, 2)?)
}

fn write_text(kind: Kind, day: Day, out: &mut Vec<u8>) -> Option<()> {
    let (year, era) = if day.year < 1 {
        (1 - day.year, " BC")
    } else {
        (day.year, "")
    };
    let time = match kind {
        Kind::Date => "",
        Kind::Timestamp => " 00:00:00",
        _ => " 00:00:00+00",
    };
    write!(out, "{year:04}-{:02}-{:02}{time}{era}", day.month, day.day).ok()
}

fn write_binary(kind: Kind, day: Day, out: &mut Vec<u8>) -> Option<()> {
    let days = day.days() - EPOCH_DAYS;
    if kind == Kind::Date {
        out.extend_from_slice(&i32::try_from(days).ok()?.to_be_bytes());
    } else {
        out.extend_from_slice(&days.checked_mul(DAY_MICROS)?.to_be_bytes());
    }
    Some(())
}

fn read(form: Form, cell: &[u8]) -> Option<Day> {
    if !form.is_binary {
        let parsed = parse(form.kind, cell)?;
        if form.kind != Kind::TimestampTz {
            return Some(parsed.day);
        }
        let seconds = parsed.day.days() * DAY_SECONDS + parsed.seconds - parsed.offset_seconds;
        return Some(Day::from_days(seconds.div_euclid(DAY_SECONDS)));
    }
    let days = if form.kind == Kind::Date {
        let days = i32::from_be_bytes(cell.try_into().ok()?);
        if matches!(days, i32::MIN | i32::MAX) {
            return None; // ∓infinity
        }
        i64::from(days)
    } else {
        let micros = i64::from_be_bytes(cell.try_into().ok()?);
        if matches!(micros, i64::MIN | i64::MAX) {
            return None;
        }
        micros.div_euclid(DAY_MICROS)
    };
    Some(Day::from_days(days + EPOCH_DAYS))
}

/// A day in ISO style, from days since 2000-01-01 as binary dates count them.
pub fn iso_date(days: i64) -> String {
    let day = Day::from_days(days.saturating_add(EPOCH_DAYS));
    let mut text = Vec::new();
    let _ = write_text(Kind::Date, day, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Appends the first day of the month or year.
pub fn generalise(form: Form, unit: DateUnit, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let day = read(form, cell)?.generalised(unit);
    if form.is_binary {
        write_binary(form.kind, day, out)
    } else {
        write_text(form.kind, day, out)
    }
}

/// Appends a constant of one of the three types, written in the ISO style: a day, with or without a time and an offset.
pub fn constant(form: Form, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let kinds = [Kind::Date, Kind::Timestamp, Kind::TimestampTz];
    let parsed = kinds.iter().find_map(|kind| parse(*kind, text))?;
    if Day::from_days(parsed.day.days()) != parsed.day || parsed.seconds >= DAY_SECONDS {
        return None; // a day that its month does not have
    }
    let seconds = parsed.day.days() * DAY_SECONDS + parsed.seconds - parsed.offset_seconds;
    if seconds.rem_euclid(DAY_SECONDS) != 0 {
        return None; // a constant is a day
    }
    let day = Day::from_days(seconds.div_euclid(DAY_SECONDS));
    if form.is_binary {
        write_binary(form.kind, day, out)
    } else {
        write_text(form.kind, day, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_iso_style() {
        for (days, text) in [
            (0, "2000-01-01"),
            (-1, "1999-12-31"),
            (59, "2000-02-29"),
            (-730_485, "0001-01-01 BC"),
        ] {
            assert_eq!(iso_date(days), text);
        }
    }

    #[test]
    fn days_and_dates_agree_over_all_years() {
        assert_eq!(
            Day::from_days(0),
            Day {
                year: 1970,
                month: 1,
                day: 1
            }
        );
        assert_eq!(
            Day::from_days(EPOCH_DAYS),
            Day {
                year: 2000,
                month: 1,
                day: 1
            }
        );
        assert_eq!(
            Day::from_days(EPOCH_DAYS + 59),
            Day {
                year: 2000,
                month: 2,
                day: 29
            }
        );
        for days in (-2_500_000..110_000_000).step_by(997) {
            assert_eq!(Day::from_days(days).days(), days);
        }
    }

    #[test]
    fn text_is_taken_back_and_stays_a_date() {
        let check = |kind, unit, text: &str, expected: Option<&str>| {
            let form = Form {
                kind,
                is_binary: false,
            };
            let mut out = Vec::new();
            let written = generalise(form, unit, text.as_bytes(), &mut out);
            let given = written.map(|()| String::from_utf8(out).expect("ASCII"));
            assert_eq!(given.as_deref(), expected, "{text}");
        };
        let (year, month) = (DateUnit::Year, DateUnit::Month);
        check(Kind::Date, year, "1984-07-21", Some("1984-01-01"));
        check(Kind::Date, month, "1984-07-21", Some("1984-07-01"));
        check(Kind::Date, year, "0044-03-15 BC", Some("0044-01-01 BC"));
        check(Kind::Date, year, "5874897-12-31", Some("5874897-01-01"));
        check(
            Kind::Timestamp,
            month,
            "1984-07-21 13:14:15.123456",
            Some("1984-07-01 00:00:00"),
        );
        check(
            Kind::Timestamp,
            year,
            "1984-07-21 24:00:00",
            Some("1984-01-01 00:00:00"),
        );
        check(
            Kind::TimestampTz,
            month,
            "1984-07-01 01:00:00+02",
            Some("1984-06-01 00:00:00+00"),
        );
        check(
            Kind::TimestampTz,
            year,
            "1984-12-31 22:00:00-03:30",
            Some("1985-01-01 00:00:00+00"),
        );
        check(
            Kind::TimestampTz,
            year,
            "1800-07-21 00:00:00+00:53:28",
            Some("1800-01-01 00:00:00+00"),
        );
        check(
            Kind::TimestampTz,
            year,
            "0001-07-21 00:00:00+00 BC",
            Some("0001-01-01 00:00:00+00 BC"),
        );
        for odd in [
            "infinity",
            "-infinity",
            "21/07/1984",
            "07-21-1984",
            "1984-07-21x",
            "1984-7-21",
            "",
            "0000-01-01",
        ] {
            check(Kind::Date, year, odd, None);
        }
        for odd in [
            "Sat Jul 21 13:14:15 1984",
            "1984-07-21",
            "1984-07-21 13:14:15.",
            "1984-07-21 13:14:15+02",
        ] {
            check(Kind::Timestamp, year, odd, None);
        }
        check(Kind::TimestampTz, year, "1984-07-21 13:14:15 CEST", None);
        check(Kind::TimestampTz, year, "1984-07-21 13:14:15", None);
    }

    #[test]
    fn binary_says_the_same_as_text() {
        let texts = [
            "1984-07-21 23:59:59.5+00",
            "0001-03-01 00:00:00+00 BC",
            "294276-12-31 23:00:00+00",
            "2000-01-01 00:00:00+00",
        ];
        for text in texts {
            let parsed = parse(Kind::TimestampTz, text.as_bytes()).expect("a moment");
            let days = parsed.day.days() - EPOCH_DAYS;
            let micros = days * DAY_MICROS + parsed.seconds * 1_000_000;
            for unit in [DateUnit::Month, DateUnit::Year] {
                let (mut out, mut wanted) = (Vec::new(), Vec::new());
                let form = |is_binary| Form {
                    kind: Kind::TimestampTz,
                    is_binary,
                };
                generalise(form(true), unit, &micros.to_be_bytes(), &mut out).expect("a moment");
                generalise(form(false), unit, text.as_bytes(), &mut wanted).expect("a moment");
                let given = i64::from_be_bytes(out.try_into().expect("8 bytes")) / DAY_MICROS;
                let wanted = parse(Kind::TimestampTz, &wanted).expect("a moment").day.days() - EPOCH_DAYS;
                assert_eq!(given, wanted, "{text}");
                let (mut out, form) = (
                    Vec::new(),
                    Form {
                        kind: Kind::Date,
                        is_binary: true,
                    },
                );
                generalise(form, unit, &(days as i32).to_be_bytes(), &mut out).expect("a day");
                assert_eq!(
                    i64::from(i32::from_be_bytes(out.try_into().expect("4 bytes"))),
                    wanted
                );
            }
        }
        for kind in [Kind::Date, Kind::Timestamp, Kind::TimestampTz] {
            let form = Form {
                kind,
                is_binary: true,
            };
            let ends: [&[u8]; 4] = [
                &[0x7f, 255, 255, 255, 255, 255, 255, 255],
                &[128, 0, 0, 0, 0, 0, 0, 0],
                &[1],
                &[],
            ];
            for end in ends {
                let end = if kind == Kind::Date {
                    &end[..end.len().min(4)]
                } else {
                    end
                };
                assert_eq!(
                    generalise(form, DateUnit::Year, end, &mut Vec::new()),
                    None,
                    "{end:?}"
                );
            }
        }
        let form = Form {
            kind: Kind::Timestamp,
            is_binary: true,
        };
        assert_eq!(
            generalise(
                form,
                DateUnit::Year,
                &(i64::MIN + 1).to_be_bytes(),
                &mut Vec::new()
            ),
            None,
            "no moment so early"
        );
    }
}
