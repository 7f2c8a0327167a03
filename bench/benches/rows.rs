//! Rows on their way through: `cargo bench -p linegate-bench --bench rows`.
//!
//! A buffer of 256 KiB is walked again and again, as a session walks the slab it has just read. Narrow rows have ten cells and about
//! 100 bytes, wide ones ten cells of 1 KiB; two of the ten are masked. Every case checks its answer before it is timed.

use std::hint::black_box;

use codecs::postgres::copy_rows::{CopyFormat, CopyPlace, CopyShape};
use codecs::postgres::rows::{CellOut, CellSink, Piece, Place, Stop, find, hop, rewrite};
use codecs::postgres::{Limits, Step, build::backend as say, frame};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use masking_simd::{Cell, Redaction};

const BUFFER_BYTES: usize = 256 * 1024;
const FAR_BYTES: usize = 64 << 20;
const COLUMNS: u16 = 10;
const MASKED: [u16; 2] = [3, 7];
const WIDE_BYTES: usize = 1024;

/// Cells of one row as text.
fn cells(number: usize, is_wide: bool) -> Vec<String> {
    let narrow = [
        number.to_string(),
        "open".to_owned(),
        format!("2024-0{}-1{}", number % 9 + 1, number % 10),
        format!("{:03}-{:02}-{:04}", number % 900, number % 90, number % 9000),
        format!("{}.50", number % 1000),
        "t".to_owned(),
        format!("name {}", number % 77),
        format!("n{number}@mail.example"),
        "EUR".to_owned(),
        (number % 7).to_string(),
    ];
    let wide = |cell: String| format!("{cell:-<WIDE_BYTES$}");
    narrow
        .into_iter()
        .map(|cell| if is_wide { wide(cell) } else { cell })
        .collect()
}

/// A buffer of messages, and how many there are.
fn buffer(mut message: impl FnMut(usize, &mut Vec<u8>)) -> (Vec<u8>, u64) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    while bytes.len() < BUFFER_BYTES {
        message(count, &mut bytes);
        count += 1;
    }
    (bytes, count as u64)
}

fn data_rows(is_wide: bool) -> (Vec<u8>, u64) {
    buffer(|number, bytes| {
        let cells = cells(number, is_wide);
        let cells: Vec<Option<&[u8]>> = cells.iter().map(|cell| Some(cell.as_bytes())).collect();
        say::data_row(bytes, &cells);
    })
}

