//! Rounds of pairs: every sample of a path stands beside a sample of direct, taken in the same round.
//!
//! Machines drift; a ratio inside one pair does not. The first round warms caches and is dropped.

use std::io::Write as _;
use std::time::Duration;

use codecs::postgres::build::frontend as tell;

use crate::client::Client;
use crate::failure::Failure;
use crate::latency::{Latency, Quantiles};
use crate::process::Processes;
use crate::target::Target;

/// What one sample found.
pub struct Sample {
    /// Units of work: gigabytes, statements or sessions.
    pub work: f64,
    /// How long they took.
    pub seconds: f64,
    /// Bytes of the answer, where all samples must agree on them; otherwise 0.
    pub bytes: u64,
    /// Rows of the answer, likewise.
    pub rows: u64,
    /// How long each unit took, where units are counted.
    pub latency: Option<Latency>,
}

/// A sample and what the processes behind the port spent on it.
struct Measured {
    sample: Sample,
    cpu_seconds: Option<f64>,
}

/// How samples are compared.
#[derive(Clone, Copy, Debug)]
pub struct Pairing {
    /// Pairs that are kept.
    pub pairs: u32,
    /// Accept answers of other lengths as long as their rows are as many: NULL for a value changes the length.
    pub lengths_may_differ: bool,
}

/// What all pairs of one path came to.
pub struct Outcome {
    /// The path's name.
    pub path: String,
    /// Work per second, one a pair.
    pub rates: Vec<f64>,
    /// Work per second to direct's, one a pair; none for direct itself.
    pub ratios: Vec<f64>,
    /// CPU seconds of what listens there, per unit of work.
    pub cpu_per_work: Option<f64>,
    /// All pairs' latencies together.
    pub latency: Option<Latency>,
    /// Time that all kept samples took together.
    pub length: Duration,
    /// Bytes and rows of one sample.
    pub bytes: u64,
    /// See `bytes`.
    pub rows: u64,
    /// What a reader must know: why there are no figures, or that lengths differ.
    pub note: Option<String>,
}

impl Outcome {
    fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            rates: Vec::new(),
            ratios: Vec::new(),
            cpu_per_work: None,
            latency: None,
            length: Duration::ZERO,
            bytes: 0,
            rows: 0,
            note: None,
        }
    }

    /// Whether there are figures.
    pub fn is_measured(&self) -> bool {
        !self.rates.is_empty()
    }

    /// Quantiles of all pairs.
    pub fn quantiles(&self) -> Option<Quantiles> {
        self.latency.as_ref().map(Latency::quantiles)
    }
}

/// Sums of one path while rounds go on.
struct Sums {
    outcome: Outcome,
    work: f64,
    cpu_seconds: Option<f64>,
}

impl Sums {
    fn new(path: &str) -> Self {
        Self {
            outcome: Outcome::new(path),
            work: 0.0,
            cpu_seconds: Some(0.0),
        }
    }

    fn take(&mut self, measured: &Measured) -> Result<f64, Failure> {
        let sample = &measured.sample;
        let rate = sample.work / sample.seconds;
        self.work += sample.work;
        self.cpu_seconds = self
            .cpu_seconds
            .zip(measured.cpu_seconds)
            .map(|(sum, cpu)| sum + cpu);
        let outcome = &mut self.outcome;
        outcome.rates.push(rate);
        outcome.length += Duration::from_secs_f64(sample.seconds);
        (outcome.bytes, outcome.rows) = (sample.bytes, sample.rows);
        if let Some(latency) = &sample.latency {
            match &mut outcome.latency {
                Some(sum) => sum.add(latency)?,
                none => *none = Some(latency.clone()),
            }
        }
        Ok(rate)
    }

    fn end(mut self) -> Outcome {
        self.outcome.cpu_per_work = self
            .cpu_seconds
            .filter(|_| self.work > 0.0)
            .map(|cpu| cpu / self.work);
        self.outcome
    }
}

/// Runs all rounds: direct and a path, direct and the next path. A path that fails is left out of further rounds and says why;
/// when direct fails there is nothing to compare with.
pub fn paired(
    direct: &Target,
    targets: &[Target],
    pairing: Pairing,
    mut sample: impl FnMut(&Target) -> Result<Sample, Failure>,
) -> Result<Vec<Outcome>, Failure> {
    let mut base = Sums::new(&direct.name);
    let mut paths: Vec<Sums> = targets.iter().map(|target| Sums::new(&target.name)).collect();
    let mut run = |target: &Target| measure(target, &mut sample);
    for round in 0..=pairing.pairs {
        let kept = round > 0;
        if targets.is_empty() {
            let measured = run(direct)?;
            if kept {
                base.take(&measured)?;
            }
        }
        for (target, path) in targets.iter().zip(&mut paths) {
            if path.outcome.note.is_some() && !path.outcome.is_measured() {
                continue;
            }
            let beside = run(direct).map_err(|failure| failure.during("direct"))?;
            let pair = run(target).and_then(|measured| {
                let note = compare(&beside.sample, &measured.sample, pairing.lengths_may_differ)?;
                Ok((measured, note))
            });
            match pair {
                Ok((measured, note)) => {
                    if kept {
                        let direct_rate = base.take(&beside)?;
                        let rate = path.take(&measured)?;
                        path.outcome.ratios.push(rate / direct_rate);
                        path.outcome.note = note;
                    }
                }
                Err(failure) => {
                    *path = Sums::new(&target.name);
                    path.outcome.note = Some(format!("refused: {failure}"));
                }
            }
        }
    }
    Ok(std::iter::once(base).chain(paths).map(Sums::end).collect())
}

