//! Outcomes as people and as programs read them: a Markdown table, and JSON lines.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::failure::Failure;
use crate::rounds::Outcome;

/// The unit of work of a table, and how its figures are shown.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Work per second.
    pub rate: &'static str,
    /// Divides work per second for display.
    pub rate_scale: f64,
    /// CPU per work.
    pub cpu: &'static str,
    /// Multiplies CPU seconds per unit of work for display.
    pub cpu_scale: f64,
}

/// Gigabytes (10^9 bytes).
pub const GIGABYTES: Unit = Unit {
    rate: "GB/s",
    rate_scale: 1.0,
    cpu: "CPU-s/GB",
    cpu_scale: 1.0,
};
/// Statements.
pub const STATEMENTS: Unit = Unit {
    rate: "thousand/s",
    rate_scale: 1e3,
    cpu: "CPU-s/million",
    cpu_scale: 1e6,
};
/// Sessions.
pub const SESSIONS: Unit = Unit {
    rate: "sessions/s",
    rate_scale: 1.0,
    cpu: "CPU-µs/session",
    cpu_scale: 1e6,
};

/// The middle value; of an even number, the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 {
        upper
    } else {
        (sorted[middle - 1] + upper) / 2.0
    })
}

fn range(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    Some((low, high))
}

/// A table, direct first.
pub fn markdown(title: &str, unit: Unit, outcomes: &[Outcome]) -> String {
    let latencies = outcomes.iter().any(|outcome| outcome.latency.is_some());
    let mut text = format!(
        "**{title}**\n\n| path | {} | ratio to direct (range) | {} |",
        unit.rate, unit.cpu
    );
    text.push_str(if latencies {
        " p50 µs | p99 µs | p99.9 µs | added p50 µs | note |\n"
    } else {
        " note |\n"
    });
    text.push_str("|---|---|---|---|");
    text.push_str(if latencies {
        "---|---|---|---|---|\n"
    } else {
        "---|\n"
    });
    let direct_p50 = outcomes
        .first()
        .and_then(Outcome::quantiles)
        .map(|quantiles| quantiles.p50_us);
    for (index, outcome) in outcomes.iter().enumerate() {
        let rate = median(&outcome.rates).map_or("–".into(), |rate| digits(rate / unit.rate_scale));
        let ratio = match (median(&outcome.ratios), range(&outcome.ratios)) {
            (Some(middle), Some((low, high))) => format!("{middle:.3} ({low:.3}–{high:.3})"),
            _ => "–".into(),
        };
        let cpu = outcome
            .cpu_per_work
            .map_or("–".into(), |cpu| digits(cpu * unit.cpu_scale));
        text.push_str(&format!("| {} | {rate} | {ratio} | {cpu} |", outcome.path));
        if latencies {
            match outcome.quantiles() {
                Some(found) => {
                    let added = direct_p50
                        .filter(|_| index > 0)
                        .map_or("–".into(), |direct| format!("{:+.0}", found.p50_us - direct));
                    text.push_str(&format!(
                        " {:.0} | {:.0} | {:.0} | {added} |",
                        found.p50_us, found.p99_us, found.p999_us
                    ));
                }
                None => text.push_str(" – | – | – | – |"),
            }
        }
        text.push_str(&format!(
            " {} |\n",
            outcome.note.as_deref().unwrap_or("").replace('|', "/")
        ));
    }
    text
}

/// Three significant digits where there are decimals.
pub fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Appends one JSON object a path.
pub fn append_json(
    path: &Path,
    workload: &str,
    title: &str,
    unit: Unit,
    outcomes: &[Outcome],
) -> Result<(), Failure> {
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut lines = String::new();
    for outcome in outcomes {
        let quantiles = outcome.quantiles();
        let line = json!({
            "at": at,
            "workload": workload,
            "title": title,
            "path": outcome.path,
            "rate_unit": unit.rate,
            "rates": outcome.rates.iter().map(|rate| rate / unit.rate_scale).collect::<Vec<_>>(),
            "ratios": outcome.ratios,
            "ratio_median": median(&outcome.ratios),
            "cpu_unit": unit.cpu,
            "cpu": outcome.cpu_per_work.map(|cpu| cpu * unit.cpu_scale),
            "bytes": outcome.bytes,
            "rows": outcome.rows,
            "p50_us": quantiles.map(|found| found.p50_us),
            "p99_us": quantiles.map(|found| found.p99_us),
            "p999_us": quantiles.map(|found| found.p999_us),
            "max_us": quantiles.map(|found| found.max_us),
            "note": outcome.note,
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    append(path, &lines)
}

/// Appends text to a file.
pub fn append(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;

    /// An outcome for tables and plots.
    pub fn outcome(path: &str, ratios: &[f64], cpu: Option<f64>) -> Outcome {
        Outcome {
            path: path.into(),
            rates: vec![1.5],
            ratios: ratios.to_vec(),
            cpu_per_work: cpu,
            latency: None,
            length: Duration::from_secs(1),
            bytes: 10,
            rows: 1,
            note: None,
        }
    }

    #[test]
    fn a_table_shows_median_and_range() {
        let outcomes = [
            outcome("direct", &[], None),
            outcome("path", &[0.9, 0.7, 0.8], Some(0.3)),
        ];
        let text = markdown("narrow", GIGABYTES, &outcomes);
        assert!(text.contains("| direct | 1.50 | – | – |  |"), "{text}");
        assert!(
            text.contains("| path | 1.50 | 0.800 (0.700–0.900) | 0.300 |  |"),
            "{text}"
        );
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
