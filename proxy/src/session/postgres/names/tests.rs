//! What is remembered of names, and what may run by those that are not.

use linegate_policy::Leads;

use super::*;

const NOW: Rules = (1, u64::MAX);
const LATER: Rules = (2, u64::MAX);

fn text(text: &str) -> Rc<[u8]> {
    Rc::from(text.as_bytes())
}

fn meaning(text: &Rc<[u8]>, was_held: bool, rules: Rules) -> Meaning {
    Meaning {
        text: Some(text.clone()),
        was_held,
        by_protocol: false,
        types: Types::default(),
        rules,
        more: None,
        declared: Vec::new(),
    }
}

fn lost(by_any_name: bool) -> Lost {
    Lost {
        rules: NOW,
        is_risky: false,
        by_any_name,
        has_more: false,
    }
}

fn prepared(name: &str) -> Named {
    Named::Prepared(name.to_owned())
}

#[test]
fn a_name_that_was_given_twice_stands_for_both() {
    let names = Names::default();
    let (one, two) = (text("SELECT 1"), text("SELECT 2"));
    names.learn(&prepared("a"), meaning(&one, false, NOW));
    names.learn(&prepared("a"), meaning(&one, false, LATER));
    names.learn(&prepared("b"), meaning(&one, false, NOW));
    names.learn(&prepared("b"), meaning(&two, false, NOW));
    names.learn(&Named::Cursor("a".into()), meaning(&two, false, NOW));
    assert_eq!(names.exact(&prepared("a")), Some(one));
    assert_eq!(names.exact(&prepared("b")), None);
    assert_eq!(names.meanings(&prepared("b")).len(), 2);
    assert_eq!(names.exact(&Named::Cursor("a".into())), Some(two));
    assert_eq!(names.exact(&prepared("c")), None);
}

#[test]
fn what_is_not_remembered_runs_under_the_same_rules_only() {
    let names = Names::default();
    let one = text("SELECT 1");
    for number in 0..NAMES_MAX {
        names.learn(&prepared(&number.to_string()), meaning(&one, false, NOW));
    }
    assert!(
        names.may_run_unknown(Some(&prepared("x")), LATER),
        "nobody prepared it"
    );
    names.learn(&prepared("x"), meaning(&one, false, NOW));
    assert!(names.may_run_unknown(Some(&prepared("x")), NOW));
    assert!(!names.may_run_unknown(Some(&prepared("x")), LATER));
    assert!(!names.may_run_unknown(None, LATER));
    assert!(names.may_run_unknown(Some(&prepared("7")), LATER), "it is known");
    assert_eq!(names.exact(&prepared("7")), Some(one.clone()));
    names.learn(&prepared("y"), meaning(&one, true, NOW));
    assert!(
        !names.may_run_unknown(Some(&prepared("x")), NOW),
        "one of them was held"
    );
}

#[test]
fn a_name_with_too_many_texts_is_unknown_like_text_that_was_not_read() {
    let names = Names::default();
    for number in 0..=TEXTS_MAX {
        let text = text(&format!("SELECT {number}"));
        names.learn(&prepared("a"), meaning(&text, false, NOW));
    }
    let meanings = names.meanings(&prepared("a"));
    assert!(meanings.len() == TEXTS_MAX && meanings.iter().any(|one| one.text.is_none()));
    names.learn(&prepared("a"), meaning(&text("SELECT 0"), false, LATER));
    assert!(names.exact(&prepared("a")).is_none());
    let names = Names::default();
    names.learn(&prepared("a"), meaning(&text("SELECT 1"), false, NOW));
    names.lose(lost(true));
    assert_eq!(names.exact(&prepared("a")), None);
    assert!(!names.may_run_unknown(Some(&prepared("a")), LATER));
    let long = text(&"x".repeat(TEXT_BYTES_MAX + 1));
    let names = Names::default();
    names.learn(&prepared("a"), meaning(&long, false, NOW));
    assert_eq!(names.exact(&prepared("a")), None);
}

