//! Decisions as tables: who asks for what, and what the verdict must be.

use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};

use crate::labels::tests::{index, specs};
use crate::verdict::{Channel, Reason, Verdict};
use crate::{
    Decision, Engine, GroupSpec, LabelIndex, MaskScope, Name, OutputColumn, Statement, Subject, decide,
    explain, may_connect,
};

mod masks;

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
        ("ci", "workload:ci-runner"),
        ("security", "user:auditor"),
        ("untrusted", "workload:sandbox"),
    ];
    compiled(&[("test.cedar", text)], &groups)
}

/// Files by name, and groups of one member each.
pub(crate) fn compiled(files: &[(&str, &str)], groups: &[(&str, &str)]) -> Engine {
    let files: Vec<_> = files
        .iter()
        .map(|(label, text)| ((*label).to_owned(), (*text).to_owned()))
        .collect();
    let groups: Vec<_> = groups
        .iter()
        .map(|(name, member)| GroupSpec {
            name: (*name).to_owned(),
            members: vec![(*member).to_owned()],
        })
        .collect();
    match Engine::compile(&files, &groups) {
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

/// `allow`, `deny …`, `hold 2 of oncall, security`.
pub(crate) fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(reason) => format!("deny {reason}"),
        Verdict::Hold(terms) => format!("hold {}", terms.said()),
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
fn everybody_is_permitted_everything_by_one_plain_permit_and_nothing_else() {
    let all = "permit (principal, action, resource);";
    for (text, expected) in [
        (all.to_owned(), true),
        (
            "permit (principal in Group::\"dba\", action, resource);".to_owned(),
            false,
        ),
        (
            "permit (principal, action, resource) when { context.bounded };".to_owned(),
            false,
        ),
        (
            format!("{all}\nforbid (principal, action == Action::\"drop\", resource);"),
            false,
        ),
        (String::new(), false),
    ] {
        let engine = Engine::compile(&[("p".to_owned(), text.clone())], &[]).unwrap();
        assert_eq!(engine.permits_everybody(), expected, "{text}");
    }
}

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
        ("drop", &[], &["app.orders"], "hold 1 of oncall"),
        (
            "drop",
            &[],
            &["app.customers"],
            "hold 1 of oncall and 2 of oncall, security",
        ),
        (
            "drop",
            &[],
            &["app.people"],
            "hold 1 of oncall and 2 of oncall, security",
        ),
        (
            "drop",
            &[],
            &["app.orders", "customers"],
            "hold 1 of oncall and 2 of oncall, security",
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
        "hold for 1 of oncall and 2 of oncall, security (drops: drops wait; pii-drops); does drop; writes app.customers; \
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
        "hold 1 of oncall"
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
    // Where nobody knows the schema, the client is told what would help.
    let closed = self::engine(
        "permit (principal, action, resource) when { resource is Table && resource.schema == \"app\" };",
    );
    let dev_there = subject(&closed, "user:dev");
    let making = statement("create", &[], &["nowhere"]);
    let Verdict::Deny(reason) = verdict(&closed, &dev_there, &making) else {
        panic!("nothing is permitted there")
    };
    assert_eq!(reason.public(), "no policy permits create on ?.nowhere");
    assert_eq!(reason.hint().as_deref(), Some("Write the schema."));
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
