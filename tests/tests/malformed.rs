//! Ten thousand malformed inputs against a running linegate: nothing crashes, hangs or grows, and others are served.
//!
//! `MALFORMED_SEED=7` plays another ten thousand, `MALFORMED_CASES=500` fewer, and one command plays one case again:
//! `MALFORMED_SEED=7 MALFORMED_ONLY=4711 cargo test -p linegate-tests --test malformed -- --nocapture`

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use linegate_identity::AnyCertificate;
use linegate_tests::health::Holds;
use linegate_tests::malformed::player::{Ground, Kept, Outcome, PATIENCE, play, shown};
use linegate_tests::malformed::{Case, Corpus, Door, made};
use linegate_tests::postgres::self_signed;
use linegate_tests::wire::rows;
use linegate_tests::{Lease, Linegate, Options, Postgres, RawClient, places};
use rustls::crypto::aws_lc_rs;

const SEED: u64 = 1;
const CASES: u64 = 10_000;
/// Played before anything is measured: pools, caches and the allocator reach their sizes.
const WARM_UP: u64 = 1_500;
const PLAYERS: usize = 12;
/// Caches of verdicts may fill up a little further, each case with texts of its own; a leak of 2 KiB a case shows.
const GROWTH_KIBIBYTES_MAX: u64 = 16 << 10;
/// Connections that have ended may still be on their way out.
const DESCRIPTORS_SPARE: usize = 4;
/// How long it is watched before it is said what linegate holds.
const REST: Duration = Duration::from_secs(4);

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
    )
}

/// A linegate that speaks TLS, and both leases.
fn ground(postgres: &Postgres) -> (Linegate, Ground, tempfile::TempDir) {
    let dir = places::temporary("lg-cert-");
    let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    self_signed(&key, &cert);
    let options = Options {
        role: "app_trust",
        client_cert: Some((key, cert)),
        ..Options::default()
    };
    let linegate = Linegate::start_with(postgres, options);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    let ground = Ground {
        port: linegate.port(),
        reader: linegate.lease("workload:ci-runner", &[], "read"),
        owner: linegate.lease("user:dba", &[], "all"),
        tls: Arc::new(tls),
    };
    (linegate, ground, dir)
}

/// One session that is served all the while; how many answers it got, and the slowest.
fn canary(port: u16, lease: &Lease, over: &AtomicBool) -> (u64, Duration) {
    let mut client = RawClient::login(port, &lease.username, &lease.password, "shop");
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = rows(&client.query(&format!(
            "SELECT {answers}, name, card_number FROM app.customers WHERE id = 2"
        )));
        let right = [[
            answers.to_string(),
            "second customer".to_owned(),
            "************5559".to_owned(),
        ]];
        assert_eq!(answer, right, "the canary is answered right");
        slowest = slowest.max(asked.elapsed());
        answers += 1;
        thread::sleep(Duration::from_millis(20));
    }
    (answers, slowest)
}

type Tally = BTreeMap<(Door, Outcome), u64>;

/// Plays cases on several threads; what went wrong, and how many ended how.
fn play_all(
    ground: &Ground,
    corpus: &Corpus,
    seed: u64,
    numbers: std::ops::Range<u64>,
) -> (Vec<String>, Tally) {
    let next = AtomicU64::new(numbers.start);
    let found = Mutex::new((Vec::new(), Tally::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                let mut kept = Kept::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    let case = made(seed, number, corpus);
                    let outcome = play(ground, &case, &mut kept);
                    let mut found = found.lock().expect("no player panics");
                    match outcome {
                        Ok(outcome) => *found.1.entry((case.door, outcome)).or_default() += 1,
                        Err(why) => found.0.push(told(seed, &case, &why)),
                    }
                    if found.0.len() >= 8 {
                        return;
                    }
                }
            });
        }
    });
    found.into_inner().expect("no player panics")
}

