//! What a recorder promises: order, no gaps, nothing lost on a full disk or in a crash.

use super::*;
use crate::scan::listing;
use crate::testing::{NOW, error, key, rows_of, session};
use crate::verify::verify;
use crate::{Reader, Record};

fn open(root: &Path) -> Recorder {
    Recorder::open(root, "core-0", &key(), NOW).unwrap()
}

fn read(root: &Path) -> Vec<Record> {
    Reader::open(root).unwrap().map(Result::unwrap).collect()
}

fn assert_intact(root: &Path) {
    let report = verify(root, Some(&key().public_hex())).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn what_was_appended_is_read_in_order_without_gaps() {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = open(root.path());
    for number in 0..100 {
        recorder.append(NOW + number, session(1), &error(number)).unwrap();
        recorder
            .append_rows(NOW + number, session(2), 1, number * 3, b"abc")
            .unwrap();
        if number % 7 == 0 {
            assert_eq!(recorder.commit().unwrap().sequence, recorder.sequence());
            assert!(!recorder.is_pending());
        }
    }
    recorder.seal(NOW + 200).unwrap();
    let records = read(root.path());
    assert_eq!(records.len(), 202);
    assert!(
        records
            .iter()
            .zip(1..)
            .all(|(record, sequence)| record.sequence == sequence)
    );
    assert_eq!(records[3].entry, error(1));
    assert_eq!(
        records[4].entry,
        Entry::Rows {
            statement: 1,
            offset: 3,
            bytes: b"abc".to_vec()
        }
    );
    assert_eq!((records[4].session, records[4].at), (session(2), NOW + 1));
    assert_intact(root.path());
}

#[test]
fn rows_larger_than_a_block_come_back_whole() {
    let root = tempfile::tempdir().unwrap();
    let rows: Vec<u8> = (0..30_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut recorder = open(root.path());
    for (index, piece) in rows.chunks(900_001).enumerate() {
        recorder
            .append_rows(NOW, session(1), 4, index as u64 * 900_001, piece)
            .unwrap();
        assert!(
            recorder.pending_bytes() < UNSYNCED_BYTES_MAX + (2 << 20),
            "memory is bounded without commits"
        );
    }
    recorder.commit().unwrap();
    assert!(rows_of(root.path(), session(1), 4) == rows);
    assert_intact(root.path());
}

#[test]
fn a_very_long_statement_is_one_entry_and_an_endless_one_is_cut() {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = open(root.path());
    let long = |bytes| Entry::Downgraded {
        reason: "x".repeat(bytes),
    };
    recorder.append(NOW, session(1), &long(5 << 20)).unwrap();
    // What grows too long only by what JSON makes of it.
    let told = Entry::Error {
        statement: 7,
        sqlstate: "P0001".to_owned(),
        message: "\u{1}".repeat(PAYLOAD_BYTES_MAX / 6),
    };
    for endless in [long(PAYLOAD_BYTES_MAX), told] {
        recorder.append(NOW, session(1), &endless).unwrap();
    }
    recorder.append(NOW, session(1), &error(1)).unwrap();
    recorder.commit().unwrap();
    let records = read(root.path());
    let said: Vec<&Entry> = records.iter().map(|record| &record.entry).collect();
    assert!(
        matches!(said[2..], [
            Entry::Downgraded { reason },
            Entry::Error { statement: 7, message, .. },
            Entry::Error { .. },
        ] if reason.contains("too long to be recorded") && message.contains("too long")),
        "{:?}",
        &said[2..]
    );
    assert_intact(root.path());
}

#[test]
fn a_statement_and_its_verdict_come_back_as_entries() {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = open(root.path());
    let mut rendered = crate::Rendered::default();
    for statement in 1..=3 {
        let is_rendered = rendered.render(&crate::Begun {
            statement,
            text: "SELECT 1",
            redacted: false,
            protocol: crate::Protocol::Simple,
            exact: b"SELECT 1",
            verdict: crate::VerdictKind::Allow,
            reason: None,
            policies: &[],
            effects: ["select"].iter(),
            relations: ["public.people"].iter(),
        });
        assert!(is_rendered);
        let sequence = recorder.append_begun(NOW, session(1), &rendered).unwrap();
        assert_eq!(sequence, 1 + 2 * statement);
    }
    recorder.commit().unwrap();
    let records = read(root.path());
    let last: Vec<&Entry> = records[5..].iter().map(|record| &record.entry).collect();
    assert!(
        matches!(last[..], [
            Entry::Statement { statement: 3, text, .. },
            Entry::Verdict { statement: 3, relations, .. },
        ] if text == "SELECT 1" && relations == &["public.people"]),
        "{last:?}"
    );
    assert_intact(root.path());
}

#[test]
fn segments_turn_over_by_size_and_age() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes_max: 2000,
        segment_ms_max: 1000,
    };
    let mut recorder = Recorder::open_with(root.path(), "core-0", &key(), NOW, options).unwrap();
    for number in 0..50 {
        recorder.append(NOW, session(1), &error(number)).unwrap();
        recorder.commit().unwrap();
    }
    let by_size = listing(&root.path().join("core-0")).unwrap().segments.len();
    assert!(by_size > 3, "{by_size} segments");
    recorder.append(NOW, session(1), &error(50)).unwrap();
    recorder.tick(NOW + 999).unwrap();
    assert!(recorder.segment.is_some());
    recorder.tick(NOW + 1000).unwrap();
    assert!(recorder.segment.is_none(), "sealed by age");
    recorder.tick(NOW + 9000).unwrap();
    recorder.append(NOW + 9000, session(1), &error(51)).unwrap();
    recorder.commit().unwrap();
    let errors = read(root.path())
        .iter()
        .filter(|record| record.session == session(1))
        .count();
    assert_eq!(errors, 52);
    assert_intact(root.path());
}

