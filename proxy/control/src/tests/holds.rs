//! Statements that wait for a person: who may answer, how many must, and how it ends.

use super::*;

fn hold(seed: u8, quorum: u32, expires_at: u64) -> HoldRequest {
    let chain: ActorChain = serde_json::from_value(json!({
        "principal": {"kind": "workload", "name": "ci-runner"}, "actors": ["build/4711", "migrate"]
    }))
    .expect("a chain");
    HoldRequest {
        id: hold_id([seed; 7]),
        session: "s_aaaaaaaaaaaaaaaa".into(),
        lease: LeaseId::from_random([9; 10]),
        chain,
        target: "prod".into(),
        statement: "DROP TABLE orders".into(),
        parameters: vec![None],
        parameter_types: vec!["integer".into()],
        settings: Vec::new(),
        effects: vec!["drop".into()],
        relations: vec!["app.orders".into()],
        reason: "destructive".into(),
        assents: vec![Assent {
            groups: vec!["oncall".into()],
            count: quorum,
        }],
        digest: format!("{seed:02x}").repeat(32),
        asked_at: UnixMillis(START),
        expires_at: UnixMillis(expires_at),
    }
}

/// Asks, and waits until approvers can see it.
async fn ask(house: &House, plane: &mut DataPlane, hold: &HoldRequest) {
    plane.say(&ToControl::HoldAsked { hold: hold.clone() }).await;
    for _ in 0..500 {
        if house
            .control
            .book()
            .holds
            .get(&hold.id)
            .is_some_and(|known| known.plane.is_some())
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the hold was not taken");
}

#[tokio::test]
async fn nobody_approves_their_own_chain() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    let hold = hold(1, 1, START + 60_000);
    ask(&house, &mut plane, &hold).await;
    let listed = get(dir, "/v1/holds").await;
    assert_eq!(
        (&listed["holds"][0]["id"], &listed["holds"][0]["connected"]),
        (&json!(hold.id), &json!(true))
    );
    assert_eq!(listed["holds"][0]["statement"], "DROP TABLE orders");
    let path = format!("/v1/holds/{}/approve", hold.id);
    for own in [
        "workload:ci-runner",
        "user:CI-Runner",
        "user:migrate",
        "user:build/4711",
    ] {
        let (status, no) = post(dir, &path, json!({"as": own})).await;
        assert_eq!(
            (status, &no["error"]),
            (403, &json!("nobody approves their own chain")),
            "{own}"
        );
    }
    let (status, no) = post(dir, &path, json!({"as": "user:writer"})).await;
    assert_eq!(status, 403);
    assert!(no["hint"].as_str().expect("text").contains("oncall"), "{no}");
    assert_eq!(
        post(
            dir,
            "/v1/holds/h_zzzzzzzzzz/approve",
            json!({"as": "user:oncall-1"})
        )
        .await
        .0,
        404
    );

    let (status, yes) = post(dir, &path, json!({"as": "user:oncall-1"})).await;
    assert_eq!((status, &yes["state"]), (200, &json!("approved")), "{yes}");
    let ToData::HoldDecided {
        hold: id,
        digest,
        approved,
        by,
        ..
    } = plane.next().await
    else {
        panic!("a decision")
    };
    assert_eq!(
        (id, digest, approved, by.as_str()),
        (hold.id.clone(), hold.digest.clone(), true, "user:oncall-1")
    );
    let (status, no) = post(dir, &path, json!({"as": "user:oncall-2"})).await;
    assert_eq!(status, 409, "an approval is used once: {no}");
    assert_eq!(get(dir, "/v1/holds").await["holds"], json!([]));

    // The same id with other bytes gets no answer from the approval of the first.
    let other = HoldRequest {
        digest: "ab".repeat(32),
        statement: "DROP TABLE customers".into(),
        ..hold.clone()
    };
    plane.say(&ToControl::HoldAsked { hold: other.clone() }).await;
    let ToData::HoldDecided { digest, approved, .. } = plane.next().await else {
        panic!("a decision")
    };
    assert_eq!((digest, approved), (other.digest, false));
    // The same question after a lost connection gets the same answer.
    plane.say(&ToControl::HoldAsked { hold: hold.clone() }).await;
    let ToData::HoldDecided { digest, approved, .. } = plane.next().await else {
        panic!("a decision")
    };
    assert_eq!((digest, approved), (hold.digest, true));
    drop(house);
}

