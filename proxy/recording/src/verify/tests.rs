//! Ways to change a recording, and that each is found.

use std::path::PathBuf;

use super::*;
use crate::block::{BLOCK_HEADER_BYTES, MAGIC};
use crate::seal::SEAL_BYTES;
use crate::testing::{NOW, error, key, opened, session};
use crate::{Options, Recorder};

/// Three sealed segments of three blocks each.
fn recording() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes_max: u64::MAX,
        segment_ms_max: u64::MAX,
    };
    let mut recorder = Recorder::open_with(root.path(), "core-0", &key(), NOW, options).unwrap();
    for number in 0..3 {
        recorder
            .append(NOW, session(number), &opened("ci-runner"))
            .unwrap();
        recorder.commit().unwrap();
        recorder.append(NOW, session(number), &error(number)).unwrap();
        recorder.append_rows(NOW, session(number), 1, 0, b"rows").unwrap();
        recorder.commit().unwrap();
        recorder.seal(NOW).unwrap();
    }
    let stream = root.path().join("core-0");
    (root, stream)
}

fn problems(root: &Path) -> Vec<Problem> {
    verify(root, Some(&key().public_hex())).unwrap().problems
}

fn check(what: &str, change: impl Fn(&Path)) {
    let (root, stream) = recording();
    assert_eq!(problems(root.path()), [], "before: {what}");
    change(&stream);
    assert_ne!(problems(root.path()), [], "{what} was not found");
    let own = verify(root.path(), None).unwrap();
    assert!(!own.is_intact(), "{what} was not found without a key");
}

fn segment(stream: &Path, number: u64) -> PathBuf {
    stream.join(segment_name(number))
}

#[test]
fn an_untouched_recording_is_intact() {
    let (root, _) = recording();
    let report = verify(root.path(), Some(&key().public_hex())).unwrap();
    assert!(report.is_intact(), "{:?}", report.problems);
    assert_eq!((report.segments, report.blocks, report.entries), (3, 9, 15));
    assert_eq!(report.streams[0].last_sequence, 15);
    assert!(!report.streams[0].open);
    assert_eq!(verify(root.path(), None).unwrap(), report);
    assert!(verify(root.path(), Some("zz")).is_err());
    assert!(verify(&root.path().join("absent"), None).is_err());
    let other = crate::SigningKey::from_seed(&[6; 32]).unwrap();
    assert!(
        !verify(root.path(), Some(&other.public_hex()))
            .unwrap()
            .is_intact()
    );
}

#[test]
fn every_changed_byte_is_found() {
    for number in 1..=3 {
        let (root, stream) = recording();
        let file = segment(&stream, number);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            for mask in [1, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= mask;
                fs::write(&file, &changed).unwrap();
                assert_ne!(
                    problems(root.path()),
                    [],
                    "segment {number}, byte {at} ^ {mask:#x}"
                );
            }
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(problems(root.path()), []);
    }
}

