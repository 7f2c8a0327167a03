//! Transcripts, compared whole.

use super::*;
use crate::Recorder;
use crate::testing::{NOW, data_row, key, opened, session, statement, verdict};

fn replay(entries: &[(u64, Entry)], options: &Options) -> String {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(root.path(), "core-0", &key(), NOW).unwrap();
    for (at, entry) in entries {
        recorder.append(NOW + at, session(1), entry).unwrap();
    }
    recorder.seal(NOW).unwrap();
    let mut out = Vec::new();
    let replayed = render(root.path(), session(1), &mut out, options).unwrap();
    assert_eq!(
        replayed,
        Replayed {
            entries: entries.len() as u64,
            problems: 0
        }
    );
    String::from_utf8(out).unwrap()
}

fn conversation() -> Vec<(u64, Entry)> {
    let rows = [
        data_row(&[Some(b"1"), Some(b"XXXXXXXXXXXX4242")]),
        data_row(&[Some(b"20"), None]),
    ]
    .concat();
    let (names, types, formats) = (vec!["id".into(), "card".into()], vec![23, 25], vec![0, 0]);
    let (approvers, digest) = (vec!["oncall".into()], "00".into());
    vec![
        (0, opened("ci-runner")),
        (1000, verdict(1, VerdictKind::Allow, None)),
        (1000, statement(1, "SELECT id, card\n  FROM app.customers")),
        (
            1001,
            Entry::Columns {
                statement: 1,
                names,
                types,
                masked: vec![1],
                formats,
            },
        ),
        (
            1002,
            Entry::Rows {
                statement: 1,
                offset: 0,
                bytes: rows[..9].to_vec(),
            },
        ),
        (
            1002,
            Entry::Rows {
                statement: 1,
                offset: 9,
                bytes: rows[9..].to_vec(),
            },
        ),
        (
            1003,
            Entry::Shape {
                statement: 1,
                rows: 2,
                bytes: 90,
                tag: "SELECT 2".into(),
                digest: None,
            },
        ),
        (2000, statement(2, "DROP TABLE orders")),
        (2000, verdict(2, VerdictKind::Hold, Some("destructive"))),
        (
            2000,
            Entry::Hold {
                hold: "h_1".into(),
                statement: 2,
                approvers,
                digest,
                expires_at: NOW + 60_000,
            },
        ),
        (
            4500,
            Entry::Approval {
                hold: "h_1".into(),
                approved: true,
                by: "oncall-1".into(),
                reason: None,
            },
        ),
        (5000, statement(3, "DELETE FROM orders")),
        (5000, verdict(3, VerdictKind::Deny, Some("out of scope"))),
        (
            5000,
            Entry::Error {
                statement: 3,
                sqlstate: "42501".into(),
                message: "refused by policy".into(),
            },
        ),
        (
            6000,
            Entry::LeaseEnded {
                lease: "lg_aaaa".into(),
                why: "revoked".into(),
                by: Some("oncall-1".into()),
            },
        ),
        (
            6001,
            Entry::SessionEnded {
                why: "lease".into(),
                statements: 3,
                rows: 2,
                bytes_in: 9,
                bytes_out: 90,
            },
        ),
    ]
}

#[test]
fn a_session_reads_as_it_happened() {
    let expected = "\
session s_1
  chain       ci-runner → build/4711 → migrate (workload)
  lease       lg_aaaa
  target      prod, database shop, role app
  client      127.0.0.1:40000
  opened      2026-03-01 12:00:00.000 UTC
  recorded    rows, stream core-0

12:00:01.000  #1 SELECT id, card
                FROM app.customers
              allow  [select · on app.customers · by policy0]
   id | card*
  ----+------------------
    1 | XXXXXXXXXXXX4242
   20 | NULL
  * masked
              SELECT 2  (2 rows, 90 bytes)
12:00:02.000  #2 DROP TABLE orders
              hold: destructive  [select · on app.customers · by policy0]
              waits for oncall as h_1, until 12:01:00.000
12:00:04.500  h_1 approved by oncall-1
12:00:05.000  #3 DELETE FROM orders
              deny: out of scope  [select · on app.customers · by policy0]
              ERROR 42501: refused by policy
12:00:06.000  lease lg_aaaa revoked by oncall-1
12:00:06.001  session ended: lease  3 statements, 2 rows, 9 bytes in, 90 bytes out
";
    assert_eq!(replay(&conversation(), &Options::default()), expected);
}

