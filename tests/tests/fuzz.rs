//! Every fuzz target on its seeds and on a fixed series of changed seeds: what `tests/fuzz/run` goes on with for hours.
//!
//! Seeds are what is below, the statements of the attack cases, and every file of `tests/corpus/TARGET`: inputs that failed
//! once.

use std::fs;

use linegate_tests::attack;
use linegate_tests::places::repository;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Changes of one seed, besides the seed itself.
const CHANGES: u64 = 24;

/// A fixed series of numbers (splitmix64).
struct Series(u64);

impl Series {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One change: bytes turned over, removed, doubled, or taken from another seed.
fn change(seed: &[u8], other: &[u8], series: &mut Series) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + series.below(3) {
        let at = series.below(bytes.len() + 1);
        let end = (at + 1 + series.below(12)).min(bytes.len());
        match series.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << series.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 0xff, b'(', b'"', b'\''][series.below(5)],
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = series.below(other.len() + 1);
                let to = (from + 1 + series.below(24)).min(other.len());
                bytes.splice(at..at, other[from.min(to)..to].iter().copied());
            }
        }
    }
    bytes
}

fn run(target: &str, check: fn(&[u8]), mut seeds: Vec<Vec<u8>>, changes: u64) {
    let kept = repository().join("tests/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(kept).into_iter().flatten().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    seeds.extend(files.iter().map(|file| fs::read(file.path()).expect("a seed")));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let mut series = Series(seeds.len() as u64);
    for seed in &seeds {
        check(seed);
        for _ in 0..changes {
            let other = &seeds[series.below(seeds.len())];
            check(&change(seed, other, &mut series));
        }
    }
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A message: tag, size, payload.
fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((payload.len() as u32 + 4).to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut payload = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        payload.extend(cell.map_or(-1, |cell| cell.len() as i32).to_be_bytes());
        payload.extend(cell.unwrap_or_default());
    }
    message(b'D', &payload)
}

#[test]
fn any_text_is_read_without_harm() {
    let cases = attack::load(&repository().join("tests/attacks"));
    let steps = cases
        .iter()
        .flat_map(|line| line.case.steps.iter().chain(&line.case.instead));
    let seeds: Vec<Vec<u8>> = steps
        .filter_map(|step| step.q.as_ref().or(step.x.as_ref()))
        .map(|text| text.clone().into_bytes())
        .collect();
    assert!(seeds.len() > 500, "{}", seeds.len());
    run("sql", targets::sql::check, seeds, 2);
}

#[test]
fn any_bytes_of_a_client_are_read_without_harm() {
    let seeds = vec![
        message(b'Q', b"SELECT 1\0"),
        [
            message(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
            message(b'S', b""),
        ]
        .concat(),
        message(
            b'B',
            b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01",
        ),
        message(b'F', b"\0\0\x04\xd2\0\x01\0\0\0\x01\0\0\0\x02hi\0\0"),
        message(b'D', b"Sname\0"),
        message(b'E', b"p\0\0\0\0\x05"),
        message(b'C', b"Pp\0"),
        message(b'f', b"why\0"),
        message(b'p', b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x"),
        [message(b'd', b"1\ta\n"), message(b'c', b""), message(b'X', b"")].concat(),
    ];
    run("frontend", targets::frontend::check, seeds, CHANGES);
}

#[test]
fn any_bytes_of_a_server_are_read_without_harm() {
    let seeds = vec![
        message(
            b'T',
            b"\0\x01email\0\0\0\x40\0\0\x03\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
        ),
        message(b't', b"\0\x02\0\0\0\x17\0\0\0\x19"),
        message(b'E', b"SERROR\0C42P01\0Mno such thing\0Dnothing\0\0"),
        message(b'Z', b"T"),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'K', b"\0\0\x10\0\x01\x02\x03\x04"),
        message(b'R', b"\0\0\0\nSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        message(b'C', b"INSERT 0 12\0"),
        message(b'H', b"\x01\0\x02\0\x01\0\x01"),
        message(b'V', b"\0\0\0\x02ab"),
        message(b'A', b"\0\0\0\x01channel\0payload\0"),
    ];
    run("backend", targets::backend::check, seeds, CHANGES);
}

#[test]
fn rows_are_the_same_however_they_are_cut() {
    let rows = [
        row(&[Some(b"1"), Some(b"4111-1111"), None, Some(b"")]),
        row(&[None, None, None, None]),
        row(&[
            Some(b""),
            Some(b"x"),
            Some(b"a longer cell than the others"),
            Some(b"!"),
        ]),
    ]
    .concat();
    let seeds = [
        [3, 0b1010, 4, 9],
        [3, 0b0001, 0, 0],
        [3, 0b1111, 60, 200],
        [3, 0, 11, 1],
    ]
    .iter()
    .map(|head| [head.as_slice(), &rows].concat());
    run("rows", targets::rows::check, seeds.collect(), CHANGES * 8);
}

#[test]
fn rows_of_copy_are_the_same_beside_masked_cells() {
    let binary = |cells: &[Option<&[u8]>]| {
        let row = row(cells);
        [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", &row[5..]].concat()
    };
    let rows: [(&[u8], Vec<u8>); 6] = [
        (b"\x00\x00\x00\x00\x03", b"1\tx\\ty\t\\N\n".to_vec()),
        (b"\x00\x01\x01\x00\x02", b"a\\,b,\n\xff\xfec\\\\,d\n".to_vec()),
        (b"\x01\x01\x01\x00\x03", b"1,\"say \"\"x\"\", y\",\n".to_vec()),
        (
            b"\x01\x02\x02\x03\x02",
            b"\"a\\\"b\";NULL\n\xff\xfe\"NULL\";\"\\\\.\"\n".to_vec(),
        ),
        (b"\x02\x00\x00\x00\x03", binary(&[Some(b"1"), None, Some(b"")])),
        (
            b"\x02\x00\x00\x00\x01",
            [binary(&[Some(b"abc")]), b"\xff\xfe\xff\xff".to_vec()].concat(),
        ),
    ];
    let seeds = rows.iter().flat_map(|(shape, row)| {
        [0b0011, 0b1000_0010, 0b1100_0001].map(|masked| [*shape, &[masked], row].concat())
    });
    run(
        "copy_rows",
        targets::copy_rows::check,
        seeds.collect(),
        CHANGES * 16,
    );
}

#[test]
fn any_first_packet_is_read_without_harm() {
    let packet = |code: u32, payload: &[u8]| {
        let mut bytes = (payload.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend(code.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    let seeds = vec![
        packet(3 << 16, b"user\0app\0database\0shop\0\0"),
        packet(3 << 16 | 2, b"user\0app\0_pq_.x\0y\0\0"),
        packet((1234 << 16) | 5679, b""),
        packet((1234 << 16) | 5680, b""),
        packet((1234 << 16) | 5678, b"\0\0\x10\0secret-of-any-length"),
    ];
    run("startup", targets::startup::check, seeds, CHANGES * 4);
}

#[test]
fn nobody_gets_in_with_a_malformed_proof() {
    let seeds = texts(&[
        "n,,n=,r=rOprNGfwEbeRWgbNEkqO\nc=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA\nr=AgIC,s=QSXCR,i=1",
        "n,,n=somebody,r=x\nc=biws,r=xAQEBAQEBAQEBAQEBAQEBAQEB,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "y,,n=,r=x\ne=other-error\nr=AgICAgICAgICAgICAgICAgICserver,s=MDEyMzQ1,i=1",
        "p=tls-server-end-point,,n=,r=x\nv=AAAA\n",
    ]);
    run("scram", targets::scram::check, seeds, CHANGES * 4);
}

#[test]
fn detectors_agree_on_any_bytes() {
    let seeds = texts(&[
        "\u{7}card 4111 1111 1111 1111, ssn 078-05-1120; iban DE89 3704 0044 0532 0130 00",
        "\u{1}a.b+c@example.co.uk, +49 30 901820, 192.0.2.17, 2001:db8::17, 555-867-5309",
        "@eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        " -----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\n-----END RSA PRIVATE KEY-----",
        "?AKIAIOSFODNN7EXAMPLE ghp_0123456789abcdefghijklmnopqrstuvwxyz password = 'hJ3k9Lm2Qw8Zx5'",
    ]);
    run("detect", targets::detect::check, seeds, CHANGES * 4);
}

#[test]
fn a_redacted_document_is_a_document() {
    let documents = [
        r#"{"a": {"b": "secret", "c": [1, 2, {"b": null}]}, "c": "x\"\u0061", "d": 1.5e-3}"#,
        r#"[{"b": "one"}, {"b": ["two", {"b": true}]}, "é", -0]"#,
        r#"{"a": ["x", "y"], "a": "twice", "\u0061": "spelled otherwise", "é": "é"}"#,
        r#""alone""#,
        "\u{1}{\"a\": 1}",
    ];
    let seeds = (0..36u8).flat_map(|choice| {
        documents
            .iter()
            .map(move |document| [&[choice], document.as_bytes()].concat())
    });
    run("json", targets::json::check, seeds.collect(), 6);
}

#[test]
fn any_configuration_is_accepted_or_explained() {
    let example = fs::read(repository().join("config/linegate.example.toml")).expect("the example");
    run("config", targets::config::check, vec![example], CHANGES * 8);
}
