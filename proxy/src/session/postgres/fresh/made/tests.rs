//! What the open transaction makes, and what statements meet of it.

use linegate_policy::Leads;

use super::*;

impl Fresh {
    /// A statement goes to the server; of what it names, the catalog says nothing.
    fn sent(&self, statement: &Statement, clarity: Clarity) {
        self.forwarded(statement, (clarity, true), Vec::new, (|_| false, |_| false));
    }
}

fn makes(name: &str, effects: Effects) -> Statement {
    Statement {
        effects,
        count: 1,
        changes_catalog: true,
        writes: vec![Name {
            schema: None,
            name: name.to_owned(),
        }],
        ..Statement::empty()
    }
}

fn bare(name: &str) -> Name {
    Name {
        schema: None,
        name: name.to_owned(),
    }
}

fn begin() -> Statement {
    Statement {
        effects: Effects::TRANSACTION,
        count: 1,
        ..Statement::empty()
    }
}

#[test]
fn only_what_the_open_transaction_made_is_clear() {
    let fresh = Fresh::default();
    assert!(!fresh.is_clear());
    fresh.sent(&begin(), Clarity::Lost);
    fresh.sent(&makes("a", Effects::CREATE), Clarity::Made);
    assert!(
        !fresh.is_clear(),
        "the server has not begun yet, for all that is known"
    );
    fresh.ready(false, true);
    assert!(fresh.is_clear());
    let named = |schema: Option<&str>, name: &str| {
        fresh.has_made(&Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    };
    assert!(named(None, "a") && named(Some("pg_temp"), "a") && !named(None, "b"));
    fresh.ready(true, true);
    assert!(!fresh.is_clear(), "the transaction is over");
}

#[test]
fn behind_a_view_of_the_open_transaction_no_change_is_what_it_says() {
    let fresh = Fresh::default();
    let insert = Statement {
        effects: Effects::INSERT,
        writes: makes("v", Effects::CREATE).writes,
        count: 1,
        ..Statement::empty()
    };
    let mut view = makes("v", Effects::CREATE);
    fresh.sent(&view, Clarity::Lost);
    assert!(!fresh.hides(&insert, || None));
    view.leads.changes = vec![bare("v")];
    fresh.sent(&view, Clarity::Lost);
    assert!(fresh.hides(&insert, || None) && !fresh.hides(&begin(), || None));
    let elsewhere = Statement {
        writes: makes("w", Effects::CREATE).writes,
        ..insert.clone()
    };
    assert!(!fresh.hides(&elsewhere, || None), "a migration notes its number");
    fresh.ready(false, true);
    assert!(fresh.hides(&insert, || None), "the transaction goes on");
    fresh.ready(true, true);
    assert!(!fresh.hides(&insert, || None), "the catalog shows it");
    let both = Statement {
        effects: Effects::INSERT.with(Effects::CREATE),
        count: 2,
        writes: makes("v", Effects::CREATE).writes,
        leads: Leads {
            changes: vec![bare("v")],
            ..Leads::default()
        },
        ..Statement::empty()
    };
    assert!(fresh.hides(&both, || None), "one text makes the view and uses it");
    let key = Statement {
        leads: Leads {
            referred: vec![bare("v")],
            ..Leads::default()
        },
        ..makes("w", Effects::ALTER)
    };
    fresh.sent(&key, Clarity::Lost);
    let delete = Statement {
        effects: Effects::DELETE,
        ..insert.clone()
    };
    assert!(fresh.hides(&delete, || None), "rows of others may go with them");
    assert!(!fresh.hides(&insert, || None), "a migration fills its tables");
}

#[test]
fn whatever_moves_names_about_leaves_doubt() {
    let fresh = Fresh::default();
    fresh.sent(&makes("a", Effects::CREATE), Clarity::Made);
    fresh.sent(&makes("a", Effects::ALTER), Clarity::Lost);
    assert!(!fresh.is_clear());
    fresh.ready(true, true);
    fresh.sent(&makes("b", Effects::CREATE), Clarity::Made);
    assert!(fresh.is_clear());
    fresh.sent(&Statement::unreadable(), Clarity::Lost);
    assert!(!fresh.is_clear());
    let fresh = Fresh::default();
    fresh.sent(&makes("a", Effects::ALTER), Clarity::Lost);
    fresh.ready(true, false);
    fresh.sent(&makes("b", Effects::CREATE), Clarity::Made);
    assert!(
        !fresh.is_clear(),
        "what is still on its way counts for the next transaction"
    );
    for number in 0..=MADE_MAX {
        fresh.sent(&makes(&number.to_string(), Effects::CREATE), Clarity::Made);
    }
    assert!(!fresh.is_clear());
}

#[test]
fn what_the_open_transaction_made_runs_by_name_and_in_what_calls_it() {
    let fresh = Fresh::default();
    let mut function = makes("F", Effects::CREATE);
    function.leads.code = vec![bare("F")];
    fresh.sent(&function, Clarity::Lost);
    let first = fresh.code().expect("a name");
    assert!(first.names.used.contains("f") && first.names.used.len() == 1);
    let mut view = makes("v", Effects::CREATE);
    view.leads.keeps_calls = true;
    fresh.forwarded(
        &view,
        (Clarity::Lost, true),
        || vec![bare("other")],
        (|_| false, |_| false),
    );
    assert_eq!(
        fresh.code().expect("a name").mark,
        first.mark,
        "it calls nothing new"
    );
    view.opaque = vec![linegate_sql::OPEN_CODE];
    fresh.forwarded(
        &view,
        (Clarity::Lost, true),
        || vec![bare("w")],
        (|_| false, |_| false),
    );
    let second = fresh.code().expect("names");
    assert!(
        ["f", "v", "w"]
            .iter()
            .all(|name| second.names.used.contains(*name))
    );
    assert_ne!(second.mark, first.mark);
    for number in 0..CODE_MAX {
        function.leads.code = vec![bare(&number.to_string())];
        fresh.sent(&function, Clarity::Lost);
    }
    assert!(fresh.code().expect("any").names.used.contains("*"));
    fresh.ready(true, true);
    assert!(fresh.code().is_none(), "the catalog shows it");
}

#[test]
fn rows_that_were_led_elsewhere_are_not_read_by_their_name() {
    let fresh = Fresh::default();
    let select = Statement {
        effects: Effects::SELECT,
        reads: vec![bare("p")],
        count: 1,
        ..Statement::empty()
    };
    let mut inherits = makes("c", Effects::ALTER);
    inherits.leads.rows = vec![bare("p")];
    assert!(!fresh.hides_rows(&select, Effects::all(), || None));
    fresh.sent(&inherits, Clarity::Lost);
    assert!(fresh.hides_rows(&select, Effects::all(), || None));
    assert!(
        !fresh.hides_rows(&select, Effects::INSERT, || None),
        "nobody asks"
    );
    let drops = makes("p", Effects::DROP);
    assert!(
        fresh.hides_rows(&drops, Effects::DROP, || None),
        "children go with it"
    );
    assert!(!fresh.hides_rows(&makes("p", Effects::ALTER), Effects::all(), || None));
    let elsewhere = Statement {
        reads: vec![bare("q")],
        ..select.clone()
    };
    assert!(!fresh.hides_rows(&elsewhere, Effects::all(), || None));
    fresh.ready(true, true);
    assert!(!fresh.hides_rows(&select, Effects::all(), || None));
    let both = Statement {
        count: 2,
        leads: inherits.leads,
        ..select
    };
    assert!(fresh.hides_rows(&both, Effects::all(), || None), "one text");
}

#[test]
fn what_a_child_brings_along_is_met_through_its_parent() {
    let changes = |name: &str| Statement {
        effects: Effects::DELETE,
        ..makes(name, Effects::DELETE)
    };
    let part = Statement {
        leads: Leads {
            parents: vec![(bare("part"), bare("whole"))],
            cloned: vec![bare("part")],
            made: vec![bare("part")],
            ..Leads::default()
        },
        ..makes("part", Effects::CREATE)
    };
    let fresh = Fresh::default();
    fresh.sent(&part, Clarity::Lost);
    assert!(
        !fresh.hides(&changes("whole"), || None),
        "a partition for the month"
    );
    assert!(
        fresh.hides(&changes("part"), || None),
        "it has its parent's triggers"
    );
    let mut trigger = makes("part", Effects::CREATE);
    trigger.leads.changes = vec![bare("part")];
    fresh.sent(&trigger, Clarity::Lost);
    assert!(
        fresh.hides(&changes("whole"), || None),
        "and the parent has the part's"
    );
    let attached = Statement {
        leads: Leads {
            made: Vec::new(),
            ..part.leads.clone()
        },
        ..makes("whole", Effects::ALTER)
    };
    let fresh = Fresh::default();
    fresh.sent(&attached, Clarity::Lost);
    assert!(fresh.hides(&changes("whole"), || None), "it was there before");
}

#[test]
fn cascade_goes_through_whatever_the_open_transaction_has_put_between() {
    let mut cascade = makes("a", Effects::DROP);
    cascade.leads.reshapes = true;
    let hides = |fresh: &Fresh, statement: &Statement| fresh.hides_rows(statement, OF_SHAPES, || None);
    let fresh = Fresh::default();
    fresh.sent(&makes("c", Effects::DROP), Clarity::Lost);
    assert!(!hides(&fresh, &cascade), "nothing was put anywhere");
    let mut view = makes("v", Effects::CREATE);
    fresh.sent(&view, Clarity::Lost);
    assert!(!hides(&fresh, &cascade), "nobody depends on what is new");
    view.leads.rebuilds = true;
    fresh.sent(&view, Clarity::Lost);
    assert!(
        hides(&fresh, &cascade),
        "a view says nothing of what its query names by constants"
    );
    assert!(!hides(&fresh, &makes("a", Effects::DROP)), "nothing goes along");
    fresh.ready(true, true);
    assert!(!hides(&fresh, &cascade), "the catalog shows it");
    cascade.leads.rebuilds = true;
    let both = Statement {
        count: 2,
        effects: Effects::DROP.with(Effects::ALTER),
        ..cascade
    };
    assert!(hides(&fresh, &both), "the text puts it there itself");
}

#[test]
fn keys_between_tables_of_the_open_transaction_take_along_its_own_rows_only() {
    let of_a_schema = |name: &str| Name {
        schema: Some("s".to_owned()),
        ..bare(name)
    };
    let made = |name: &str| {
        let mut statement = makes(name, Effects::CREATE);
        statement.writes = vec![of_a_schema(name)];
        statement.leads.made = statement.writes.clone();
        statement
    };
    let key = Statement {
        leads: Leads {
            referred: vec![bare("a")],
            ..Leads::default()
        },
        writes: vec![of_a_schema("b")],
        ..makes("b", Effects::ALTER)
    };
    let update = Statement {
        effects: Effects::UPDATE,
        ..makes("a", Effects::UPDATE)
    };
    for between in [
        None,
        Some(begin()),
        Some(Statement {
            settings: vec!["search_path=other".to_owned()],
            ..Statement::empty()
        }),
        Some(Statement {
            settings: vec!["role=other".to_owned()],
            ..Statement::empty()
        }),
        Some(makes("b", Effects::DROP)),
        Some(makes("the schema of both", Effects::DROP)),
    ] {
        let fresh = Fresh::default();
        fresh.sent(&made("a"), Clarity::Lost);
        fresh.sent(&made("b"), Clarity::Lost);
        if let Some(between) = &between {
            fresh.sent(between, Clarity::Lost);
        }
        fresh.sent(&key, Clarity::Lost);
        assert_eq!(fresh.hides(&update, || None), between.is_some(), "{between:?}");
    }
    // Another session may give names to others' once it has taken them away.
    for are_moved in [false, true] {
        let fresh = Fresh::default();
        fresh.keep_own(3, |_| true);
        fresh.sent(&made("b"), Clarity::Lost);
        fresh.keep_own(4, |since| {
            assert_eq!(since, 3);
            are_moved
        });
        fresh.sent(&key, Clarity::Lost);
        assert_eq!(fresh.hides(&update, || None), are_moved);
    }
    // What was sent outside of a block may be gone before anybody says so.
    let fresh = Fresh::default();
    for name in ["a", "b"] {
        let open = (Clarity::Lost, false);
        fresh.forwarded(&made(name), open, Vec::new, (|_| false, |_| false));
    }
    fresh.sent(&key, Clarity::Lost);
    assert!(fresh.hides(&update, || None));
    // In one text, with what else it says.
    let all = |effects: Effects, settings: &[&str]| Statement {
        count: 2,
        effects: Effects::CREATE.with(effects),
        settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
        ..made("b")
    };
    for (text, is_own) in [
        (all(Effects::CREATE, &[]), true),
        (all(Effects::DROP, &[]), false),
        (all(Effects::TRANSACTION, &[]), false),
        (all(Effects::SET, &["search_path=other"]), false),
    ] {
        let fresh = Fresh::default();
        fresh.sent(&text, Clarity::Lost);
        fresh.sent(&key, Clarity::Lost);
        assert_eq!(fresh.hides(&update, || None), !is_own, "{text:?}");
    }
    // A name without a schema may come to mean another one.
    let fresh = Fresh::default();
    for name in ["a", "b"] {
        let mut statement = made(name);
        statement.leads.made = vec![bare(name)];
        fresh.sent(&statement, Clarity::Lost);
    }
    let key = Statement {
        writes: vec![bare("b")],
        ..key
    };
    fresh.sent(&key, Clarity::Lost);
    assert!(fresh.hides(&update, || None));
}

#[test]
fn what_a_new_table_calls_is_met_by_its_name_and_through_its_keys() {
    let like = Statement {
        leads: Leads {
            made: vec![bare("copy")],
            keeps_calls: true,
            ..Leads::default()
        },
        reads: vec![bare("model")],
        ..makes("copy", Effects::CREATE)
    };
    let fresh = Fresh::default();
    fresh.sent(&like, Clarity::Lost);
    assert!(fresh.code().is_none());
    fresh.forwarded(
        &like,
        (Clarity::Lost, true),
        Vec::new,
        (|name: &Name| name.name == "model", |_| false),
    );
    assert!(
        fresh
            .code()
            .is_some_and(|code| code.names.changed.contains("copy"))
    );
    let keyed = Statement {
        leads: Leads {
            made: vec![bare("k")],
            referred: vec![bare("w")],
            ..Leads::default()
        },
        ..makes("k", Effects::CREATE)
    };
    let mut trigger = makes("k", Effects::CREATE);
    trigger.leads.changes = vec![bare("k")];
    let delete = Statement {
        effects: Effects::DELETE,
        ..makes("w", Effects::DELETE)
    };
    let fresh = Fresh::default();
    fresh.sent(&keyed, Clarity::Lost);
    assert!(!fresh.hides(&delete, || None));
    fresh.sent(&trigger, Clarity::Lost);
    assert!(
        fresh.hides(&delete, || None),
        "its rows go along, and the trigger fires"
    );
}

#[test]
fn code_is_met_through_parents_and_keys_whichever_came_first() {
    let child = |child: &str, parent: &str| Statement {
        leads: Leads {
            parents: vec![(bare(child), bare(parent))],
            ..Leads::default()
        },
        ..makes(parent, Effects::ALTER)
    };
    let mut column = makes("leaf", Effects::ALTER);
    column.leads.keeps_calls = true;
    column.opaque = vec![linegate_sql::OPEN_CODE];
    let key = Statement {
        leads: Leads {
            referred: vec![bare("target")],
            ..Leads::default()
        },
        ..makes("root", Effects::ALTER)
    };
    let steps = [child("leaf", "branch"), child("branch", "root"), key, column];
    for first in 0..steps.len() {
        let fresh = Fresh::default();
        for at in 0..steps.len() {
            let step = &steps[(first + at) % steps.len()];
            fresh.sent(step, Clarity::Lost);
        }
        let code = fresh.code().expect("names");
        let used: Vec<&str> = code.names.used.iter().map(String::as_str).collect();
        assert_eq!(used, ["branch", "leaf", "root"], "from {first} on");
        assert!(code.names.changed.contains("target"), "from {first} on");
    }
}

#[test]
fn what_cannot_be_read_may_have_led_anything_anywhere() {
    let fresh = Fresh::default();
    let mut function = makes("f", Effects::CREATE);
    function.leads.code = vec![bare("f")];
    fresh.sent(&function, Clarity::Lost);
    fresh.sent(&Statement::unreadable(), Clarity::Lost);
    assert!(fresh.code().expect("any").names.used.contains("*"));
    let select = Statement {
        effects: Effects::SELECT,
        reads: vec![bare("p")],
        count: 1,
        ..Statement::empty()
    };
    assert!(fresh.hides_rows(&select, Effects::all(), || None));
    assert!(fresh.hides(&makes("t", Effects::DELETE), || None));
}

#[test]
fn definitions_that_move_nothing_leave_what_was_made_clear() {
    let fresh = Fresh::default();
    fresh.sent(&makes("a", Effects::CREATE), Clarity::Made);
    fresh.sent(&makes("b", Effects::ALTER), Clarity::Kept);
    assert!(fresh.is_clear());
    fresh.sent(&makes("c", Effects::ALTER), Clarity::Lost);
    assert!(!fresh.is_clear());
}
