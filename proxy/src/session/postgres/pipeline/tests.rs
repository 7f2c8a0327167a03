//! What the server may say when, and what becomes of it.

use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::Decision;

use super::*;

fn name(text: &str) -> Rc<[u8]> {
    Rc::from(text.as_bytes())
}

fn asked() -> Rc<Asked> {
    Rc::new(Asked::for_tests())
}

fn drive(pipeline: &mut Pipeline, tags: &[u8]) {
    for tag in tags {
        assert!(
            pipeline.answer(*tag, Some(TransactionStatus::Idle)).is_ok(),
            "{}",
            *tag as char
        );
    }
}

#[test]
fn a_simple_query_ends_with_ready_for_query() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Query { asked: asked() });
    drive(&mut pipeline, b"TCTCEZ");
    assert!(pipeline.is_idle());
}

#[test]
fn a_series_lasts_until_sync() {
    let mut pipeline = Pipeline::default();
    assert!(pipeline.is_between_series());
    pipeline.push(Expect::Parse {
        name: name(""),
        asked: asked(),
        given: Given::default(),
    });
    drive(&mut pipeline, b"1");
    assert!(
        pipeline.is_idle() && !pipeline.is_between_series(),
        "no Sync came"
    );
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"Z");
    assert!(pipeline.is_between_series());
    pipeline.push(Expect::DescribeStatement { name: None });
    drive(&mut pipeline, b"E");
    assert!(!pipeline.is_between_series(), "the server skips to Sync");
    pipeline.push(Expect::Sync);
    pipeline.push(Expect::Query { asked: asked() });
    drive(&mut pipeline, b"ZCZ");
    assert!(pipeline.is_idle() && pipeline.is_between_series());
}

#[test]
fn a_function_call_ends_with_ready_for_query_also_after_an_error() {
    let call = || Expect::FunctionCall {
        asked: asked(),
        result_format: 1,
    };
    let mut pipeline = Pipeline::default();
    pipeline.push(call());
    pipeline.push(call());
    assert!(pipeline.running().is_some());
    drive(&mut pipeline, b"NVZEZ");
    assert!(pipeline.is_idle());
    pipeline.push(Expect::Query { asked: asked() });
    assert!(
        pipeline.answer(tag::FUNCTION_CALL_RESPONSE, None).is_err(),
        "nobody called a function"
    );
}

#[test]
fn a_function_call_behind_an_error_waits_for_sync() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Parse {
        name: name(""),
        asked: asked(),
        given: Given::default(),
    });
    drive(&mut pipeline, b"E");
    pipeline.push(Expect::FunctionCall {
        asked: asked(),
        result_format: 0,
    });
    assert!(pipeline.is_idle(), "the server ignores what comes before Sync");
}

#[test]
fn an_error_skips_to_sync_and_drops_what_the_client_queued_behind_it() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Parse {
        name: name("a"),
        asked: asked(),
        given: Given::default(),
    });
    pipeline.push(Expect::Bind {
        portal: name(""),
        asked: asked(),
        given: Given::default(),
    });
    drive(&mut pipeline, b"E");
    pipeline.push(Expect::Execute {
        portal: name(""),
        asked: asked(),
    });
    assert!(pipeline.is_idle(), "the server ignores what comes before Sync");
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"Z");
    assert!(pipeline.is_idle());
    assert!(
        !pipeline.knows_statement(b"a"),
        "a failed Parse leaves no name behind"
    );
}

#[test]
fn a_failed_second_parse_does_not_replace_the_first() {
    let mut pipeline = Pipeline::default();
    let first = asked();
    pipeline.push(Expect::Parse {
        name: name("s"),
        asked: first.clone(),
        given: Given::default(),
    });
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"1Z");
    pipeline.push(Expect::Parse {
        name: name("s"),
        asked: asked(),
        given: Given::default(),
    });
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"EZ");
    assert!(known(&pipeline.statement(b"s"), &first));
}

fn copies() -> Rc<Asked> {
    let asked = Asked::for_tests();
    let decision = Decision {
        effects: Effects::COPY_IN,
        ..Decision::allowed_for_tests()
    };
    Rc::new(Asked {
        decision: Arc::new(decision),
        ..asked
    })
}

