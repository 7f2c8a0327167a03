//! Latencies in HDR histograms, from 1 µs to one minute at three digits.
//!
//! In an open loop the clock of a statement starts when it was due, not when a connection was free for it, so a stall shows in
//! every statement that it delayed.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::failure::Failure;

const LOW_NS: u64 = 1_000;
const HIGH_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

/// p50, p99, p99.9 and the longest, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// Half are faster.
    pub p50_us: f64,
    /// One in a hundred is slower.
    pub p99_us: f64,
    /// One in a thousand is slower.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Latency {
    /// Without values.
    pub fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(LOW_NS, HIGH_NS, DIGITS)
            .map(Self)
            .map_err(|error| Failure::new(error.to_string()))
    }

    /// Adds one; what is out of bounds counts as the bound.
    pub fn record(&mut self, took: Duration) {
        self.0
            .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(HIGH_NS));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.0
            .add(&other.0)
            .map_err(|error| Failure::new(error.to_string()))
    }

    /// What a table shows.
    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
        }
    }
}

/// Writes histograms as an HdrHistogram interval log, one interval a path, tagged with its name.
pub fn write_log(path: &Path, began: SystemTime, all: &[(String, Duration, Latency)]) -> Result<(), Failure> {
    let wrong = |error: String| Failure::new(error).during("writing the latency log");
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("linegate-loadtest, nanoseconds")
        .with_start_time(began)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|error| wrong(format!("{error:?}")))?;
    let mut at = Duration::ZERO;
    for (name, length, latency) in all {
        let plain: String = name
            .chars()
            .map(|letter| {
                if letter.is_whitespace() || letter == ',' {
                    '_'
                } else {
                    letter
                }
            })
            .collect();
        log.write_histogram(&latency.0, at, *length, Tag::new(&plain))
            .map_err(|error| wrong(format!("{error:?}")))?;
        at += *length;
    }
    let mut file = std::fs::File::create(path)?;
    Ok(file.write_all(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_back_to_three_digits() {
        let mut latency = Latency::new().expect("fixed bounds");
        (1..=1000).for_each(|ms| latency.record(Duration::from_millis(ms)));
        let found = latency.quantiles();
        for (found, expected) in [
            (found.p50_us, 500e3),
            (found.p99_us, 990e3),
            (found.max_us, 1000e3),
        ] {
            assert!(
                (found / expected - 1.0).abs() < 0.002,
                "{found} is not {expected}"
            );
        }
        latency.record(Duration::from_secs(3600));
        assert!(
            latency.quantiles().max_us >= 6e7 * 0.999,
            "beyond the bound counts as the bound"
        );
    }

    #[test]
    fn a_log_names_each_path() {
        let mut latency = Latency::new().expect("fixed bounds");
        latency.record(Duration::from_micros(250));
        let path = std::env::temp_dir().join(format!("linegate-loadtest-{}.hlog", std::process::id()));
        let all = [("two words".to_owned(), Duration::from_secs(1), latency)];
        write_log(&path, SystemTime::UNIX_EPOCH, &all).expect("a temporary file");
        let text = std::fs::read_to_string(&path).expect("just written");
        std::fs::remove_file(&path).expect("just written");
        assert!(
            text.contains("Tag=two_words,") && text.contains("StartTime"),
            "{text}"
        );
    }
}