fn copied_rows(format: CopyFormat, is_wide: bool) -> (Vec<u8>, u64) {
    buffer(|number, bytes| {
        let cells = cells(number, is_wide);
        let row = match format {
            CopyFormat::Text => format!("{}\n", cells.join("\t")).into_bytes(),
            CopyFormat::Csv => format!("{}\n", cells.join(",")).into_bytes(),
            CopyFormat::Binary => {
                let mut row = if number == 0 {
                    b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec()
                } else {
                    Vec::new()
                };
                row.extend_from_slice(&COLUMNS.to_be_bytes());
                for cell in cells {
                    row.extend_from_slice(&(cell.len() as u32).to_be_bytes());
                    row.extend_from_slice(cell.as_bytes());
                }
                row
            }
        };
        bytes.push(b'd');
        bytes.extend_from_slice(&(row.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(&row);
    })
}

#[derive(Default)]
struct Sink(Vec<Cell>);

impl CellSink for Sink {
    fn cell(&mut self, _: usize, piece: Piece) -> bool {
        self.0.push(Cell {
            at: piece.at,
            bytes: piece.bytes,
            cell_at: piece.cell_at,
            cell_bytes: piece.cell_bytes,
            redaction: Redaction::Blank,
        });
        self.0.len() < 256
    }
}

/// Overwrites the masked cells where they stand; how many.
fn mask(bytes: &mut [u8], sink: &mut Sink) -> u64 {
    let (mut at, mut count, mut place) = (0, 0, Place::default());
    loop {
        sink.0.clear();
        let found = find(
            &bytes[at..],
            &mut place,
            &MASKED,
            COLUMNS,
            sink,
            &Limits::STREAMED,
        )
        .expect("rows");
        masking_simd::apply(&mut bytes[at..], &sink.0);
        count += sink.0.len() as u64;
        at += found.bytes;
        if found.stop != Stop::Full {
            return count;
        }
    }
}

/// Every payload, or whole message, in turn.
fn frames<'b>(bytes: &'b [u8], is_whole: bool, mut each: impl FnMut(&'b [u8])) {
    let mut at = 0;
    while let Ok(Step::Frame(frame)) = frame::step(&bytes[at..], &Limits::STREAMED) {
        let rest = &bytes[at..];
        each(if is_whole {
            frame.whole(rest)
        } else {
            frame.payload(rest)
        });
        at += frame.size.with_tag();
    }
}

/// Copies all rows with NULL in the masked cells; how many cells.
fn copy_rows(bytes: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut count = 0;
    out.clear();
    frames(bytes, true, |row| {
        let mut cell = |_: usize, _: Option<&[u8]>, _: &mut Vec<u8>| {
            count += 1;
            CellOut::Null
        };
        rewrite(row, &MASKED, COLUMNS, out, &mut cell).expect("a row");
    });
    count
}

fn shape(format: CopyFormat) -> CopyShape {
    CopyShape {
        format,
        delimiter: if format == CopyFormat::Csv { b',' } else { b'\t' },
        null: if format == CopyFormat::Csv {
            b"".as_slice()
        } else {
            b"\\N"
        }
        .into(),
        quote: b'"',
        escape: b'"',
        quotes_all: false,
        has_header: false,
        columns_count: COLUMNS,
    }
}

/// The same of rows of COPY, with stars as long as the cell.
fn copy_copied(shape: &CopyShape, bytes: &[u8], out: &mut Vec<u8>) -> u64 {
    let (mut count, mut place) = (0, CopyPlace::default());
    out.clear();
    frames(bytes, false, |row| {
        let mut cell = |_: usize, cell: Option<&[u8]>, out: &mut Vec<u8>| {
            count += 1;
            out.resize(out.len() + cell.map_or(0, <[u8]>::len), b'*');
            CellOut::Written
        };
        shape
            .rewrite(&mut place, row, &MASKED, out, &mut cell)
            .expect("a row");
    });
    count
}

fn benches(criterion: &mut Criterion) {
    for is_wide in [false, true] {
        let name = if is_wide { "wide" } else { "narrow" };
        let mut group = criterion.benchmark_group(name);
        let (mut bytes, rows) = data_rows(is_wide);
        group.throughput(Throughput::Bytes(bytes.len() as u64));

        let passed = hop(&bytes, &mut Place::default(), &Limits::STREAMED).expect("rows");
        assert_eq!((passed.bytes, passed.rows), (bytes.len(), rows));
        group.bench_function("passed", |bencher| {
            bencher.iter(|| hop(black_box(&bytes), &mut Place::default(), &Limits::STREAMED));
        });

        // As behind a read, whose bytes are in far caches at best.
        let far = bytes.repeat(FAR_BYTES / bytes.len());
        let passed = hop(&far, &mut Place::default(), &Limits::STREAMED).expect("rows");
        assert_eq!(passed.rows, rows * (FAR_BYTES / bytes.len()) as u64);
        group.throughput(Throughput::Bytes(far.len() as u64));
        group.bench_function("passed, out of the caches", |bencher| {
            bencher.iter(|| hop(black_box(&far), &mut Place::default(), &Limits::STREAMED));
        });
        group.throughput(Throughput::Bytes(bytes.len() as u64));

        let mut out = Vec::new();
        assert_eq!(copy_rows(&bytes, &mut out), 2 * rows);
        let nulls = out.windows(4).filter(|word| **word == [0xff; 4]).count() as u64;
        assert_eq!(nulls, 2 * rows);
        group.bench_function("copied", |bencher| {
            bencher.iter(|| copy_rows(black_box(&bytes), &mut out));
        });

        let mut sink = Sink::default();
        assert_eq!(mask(&mut bytes, &mut sink), 2 * rows);
        assert!(!bytes.windows(12).any(|text| text == b"mail.example"));
        group.bench_function("masked in place", |bencher| {
            bencher.iter(|| mask(black_box(&mut bytes), &mut sink));
        });
        for format in [CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary] {
            copies(&mut group, format, is_wide);
        }
        group.finish();
    }
}

fn copies(group: &mut BenchmarkGroup<'_, WallTime>, format: CopyFormat, is_wide: bool) {
    let (bytes, rows) = copied_rows(format, is_wide);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let (shape, mut out) = (shape(format), Vec::new());
    assert_eq!(copy_copied(&shape, &bytes, &mut out), 2 * rows);
    assert_eq!(out.len() as u64, bytes.len() as u64 - 5 * rows, "without headers");
    assert!(!out.windows(12).any(|text| text == b"mail.example"));
    group.bench_function(
        BenchmarkId::new("COPY", format!("{format:?}").to_lowercase()),
        |bencher| {
            bencher.iter(|| copy_copied(&shape, black_box(&bytes), &mut out));
        },
    );
}

criterion_group!(rows, benches);
criterion_main!(rows);