#[test]
fn data_that_ended_before_the_server_asked_for_them_are_one_copys() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::CopyEnd);
    assert!(pipeline.is_idle(), "nobody copies");
    pipeline.push(Expect::Query { asked: copies() });
    assert!(pipeline.may_copy_in() && !pipeline.is_copying_in());
    pipeline.push(Expect::CopyEnd);
    drive(&mut pipeline, b"G");
    assert!(!pipeline.is_copying_in(), "the data have ended");
    drive(&mut pipeline, b"CG");
    assert!(
        pipeline.is_copying_in(),
        "a second COPY of the same Query has data of its own"
    );
    pipeline.push(Expect::CopyEnd);
    assert!(!pipeline.is_copying_in());
    drive(&mut pipeline, b"CZ");
    assert!(pipeline.is_idle() && !pipeline.may_copy_in());
}

#[test]
fn an_end_of_data_is_used_up_or_forgotten() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Query { asked: copies() });
    pipeline.push(Expect::CopyEnd);
    pipeline.push(Expect::CopyEnd);
    drive(&mut pipeline, b"GCGCZ");
    assert!(pipeline.is_idle());
    pipeline.push(Expect::Query { asked: copies() });
    pipeline.push(Expect::CopyEnd);
    drive(&mut pipeline, b"EZ");
    assert_eq!(pipeline.take_local(), None);
    assert!(pipeline.is_idle(), "the COPY failed before it began");
}

#[test]
fn nothing_but_data_may_be_on_its_way_when_a_copy_begins() {
    for execute in [false, true] {
        let mut pipeline = Pipeline::default();
        pipeline.push(match execute {
            true => Expect::Execute {
                portal: name(""),
                asked: asked(),
            },
            false => Expect::Query { asked: asked() },
        });
        pipeline.push(Expect::Sync);
        assert_eq!(
            pipeline.answer(tag::COPY_IN_RESPONSE, None),
            Err(OutOfTurn(tag::COPY_IN_RESPONSE)),
            "the server may throw the Sync away, and may not"
        );
    }
}

fn known(meaning: &Meaning, expected: &Rc<Asked>) -> bool {
    matches!(meaning, Meaning::Known(asked) if Rc::ptr_eq(asked, expected))
}

#[test]
fn a_name_counts_at_once_within_its_series_and_behind_a_sync_when_it_is_confirmed() {
    let (first, second) = (asked(), asked());
    let mut pipeline = Pipeline::default();
    let parse = |asked: &Rc<Asked>| Expect::Parse {
        name: name(""),
        asked: asked.clone(),
        given: Given::default(),
    };
    assert!(matches!(pipeline.statement(b""), Meaning::Nothing));
    pipeline.push(parse(&first));
    assert!(known(&pipeline.statement(b""), &first));
    pipeline.push(Expect::Sync);
    assert!(
        matches!(pipeline.statement(b""), Meaning::Unsettled),
        "it may have been skipped"
    );
    drive(&mut pipeline, b"1Z");
    assert!(known(&pipeline.statement(b""), &first));
    pipeline.push(Expect::DescribeStatement { name: None });
    pipeline.push(parse(&second));
    assert!(known(&pipeline.statement(b""), &second));
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"EZ");
    assert!(known(&pipeline.statement(b""), &first), "the second was skipped");
}

#[test]
fn portals_end_with_their_transaction_and_are_described_when_the_server_has_done_it() {
    let bind = || Expect::Bind {
        portal: name("p"),
        asked: asked(),
        given: Given::default(),
    };
    let describe = || Expect::DescribePortal {
        portal: name("p"),
        asked: asked(),
        own: false,
    };
    let within = Some(TransactionStatus::InTransaction);
    let mut pipeline = Pipeline::default();
    pipeline.push(bind());
    assert!(!pipeline.is_described(b"p"));
    pipeline.push(describe());
    assert!(pipeline.is_described(b"p"), "on its way");
    pipeline.push(Expect::Sync);
    assert!(!pipeline.is_described(b"p"), "it may have been skipped");
    drive(&mut pipeline, b"2T");
    assert_eq!(pipeline.answer(b'Z', within), Ok(Answer::Pass));
    assert!(pipeline.is_described(b"p"));
    pipeline.push(Expect::Close {
        kind: Kind::Portal,
        name: name("p"),
    });
    pipeline.push(bind());
    assert!(!pipeline.is_described(b"p"), "another one");
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"32");
    assert_eq!(pipeline.answer(b'Z', within), Ok(Answer::Pass));
    assert!(!pipeline.is_described(b"p"));
    pipeline.push(Expect::DescribeStatement { name: None });
    pipeline.push(describe());
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"E");
    assert_eq!(pipeline.answer(b'Z', within), Ok(Answer::Pass));
    assert!(!pipeline.is_described(b"p"), "the server skipped that");
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"Z");
    assert!(matches!(pipeline.portal(b"p"), Meaning::Nothing));
}

