//! The example policies under `config/policies` compile and decide as they read; what else policies can look at.

use linegate_identity::UnixMillis;

use crate::labels::tests::index;
use crate::labels::tests::specs;
use crate::tests::{compiled, engine, name, short, statement, subject, verdict};
use crate::verdict::{Reason, Verdict};
use crate::{Decision, Engine, MaskScope, Subject, decide, may_connect};

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
        (
            "50-agents.cedar",
            include_str!("../../../config/policies/50-agents.cedar"),
        ),
        (
            "60-budgets.cedar",
            include_str!("../../../config/policies/60-budgets.cedar"),
        ),
        (
            "70-office-hours.cedar",
            include_str!("../../../config/policies/70-office-hours.cedar"),
        ),
        (
            "80-deny-list.cedar",
            include_str!("../../../config/policies/80-deny-list.cedar"),
        ),
    ];
    let groups = [
        ("ci", "workload:ci-runner"),
        ("security", "user:auditor"),
        ("agents", "workload:helper"),
        ("contractors", "user:contractor"),
    ];
    compiled(&files, &groups)
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
        (ci, "!delete", &[], &["app.orders"], "hold 1 of oncall"),
        (ci, "!update", &[], &["app.orders"], "hold 1 of oncall"),
        (ci, "create", &[], &["app.invoices"], "allow"),
        (ci, "drop", &[], &["app.orders"], "hold 1 of oncall"),
        (
            ci,
            "drop",
            &[],
            &["app.customers"],
            "hold 1 of oncall and 2 of oncall, security",
        ),
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
    for (effect, fires_triggers, expected) in [
        ("insert", true, "hold 1 of oncall"),
        ("copy-in", true, "hold 1 of oncall"),
        ("insert", false, "allow"),
        ("select", true, "allow"),
    ] {
        let mut fires = statement(effect, &[], &["app.orders"]);
        fires.lineage = Some(crate::Lineage {
            fires_triggers,
            ..crate::Lineage::default()
        });
        let found = verdict(&engine, &subject(&engine, ci), &fires);
        assert_eq!(short(&found), expected, "{effect} {fires_triggers}");
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

fn decided(engine: &Engine, subject: &Subject, effects: &str, reads: &[&str], writes: &[&str]) -> Decision {
    let statement = statement(effects, reads, writes);
    decide(engine, subject, Some(&index()), &MaskScope::default(), &statement)
}

fn budgets(decision: &Decision) -> Vec<String> {
    let limits = |rule: &crate::RuleBudget| {
        let each = rule.limits.iter().map(|limit| format!("{}: {limit}", rule.rule));
        each.collect::<Vec<_>>()
    };
    decision.budget.rules().flat_map(limits).collect()
}

#[test]
fn the_example_agents_work_on_a_budget() {
    let engine = shipped();
    let helper = subject(&engine, "workload:ci-runner > helper");
    let read = decided(&engine, &helper, "select", &["app.orders"], &[]);
    assert_eq!(read.verdict, Verdict::Allow);
    assert_eq!(
        budgets(&read),
        [
            "agents-read: 100000 rows per lease",
            "agents-read: 1000000000 bytes per lease",
            "agents-read: 5000 statements per hour",
            "agents-read: 600 seconds per lease",
            "agents-read: 100 looked-up values per hour",
        ]
    );
    let personal = decided(&engine, &helper, "select", &["app.customers"], &[]);
    assert!(
        budgets(&personal).contains(&"ci-personal-data-per-hour: 10000 rows per hour".to_owned()),
        "the head's budget binds its agents: {:?}",
        budgets(&personal)
    );
    let change = decided(&engine, &helper, "update", &["app.orders"], &["app.orders"]);
    assert!(
        budgets(&change).contains(&"agents-change-a-little: 1000 changed rows per transaction".to_owned())
    );
    let alone = subject(&engine, "workload:helper");
    let unbounded = decided(&engine, &alone, "!update", &[], &["app.orders"]);
    assert_ne!(unbounded.verdict, Verdict::Allow);
    assert!(unbounded.budget.is_empty() || matches!(unbounded.verdict, Verdict::Hold(_)));
    for (effects, reads, writes) in [
        ("select", &["app.orders"][..], &[][..]),
        ("create", &[], &["app.made"]),
    ] {
        let mut opaque = statement(effects, reads, writes);
        opaque.opaque = vec!["a function body"];
        let found = decide(&engine, &alone, Some(&index()), &MaskScope::default(), &opaque);
        assert!(
            matches!(found.verdict, Verdict::Deny(Reason::Forbidden { .. })),
            "{effects}: {:?}",
            found.verdict
        );
    }
    let deep = subject(&engine, "workload:ci-runner > a > b > c > helper");
    assert!(matches!(
        decided(&engine, &deep, "select", &["app.orders"], &[]).verdict,
        Verdict::Deny(Reason::Forbidden { .. })
    ));
}

#[test]
fn the_example_contractors_work_by_day() {
    let engine = shipped();
    let saturday_noon = UnixMillis(1_795_262_400_000);
    let monday = |hour: u64| UnixMillis(saturday_noon.0 + (36 + hour) * 3_600_000);
    let at = |now| subject(&engine, "user:contractor").at(now);
    for (now, expected) in [
        (saturday_noon, false),
        (monday(6), false),
        (monday(7), true),
        (UnixMillis(monday(19).0 - 1), true),
        (monday(19), false),
    ] {
        let found = decided(&engine, &at(now), "select", &["app.orders"], &[]);
        assert_eq!(
            found.verdict == Verdict::Allow,
            expected,
            "{now:?}: {:?}",
            found.verdict
        );
        assert_eq!(may_connect(&engine, &at(now)).is_ok(), expected, "{now:?}");
        let until = found.valid_until.expect("time matters");
        assert!(until > now && until.0 - now.0 <= 60_000, "{until:?}");
    }
    let change = decided(&engine, &at(monday(8)), "insert", &[], &["app.orders"]);
    assert_eq!(short(&change.verdict), "hold 1 of oncall");
    let change = decided(&engine, &at(monday(4)), "insert", &[], &["app.orders"]);
    assert!(
        matches!(change.verdict, Verdict::Deny(_)),
        "no approval opens the office"
    );
    let without = decided(&engine, &subject(&engine, "user:contractor"), "select", &[], &[]);
    assert_eq!(
        without.verdict,
        Verdict::Deny(Reason::RuleFailed { policy: None }),
        "a rule about time and no time"
    );
    let other = decided(
        &engine,
        &subject(&engine, "user:auditor"),
        "select",
        &["app.orders"],
        &[],
    );
    assert_eq!((other.verdict, other.valid_until), (Verdict::Allow, None));
}

#[test]
fn the_example_deny_lists_close_what_they_name() {
    let engine = shipped();
    let ci = subject(&engine, "workload:ci-runner");
    let policy = |decision: Decision| match decision.verdict {
        Verdict::Deny(Reason::Forbidden { policy, .. }) => policy,
        other => format!("{other:?}"),
    };
    for (reads, expected) in [
        ("app.api_keys", "no-credential-tables"),
        ("vault.notes", "no-vault-schema"),
    ] {
        assert_eq!(policy(decided(&engine, &ci, "select", &[reads], &[])), expected);
        assert_eq!(
            policy(decided(&engine, &ci, "insert", &[reads], &["app.orders"])),
            expected
        );
        assert_eq!(policy(decided(&engine, &ci, "drop", &[], &[reads])), expected);
    }
    let mut sleeps = statement("select", &[], &[]);
    sleeps.functions = vec![name("pg_sleep")];
    let mut blinds = statement("set", &[], &[]);
    blinds.settings = vec!["log_statement=none".to_owned()];
    for (refused, expected) in [(sleeps, "no-waiting-functions"), (blinds, "no-blinding-settings")] {
        let found = decide(&engine, &ci, Some(&index()), &MaskScope::default(), &refused);
        assert_eq!(policy(found), expected);
    }
}