#[test]
fn what_sql_has_named_is_not_the_protocols() {
    let names = Names::default();
    assert!(!names.is_by_sql(|| prepared("a")));
    names.learn_by_sql(&prepared("a"));
    assert!(names.is_by_sql(|| prepared("a")));
    assert!(!names.is_by_sql(|| Named::Cursor("a".into())));
    for number in 0..NAMES_MAX {
        names.learn_by_sql(&prepared(&number.to_string()));
    }
    assert!(names.is_by_sql(|| prepared("x")), "too many to tell");
}

#[test]
fn names_are_as_long_as_the_server_compares_them() {
    let long = |tail: &str| ["n".repeat(NAME_BYTES_MAX).as_str(), tail].concat();
    let (one, other) = (long("one"), long("other"));
    assert_eq!(kept(one.as_bytes()), kept(other.as_bytes()));
    assert_eq!(kept(b""), Some(&b""[..]));
    assert_eq!(kept(b"S_1"), Some(&b"S_1"[..]));
    assert_eq!(kept("f\u{fc}r".as_bytes()), Some("f\u{fc}r".as_bytes()));
    assert_eq!(
        kept("\u{fc}".repeat(22).as_bytes()),
        None,
        "the server may cut it elsewhere"
    );
}

#[test]
fn what_is_lost_may_do_more_under_a_name_that_nobody_knows() {
    let names = Names::default();
    names.learn(&prepared("a"), meaning(&text("SELECT 1"), false, NOW));
    assert!(!names.may_do_more(Some(&prepared("b"))) && !names.may_do_more(None));
    let more = Lost {
        has_more: true,
        ..lost(false)
    };
    names.lose(more);
    assert!(names.may_do_more(Some(&prepared("b"))) && names.may_do_more(None));
    assert!(!names.may_do_more(Some(&prepared("a"))));
    assert!(
        !names.may_do_more(Some(&Named::Cursor("b".into()))),
        "no cursor is a utility"
    );
    names.lose(lost(true));
    assert!(names.may_do_more(Some(&prepared("a"))));
}

#[test]
fn only_what_runs_by_name_is_looked_into() {
    let of = |effects, count, runs_name: Option<Named>, defines: Vec<Named>| {
        let leads = Leads {
            runs_by_name: true,
            ..Leads::default()
        };
        let statement = Statement {
            leads,
            effects,
            count,
            runs: runs_name,
            defines,
            ..Statement::empty()
        };
        match runs(&statement) {
            Runs::Nothing => 0,
            Runs::One(_) => 1,
            Runs::Any => 2,
        }
    };
    let prepare = vec![prepared("a")];
    assert_eq!(of(Effects::SELECT, 1, None, Vec::new()), 0);
    assert_eq!(of(Effects::PREPARED, 1, Some(prepared("a")), Vec::new()), 1);
    assert_eq!(of(Effects::PREPARED, 1, None, Vec::new()), 0, "DEALLOCATE");
    assert_eq!(
        of(Effects::PREPARED.with(Effects::SELECT), 1, None, prepare.clone()),
        0
    );
    assert_eq!(
        of(Effects::PREPARED.with(Effects::EXPLAIN), 1, None, Vec::new()),
        2
    );
    assert_eq!(of(Effects::PREPARED, 2, None, prepare), 2);
    let closes = linegate_sql::read(b"SELECT pg_advisory_unlock_all(); CLOSE ALL; DEALLOCATE ALL; RESET ALL");
    assert!(
        matches!(runs(&closes), Runs::Nothing),
        "as drivers reset a session"
    );
    for text in [
        "CLOSE a; FETCH b",
        "SELECT 1; EXPLAIN EXECUTE p",
        "CREATE TABLE t AS EXECUTE p; SELECT 1",
    ] {
        assert!(
            matches!(runs(&linegate_sql::read(text.as_bytes())), Runs::Any),
            "{text}"
        );
    }
}