#[tokio::test]
async fn a_quorum_counts_distinct_people_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    let hold = hold(2, 2, START + 60_000);
    ask(&house, &mut plane, &hold).await;
    let path = format!("/v1/holds/{}/approve", hold.id);
    let one = post(dir, &path, json!({"as": "user:oncall-1"})).await;
    assert_eq!(
        (one.0, &one.1["state"]),
        (200, &json!("waiting for 1 more of oncall"))
    );
    assert_eq!(
        post(dir, &path, json!({"as": "oncall-1"})).await.0,
        409,
        "the same person"
    );
    drop((house, plane));

    let house = House::open(dir, settings());
    assert_eq!(
        post(dir, &path, json!({"as": "user:oncall-2"})).await.0,
        409,
        "its data plane is away"
    );
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    ask(&house, &mut plane, &hold).await;
    assert_eq!(
        get(dir, "/v1/holds").await["holds"][0]["approvals"],
        json!(["user:oncall-1"])
    );
    let two = post(dir, &path, json!({"as": "user:oncall-2"})).await;
    assert_eq!((two.0, &two.1["state"]), (200, &json!("approved")));
    let ToData::HoldDecided {
        approved: true, by, ..
    } = plane.next().await
    else {
        panic!("an approval")
    };
    assert_eq!(by, "user:oncall-1, user:oncall-2");
    let text = std::fs::read(dir.join("state.db-wal")).expect("readable");
    assert!(
        !text.windows(17).any(|bytes| bytes == b"DROP TABLE orders"),
        "statements are not stored"
    );
}

#[tokio::test]
async fn each_rule_that_holds_a_statement_must_be_met() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    let mut hold = hold(8, 1, START + 60_000);
    hold.assents.push(Assent {
        groups: vec!["security".into()],
        count: 1,
    });
    ask(&house, &mut plane, &hold).await;
    let shown = get(dir, "/v1/holds").await["holds"][0].clone();
    assert_eq!(
        (&shown["approvers"], &shown["needs"]),
        (
            &json!(["oncall", "security"]),
            &json!(["1 of oncall", "1 of security"])
        )
    );
    let path = format!("/v1/holds/{}/approve", hold.id);
    let both_of_one = ["user:oncall-1", "user:oncall-2"];
    for name in both_of_one {
        let one = post(dir, &path, json!({ "as": name })).await;
        assert_eq!(
            (one.0, &one.1["state"]),
            (200, &json!("waiting for 1 more of security"))
        );
    }
    let last = post(dir, &path, json!({"as": "user:security-1"})).await;
    assert_eq!((last.0, &last.1["state"]), (200, &json!("approved")));
    let ToData::HoldDecided { approved: true, .. } = plane.next().await else {
        panic!("an approval")
    };
    drop(house);
}

#[tokio::test]
async fn a_hold_is_denied_with_its_reason_or_ends_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    let (denied, gone, late) = (
        hold(3, 1, START + 60_000),
        hold(4, 1, START + 60_000),
        hold(5, 1, START + 60_000),
    );
    for hold in [&denied, &gone, &late] {
        ask(&house, &mut plane, hold).await;
    }
    let deny = |hold: &HoldRequest| format!("/v1/holds/{}/deny", hold.id);
    let reason = json!({"as": "user:oncall-1", "reason": "not on a Friday"});
    assert_eq!(
        post(
            dir,
            &deny(&denied),
            json!({"as": "user:oncall-1", "reason": "a\u{7}b"})
        )
        .await
        .0,
        400
    );
    let (status, answer) = post(dir, &deny(&denied), reason.clone()).await;
    assert_eq!((status, &answer["state"]), (200, &json!("denied")));
    let ToData::HoldDecided {
        approved: false,
        reason: Some(said),
        ..
    } = plane.next().await
    else {
        panic!("a refusal")
    };
    assert_eq!(said, "not on a Friday");
    plane
        .say(&ToControl::HoldGone {
            hold: gone.id.clone(),
            why: "cancelled".into(),
        })
        .await;
    while house.control.book().holds.contains_key(&gone.id) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, answer) = post(dir, &deny(&gone), reason.clone()).await;
    assert_eq!(status, 409);
    assert!(
        answer["error"].as_str().expect("text").contains("gone"),
        "{answer}"
    );
    house.pass(60);
    let (status, answer) = post(dir, &deny(&late), reason).await;
    assert_eq!(status, 409);
    assert!(
        answer["error"].as_str().expect("text").contains("expired"),
        "{answer}"
    );
    house.control.sweep().await.expect("swept");
    assert!(house.control.book().holds.is_empty());
    let malformed = HoldRequest {
        statement: "x".repeat(100 << 10),
        ..hold(6, 1, START + 120_000)
    };
    plane.say(&ToControl::HoldAsked { hold: malformed }).await;
    assert!(
        matches!(plane.next().await, ToData::HoldDecided { approved: false, .. }),
        "too large to be shown"
    );
}