#[test]
fn every_changed_byte_of_an_open_segment_and_of_head_is_found() {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(root.path(), "core-0", &key(), NOW).unwrap();
    recorder.append(NOW, session(1), &opened("ci-runner")).unwrap();
    recorder.commit().unwrap();
    recorder.append(NOW, session(1), &error(1)).unwrap();
    recorder.commit().unwrap();
    let report = verify(root.path(), None).unwrap();
    assert!(
        report.is_intact() && report.streams[0].open,
        "{:?}",
        report.problems
    );
    for name in [segment_name(1), Head::FILE.to_owned()] {
        let file = root.path().join("core-0").join(name);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            fs::write(&file, &changed).unwrap();
            assert_ne!(problems(root.path()), [], "{}, byte {at}", file.display());
        }
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn every_shortening_of_a_sealed_segment_is_found() {
    for number in 1..=3 {
        let (root, stream) = recording();
        let whole = fs::read(segment(&stream, number)).unwrap();
        for bytes in 0..whole.len() {
            fs::write(segment(&stream, number), &whole[..bytes]).unwrap();
            assert_ne!(problems(root.path()), [], "segment {number} cut to {bytes}");
        }
        fs::write(segment(&stream, number), [&whole[..], b"x"].concat()).unwrap();
        assert_ne!(problems(root.path()), [], "segment {number} with a byte more");
    }
}

/// Where the blocks of a segment start, and then where its seal does.
fn block_starts(bytes: &[u8]) -> Vec<usize> {
    let mut at = crate::seal::SEGMENT_HEADER_BYTES;
    let mut starts = Vec::new();
    while bytes[at..].starts_with(&MAGIC) {
        starts.push(at);
        at += BLOCK_HEADER_BYTES + entry::u32_at(bytes, at + 4) as usize;
    }
    assert_eq!(at + SEAL_BYTES, bytes.len());
    starts.push(at);
    starts
}

#[test]
fn missing_and_swapped_blocks_are_found() {
    for victim in 0..3 {
        check("a missing block", |stream| {
            let bytes = fs::read(segment(stream, 2)).unwrap();
            let starts = block_starts(&bytes);
            let without = [&bytes[..starts[victim]], &bytes[starts[victim + 1]..]].concat();
            fs::write(segment(stream, 2), without).unwrap();
        });
    }
    for first in 0..2 {
        check("two swapped blocks", |stream| {
            let bytes = fs::read(segment(stream, 2)).unwrap();
            let at = &block_starts(&bytes)[first..];
            let swapped = [
                &bytes[..at[0]],
                &bytes[at[1]..at[2]],
                &bytes[at[0]..at[1]],
                &bytes[at[2]..],
            ]
            .concat();
            fs::write(segment(stream, 2), swapped).unwrap();
        });
    }
}

#[test]
fn missing_swapped_and_foreign_segments_are_found() {
    for number in 1..=3 {
        check("a missing segment", |stream| {
            fs::remove_file(segment(stream, number)).unwrap()
        });
        check("an emptied segment", |stream| {
            fs::write(segment(stream, number), b"").unwrap()
        });
    }
    for (one, other) in [(1, 2), (2, 3), (1, 3)] {
        check("swapped segments", |stream| {
            fs::rename(segment(stream, one), stream.join("aside")).unwrap();
            fs::rename(segment(stream, other), segment(stream, one)).unwrap();
            fs::rename(stream.join("aside"), segment(stream, other)).unwrap();
        });
        check("a copied segment", |stream| {
            fs::copy(segment(stream, one), segment(stream, other)).unwrap();
        });
    }
    check("everything missing", |stream| {
        (1..=3).for_each(|number| fs::remove_file(segment(stream, number)).unwrap());
        fs::remove_file(stream.join("HEAD")).unwrap();
    });
    check("a missing HEAD", |stream| {
        fs::remove_file(stream.join("HEAD")).unwrap()
    });
    check("a first segment removed and the rest renumbered", |stream| {
        fs::rename(segment(stream, 2), segment(stream, 1)).unwrap();
        fs::rename(segment(stream, 3), segment(stream, 2)).unwrap();
    });
    check("a renamed segment", |stream| {
        fs::rename(segment(stream, 3), stream.join("3.seg")).unwrap();
    });
    check("a segment after the newest", |stream| {
        fs::copy(segment(stream, 3), segment(stream, 4)).unwrap();
    });
    check("an older HEAD and newest segment taken away", |stream| {
        let head = Head {
            number: 2,
            sealed: true,
            sequence: 10,
            hash: [0; 32],
        };
        fs::write(stream.join("HEAD"), head.encode("core-1", &key())).unwrap();
        fs::remove_file(segment(stream, 3)).unwrap();
    });
    check("another stream's records", |stream| {
        fs::rename(stream, stream.with_file_name("core-9")).unwrap();
    });
}

#[test]
fn a_segment_that_is_made_again_without_the_key_is_found() {
    check("a forged segment", |stream| {
        let forger = crate::SigningKey::from_seed(&[77; 32]).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::open(elsewhere.path(), "core-0", &forger, NOW).unwrap();
        recorder.append(NOW, session(0), &error(0)).unwrap();
        recorder.seal(NOW).unwrap();
        fs::copy(
            elsewhere.path().join("core-0").join(segment_name(1)),
            segment(stream, 1),
        )
        .unwrap();
    });
}

#[test]
fn a_live_recorder_always_verifies() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes_max: 600,
        segment_ms_max: u64::MAX,
    };
    let path = root.path().to_owned();
    let writer = std::thread::spawn(move || {
        let mut recorder = Recorder::open_with(&path, "core-0", &key(), NOW, options).unwrap();
        for number in 0..60 {
            recorder.append(NOW, session(1), &error(number)).unwrap();
            recorder.commit().unwrap();
        }
    });
    while !writer.is_finished() {
        if root.path().join("core-0/HEAD").exists() {
            assert_eq!(problems(root.path()), []);
        }
    }
    writer.join().unwrap();
    assert_eq!(problems(root.path()), []);
}
