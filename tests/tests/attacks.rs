//! Attacks of our own: every case of `tests/attacks/`, against a server with fresh secrets, plain and over TLS.
//!
//! `ATTACKS_SEED` repeats a run's secrets, `ATTACKS_ONLY` picks cases by a part of their names, `ATTACKS_REPORT` names a file
//! for one line a case. What is known and accepted stands in `tests/attacks/known.toml`, with reasons.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use linegate_tests::attack::{self, Judge, Line};
use linegate_tests::attack_client::{Door, tls_config};
use linegate_tests::attack_detect::Detector;
use linegate_tests::attack_fixture::{self, Secrets, Target};
use linegate_tests::attack_judge::{Arena, Judged, Verdict};
use linegate_tests::{places, postgres};
use serde::Deserialize;

/// One case in so many also runs over TLS; which ones changes with the seed.
const TLS_EVERY: u64 = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    #[serde(default)]
    known: Vec<Known>,
}

/// A failure that was looked at and accepted for now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    id: String,
    severity: Severity,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Low,
    Medium,
    High,
}

#[test]
fn no_attack_gets_through_and_honest_programs_notice_nothing() {
    let folder = places::repository().join("tests/attacks");
    let lines = attack::load(&folder);
    let known = register(
        &std::fs::read_to_string(folder.join("known.toml")).expect("the register"),
        &lines,
    );
    let seed = match std::env::var("ATTACKS_SEED") {
        Ok(seed) => seed.parse().expect("ATTACKS_SEED is a number"),
        Err(_) => fresh_seed(),
    };
    println!("secrets: ATTACKS_SEED={seed}");
    let only = std::env::var("ATTACKS_ONLY").unwrap_or_default();
    let began = Instant::now();

    let scratch = places::temporary("lg-attacks-");
    let (key, certificate) = (scratch.path().join("key.pem"), scratch.path().join("cert.pem"));
    postgres::self_signed(&key, &certificate);
    let tls = tls_config(&certificate);
    let secrets = Secrets::new(seed);
    let bare = Target::start(&secrets);
    let guarded = Target::start(&secrets);
    let linegate = attack_fixture::linegate(&guarded, (key, certificate));
    let lease = linegate.lease("workload:ci-runner", &["agent"], "all");
    let door = |port: u16, user: &str, password: &str| Door {
        port,
        user: user.to_owned(),
        password: password.to_owned(),
        database: "shop".to_owned(),
        tls: None,
    };
    let mut arena = Arena {
        direct: door(bare.postgres.port(), "app", "app-secret"),
        via: Door {
            tls: Some(Arc::clone(&tls)),
            ..door(linegate.port(), &lease.username, &lease.password)
        },
        detector: Detector::new(&secrets),
        bare,
        guarded,
        secrets,
        once: 0,
        shown: HashMap::new(),
    };

    let mut judged = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !line.case.id.contains(only.as_str()) {
            continue;
        }
        let start = Instant::now();
        judged.push(arena.judge(line, false));
        if start.elapsed().as_secs() >= 2 {
            println!("slow: {} {:.1?}", line.case.id, start.elapsed());
        }
        let turn = (index as u64).wrapping_add(seed) % TLS_EVERY == 0;
        if turn || line.case.tls {
            judged.push(arena.judge(line, true));
        }
        linegate.assert_unharmed();
    }
    println!("{}", table(&judged));
    println!(
        "{} runs of {} cases in {:.0?}",
        judged.len(),
        lines.len(),
        began.elapsed()
    );
    if let Ok(path) = std::env::var("ATTACKS_REPORT") {
        std::fs::write(path, report(&judged)).expect("the report can be written");
    }
    let bad: Vec<&Judged> = judged
        .iter()
        .filter(|one| one.verdict.is_bad() && !known.contains_key(one.id.as_str()))
        .collect();
    let mut list = String::new();
    for one in &bad {
        let _infallible = writeln!(list, "{}", shown(one));
    }
    assert!(
        bad.is_empty(),
        "{} of {} failed (ATTACKS_SEED={seed}):\n{list}",
        bad.len(),
        judged.len()
    );
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
}

fn register(text: &str, lines: &[Line]) -> HashMap<String, Known> {
    let register: Register = toml::from_str(text).unwrap_or_else(|error| panic!("known.toml: {error}"));
    let mut known = HashMap::new();
    for one in register.known {
        assert!(
            lines.iter().any(|line| line.case.id == one.id),
            "known.toml: there is no case {}",
            one.id
        );
        assert!(one.reason.len() > 20, "known.toml: {} needs a reason", one.id);
        if let Severity::High = one.severity {
            println!("known, high: {}: {}", one.id, one.reason);
        }
        known.insert(one.id.clone(), one);
    }
    known
}

fn shown(one: &Judged) -> String {
    let tls = if one.over_tls { " (TLS)" } else { "" };
    let why: String = one.why.chars().take(300).collect();
    format!(
        "{:12} {}{tls} [{}] {}",
        one.verdict.name(),
        one.id,
        one.chapter,
        why.replace('\n', " ")
    )
}

fn report(judged: &[Judged]) -> String {
    judged.iter().map(|one| shown(one) + "\n").collect()
}

/// A line a file of cases: how many ended in which way.
fn table(judged: &[Judged]) -> String {
    let mut classes: BTreeMap<(Judge, &str), BTreeMap<Verdict, usize>> = BTreeMap::new();
    for one in judged {
        let class = one.id.split_once('-').map_or(one.id.as_str(), |(class, _)| class);
        *classes
            .entry((one.judge, class))
            .or_default()
            .entry(one.verdict)
            .or_default() += 1;
    }
    let mut out = String::new();
    for ((judge, class), verdicts) in classes {
        let counts: Vec<String> = verdicts
            .iter()
            .map(|(verdict, count)| format!("{} {count}", verdict.name()))
            .collect();
        let judge = format!("{judge:?}").to_lowercase();
        let _infallible = writeln!(out, "{judge:8} {class:14} {}", counts.join(", "));
    }
    out
}
