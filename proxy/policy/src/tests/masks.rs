//! Labels in decisions: masks, forbids about columns, probes and look-ups.

use super::*;

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
    assert_eq!(short(&held.verdict), "hold 2 of oncall");
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