#[test]
fn nothing_recorded_reaches_the_terminal_as_a_control() {
    let evil = "a\x1b[2Jb\u{9b}31m\u{202e}\r\x07\x7f";
    let mut chain_entry = opened(evil);
    if let Entry::SessionOpened { application, .. } = &mut chain_entry {
        *application = Some(evil.into());
    }
    let entries = vec![
        (0, chain_entry),
        (1, statement(1, evil)),
        (1, verdict(1, VerdictKind::Deny, Some(evil))),
        (
            2,
            Entry::Columns {
                statement: 1,
                names: vec![evil.into()],
                types: vec![25],
                masked: vec![],
                formats: vec![],
            },
        ),
        (
            2,
            Entry::Rows {
                statement: 1,
                offset: 0,
                bytes: data_row(&[Some(evil.as_bytes()), Some(b"\xff\x1b\n")]),
            },
        ),
        (
            3,
            Entry::Shape {
                statement: 1,
                rows: 1,
                bytes: 1,
                tag: evil.into(),
                digest: None,
            },
        ),
        (
            3,
            Entry::Error {
                statement: 1,
                sqlstate: evil.into(),
                message: evil.into(),
            },
        ),
        (4, Entry::Downgraded { reason: evil.into() }),
        (
            5,
            Entry::SessionEnded {
                why: evil.into(),
                statements: 1,
                rows: 1,
                bytes_in: 1,
                bytes_out: 1,
            },
        ),
    ];
    let text = replay(&entries, &Options::default());
    let controls: Vec<_> = text
        .chars()
        .filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}')
        .collect();
    assert_eq!(controls, [], "{text}");
    assert!(text.contains(r"a\x1b[2Jb\u{9b}31m\u{202e}\r\x07\x7f"), "{text}");
    assert!(text.contains(r"\xff\x1b\n"), "{text}");
}

#[test]
fn colours_are_only_there_when_asked_for() {
    let plain = replay(&conversation(), &Options::default());
    let colored = replay(
        &conversation(),
        &Options {
            color: true,
            ..Options::default()
        },
    );
    assert!(!plain.contains('\x1b'));
    assert!(colored.contains("\x1b[31mdeny\x1b[0m") && colored.contains("\x1b[32mapproved\x1b[0m"));
}

#[test]
fn it_can_be_followed_in_its_own_time() {
    let root = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(root.path(), "core-0", &key(), NOW).unwrap();
    for (at, entry) in conversation() {
        recorder.append(NOW + at, session(1), &entry).unwrap();
    }
    recorder.seal(NOW).unwrap();
    let waited = |pace| {
        let mut waited = Duration::ZERO;
        let options = Options {
            pace,
            ..Options::default()
        };
        render_with(root.path(), session(1), &mut Vec::new(), &options, &mut |time| {
            waited += time
        })
        .unwrap();
        waited.as_millis()
    };
    assert!((6000..=6001).contains(&waited(Some(1.0))));
    assert!((3000..=3001).contains(&waited(Some(2.0))));
    assert_eq!(
        (waited(None), waited(Some(0.0)), waited(Some(f32::NAN))),
        (0, 0, 0)
    );
    let absent = render(root.path(), session(9), &mut Vec::new(), &Options::default()).unwrap_err();
    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
}

#[test]
fn dates() {
    assert_eq!(utc(0), "1970-01-01 00:00:00.000 UTC");
    assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00.000 UTC");
    assert_eq!(utc(NOW + 1), "2026-03-01 12:00:00.001 UTC");
}