#[test]
fn a_refusal_waits_for_what_was_asked_before_it() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Query { asked: asked() });
    pipeline.push(Expect::Local(b"no".to_vec()));
    assert_eq!(pipeline.take_local(), None);
    drive(&mut pipeline, b"CZ");
    assert_eq!(pipeline.take_local(), Some(b"no".to_vec()));
}

#[test]
fn an_answer_that_nobody_asked_for_is_an_error() {
    let mut pipeline = Pipeline::default();
    assert_eq!(
        pipeline.answer(tag::DATA_ROW, None),
        Err(OutOfTurn(tag::DATA_ROW))
    );
    assert_eq!(
        pipeline.answer(tag::PARSE_COMPLETE, None),
        Err(OutOfTurn(tag::PARSE_COMPLETE))
    );
}

#[test]
fn a_transaction_of_linegates_own_shows_the_client_one_answer() {
    let mut pipeline = Pipeline::default();
    let said = |pipeline: &mut Pipeline, tag, status| pipeline.answer(tag, Some(status));
    let (idle, within) = (TransactionStatus::Idle, TransactionStatus::InTransaction);
    pipeline.push(Expect::Own);
    assert_eq!(said(&mut pipeline, b'C', idle), Ok(Answer::Swallow));
    assert_eq!(said(&mut pipeline, b'Z', within), Ok(Answer::Swallow));
    pipeline.hold_ready(true);
    pipeline.push(Expect::Query { asked: asked() });
    assert_eq!(said(&mut pipeline, b'C', within), Ok(Answer::Pass));
    assert_eq!(said(&mut pipeline, b'Z', within), Ok(Answer::Swallow));
    assert_eq!(pipeline.status(), within);
    pipeline.push(Expect::Finish);
    assert_eq!(said(&mut pipeline, b'C', within), Ok(Answer::Swallow));
    assert_eq!(said(&mut pipeline, b'Z', idle), Ok(Answer::Pass));
    pipeline.push(Expect::Finish);
    assert_eq!(
        said(&mut pipeline, b'E', within),
        Ok(Answer::Pass),
        "a deferred constraint"
    );
    assert_eq!(said(&mut pipeline, b'Z', idle), Ok(Answer::Pass));
    pipeline.push(Expect::Undo);
    assert_eq!(said(&mut pipeline, b'E', within), Ok(Answer::Swallow));
    assert_eq!(
        said(&mut pipeline, b'Z', TransactionStatus::Failed),
        Ok(Answer::Pass)
    );
    assert!(pipeline.is_idle());
}

#[test]
fn the_poison_is_replaced_by_the_refusal() {
    let mut pipeline = Pipeline::default();
    pipeline.push(Expect::Execute {
        portal: name(""),
        asked: asked(),
    });
    pipeline.push(Expect::Poison(b"refused".to_vec()));
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"C");
    assert_eq!(
        pipeline.answer(tag::ERROR_RESPONSE, None),
        Ok(Answer::Replace(b"refused".to_vec()))
    );
    drive(&mut pipeline, b"Z");
    assert!(pipeline.is_idle());
}

fn question(pipeline: &mut Pipeline, is_simple: bool) {
    pipeline.push(Expect::OwnParse { asked: asked() });
    pipeline.push(Expect::OwnDescribe { asked: asked() });
    pipeline.push(Expect::OwnClose);
    if is_simple {
        pipeline.push(Expect::OwnSync);
    }
}

