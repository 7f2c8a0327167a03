//! Time as policies see it: UTC, to the minute, so that rules can name hours and days.
//!
//! Source: ISO 8601 (weekdays); the Unix epoch was a Thursday. A decision that a rule about time may have coloured is good
//! until its minute ends and no longer, see `Subject::valid_until`.

use linegate_identity::UnixMillis;

const MINUTE_MS: u64 = 60_000;
const MINUTES_PER_DAY: u64 = 24 * 60;

/// Days by their names in policies, from the day of the Unix epoch on.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
];

/// One minute, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Whole minutes since the Unix epoch.
    minutes: u64,
}

impl Moment {
    /// The minute that holds `now`.
    pub const fn of(now: UnixMillis) -> Self {
        Self {
            minutes: now.0 / MINUTE_MS,
        }
    }

    /// Whole minutes since the Unix epoch.
    pub const fn minutes(self) -> u64 {
        self.minutes
    }

    /// When the next minute starts.
    pub const fn ends_at(self) -> UnixMillis {
        UnixMillis(self.minutes.saturating_add(1).saturating_mul(MINUTE_MS))
    }

    /// 0 to 23.
    pub const fn hour(self) -> i64 {
        self.minute_of_day() / 60
    }

    /// 0 to 1439.
    pub const fn minute_of_day(self) -> i64 {
        (self.minutes % MINUTES_PER_DAY).cast_signed()
    }

    /// `monday` to `sunday`.
    pub const fn weekday(self) -> &'static str {
        WEEKDAYS[(self.minutes / MINUTES_PER_DAY % 7) as usize] // below 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_are_those_of_the_calendar() {
        // 2026-11-21 was a Saturday; 16:04:06 UTC.
        let moment = Moment::of(UnixMillis(1_795_277_046_000));
        assert_eq!((moment.weekday(), moment.hour()), ("saturday", 16));
        assert_eq!(moment.minute_of_day(), 16 * 60 + 4);
        assert_eq!(moment.ends_at(), UnixMillis(1_795_277_100_000));
        let epoch = Moment::of(UnixMillis(0));
        assert_eq!((epoch.weekday(), epoch.minute_of_day()), ("thursday", 0));
        assert!(
            Moment::of(UnixMillis(u64::MAX)).ends_at().0 > 0,
            "the last minute has an end"
        );
    }
}
