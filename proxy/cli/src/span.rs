//! Durations as people write them: `90s`, `15m`, `1h`, `1h30m`, `2d`. Kept in whole seconds.

use std::str::FromStr;

/// The longest lease that can be asked for; the configuration may set a shorter bound.
const TTL_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// A lease's wished life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl {
    /// Whole seconds, at least one.
    pub(crate) seconds: u64,
}

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration; write 90s, 15m, 1h or 1h30m");
        let mut seconds = 0u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let count: u64 = rest
                .get(..digits)
                .unwrap_or_default()
                .parse()
                .map_err(|_| wrong())?;
            let mut after = rest.get(digits..).unwrap_or_default().chars();
            let unit = match after.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 24 * 3600,
                _ => return Err(wrong()),
            };
            seconds = count
                .checked_mul(unit)
                .and_then(|part| seconds.checked_add(part))
                .ok_or_else(wrong)?;
            rest = after.as_str();
        }
        match seconds {
            0 => Err(wrong()),
            1..=TTL_SECONDS_MAX => Ok(Self { seconds }),
            _ => Err(format!("`{text}` is longer than a lease may last (7d)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("1h30m", 5400),
            ("7d", 604_800),
        ] {
            assert_eq!(text.parse(), Ok(Ttl { seconds }), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "0s",
            "15",
            "m",
            "-5m",
            "1.5h",
            "15 m",
            "1w",
            "8d",
            "99999999999999999999s",
            "5m!",
            "１m",
        ] {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }
}
