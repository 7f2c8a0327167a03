//! What the recorder's thread does for each entry: `cargo bench -p linegate-bench --bench record`.
//!
//! Appending copies, frames and hashes; writing and syncing what was appended is the disk's time and left out of the figure, as the
//! recorder does it for many sessions at once. Each case reads its recording back before it is timed: it is intact and complete.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linegate_recording::{Entry, Protocol, Recorder, SessionId, SigningKey, VerdictKind, digest_hex, verify};

/// Committed, untimed, when so much is waiting: less than the recorder commits by itself.
const PENDING_BYTES_MAX: usize = 4 << 20;
/// A moment, unix milliseconds.
const NOW: u64 = 1_790_000_000_000;
const ROWS_BYTES: usize = 256 << 10;

fn recorder(root: &Path) -> Recorder {
    let key = SigningKey::load_or_create(&root.join("key"), [7; 32]).expect("a key of our own");
    Recorder::open(&root.join("recordings"), "core-0", &key, NOW).expect("a directory of our own")
}

fn session() -> SessionId {
    SessionId::from_random([9; 16])
}

/// A statement as it comes, and what was decided about it.
fn decided(number: u64) -> [Entry; 2] {
    let text = format!("SELECT name, email FROM app.customers WHERE id = {number}");
    let statement = Entry::Statement {
        statement: number,
        digest: digest_hex(&[text.as_bytes()]),
        text,
        redacted: false,
        protocol: Protocol::Extended,
    };
    let verdict = Entry::Verdict {
        statement: number,
        verdict: VerdictKind::Allow,
        reason: None,
        policies: vec!["ci-works".to_owned()],
        effects: vec!["select".to_owned()],
        relations: vec!["app.customers".to_owned()],
    };
    [statement, verdict]
}

/// Appends again and again; the time of appending alone.
fn timed(recorder: &mut Recorder, times: u64, mut append: impl FnMut(&mut Recorder, u64)) -> Duration {
    let (mut spent, mut number) = (Duration::ZERO, 0);
    while number < times {
        let began = Instant::now();
        while number < times && recorder.pending_bytes() < PENDING_BYTES_MAX {
            append(recorder, number);
            number += 1;
        }
        spent += began.elapsed();
        recorder.commit().expect("room on the disk");
    }
    spent
}

fn append_decided(recorder: &mut Recorder, entries: &[Entry; 2]) {
    for entry in entries {
        recorder.append(NOW, session(), black_box(entry)).expect("room");
    }
}

fn append_rows(recorder: &mut Recorder, rows: &[u8], offset: u64) {
    recorder
        .append_rows(NOW, session(), 1, offset, black_box(rows))
        .expect("room");
}

fn benches(criterion: &mut Criterion) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut group = criterion.benchmark_group("append");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));

    let rows: Vec<u8> = (0..ROWS_BYTES).map(|at| (at % 251) as u8).collect();
    let checked = root.path().join("checked");
    std::fs::create_dir(&checked).expect("our own directory");
    let mut recorder_checked = recorder(&checked);
    append_decided(&mut recorder_checked, &decided(1));
    append_rows(&mut recorder_checked, &rows, 0);
    recorder_checked.seal(NOW).expect("room on the disk");
    let report = verify(&checked.join("recordings"), None).expect("it can be read");
    assert!(report.is_intact(), "{:?}", report.problems);
    assert!(
        report.entries > 4,
        "two decisions, rows, and the segment's own: {}",
        report.entries
    );

    let entries = decided(1);
    let mut recorder = recorder(root.path());
    group.bench_function("a statement and its verdict", |bencher| {
        bencher.iter_custom(|times| {
            timed(&mut recorder, times, |recorder, _| {
                append_decided(recorder, &entries)
            })
        });
    });
    group.throughput(Throughput::Bytes(ROWS_BYTES as u64));
    group.bench_function("rows, 256 KiB", |bencher| {
        bencher.iter_custom(|times| {
            timed(&mut recorder, times, |recorder, number| {
                append_rows(recorder, &rows, number * ROWS_BYTES as u64);
            })
        });
    });
    group.finish();
}

criterion_group!(record, benches);
criterion_main!(record);
