//! The example policies under `config/policies` compile and decide as they read; what else policies can look at.

use crate::labels::tests::specs;
use crate::tests::{engine, name, short, statement, subject, verdict};
use crate::verdict::{Reason, Verdict};
use crate::{Engine, GroupSpec, MaskScope, may_connect};

/// The policies that ship as examples.
fn shipped() -> Engine {
    let files = [
        (
            "10-allow.cedar",
            include_str!("../../../config/policies/10-allow.cedar"),
        ),
        (
            "20-hold.cedar",
            include_str!("../../../config/policies/20-hold.cedar"),
        ),
        (
            "30-never.cedar",
            include_str!("../../../config/policies/30-never.cedar"),
        ),
        (
            "40-raw.cedar",
            include_str!("../../../config/policies/40-raw.cedar"),
        ),
    ];
    let groups = [
        GroupSpec {
            name: "ci".to_owned(),
            members: vec!["workload:ci-runner".to_owned()],
        },
        GroupSpec {
            name: "security".to_owned(),
            members: vec!["user:auditor".to_owned()],
        },
    ];
    match Engine::compile(
        &files.map(|(label, text)| (label.to_owned(), text.to_owned())),
        &groups,
    ) {
        Ok(engine) => engine,
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn the_example_policies_decide_as_they_read() {
    let engine = shipped();
    let ci = "workload:ci-runner > build > migrate";
    type Case<'c> = (&'c str, &'c str, &'c [&'c str], &'c [&'c str], &'c str);
    let cases: &[Case<'_>] = &[
        (ci, "select", &["app.customers", "app.orders"], &[], "allow"),
        (ci, "insert", &[], &["app.orders"], "allow"),
        (ci, "delete", &["app.orders"], &["app.orders"], "allow"),
        (ci, "!delete", &[], &["app.orders"], "hold 1 oncall"),
        (ci, "!update", &[], &["app.orders"], "hold 1 oncall"),
        (ci, "create", &[], &["app.invoices"], "allow"),
        (ci, "drop", &[], &["app.orders"], "hold 1 oncall"),
        (ci, "drop", &[], &["app.customers"], "hold 2 oncall,security"),
        (ci, "transaction", &[], &[], "allow"),
        (ci, "prepared", &[], &[], "allow"),
        (ci, "set", &[], &[], "allow"),
        (ci, "show", &[], &[], "allow"),
        (ci, "unreadable", &[], &[], "deny no policy permits unreadable"),
        ("user:auditor", "select", &["app.customers"], &[], "allow"),
        (
            "user:auditor",
            "insert",
            &[],
            &["app.orders"],
            "deny no policy permits insert on app.orders",
        ),
        (
            "user:stranger",
            "select",
            &["app.orders"],
            &[],
            "deny no policy permits select on app.orders",
        ),
    ];
    for (chain, effects, reads, writes, expected) in cases {
        let statement = statement(effects, reads, writes);
        let found = verdict(&engine, &subject(&engine, chain), &statement);
        assert_eq!(
            short(&found),
            *expected,
            "{chain}: {effects} {reads:?} {writes:?}"
        );
    }
    for effect in [
        "grant",
        "role",
        "server",
        "replication",
        "function-call",
        "execute",
    ] {
        for chain in [ci, "user:auditor"] {
            let found = verdict(&engine, &subject(&engine, chain), &statement(effect, &[], &[]));
            assert!(
                matches!(found, Verdict::Deny(Reason::Forbidden { .. })),
                "{chain} {effect}: {found:?}"
            );
        }
    }
    let mut reads_file = statement("select", &[], &[]);
    reads_file.functions = vec![name("pg_catalog.pg_read_file")];
    let mut sets_role = statement("set", &[], &[]);
    sets_role.settings = vec!["role=postgres".to_owned()];
    for refused in [reads_file, sets_role] {
        let found = verdict(&engine, &subject(&engine, ci), &refused);
        assert!(
            matches!(found, Verdict::Deny(Reason::Forbidden { .. })),
            "{found:?}"
        );
    }
}

#[test]
fn the_example_policies_open_sessions_and_mask() {
    let engine = shipped();
    assert_eq!(
        may_connect(&engine, &subject(&engine, "workload:ci-runner > build")),
        Ok(())
    );
    assert_eq!(may_connect(&engine, &subject(&engine, "user:auditor")), Ok(()));
    let refused = may_connect(&engine, &subject(&engine, "user:stranger"));
    assert_eq!(refused, Err(Reason::NoSession { agent: None }));
    let hidden = |chain: &str| {
        let masks = MaskScope::of(&engine, &subject(&engine, chain), &specs());
        masks.names().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(hidden("workload:ci-runner"), ["cards", "pii"]);
    assert_eq!(hidden("user:auditor"), ["cards"]);
    assert_eq!(
        hidden("user:auditor > tool"),
        ["cards"],
        "an agent in the principal inherits the group's permit"
    );
}

#[test]
fn a_policy_can_look_at_the_database_and_the_chain() {
    let engine = engine(
        "permit (principal, action, resource)
         when { context.database == \"sales\" && context.chain.contains(\"migrate\") && context.actor == \"tool\" };",
    );
    let chain = "user:dev > migrate > tool";
    let select = statement("select", &["app.orders"], &[]);
    let there = subject(&engine, chain).with_database("sales");
    assert_eq!(verdict(&engine, &there, &select), Verdict::Allow);
    assert_ne!(
        verdict(&engine, &subject(&engine, chain), &select),
        Verdict::Allow
    );
}
