//! What no reset undoes, what the next session is told, and cancels that come too late.

use linegate_policy::Name;

use super::*;

fn setting(setting: &str) -> Statement {
    Statement {
        settings: vec![setting.into()],
        ..Statement::empty()
    }
}

fn calling(function: &str) -> Statement {
    Statement {
        functions: vec![Name {
            schema: None,
            name: function.into(),
        }],
        ..Statement::empty()
    }
}

#[test]
fn what_no_reset_undoes_is_known() {
    for text in ["app.tenant=7", "app.tenant", "seed=0.5"] {
        assert_eq!(trace_of(&setting(text)), Trace::Lasting, "{text}");
    }
    for text in ["search_path=app", "timezone", "*", "role=x"] {
        assert_eq!(trace_of(&setting(text)), Trace::None, "{text}");
    }
    let mut computed = calling("set_config");
    computed.settings.push("*".into());
    assert_eq!(trace_of(&computed), Trace::Lasting);
    for function in ["setseed", "dblink_connect"] {
        assert_eq!(trace_of(&calling(function)), Trace::Lasting, "{function}");
    }
    assert_eq!(trace_of(&calling("lower")), Trace::None);
    assert_eq!(trace_of(&Statement::unreadable()), Trace::Lasting);
    let loads = Statement {
        effects: Effects::SERVER,
        ..Statement::empty()
    };
    assert_eq!(trace_of(&loads), Trace::Lasting);
    let block = Statement {
        opaque: vec!["a DO block"],
        ..Statement::empty()
    };
    assert_eq!(trace_of(&block), Trace::Unseen);
}

#[test]
fn traces_only_grow() {
    let parting = Parting::default();
    for (statement, expected) in [
        (Statement::empty(), Trace::None),
        (setting("a.b=1"), Trace::Lasting),
        (Statement::empty(), Trace::Lasting),
    ] {
        parting.forwarded(&statement);
        assert_eq!(parting.trace.get(), expected);
    }
}

fn greeting(of: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in of {
        say::parameter_status(&mut bytes, name, value);
    }
    bytes
}

fn pairs(of: &[(&str, &str)]) -> Vec<Report> {
    of.iter()
        .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
        .collect()
}

#[test]
fn a_greeting_tells_what_a_new_login_would() {
    let login = greeting(&[("TimeZone", "UTC"), ("is_superuser", "off")]);
    let same = merged(&login, &pairs(&[("TimeZone", "UTC")]));
    assert_eq!(same, Some(login.clone()));
    let reloaded = merged(&login, &pairs(&[("TimeZone", "CET"), ("is_superuser", "off")]));
    let expected = greeting(&[("TimeZone", "CET"), ("is_superuser", "off")]);
    assert_eq!(reloaded, Some(expected));
    assert_eq!(merged(&login, &pairs(&[("is_superuser", "on")])), None);
    assert_eq!(merged(&login, &pairs(&[("plugin.thing", "1")])), None);
}

/// The answers to all resets, with what stands between them.
fn answers(between: &[u8], status: TransactionStatus) -> Vec<u8> {
    answers_with(between, status, b"t")
}

fn answers_with(between: &[u8], status: TransactionStatus, is_free: &[u8]) -> Vec<u8> {
    let mut bytes = greeting(&[("TimeZone", "UTC")]);
    say::command_complete(&mut bytes, "DISCARD ALL");
    say::ready_for_query(&mut bytes, TransactionStatus::Idle);
    bytes.extend_from_slice(between);
    say::command_complete(&mut bytes, "RESET");
    say::ready_for_query(&mut bytes, status);
    bytes.extend_from_slice(b"T\0\0\0\x06\0\0");
    say::data_row(&mut bytes, &[Some(is_free)]);
    say::command_complete(&mut bytes, "SELECT 1");
    say::ready_for_query(&mut bytes, TransactionStatus::Idle);
    bytes
}

/// What comes of bytes that arrive in two pieces.
fn heard(bytes: &[u8], cut: usize) -> (Heard, State) {
    let parting = Parting::default();
    parting.state.set(State::Resetting(RESETS.len()));
    let pool = crate::slab::Pool::new(1 << 20);
    let mut ingress = pool.take(4096).expect("a slab");
    let mut last = Heard::Needs(1);
    for piece in [&bytes[..cut], &bytes[cut..]] {
        ingress.append(piece);
        if matches!(last, Heard::Needs(_)) {
            last = parting.hear(&mut ingress);
        }
    }
    (last, parting.state.get())
}

#[test]
fn a_reset_is_heard_however_it_is_cut_and_anything_else_ends_it() {
    let good = answers(b"", TransactionStatus::Idle);
    for cut in 0..=good.len() {
        assert_eq!(
            heard(&good, cut),
            (Heard::Done, State::Reset),
            "cut at byte {cut}"
        );
    }
    let mut refused = Vec::new();
    say::error_response(&mut refused, "ERROR", b"25001", "simulated", None, None);
    let mut more = good.clone();
    more.extend(greeting(&[("TimeZone", "CET")]));
    let bad = [
        answers(&refused, TransactionStatus::Idle),
        answers(b"", TransactionStatus::InTransaction),
        answers(b"D\0\0\0\x06\0\0", TransactionStatus::Idle),
        answers(b"Z\0\0\0\x03", TransactionStatus::Idle),
        answers_with(b"", TransactionStatus::Idle, b"f"),
        answers_with(b"", TransactionStatus::Idle, b""),
        more,
    ];
    for bytes in bad {
        let (heard, state) = heard(&bytes, 0);
        assert!(
            matches!(heard, Heard::Failed(_)) && state != State::Reset,
            "{heard:?}"
        );
    }
}

#[test]
fn no_request_to_cancel_follows_a_session_out() {
    let parting = Parting::default();
    assert!(parting.cancels() && parting.cancels.get() == 1);
    parting.cancel_heard();
    assert_eq!(parting.cancels.get(), 0);
    for state in [State::Resetting(1), State::Reset, State::Parked] {
        parting.state.set(state);
        assert!(!parting.cancels(), "{state:?}");
    }
}
