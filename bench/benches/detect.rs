//! Detectors over result rows, per level: `cargo bench -p linegate-bench --bench detect`.
//!
//! A buffer of 256 KiB is scanned again and again, as a session scans the slab it has just read. Narrow rows have ten
//! cells and about 100 bytes with their lengths; wide ones have ten cells of 1 KiB. In a hundred cells there are about
//! three e-mail addresses and in a thousand five cards; the rest are words, numbers, timestamps and identifiers. Dense
//! rows are as wide and made of the values of narrow rows: something private in every 200 bytes.
//! Beside criterion's estimate the fastest of many runs is printed, which says more where others use the machine.
//! Every level must find what the reference grammar finds, or there is no figure.

#[path = "../../masking-simd/tests/corpus/values.rs"]
mod values;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use masking_simd::{Detectors, Hit, HitCounts, Level, Span, detect_cells_with, detect_reference};
use values::Dice;

const BUFFER_BYTES: usize = 256 * 1024;
const ROW_CELLS: usize = 10;
const WIDE_BYTES: usize = 1024;
const RUNS: usize = 1000;

/// DataRow messages and the cells in them.
struct Rows {
    buffer: Vec<u8>,
    cells: Vec<Span>,
}

fn rows(mut cell: impl FnMut(&mut Dice) -> String) -> Rows {
    let (mut dice, mut buffer, mut cells) = (Dice::new(11), Vec::new(), Vec::new());
    while buffer.len() < BUFFER_BYTES {
        let texts: Vec<String> = (0..ROW_CELLS).map(|_| cell(&mut dice)).collect();
        let size = 6 + texts.iter().map(|text| 4 + text.len()).sum::<usize>();
        buffer.push(b'D');
        buffer.extend_from_slice(&(size as u32).to_be_bytes());
        buffer.extend_from_slice(&(ROW_CELLS as u16).to_be_bytes());
        for text in texts {
            buffer.extend_from_slice(&(text.len() as u32).to_be_bytes());
            cells.push(Span {
                at: buffer.len() as u32,
                bytes: text.len() as u32,
            });
            buffer.extend_from_slice(text.as_bytes());
        }
    }
    Rows { buffer, cells }
}

fn value(dice: &mut Dice) -> String {
    match dice.below(1000) {
        0..30 => values::email(dice),
        30..35 => values::card(dice),
        35..40 => values::phone(dice),
        40..42 => values::iban(dice),
        42..60 => values::uuid(dice),
        60..110 => values::timestamp(dice),
        110..500 => {
            let count = dice.between(1, 8);
            dice.digits(count)
        }
        500..560 => dice.pick(&["t", "f", "0.00", "-17.25", "EUR"]).to_owned(),
        _ => values::words(dice, 1),
    }
}

/// Free text: words, numbers, timestamps and identifiers, and in some cells one private value.
fn wide(dice: &mut Dice) -> String {
    let mut text = String::new();
    while text.len() < WIDE_BYTES {
        text += &match dice.below(100) {
            0..10 => {
                let count = dice.between(1, 8);
                dice.digits(count)
            }
            10..13 => values::timestamp(dice),
            13 => values::uuid(dice),
            _ => values::words(dice, 1),
        };
        text.push(' ');
    }
    text + &value(dice)
}

/// The worst of free text: nothing but the values of narrow rows, two numbers in five words.
fn dense(dice: &mut Dice) -> String {
    let mut text = String::new();
    while text.len() < WIDE_BYTES {
        text += &value(dice);
        text.push(' ');
    }
    text
}

fn detect(bench: &mut Criterion) {
    let shapes = [
        ("narrow", rows(value)),
        ("wide", rows(wide)),
        ("dense", rows(dense)),
    ];
    for (set, wanted) in [("personal", Detectors::PERSONAL), ("all", Detectors::ALL)] {
        for (shape, Rows { buffer, cells }) in &shapes {
            let mut group = bench.benchmark_group(format!("detect/{set}/{shape}"));
            group.throughput(Throughput::Bytes(buffer.len() as u64));
            let expect = expected(buffer, cells, wanted);
            println!(
                "{} rows of {} bytes, {} hits",
                cells.len() / ROW_CELLS,
                buffer.len() * ROW_CELLS / cells.len(),
                expect.len()
            );
            for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
                let mut hits = Vec::new();
                detect_cells_with(level, buffer, cells, wanted, &mut hits);
                hits.sort_unstable();
                assert_eq!(hits, expect, "{level:?} is fast and wrong");
                let scan = || {
                    let mut counts = HitCounts::default();
                    detect_cells_with(level, buffer, cells, wanted, &mut counts);
                    counts
                };
                group.bench_function(BenchmarkId::from_parameter(level.name()), |bench| {
                    bench.iter(scan)
                });
                println!(
                    "    fastest of {RUNS}: {:.2} GB/s",
                    buffer.len() as f64 / fastest(scan).as_secs_f64() / 1e9
                );
            }
            group.finish();
        }
    }
}

fn fastest(scan: impl Fn() -> HitCounts) -> Duration {
    let run = |_| {
        let start = Instant::now();
        black_box(scan());
        start.elapsed()
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

fn expected(buffer: &[u8], cells: &[Span], wanted: Detectors) -> Vec<Hit> {
    let mut expect = Vec::new();
    for (index, span) in cells.iter().enumerate() {
        let mut hits = Vec::new();
        detect_reference(
            &buffer[span.at as usize..][..span.bytes as usize],
            wanted,
            &mut hits,
        );
        expect.extend(hits.into_iter().map(|hit| Hit {
            cell: index as u32,
            at: hit.at + span.at,
            ..hit
        }));
    }
    expect.sort_unstable();
    expect
}

criterion_group!(benches, detect);
criterion_main!(benches);
