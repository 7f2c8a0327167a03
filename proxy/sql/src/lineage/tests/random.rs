//! Random expressions over a labelled column: none is clean but those that the rules name.

use linegate_policy::Flow;
use proptest::prelude::*;

use super::{index, lineage};

/// An expression that holds a labelled column somewhere in a place that its value depends on.
fn labelled() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("ssn".to_owned()),
        Just("c.email".to_owned()),
        Just("(c).phone".to_owned()),
        Just("profile->>'tax_id'".to_owned()),
        Just("(SELECT d.ssn FROM app.customers d LIMIT 1)".to_owned()),
        Just("(SELECT c.ssn)".to_owned()),
        Just("c::text".to_owned()),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        let other = prop_oneof![
            Just("'x'".to_owned()),
            Just("name".to_owned()),
            Just("$1".to_owned()),
            inner.clone(),
        ];
        prop_oneof![
            inner.clone().prop_map(|e| format!("upper({e})")),
            inner.clone().prop_map(|e| format!("({e})::text")),
            inner.clone().prop_map(|e| format!("nosuchfunction({e}, 1)")),
            inner.clone().prop_map(|e| format!("max({e})")),
            inner.clone().prop_map(|e| format!("lag({e}) OVER (ORDER BY id)")),
            inner.clone().prop_map(|e| format!("(ARRAY[{e}])[1]")),
            inner.clone().prop_map(|e| format!("(ROW({e}, 1)).f1")),
            inner
                .clone()
                .prop_map(|e| format!("(SELECT q FROM (SELECT {e} AS q) z)")),
            inner
                .clone()
                .prop_map(|e| format!("(WITH w(q) AS (SELECT {e}) SELECT w.q FROM w)")),
            inner
                .clone()
                .prop_map(|e| format!("(SELECT v FROM (VALUES ({e}), ('a')) t(v) LIMIT 1)")),
            inner
                .clone()
                .prop_map(|e| format!("(SELECT {e} UNION ALL SELECT 'a' LIMIT 1)")),
            inner
                .clone()
                .prop_map(|e| format!("xmlelement(name a, {e})::text")),
            inner.clone().prop_map(|e| format!("JSON_ARRAY({e})::text")),
            (inner.clone(), other.clone()).prop_map(|(e, o)| format!("({e} || {o})")),
            (inner.clone(), other.clone()).prop_map(|(e, o)| format!("coalesce({o}, {e})")),
            (inner.clone(), other.clone())
                .prop_map(|(e, o)| format!("CASE WHEN {e} > {o} THEN 'a' ELSE 'b' END")),
            (inner.clone(), other.clone())
                .prop_map(|(e, o)| format!("CASE WHEN id = 1 THEN {o} ELSE {e} END")),
            (inner.clone(), other.clone()).prop_map(|(e, o)| format!("(nullif({e}, {o}) IS NULL)::text")),
            (inner.clone(), other).prop_map(|(e, o)| format!("concat({o}, {e})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_expression_over_a_labelled_column_is_clean(expression in labelled()) {
        let index = index();
        let text = format!("SELECT {expression} FROM app.customers c");
        let found = lineage(&index, &text);
        if found.unknown.is_empty() {
            let outputs = found.outputs.clone().expect("one column");
            prop_assert!(outputs.iter().all(|flow| *flow != Flow::Clean), "{}", text);
        }
        let kept = lineage(&index, &format!("CREATE TABLE t AS SELECT {expression} AS x FROM app.customers c"));
        prop_assert!(!kept.unknown.is_empty() || !kept.moved.is_empty(), "{}", text);
        let copied = lineage(&index, &format!("UPDATE app.orders SET note = ({expression}) FROM app.customers c"));
        prop_assert!(!copied.unknown.is_empty() || !copied.moved.is_empty(), "{}", text);
    }

    #[test]
    fn no_condition_on_a_labelled_column_goes_unseen(expression in labelled()) {
        let index = index();
        let text = format!("SELECT id FROM app.customers c WHERE ({expression}) > 'a'");
        let found = lineage(&index, &text);
        prop_assert!(!found.unknown.is_empty() || !found.probes.is_empty(), "{}", text);
        let text = format!("SELECT id FROM app.customers c ORDER BY ({expression})");
        let found = lineage(&index, &text);
        prop_assert!(!found.unknown.is_empty() || !found.probes.is_empty(), "{}", text);
    }
}