fn measure(
    target: &Target,
    sample: &mut impl FnMut(&Target) -> Result<Sample, Failure>,
) -> Result<Measured, Failure> {
    let _neighbour = Neighbour::of(target)?;
    let processes = Processes::listening_on(target.port);
    let before = processes.as_ref().map(Processes::cpu_seconds);
    let sample = sample(target)?;
    let after = processes.as_ref().map(Processes::cpu_seconds);
    Ok(Measured {
        sample,
        cpu_seconds: after.zip(before).map(|(after, before)| after - before),
    })
}

/// A session that has asked for something and reads nothing, as long as the sample lasts.
struct Neighbour {
    _client: Client,
}

impl Neighbour {
    /// How long its server and the path have to get stuck.
    const SETTLE: Duration = Duration::from_millis(300);

    fn of(target: &Target) -> Result<Option<Self>, Failure> {
        let Some(sql) = &target.beside else {
            return Ok(None);
        };
        let mut client = Client::open(target).map_err(|failure| failure.during("the neighbour's login"))?;
        let mut bytes = Vec::new();
        tell::query(&mut bytes, sql.as_bytes());
        client.transport.write_all(&bytes)?;
        std::thread::sleep(Self::SETTLE);
        Ok(Some(Self { _client: client }))
    }
}

/// An answer that is not direct's is no sample, however fast it came.
fn compare(direct: &Sample, path: &Sample, lengths_may_differ: bool) -> Result<Option<String>, Failure> {
    if direct.rows != path.rows {
        let (rows, expected) = (path.rows, direct.rows);
        return Err(Failure::new(format!("{rows} rows instead of {expected}")));
    }
    match (direct.bytes, path.bytes) {
        (expected, bytes) if expected == bytes => Ok(None),
        (expected, bytes) if lengths_may_differ => {
            Ok(Some(format!("{bytes} bytes, direct {expected}; rows agree")))
        }
        (expected, bytes) => Err(Failure::new(format!("{bytes} bytes instead of {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::named(&format!("{name}=127.0.0.1:1")).expect("well formed")
    }

    fn sample(seconds: f64, bytes: u64) -> Sample {
        Sample {
            work: 1.0,
            seconds,
            bytes,
            rows: 7,
            latency: None,
        }
    }

    const PAIRING: Pairing = Pairing {
        pairs: 3,
        lengths_may_differ: false,
    };

    #[test]
    fn ratios_stay_inside_their_pair_and_the_first_round_is_dropped() {
        let mut visits = 0_u32;
        let outcomes = paired(&target("direct"), &[target("path")], PAIRING, |target| {
            visits += 1;
            let drift = f64::from(visits.div_ceil(2)); // the same within a pair
            Ok(sample(if target.name == "path" { 2.0 * drift } else { drift }, 5))
        })
        .expect("no failure");
        assert_eq!(visits, 8);
        assert_eq!(outcomes[1].ratios, [0.5, 0.5, 0.5]);
        assert_eq!(outcomes[0].rates, [1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0]);
    }

    #[test]
    fn another_answer_is_refused_and_the_others_go_on() {
        let targets = [target("short"), target("right")];
        let sampler = |target: &Target| Ok(sample(1.0, if target.name == "short" { 4 } else { 5 }));
        let outcomes = paired(&target("direct"), &targets, PAIRING, sampler).expect("direct works");
        assert!(!outcomes[1].is_measured());
        assert_eq!(outcomes[1].note.as_deref(), Some("refused: 4 bytes instead of 5"));
        assert_eq!(outcomes[2].ratios.len(), 3);
        let lenient = Pairing {
            lengths_may_differ: true,
            ..PAIRING
        };
        let outcomes = paired(&target("direct"), &targets, lenient, sampler).expect("direct works");
        assert_eq!(outcomes[1].ratios.len(), 3);
        assert!(outcomes[1].note.is_some(), "it is flagged");
    }

    #[test]
    fn without_direct_there_is_nothing() {
        let broken = |_: &Target| Err(Failure::new("gone"));
        assert!(paired(&target("direct"), &[target("path")], PAIRING, broken).is_err());
    }
}
