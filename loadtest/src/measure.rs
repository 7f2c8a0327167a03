//! From a command line to tables: runs the workload over all paths and reports.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::args::{Common, Run};
use crate::failure::Failure;
use crate::latency::write_log;
use crate::plot;
use crate::report::{self, GIGABYTES, SESSIONS, STATEMENTS, Unit};
use crate::rounds::{Outcome, Pairing, Sample, paired};
use crate::statement::{Batch, Protocol};
use crate::target::Target;
use crate::workload::{churn, idle, queries, stream};

/// Runs one workload; the exit code tells whether every path has figures.
pub fn run(run: &Run) -> Result<ExitCode, Failure> {
    match run {
        Run::Stream {
            common,
            sql,
            binary,
            lengths_may_differ,
        } => {
            let format = if *binary { ", in binary" } else { "" };
            let table = Table::new(common, "stream", GIGABYTES, format!("stream: {sql}{format}"));
            let batch = if *binary {
                Batch::binary(sql)
            } else {
                Batch::new(Protocol::Simple, sql)
            };
            let sampled = table.pairs(*lengths_may_differ, |target| stream::sample(target, &batch))?;
            table.report(&sampled)
        }
        Run::Copy { common, from } => {
            let sql = format!("COPY {from} TO STDOUT");
            let table = Table::new(common, "copy", GIGABYTES, format!("copy: {sql}"));
            let batch = Batch::new(Protocol::Simple, &sql);
            let sampled = table.pairs(false, |target| stream::sample(target, &batch))?;
            table.report(&sampled)
        }
        Run::Queries {
            common,
            protocol,
            clients,
            rate,
            seconds,
            sql,
            hlog,
        } => {
            let batch = Batch::new(*protocol, sql);
            let mut code = ExitCode::SUCCESS;
            let began = SystemTime::now();
            let mut logs = Vec::new();
            for count in clients {
                let load = queries::Load {
                    clients: *count,
                    rate: *rate,
                    length: Duration::from_secs_f64(*seconds),
                };
                let pace = rate.map_or("closed loop".into(), |rate| {
                    format!("open loop, {rate} due a second")
                });
                let said = format!("{protocol:?}").to_lowercase();
                let what = format!("queries: {said}, {count} connections, {pace}");
                let table = Table::new(common, "queries", STATEMENTS, what);
                let sampled = table.pairs(false, |target| queries::sample(target, &batch, load))?;
                logs.extend(intervals(&format!("{count}_"), &sampled));
                if table.report(&sampled)? != ExitCode::SUCCESS {
                    code = ExitCode::FAILURE;
                }
            }
            log(hlog.as_deref(), began, &logs)?;
            Ok(code)
        }
        Run::Churn {
            common,
            clients,
            seconds,
            sql,
            hlog,
        } => {
            let table = Table::new(common, "churn", SESSIONS, format!("churn: {clients} at a time"));
            let length = Duration::from_secs_f64(*seconds);
            let began = SystemTime::now();
            let sampled = table.pairs(false, |target| churn::sample(target, sql, *clients, length))?;
            log(hlog.as_deref(), began, &intervals("", &sampled))?;
            table.report(&sampled)
        }
        Run::Idle {
            common,
            connections,
            settle,
            sql,
            times,
        } => {
            let first = idle::First { sql, times: *times };
            idle_sessions(common, *connections, Duration::from_secs_f64(*settle), first)
        }
    }
}

type Interval = (String, Duration, crate::latency::Latency);

fn intervals(prefix: &str, outcomes: &[Outcome]) -> Vec<Interval> {
    let interval = |outcome: &Outcome| {
        let latency = outcome.latency.clone()?;
        Some((format!("{prefix}{}", outcome.path), outcome.length, latency))
    };
    outcomes.iter().filter_map(interval).collect()
}

fn log(path: Option<&Path>, began: SystemTime, all: &[Interval]) -> Result<(), Failure> {
    path.map_or(Ok(()), |path| write_log(path, began, all))
}

struct Table<'a> {
    common: &'a Common,
    workload: &'static str,
    unit: Unit,
    title: String,
}

impl<'a> Table<'a> {
    fn new(common: &'a Common, workload: &'static str, unit: Unit, what: String) -> Self {
        let title = common
            .title
            .as_ref()
            .map_or(what.clone(), |title| format!("{title} · {what}"));
        Self {
            common,
            workload,
            unit,
            title,
        }
    }

    fn pairs(
        &self,
        lengths_may_differ: bool,
        sample: impl FnMut(&Target) -> Result<Sample, Failure>,
    ) -> Result<Vec<Outcome>, Failure> {
        let pairing = Pairing {
            pairs: self.common.pairs,
            lengths_may_differ,
        };
        paired(&self.common.direct, &self.common.targets, pairing, sample)
    }

    fn report(&self, outcomes: &[Outcome]) -> Result<ExitCode, Failure> {
        println!("{}", report::markdown(&self.title, self.unit, outcomes));
        if let Some(path) = &self.common.json {
            report::append_json(path, self.workload, &self.title, self.unit, outcomes)?;
        }
        if let Some(path) = &self.common.svg {
            std::fs::write(path, plot::svg(&self.title, self.unit, outcomes))?;
        }
        let complete = outcomes.iter().all(Outcome::is_measured);
        Ok(if complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn idle_sessions(
    common: &Common,
    sessions: u32,
    settle: Duration,
    first: idle::First<'_>,
) -> Result<ExitCode, Failure> {
    let what = match first.times {
        1 => format!("idle: {sessions} sessions"),
        times => format!("idle: {sessions} sessions after {times} statements each"),
    };
    let title = common
        .title
        .as_ref()
        .map_or(what.clone(), |title| format!("{title} · {what}"));
    let outcomes: Vec<_> = std::iter::once(&common.direct)
        .chain(&common.targets)
        .map(|target| (target.name.clone(), idle::sample(target, first, sessions, settle)))
        .collect();
    println!("{}", idle::markdown(&title, &outcomes));
    if let Some(path) = &common.json {
        for (_, outcome) in &outcomes {
            let Ok(idle) = outcome else { continue };
            let line = json!({
                "workload": "idle", "title": title, "path": idle.path, "sessions": idle.sessions,
                "pss_before_kib": idle.before_kib, "pss_after_kib": idle.after_kib,
                "kib_per_session": idle.kib_per_session(),
            });
            report::append(path, &format!("{line}\n"))?;
        }
    }
    let complete = outcomes.iter().all(|(_, outcome)| outcome.is_ok());
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
