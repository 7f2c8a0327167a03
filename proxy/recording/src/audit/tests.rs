//! Answers over a small recording.

use super::*;
use crate::testing::{NOW, error, key, opened, session, statement, verdict};
use crate::{Recorder, SigningKey};

fn recording() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let key: SigningKey = key();
    let mut one = Recorder::open(root.path(), "core-0", &key, NOW).unwrap();
    let mut say = |at: u64, of, entry| one.append(NOW + at, session(of), &entry).map(|_| ()).unwrap();
    say(0, 1, opened("ci-runner"));
    say(1, 1, verdict(1, VerdictKind::Allow, None));
    say(1, 1, statement(1, "SELECT 1"));
    say(
        2,
        1,
        Entry::Shape {
            statement: 1,
            rows: 3,
            bytes: 30,
            tag: "SELECT 3".into(),
            digest: None,
        },
    );
    say(3, 1, statement(2, "DROP TABLE orders"));
    say(3, 1, verdict(2, VerdictKind::Hold, Some("destructive")));
    let approvers = vec!["oncall".to_owned()];
    let digest = "00".to_owned();
    say(
        3,
        1,
        Entry::Hold {
            hold: "h_1".into(),
            statement: 2,
            approvers,
            digest,
            expires_at: NOW + 999,
        },
    );
    say(4, 2, opened("analyst"));
    say(5, 2, statement(1, "DELETE FROM orders"));
    say(5, 2, verdict(1, VerdictKind::Deny, Some("out of scope")));
    say(5, 2, error(1));
    let (hold, by) = ("h_1".into(), "oncall-1".into());
    say(
        9,
        1,
        Entry::Approval {
            hold,
            approved: true,
            by,
            reason: Some("planned".into()),
        },
    );
    let why = "client left".into();
    say(
        10,
        1,
        Entry::SessionEnded {
            why,
            statements: 2,
            rows: 3,
            bytes_in: 40,
            bytes_out: 50,
        },
    );
    one.seal(NOW + 11).unwrap();
    root
}

#[test]
fn sessions_say_who_started_them_and_how_they_ended() {
    let root = recording();
    let all = sessions(root.path(), &Filter::default()).unwrap();
    assert_eq!(all.problems, []);
    assert_eq!(all.found.len(), 2);
    let first = &all.found[0];
    assert_eq!(first.chain, ["ci-runner", "build/4711", "migrate"]);
    assert_eq!((first.statements, first.allowed, first.denied), (2, 1, 0));
    assert_eq!((first.held, first.approved, first.rows), (1, 1, 3));
    assert_eq!(
        (first.ended_at, first.ended_why.as_deref()),
        (Some(NOW + 10), Some("client left"))
    );
    assert_eq!(
        (all.found[1].ended_at, all.found[1].denied, all.found[1].errors),
        (None, 1, 1)
    );
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["found"][0]["session"], "s_1");
    let ids = |filter: Filter| {
        sessions(root.path(), &filter)
            .unwrap()
            .found
            .iter()
            .map(|s| s.session.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(Filter {
            principal: Some("analyst".into()),
            ..Filter::default()
        }),
        ["s_2"]
    );
    assert_eq!(
        ids(Filter {
            principal: Some("migrate".into()),
            ..Filter::default()
        }),
        [""; 0]
    );
    assert_eq!(
        ids(Filter {
            actor: Some("migrate".into()),
            ..Filter::default()
        }),
        ["s_1", "s_2"]
    );
    assert_eq!(
        ids(Filter {
            verdict: Some(VerdictKind::Hold),
            ..Filter::default()
        }),
        ["s_1"]
    );
    assert_eq!(
        ids(Filter {
            since: Some(NOW + 11),
            ..Filter::default()
        }),
        ["s_2"]
    );
    assert_eq!(
        ids(Filter {
            until: Some(NOW + 4),
            ..Filter::default()
        }),
        ["s_1"]
    );
    assert_eq!(
        ids(Filter {
            limit: Some(1),
            ..Filter::default()
        }),
        ["s_2"]
    );
    assert_eq!(
        ids(Filter {
            target: Some("other".into()),
            ..Filter::default()
        }),
        [""; 0]
    );
    assert_eq!(
        ids(Filter {
            session: Some(session(2)),
            ..Filter::default()
        }),
        ["s_2"]
    );
}

#[test]
fn statements_say_what_was_decided_and_who_approved() {
    let root = recording();
    let all = statements(root.path(), &Filter::default()).unwrap().found;
    let texts: Vec<_> = all.iter().map(|row| row.text.as_deref().unwrap()).collect();
    assert_eq!(texts, ["SELECT 1", "DROP TABLE orders", "DELETE FROM orders"]);
    assert_eq!((all[0].rows, all[0].tag.as_deref()), (3, Some("SELECT 3")));
    assert_eq!(
        (all[1].hold_ended.as_deref(), all[1].decided_by.as_deref()),
        (Some("approved"), Some("oncall-1"))
    );
    assert_eq!(
        (all[1].decided_reason.as_deref(), all[1].decided_at),
        (Some("planned"), Some(NOW + 9))
    );
    assert_eq!(all[2].chain, ["analyst", "build/4711", "migrate"]);
    assert_eq!(
        (all[2].sqlstate.as_deref(), all[2].reason.as_deref()),
        (Some("42601"), Some("out of scope"))
    );
    let denied = Filter {
        verdict: Some(VerdictKind::Deny),
        ..Filter::default()
    };
    assert_eq!(statements(root.path(), &denied).unwrap().found, all[2..]);
    let since = Filter {
        since: Some(NOW + 3),
        until: Some(NOW + 5),
        ..Filter::default()
    };
    assert_eq!(statements(root.path(), &since).unwrap().found, all[1..2]);
}

#[test]
fn damage_is_told() {
    let root = recording();
    let file = root.path().join("core-0/00000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(
        statements(root.path(), &Filter::default())
            .unwrap()
            .problems
            .len(),
        1
    );
}