#[test]
fn a_full_disk_loses_nothing() {
    for room in (0..700).step_by(13) {
        let root = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes_max: 400,
            segment_ms_max: u64::MAX,
        };
        let mut recorder = Recorder::open_with(root.path(), "core-0", &key(), NOW, options).unwrap();
        recorder.append(NOW, session(1), &error(0)).unwrap();
        let committed = recorder.commit().unwrap().sequence;
        recorder.room = Some(room);
        let mut failed = 0;
        for number in 1..8 {
            while recorder.append(NOW, session(1), &error(number)).is_err() {
                (failed, recorder.room) = (failed + 1, None);
            }
            if number % 2 == 0 && recorder.commit().is_err() {
                failed += 1;
                // what was committed before is whole, and what was written in part is an open tail or nothing
                let report = verify(root.path(), Some(&key().public_hex())).unwrap();
                assert!(report.problems.is_empty(), "room {room}: {:?}", report.problems);
                assert!(report.entries >= committed);
                assert!(recorder.is_pending());
                recorder.room = None;
                recorder.commit().unwrap();
            }
        }
        recorder.seal(NOW).unwrap_or_else(|_| {
            (failed, recorder.room) = (failed + 1, None);
            recorder.seal(NOW).unwrap();
        });
        assert!(failed > 0, "room {room} was enough");
        let errors: Vec<_> = read(root.path())
            .into_iter()
            .filter(|record| record.session == session(1))
            .collect();
        assert_eq!(errors.len(), 8, "room {room}");
        assert!(
            errors
                .iter()
                .zip(0..)
                .all(|(record, number)| record.entry == error(number))
        );
        assert_intact(root.path());
    }
}

#[test]
fn a_crash_costs_only_what_was_not_committed() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let mut recorder = open(&whole);
    recorder.append(NOW, session(1), &error(1)).unwrap();
    recorder.commit().unwrap();
    let file = whole.join("core-0").join(segment_name(1));
    let committed = fs::metadata(&file).unwrap().len();
    recorder.append(NOW, session(1), &error(2)).unwrap();
    recorder.commit().unwrap();
    let bytes = fs::read(&file).unwrap();
    let head = fs::read(whole.join("core-0/HEAD")).unwrap();
    for cut in committed as usize..=bytes.len() {
        let root = home.path().join(format!("cut-{cut}"));
        fs::create_dir_all(root.join("core-0")).unwrap();
        fs::write(root.join("core-0").join(segment_name(1)), &bytes[..cut]).unwrap();
        fs::write(root.join("core-0/HEAD"), &head).unwrap();
        let live = verify(&root, Some(&key().public_hex())).unwrap();
        assert!(
            live.problems.is_empty() && live.streams[0].open,
            "cut at {cut}: {:?}",
            live.problems
        );
        let mut again = Recorder::open(&root, "core-0", &key(), NOW + 5).unwrap();
        again.append(NOW + 6, session(1), &error(3)).unwrap();
        again.commit().unwrap();
        let survivors: Vec<_> = read(&root)
            .into_iter()
            .filter(|record| record.session == session(1))
            .map(|r| r.entry)
            .collect();
        let expected = if cut == bytes.len() {
            vec![1, 2, 3]
        } else {
            vec![1, 3]
        };
        assert_eq!(
            survivors,
            expected.into_iter().map(error).collect::<Vec<_>>(),
            "cut at {cut}"
        );
        let torn = (cut
            - if cut == bytes.len() {
                cut
            } else {
                committed as usize
            }) as u64;
        assert!(read(&root).iter().any(
            |record| matches!(record.entry, Entry::SegmentOpened { cut_bytes, .. } if cut_bytes == torn)
                || torn == 0
        ));
        assert_intact(&root);
    }
}

#[test]
fn a_recorder_does_not_paper_over_missing_segments() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        open(root.path()).seal(NOW).unwrap();
    }
    let stream = root.path().join("core-0");
    fs::rename(stream.join(segment_name(3)), root.path().join("aside")).unwrap();
    let refused = Recorder::open(root.path(), "core-0", &key(), NOW).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    fs::rename(root.path().join("aside"), stream.join(segment_name(3))).unwrap();
    drop(open(root.path()));
    let other = SigningKey::from_seed(&[99; 32]).unwrap();
    let refused = Recorder::open(root.path(), "core-0", &other, NOW).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    let held = open(root.path());
    let refused = Recorder::open(root.path(), "core-0", &key(), NOW).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    assert!(Recorder::open(root.path(), "../core", &key(), NOW).is_err());
    assert_intact(root.path());
}