#[test]
fn nobody_hears_of_the_question_about_a_copy() {
    for description in [tag::ROW_DESCRIPTION, tag::NO_DATA] {
        let mut pipeline = Pipeline::default();
        question(&mut pipeline, true);
        for message in [b'1', b't', description, b'3', b'Z'] {
            assert!(pipeline.running().is_none());
            let answer = pipeline.answer(message, Some(TransactionStatus::InTransaction));
            assert_eq!(answer, Ok(Answer::Swallow), "{}", message as char);
        }
        assert!(pipeline.is_idle());
        assert_eq!(pipeline.status(), TransactionStatus::InTransaction);
    }
    let mut pipeline = Pipeline::default();
    question(&mut pipeline, false);
    drive(&mut pipeline, b"1tT3");
    assert!(pipeline.is_idle() && !pipeline.is_skipping());
    assert!(pipeline.answer(b'Z', None).is_err(), "nobody asked for it");
}

#[test]
fn an_error_to_the_question_about_a_copy_is_the_clients() {
    for answers in [&b""[..], b"1", b"1t", b"1tT"] {
        let mut pipeline = Pipeline::default();
        question(&mut pipeline, true);
        drive(&mut pipeline, answers);
        assert_eq!(pipeline.answer(tag::ERROR_RESPONSE, None), Ok(Answer::Pass));
        assert!(!pipeline.is_skipping(), "its Sync is on its way");
        let ready = pipeline.answer(tag::READY_FOR_QUERY, Some(TransactionStatus::Failed));
        assert_eq!(ready, Ok(Answer::Pass));
        assert!(pipeline.is_idle());

        let mut pipeline = Pipeline::default();
        question(&mut pipeline, false);
        drive(&mut pipeline, answers);
        assert_eq!(pipeline.answer(tag::ERROR_RESPONSE, None), Ok(Answer::Pass));
        assert!(
            pipeline.is_idle() && pipeline.is_skipping(),
            "up to the client's Sync"
        );
    }
    let mut pipeline = Pipeline::default();
    question(&mut pipeline, true);
    for wrong in [b'T', b'3', b'Z', b'2', b'D', b'C', b'H', b'd'] {
        let mut other = Pipeline::default();
        question(&mut other, true);
        assert!(other.answer(wrong, None).is_err(), "{}", wrong as char);
    }
}

#[test]
fn what_an_error_left_of_the_question_is_known_until_it_is_closed() {
    for (answers, is_left) in [(&b""[..], false), (b"1", true), (b"1tT", true), (b"1tT3", false)] {
        let mut pipeline = Pipeline::default();
        question(&mut pipeline, true);
        drive(&mut pipeline, answers);
        assert_eq!(pipeline.answer(tag::ERROR_RESPONSE, None), Ok(Answer::Pass));
        drive(&mut pipeline, b"Z");
        assert_eq!(pipeline.own_is_left, is_left, "{answers:?}");
        pipeline.push(Expect::OwnClose);
        drive(&mut pipeline, b"3");
        assert!(!pipeline.own_is_left && pipeline.is_idle());
    }
}

/// What is forwarded makes something that may rest on what is temporary, without saying so.
fn unseen() -> Rc<Asked> {
    let mut asked = Asked::for_tests();
    let mut decision = (*asked.decision).clone();
    decision.statement.leads.rests_unseen = true;
    asked.decision = Arc::new(decision);
    Rc::new(asked)
}

#[test]
fn what_was_made_unseen_counts_until_its_transaction_has_ended() {
    let mut pipeline = Pipeline::default();
    for expect in [asked(), unseen(), asked()] {
        pipeline.push(Expect::Query { asked: expect });
    }
    drive(&mut pipeline, b"CZ");
    assert!(pipeline.rests_unseen(), "it is behind what has ended");
    assert!(pipeline.answer(b'C', None).is_ok());
    assert!(
        pipeline
            .answer(b'Z', Some(TransactionStatus::InTransaction))
            .is_ok()
    );
    assert!(pipeline.rests_unseen(), "the block is open");
    drive(&mut pipeline, b"CZ");
    assert!(!pipeline.rests_unseen());
    // Answered, and no Sync has come.
    pipeline.push(Expect::Execute {
        asked: unseen(),
        portal: Rc::from(&b""[..]),
    });
    drive(&mut pipeline, b"C");
    assert!(pipeline.is_idle() && pipeline.rests_unseen());
    pipeline.push(Expect::Sync);
    drive(&mut pipeline, b"Z");
    assert!(!pipeline.rests_unseen());
}