fn told(seed: u64, case: &Case, why: &str) -> String {
    format!(
        "{why}\n  {:?}, {}, then {:?}: {}\n  again: MALFORMED_SEED={seed} MALFORMED_ONLY={} cargo test -p linegate-tests --test malformed",
        case.door,
        case.what,
        case.end,
        shown(&case.pieces.concat()),
        case.number
    )
}

#[test]
fn ten_thousand_malformed_inputs_harm_nobody() {
    let seed = from_environment("MALFORMED_SEED").unwrap_or(SEED);
    let cases = from_environment("MALFORMED_CASES").unwrap_or(CASES);
    let corpus = Corpus::load();
    let postgres = Postgres::start();
    let (mut linegate, ground, _dir) = ground(&postgres);
    if let Some(number) = from_environment("MALFORMED_ONLY") {
        let case = made(seed, number, &corpus);
        eprintln!("{case:#?}");
        let outcome = play(&ground, &case, &mut Kept::default());
        return eprintln!(
            "{:?}",
            outcome.unwrap_or_else(|why| panic!("{}", told(seed, &case, &why)))
        );
    }

    let over = AtomicBool::new(false);
    let tally = thread::scope(|scope| {
        let watch = scope.spawn(|| canary(ground.port, &ground.reader, &over));
        let (failed, _) = play_all(&ground, &corpus, seed ^ u64::MAX, 0..WARM_UP.min(cases));
        assert!(failed.is_empty(), "during the warm-up:\n{}", failed.join("\n"));
        let pid = linegate.process("linegated").expect("it runs");
        let warm = Holds::at_rest(pid, REST);

        let (failed, tally) = play_all(&ground, &corpus, seed, 0..cases);
        let after = Holds::at_rest(pid, REST);
        over.store(true, Ordering::Relaxed);
        let watched = watch.join();
        assert!(
            failed.is_empty(),
            "{} of {cases} cases:\n{}",
            failed.len(),
            failed.join("\n")
        );
        let (answers, slowest) = watched.expect("the canary was served");
        eprintln!("{tally:?}\n{warm:?} {after:?}; {answers} answers beside, the slowest after {slowest:?}");
        assert!(
            answers > 10 && slowest < PATIENCE,
            "the canary waited {slowest:?}"
        );
        assert_eq!(
            linegate.process("linegated"),
            Some(pid),
            "the data plane is the same process"
        );
        assert!(
            after.descriptors <= warm.descriptors + DESCRIPTORS_SPARE,
            "descriptors grew from {} to {}",
            warm.descriptors,
            after.descriptors
        );
        assert!(
            after.kibibytes <= warm.kibibytes + GROWTH_KIBIBYTES_MAX,
            "memory grew from {} to {} KiB",
            warm.kibibytes,
            after.kibibytes
        );
        tally
    });
    if cases >= CASES {
        for door in [
            Door::First,
            Door::Handshake,
            Door::InTls,
            Door::Sasl,
            Door::Reader,
            Door::Owner,
        ] {
            let played: u64 = tally
                .iter()
                .filter(|((at, _), _)| *at == door)
                .map(|(_, count)| count)
                .sum();
            assert!(played >= cases / 50, "{door:?} was tried {played} times only");
        }
        let answered: u64 = tally
            .iter()
            .filter(|((_, how), _)| *how == Outcome::Answered)
            .map(|(_, count)| count)
            .sum();
        assert!(
            answered >= cases / 40,
            "{answered} sessions lived: the grammar breaks everything"
        );
    }

    for lease in [&ground.reader, &ground.owner] {
        let mut fresh = linegate.client(lease);
        assert_eq!(
            rows(&fresh.query("SELECT 'fresh'")),
            [["fresh"]],
            "new sessions are served"
        );
    }
    linegate.stop();
    let log = linegate.log();
    assert!(!log.contains("panicked"), "a task panicked:\n{log}");
    assert!(
        log.contains("panics=0"),
        "the data plane says that no task panicked:\n{log}"
    );
}
