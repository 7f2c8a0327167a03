//! Decisions as tables: who asks for what, and what the verdict must be.

use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};

use crate::labels::tests::{index, specs};
use crate::verdict::{Channel, Reason, Verdict};
use crate::{
    Decision, Engine, GroupSpec, LabelIndex, MaskScope, Name, OutputColumn, Statement, Subject, decide,
    explain, may_connect,
};

pub(crate) fn name(text: &str) -> Name {
    match text.split_once('.') {
        Some((schema, name)) => Name {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        None => Name {
            schema: None,
            name: text.to_owned(),
        },
    }
}

/// `effects` like `select+insert`; a leading `!` means unbounded.
pub(crate) fn statement(effects: &str, reads: &[&str], writes: &[&str]) -> Statement {
    let bounded = !effects.starts_with('!');
    let effects = effects
        .trim_start_matches('!')
        .split('+')
        .filter(|name| !name.is_empty());
    let effects = effects
        .map(|name| Effects::by_name(name).expect("an effect"))
        .fold(Effects::NONE, Effects::with);
    let names = |names: &[&str]| names.iter().map(|text| name(text)).collect();
    Statement {
        effects,
        reads: names(reads),
        writes: names(writes),
        bounded,
        count: 1,
        ..Statement::empty()
    }
}

pub(crate) fn engine(text: &str) -> Engine {
    let groups = [
        GroupSpec {
            name: "ci".to_owned(),
            members: vec!["workload:ci-runner".to_owned()],
        },
        GroupSpec {
            name: "security".to_owned(),
            members: vec!["user:auditor".to_owned()],
        },
        GroupSpec {
            name: "untrusted".to_owned(),
            members: vec!["workload:sandbox".to_owned()],
        },
    ];
    match Engine::compile(&[("test.cedar".to_owned(), text.to_owned())], &groups) {
        Ok(engine) => engine,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn everything() -> Scope {
    Scope {
        effects: Effects::all(),
        tables: None,
    }
}

/// `workload:ci-runner > build > migrate`.
fn subject_in(engine: &Engine, chain: &str, scope: &Scope) -> Subject {
    let mut hops = chain.split(" > ");
    let (kind, head) = hops
        .next()
        .and_then(|head| head.split_once(':'))
        .expect("kind:name");
    let kind = if kind == "user" {
        PrincipalKind::User
    } else {
        PrincipalKind::Workload
    };
    let principal = Principal {
        kind,
        name: head.to_owned(),
        groups: Vec::new(),
    };
    let chain = ActorChain {
        principal,
        actors: hops.map(str::to_owned).collect(),
    };
    Subject::new(engine, &chain, &LeaseId("lg_test".to_owned()), scope, "shop")
}

pub(crate) fn subject(engine: &Engine, chain: &str) -> Subject {
    subject_in(engine, chain, &everything())
}

pub(crate) fn verdict(engine: &Engine, subject: &Subject, statement: &Statement) -> Verdict {
    decide(engine, subject, Some(&index()), &MaskScope::default(), statement).verdict
}

/// `allow`, `deny …`, `hold 2 oncall,security`.
pub(crate) fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(reason) => format!("deny {reason}"),
        Verdict::Hold(terms) => format!("hold {} {}", terms.quorum, terms.approvers.join(",")),
    }
}

const HOLDS: &str = "
    permit (principal in Group::\"ci\", action, resource in Target::\"shop\");
    @id(\"drops\") @approvers(\"oncall\") @reason(\"drops wait\")
    forbid (principal, action == Action::\"drop\", resource) unless { context.approved };
    @id(\"pii-drops\") @approvers(\"security,oncall\") @quorum(\"2\")
    forbid (principal, action == Action::\"drop\", resource in Label::\"pii\") unless { context.approved };
    @id(\"no-grants\") @reason(\"managed elsewhere\") forbid (principal, action == Action::\"grant\", resource);
    @id(\"never-cards\") forbid (principal, action == Action::\"drop\", resource == Table::\"shop/app.cards\");
";

#[test]
fn verdicts_on_the_head_principal() {
    let engine = engine(HOLDS);
    let ci = subject(&engine, "workload:ci-runner");
    let cases: &[(&str, &[&str], &[&str], &str)] = &[
        ("select", &["app.orders"], &[], "allow"),
        ("select", &[], &[], "allow"),
        ("transaction", &[], &[], "allow"),
        ("unreadable", &[], &[], "allow"),
        ("", &[], &[], "allow"),
        (
            "",
            &["app.orders"],
            &[],
            "deny linegate cannot read this statement",
        ),
        ("drop", &[], &["app.orders"], "hold 1 oncall"),
        ("drop", &[], &["app.customers"], "hold 2 oncall,security"),
        ("drop", &[], &["app.people"], "hold 2 oncall,security"),
        (
            "drop",
            &[],
            &["app.orders", "customers"],
            "hold 2 oncall,security",
        ),
        (
            "drop",
            &[],
            &["app.cards"],
            "deny forbidden by policy \"never-cards\"",
        ),
        (
            "drop+grant",
            &[],
            &["app.orders"],
            "deny forbidden by policy \"no-grants\": managed elsewhere",
        ),
        (
            "grant",
            &[],
            &[],
            "deny forbidden by policy \"no-grants\": managed elsewhere",
        ),
    ];
    for (effects, reads, writes, expected) in cases {
        let statement = statement(effects, reads, writes);
        assert_eq!(
            short(&verdict(&engine, &ci, &statement)),
            *expected,
            "{effects} {reads:?} {writes:?}"
        );
    }
    let other = subject(&engine, "workload:other");
    assert_eq!(
        short(&verdict(
            &engine,
            &other,
            &statement("select", &["app.orders"], &[])
        )),
        "deny no policy permits select on app.orders"
    );
}

#[test]
fn a_hold_names_the_policies_that_asked_for_it() {
    let engine = engine(HOLDS);
    let ci = subject(&engine, "workload:ci-runner");
    let drop = statement("drop", &[], &["app.customers"]);
    let decision = decide(&engine, &ci, Some(&index()), &MaskScope::default(), &drop);
    let Verdict::Hold(terms) = &decision.verdict else {
        panic!("{decision:?}")
    };
    assert_eq!(terms.reason, "drops: drops wait; pii-drops");
    assert_eq!(decision.policies, ["drops", "pii-drops"]);
    assert_eq!(decision.labels, ["cards", "pii"]);
    assert_eq!(
        decision.summary(),
        "hold for 2 of oncall, security (drops: drops wait; pii-drops); does drop; writes app.customers; \
         labels cards, pii; by drops, pii-drops"
    );
}

#[test]
fn a_hold_is_offered_only_if_approvals_suffice() {
    let engine = engine(
        "@id(\"held\") @approvers(\"oncall\")
         forbid (principal, action == Action::\"drop\", resource) unless { context.approved };
         @id(\"two\") @approvers(\"oncall\")
         forbid (principal, action == Action::\"truncate\", resource) when { context.approved == false || context.depth > 0 };
         permit (principal, action == Action::\"truncate\", resource);",
    );
    let drop = statement("drop", &[], &["app.orders"]);
    assert_eq!(
        short(&verdict(&engine, &subject(&engine, "user:dev"), &drop)),
        "deny no policy permits drop on app.orders",
        "an approval lifts a forbid; it permits nothing"
    );
    let truncate = statement("truncate", &[], &["app.orders"]);
    assert_eq!(
        short(&verdict(&engine, &subject(&engine, "user:dev"), &truncate)),
        "hold 1 oncall"
    );
    assert_eq!(
        short(&verdict(&engine, &subject(&engine, "user:dev > tool"), &truncate)),
        "deny forbidden by policy \"two\""
    );
}

#[test]
fn a_rule_that_fails_denies() {
    let engine = engine(
        "permit (principal, action, resource);
         @id(\"overflows\") forbid (principal, action, resource)
         when { context.depth + 9223372036854775807 < 0 };",
    );
    let select = statement("select", &["app.orders"], &[]);
    assert_eq!(
        verdict(&engine, &subject(&engine, "user:dev"), &select),
        Verdict::Allow,
        "without overflow"
    );
    let through_agent = decide(
        &engine,
        &subject(&engine, "user:dev > tool"),
        None,
        &MaskScope::default(),
        &select,
    );
    assert_eq!(
        through_agent.verdict,
        Verdict::Deny(Reason::RuleFailed {
            policy: Some("overflows".to_owned())
        })
    );
    let target = subject(&engine, "user:dev > tool");
    assert!(matches!(
        may_connect(&engine, &target),
        Err(Reason::RuleFailed { .. })
    ));
    assert!(
        !MaskScope::of(&engine, &target, &specs()).is_empty(),
        "and sees nothing raw"
    );
    assert!(MaskScope::of(&engine, &subject(&engine, "user:dev"), &specs()).is_empty());
}

#[test]
fn every_member_of_the_chain_must_be_allowed() {
    let engine = engine(
        "permit (principal in Group::\"ci\", action == Action::\"select\", resource);
         permit (principal == Workload::\"ci-runner\", action == Action::\"insert\", resource);
         permit (principal in Workload::\"ci-runner\", action == Action::\"update\", resource);
         @id(\"sandboxed\") forbid (principal in Group::\"untrusted\", action == Action::\"select\", resource);
         @id(\"not-tool\") forbid (principal == Workload::\"tool\", action == Action::\"update\", resource);",
    );
    let cases = [
        ("workload:ci-runner", "select", "allow"),
        ("workload:ci-runner > build > migrate", "select", "allow"),
        (
            "workload:ci-runner > build > sandbox",
            "select",
            "deny forbidden by policy \"sandboxed\"",
        ),
        ("workload:ci-runner", "insert", "allow"),
        (
            "workload:ci-runner > build",
            "insert",
            "deny no policy permits insert on app.orders for agent build",
        ),
        ("workload:ci-runner > build", "update", "allow"),
        (
            "workload:ci-runner > tool > build",
            "update",
            "deny forbidden by policy \"not-tool\"",
        ),
        (
            "workload:other > ci-runner",
            "select",
            "deny no policy permits select on app.orders",
        ),
        (
            "user:ci-runner",
            "select",
            "deny no policy permits select on app.orders",
        ),
    ];
    for (chain, effect, expected) in cases {
        let subject = subject(&engine, chain);
        let statement = statement(effect, &["app.orders"], &["app.orders"]);
        assert_eq!(
            short(&verdict(&engine, &subject, &statement)),
            expected,
            "{chain} {effect}"
        );
    }
}

#[test]
fn a_scope_narrows_whatever_policy_permits() {
    let engine = engine("permit (principal, action, resource);");
    let scope = |effects: &[Effects], tables: &[&str]| Scope {
        effects: effects.iter().copied().fold(Effects::NONE, Effects::with),
        tables: Some(tables.iter().map(|table| (*table).to_owned()).collect()),
    };
    let rw = &[
        Effects::SELECT,
        Effects::INSERT,
        Effects::CALL,
        Effects::UNREADABLE,
        Effects::TRANSACTION,
    ];
    let orders = scope(rw, &["app.orders", "pg_catalog.*"]);
    type Case<'c> = (&'c Scope, &'c str, &'c [&'c str], &'c [&'c str], &'c str);
    let cases: &[Case<'_>] = &[
        (
            &orders,
            "select",
            &["app.orders", "pg_catalog.pg_class"],
            &[],
            "allow",
        ),
        (&orders, "transaction", &[], &[], "allow"),
        (
            &orders,
            "delete+drop+select",
            &[],
            &["app.orders"],
            "deny the lease does not cover delete+drop",
        ),
        (
            &orders,
            "select",
            &["app.customers"],
            &[],
            "deny the lease does not cover relation app.customers",
        ),
        (
            &orders,
            "select",
            &["app.orders_old"],
            &[],
            "deny the lease does not cover relation app.orders_old",
        ),
        (
            &orders,
            "select",
            &["orders"],
            &[],
            "deny the lease does not cover relation orders",
        ),
        (
            &orders,
            "insert",
            &[],
            &["nowhere"],
            "deny the lease does not cover relation nowhere",
        ),
        (
            &orders,
            "call",
            &[],
            &[],
            "deny the lease is bound to named relations and does not cover procedures",
        ),
        (
            &orders,
            "unreadable",
            &[],
            &[],
            "deny the lease is bound to named relations and does not cover statements that do not parse",
        ),
        (
            &scope(rw, &["*"]),
            "select",
            &["nowhere", "app.customers"],
            &[],
            "allow",
        ),
        (
            &scope(rw, &[]),
            "select",
            &["app.orders"],
            &[],
            "deny the lease does not cover relation app.orders",
        ),
        (
            &scope(&[Effects::INSERT], &["*"]),
            "insert",
            &["app.customers"],
            &["app.orders"],
            "deny the lease does not cover select",
        ),
        (
            &scope(&[], &["*"]),
            "unreadable",
            &[],
            &[],
            "deny linegate cannot read this statement",
        ),
    ];
    for (scope, effects, reads, writes, expected) in cases {
        let subject = subject_in(&engine, "user:dev", scope);
        let statement = statement(effects, reads, writes);
        assert_eq!(
            short(&verdict(&engine, &subject, &statement)),
            *expected,
            "{effects} {reads:?} {writes:?}"
        );
    }
    let narrow = subject_in(&engine, "user:dev", &orders);
    for (function, is_refused) in [
        ("peek", true),
        ("frobnicate", true),
        ("lower", true),
        ("count", false),
    ] {
        let mut calls = statement("select", &[], &[]);
        calls.functions = vec![name(function)];
        let found = verdict(&engine, &narrow, &calls);
        assert_eq!(
            matches!(found, Verdict::Deny(Reason::UnboundedInScope(_))),
            is_refused,
            "{function}: {found:?}"
        );
    }
    let ambiguous = Reason::TableOutOfScope {
        name: name("orders"),
        ambiguous: true,
    };
    assert_eq!(
        ambiguous.hint().as_deref(),
        Some("Write the relation with its schema.")
    );
}

#[test]
fn an_unqualified_name_is_asked_for_every_relation_it_may_mean() {
    let engine = engine(
        "permit (principal, action, resource) unless { resource is Table && resource.schema == \"archive\" };
         @id(\"unplaced\") forbid (principal, action, resource is Table) when { resource.schema == \"?\" };",
    );
    let dev = subject(&engine, "user:dev");
    let cases = [
        ("app.orders", "allow"),
        ("orders", "deny no policy permits select on archive.orders"),
        ("cards", "allow"),
        ("nowhere", "deny forbidden by policy \"unplaced\""),
    ];
    for (table, expected) in cases {
        assert_eq!(
            short(&verdict(&engine, &dev, &statement("select", &[table], &[]))),
            expected,
            "{table}"
        );
    }
    let unknown = decide(
        &engine,
        &dev,
        None,
        &MaskScope::default(),
        &statement("select", &["orders"], &[]),
    );
    assert_eq!(
        unknown.verdict,
        Verdict::Deny(Reason::CatalogNeeded),
        "a rule about relations and no catalog"
    );
}

#[test]
fn a_write_that_reads_others_needs_select_on_them() {
    let engine = engine(
        "permit (principal, action == Action::\"insert\", resource);
         permit (principal, action == Action::\"select\", resource == Table::\"shop/app.audit\");",
    );
    let dev = subject(&engine, "user:dev");
    let insert = |source| statement("insert", &[source], &["app.orders"]);
    assert_eq!(verdict(&engine, &dev, &insert("app.audit")), Verdict::Allow);
    assert_eq!(
        short(&verdict(&engine, &dev, &insert("app.cards"))),
        "deny no policy permits select on app.cards"
    );
}

fn under_mask(statement: &Statement, labels: Option<&LabelIndex>) -> Decision {
    let engine = engine("permit (principal, action, resource) unless { action == Action::\"read_raw\" };");
    let dev = subject(&engine, "user:dev");
    let masks = MaskScope::of(&engine, &dev, &specs());
    assert!(masks.hides("pii") && masks.hides("cards"));
    decide(&engine, &dev, labels, &masks, statement)
}

#[test]
fn masks_come_before_policy_and_need_the_catalog() {
    let index = index();
    let select = statement("select", &["app.customers"], &[]);
    let allowed = under_mask(&select, Some(&index));
    assert_eq!(allowed.verdict, Verdict::Allow);
    assert!(allowed.touches_label);
    assert_eq!(allowed.labels, ["cards", "pii"]);
    let blind = under_mask(&select, None);
    assert_eq!(blind.verdict, Verdict::Deny(Reason::CatalogMissing));
    assert!(blind.touches_label, "doubt says yes");
    assert_eq!(
        under_mask(&Statement::unreadable(), Some(&index)).verdict,
        Verdict::Deny(Reason::NotUnderstood)
    );
    let copy = under_mask(&statement("copy-out", &["customers"], &[]), Some(&index));
    assert_eq!(
        copy.verdict,
        Verdict::Deny(Reason::AroundMask(Channel::Copy(name("customers"))))
    );
    assert!(!under_mask(&statement("select", &["app.orders"], &[]), Some(&index)).touches_label);
}

#[test]
fn what_was_prepared_earlier_counts_as_touching_until_the_session_knows_better() {
    let index = index();
    let fetch = under_mask(&statement("prepared", &[], &[]), Some(&index));
    assert_eq!(fetch.verdict, Verdict::Allow);
    assert!(fetch.touches_label && fetch.touches(true) && !fetch.touches(false));
    let select = under_mask(&statement("select", &["app.cards"], &[]), Some(&index));
    assert!(select.touches(false));
}

#[test]
fn a_plan_of_a_masked_relation_can_be_shown() {
    let explained = under_mask(&statement("explain", &["app.customers"], &[]), Some(&index()));
    assert_eq!(explained.verdict, Verdict::Allow);
    assert_eq!(
        explained.statement.output.as_deref(),
        Some(&[OutputColumn::Clean][..])
    );
}

#[test]
fn too_many_relations_are_refused_not_decided_slowly() {
    let engine = engine("permit (principal, action, resource);");
    let mut lock = statement("lock", &[], &[]);
    lock.writes = (0..70_000).map(|n| name(&format!("app.t{n:06}"))).collect();
    assert_eq!(
        verdict(&engine, &subject(&engine, "user:dev"), &lock),
        Verdict::Deny(Reason::TooManyRelations)
    );
}

#[test]
fn an_explanation_lists_every_question() {
    let engine = engine(HOLDS);
    let subject = subject(&engine, "workload:ci-runner > migrate");
    let statement = statement("drop", &[], &["app.orders"]);
    let explanation = explain(
        &engine,
        &subject,
        Some(&index()),
        &MaskScope::all(&specs()),
        &statement,
    );
    let report = explanation.to_string();
    assert_eq!(explanation.steps.len(), 2, "{report}");
    assert!(
        report.starts_with("hold for 1 of oncall (drops: drops wait)"),
        "{report}"
    );
    assert!(
        report.contains("deny  drop of app.orders for agent migrate, by drops"),
        "{report}"
    );
    assert!(report.contains("shows none of them"), "{report}");
}

#[test]
fn a_forbid_about_relations_needs_the_catalog() {
    let engine = engine(
        "permit (principal, action, resource);
         forbid (principal, action in [Action::\"drop\", Action::\"delete\"], resource in Label::\"pii\");",
    );
    let ci = subject(&engine, "workload:ci-runner");
    assert!(ci.needs_catalog());
    let blind = |effects: &str, writes: &[&str]| {
        let statement = statement(effects, &[], writes);
        decide(&engine, &ci, None, &MaskScope::default(), &statement).verdict
    };
    assert_eq!(
        blind("drop", &["customers"]),
        Verdict::Deny(Reason::CatalogNeeded)
    );
    assert_eq!(
        blind("delete", &["app.customers"]),
        Verdict::Deny(Reason::CatalogNeeded)
    );
    assert_eq!(
        blind("insert", &["app.customers"]),
        Verdict::Allow,
        "it does not speak of inserts"
    );
    assert_eq!(blind("transaction", &[]), Verdict::Allow);
    assert_ne!(
        verdict(&engine, &ci, &statement("drop", &[], &["customers"])),
        Verdict::Allow
    );
}

#[test]
fn a_forbidden_column_is_refused_where_it_is_used_and_its_table_is_not() {
    let engine = engine(
        "permit (principal, action, resource);
         @id(\"no-pii\") forbid (principal, action == Action::\"read\", resource in Label::\"pii\");",
    );
    let ci = subject(&engine, "workload:ci-runner > helper");
    let touching = |touched: &[(u32, i16)], unknown: &[&'static str]| {
        let mut found = statement("select", &["app.customers"], &[]);
        found.lineage = Some(crate::Lineage {
            touched: touched
                .iter()
                .map(|(relation, attribute)| crate::ColumnId {
                    relation: *relation,
                    attribute: *attribute,
                })
                .collect(),
            unknown: unknown.to_vec(),
            ..crate::Lineage::default()
        });
        found
    };
    let refused = |statement: &Statement| match verdict(&engine, &ci, statement) {
        Verdict::Allow => None,
        Verdict::Deny(Reason::Forbidden { policy, .. }) => Some(policy),
        other => panic!("{other:?}"),
    };
    let by = Some("no-pii".to_owned());
    assert_eq!(refused(&touching(&[], &[])), None, "id and name only");
    assert_eq!(refused(&touching(&[(10, 3)], &[])), by, "email");
    assert_eq!(
        refused(&touching(&[], &["a whole row"])),
        by,
        "what was not followed counts as used"
    );
    assert_eq!(
        refused(&statement("select", &["app.customers"], &[])),
        by,
        "no lineage: anything of it"
    );
    assert_eq!(
        refused(&statement("select", &["app.people"], &[])),
        by,
        "a view over it"
    );
    assert_eq!(refused(&statement("select", &["app.orders"], &[])), None);
    let mut opaque = statement("execute", &[], &[]);
    opaque.opaque = vec!["a DO block"];
    assert_eq!(
        verdict(&engine, &ci, &opaque),
        Verdict::Deny(Reason::ColumnsUnknown)
    );
    let mut calls = statement("select", &[], &[]);
    calls.functions = vec![name("peek")];
    assert_eq!(
        verdict(&engine, &ci, &calls),
        Verdict::Deny(Reason::ColumnsUnknown)
    );
}

#[test]
fn a_held_statement_keeps_its_budget_and_a_refused_one_has_none() {
    let engine = engine(
        "@id(\"all\") @budget_changed(\"10\") permit (principal, action, resource);
         @approvers(\"oncall\") @quorum(\"2\")
         forbid (principal, action == Action::\"delete\", resource) unless { context.approved };
         forbid (principal, action == Action::\"drop\", resource);",
    );
    let ci = subject(&engine, "workload:ci-runner > helper");
    let decided = |effects: &str| {
        let statement = statement(effects, &[], &["app.orders"]);
        decide(&engine, &ci, Some(&index()), &MaskScope::default(), &statement)
    };
    let held = decided("delete");
    assert_eq!(short(&held.verdict), "hold 2 oncall");
    assert_eq!(
        held.budget.rules().count(),
        1,
        "asked for two members and two questions, counted once"
    );
    assert!(held.budget.limits(crate::BudgetKind::Changed) && !held.budget.limits(crate::BudgetKind::Rows));
    assert!(decided("drop").budget.is_empty());
    assert!(!decided("insert").budget.is_empty());
}

#[test]
fn probing_needs_every_members_permit() {
    let engine = engine(
        "permit (principal in Group::\"ci\", action == Action::\"probe\", resource == Label::\"pii\");
         forbid (principal in Group::\"untrusted\", action == Action::\"probe\", resource);",
    );
    let may = |chain: &str, label: &str| crate::decide::may_probe(&engine, &subject(&engine, chain), label);
    assert!(may("workload:ci-runner", "pii") && may("workload:ci-runner > build", "pii"));
    assert!(!may("workload:ci-runner", "cards") && !may("user:dev", "pii"));
    assert!(!may("workload:ci-runner > sandbox", "pii"));
}

#[test]
fn a_mask_that_time_may_lift_holds_without_a_time() {
    let engine = engine(
        "permit (principal, action == Action::\"read_raw\", resource) when { context.weekday == \"monday\" };",
    );
    let masked = |subject: &Subject| MaskScope::of(&engine, subject, &specs()).names().count();
    let dev = || subject(&engine, "user:dev");
    assert_eq!(masked(&dev()), 2);
    let monday = linegate_identity::UnixMillis(1_795_262_400_000 + 48 * 3_600_000);
    assert_eq!(masked(&dev().at(monday)), 0);
    assert_eq!(masked(&dev().at(monday.plus_ms(24 * 3_600_000))), 2);
}

#[test]
fn looking_up_masked_values_is_limited_even_where_no_permit_says_so() {
    let text = "permit (principal, action, resource) unless { action == Action::\"read_raw\" };";
    let limited = format!("@id(\"few\") @budget_lookups(\"5\") {text}");
    let mut looks_up = statement("select", &["app.customers"], &[]);
    let email = crate::ColumnId {
        relation: 10,
        attribute: 3,
    };
    looks_up.lineage = Some(crate::Lineage {
        outputs: Some(vec![crate::Flow::Clean]),
        touched: [email].into(),
        lookups: [email].into(),
        ..crate::Lineage::default()
    });
    let decided = |text: &str, masks: &MaskScope| {
        let engine = engine(text);
        let ci = subject(&engine, "workload:ci-runner");
        let found = decide(&engine, &ci, Some(&index()), masks, &looks_up);
        assert_eq!(found.verdict, Verdict::Allow);
        found
            .budget
            .rules()
            .map(|rule| rule.limits[0].to_string())
            .collect::<Vec<_>>()
    };
    let masked = MaskScope::all(&specs());
    assert_eq!(decided(text, &masked), ["10000 looked-up values per hour"]);
    assert_eq!(decided(&limited, &masked), ["5 looked-up values per lease"]);
    assert!(
        decided(text, &MaskScope::default()).is_empty(),
        "whoever sees them raw"
    );
}
