//! Budgets as conversations: what was charged, and when it ends.

use proptest::prelude::*;

use super::*;

const HOUR_MS: u64 = 3_600_000;

fn budget(rules: &[(&str, &[(BudgetKind, &str)])]) -> Budget {
    let mut budget = Budget::default();
    for (rule, limits) in rules {
        let limits = limits
            .iter()
            .map(|(kind, text)| Limit::parse(*kind, text).expect("a limit"))
            .collect();
        budget.add(&Arc::new(RuleBudget {
            rule: (*rule).into(),
            limits,
        }));
    }
    budget
}

fn at(ms: u64) -> UnixMillis {
    UnixMillis(1_795_277_040_000 + ms) // the start of a minute
}

fn column(attribute: i16) -> ColumnId {
    ColumnId {
        relation: 16_400,
        attribute,
    }
}

#[test]
fn amounts_are_read_strictly() {
    let amount = |kind, text: &str| Limit::parse(kind, text).map(|limit| (limit.amount, limit.scope));
    assert_eq!(
        amount(BudgetKind::Rows, "100000"),
        Ok((100_000, BudgetScope::Lease))
    );
    assert_eq!(amount(BudgetKind::Rows, "5/hour"), Ok((5, BudgetScope::Hour)));
    assert_eq!(
        amount(BudgetKind::Changed, "7"),
        Ok((7, BudgetScope::Transaction))
    );
    assert_eq!(
        amount(BudgetKind::Changed, "7/lease"),
        Ok((7, BudgetScope::Lease))
    );
    assert_eq!(
        amount(BudgetKind::Bytes, "1GB"),
        Ok((1_000_000_000, BudgetScope::Lease))
    );
    assert_eq!(
        amount(BudgetKind::Bytes, "2 MiB / hour"),
        Ok((2 << 20, BudgetScope::Hour))
    );
    for (kind, text) in [
        (BudgetKind::Rows, ""),
        (BudgetKind::Rows, "0"),
        (BudgetKind::Rows, "-1"),
        (BudgetKind::Rows, "+1"),
        (BudgetKind::Rows, "1e3"),
        (BudgetKind::Rows, "1GB"),
        (BudgetKind::Rows, "5/day"),
        (BudgetKind::Rows, "5/transaction"),
        (BudgetKind::Rows, "99999999999999999999999"),
        (BudgetKind::Bytes, "1gb"),
        (BudgetKind::Bytes, "99999999999TB"),
        (BudgetKind::Lookups, "100001"),
    ] {
        assert!(Limit::parse(kind, text).is_err(), "{kind:?} {text}");
    }
}

#[test]
fn leases_of_one_family_share_what_is_left() {
    let meter = BudgetMeter::new();
    let budget = budget(&[("agents-read", &[(BudgetKind::Rows, "100")])]);
    let parent = meter.charges(&budget);
    let child = meter.charges(&budget);
    assert!(parent.limits(BudgetKind::Rows) && !parent.limits(BudgetKind::Bytes));
    parent.charge_rows(60, at(0)).expect("60 of 100");
    child.charge_rows(40, at(1)).expect("the rest");
    let refused = parent.charge_rows(1, at(2)).expect_err("used up");
    assert_eq!(refused.fits, 0);
    assert_eq!(
        refused.public(),
        "the budget of 100 rows per lease is used up, by policy \"agents-read\""
    );
    assert_eq!(refused.sqlstate(), *b"54000");
    let other_family = BudgetMeter::new();
    assert!(other_family.charges(&budget).charge_rows(100, at(3)).is_ok());
}

#[test]
fn failures_for_size_are_counted_when_they_happen() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Oversized, "2/hour")])]));
    for minute in 0..2 {
        let now = at(minute * 60_000);
        assert!(charges.may_be_oversized(now).is_ok());
        assert!(charges.may_be_oversized(now).is_ok(), "asking costs nothing");
        charges.note_oversized(now);
    }
    let refused = charges.may_be_oversized(at(120_000)).expect_err("used up");
    assert_eq!(
        refused.public(),
        "the budget of 2 failures for size per hour is used up, by policy \"r\""
    );
    assert!(
        charges.may_be_oversized(at(61 * 60_000)).is_ok(),
        "the first is over"
    );
}

#[test]
fn a_slab_is_cut_off_where_the_budget_ends() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Rows, "10")])]));
    charges.charge_rows(8, at(0)).expect("8 of 10");
    assert_eq!(charges.charge_rows(64, at(0)).expect_err("too many").fits, 2);
    assert_eq!(charges.charge_rows(1, at(0)).expect_err("used up").fits, 0);
}

#[test]
fn the_smallest_of_several_policies_wins_and_each_counts_its_own() {
    let meter = BudgetMeter::new();
    let wide = budget(&[("wide", &[(BudgetKind::Rows, "1000")])]);
    let both = budget(&[
        ("wide", &[(BudgetKind::Rows, "1000")]),
        ("pii", &[(BudgetKind::Rows, "10")]),
    ]);
    meter.charges(&wide).charge_rows(500, at(0)).expect("not pii's");
    meter.charges(&both).charge_rows(10, at(0)).expect("all of pii's");
    let refused = meter
        .charges(&both)
        .charge_rows(1, at(0))
        .expect_err("pii is used up");
    assert_eq!(&*refused.rule, "pii");
    meter.charges(&wide).charge_rows(489, at(0)).expect("1000 in all");
    assert!(meter.charges(&wide).charge_rows(1, at(0)).is_err());
}

#[test]
fn an_hour_rolls() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Statements, "3/hour")])]));
    charges.charge_statement(at(0)).expect("first");
    charges.charge_statement(at(HOUR_MS / 2)).expect("second");
    charges.charge_statement(at(HOUR_MS - 1)).expect("third");
    assert!(
        charges.charge_statement(at(HOUR_MS)).is_err(),
        "the fourth within the hour"
    );
    assert!(
        charges.charge_statement(at(HOUR_MS + 60_000)).is_err(),
        "what was refused counts as well"
    );
    charges
        .charge_statement(at(3 * HOUR_MS))
        .expect("hours later, nothing is left of it");
}

#[test]
fn time_is_counted_in_milliseconds_and_limited_in_seconds() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Seconds, "2")])]));
    charges.charge_busy_ms(1999, at(0)).expect("below");
    charges.charge_busy_ms(1, at(0)).expect("exactly");
    assert!(charges.charge_busy_ms(1, at(0)).is_err());
}

#[test]
fn the_same_value_is_looked_up_for_nothing() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Lookups, "2")])]));
    let value = |text: &str| lookup_digest(&[7; 32], text.as_bytes());
    charges
        .charge_lookup(column(3), value("a"), at(0))
        .expect("first");
    charges
        .charge_lookup(column(3), value("a"), at(1))
        .expect("again");
    charges
        .charge_lookup(column(4), value("a"), at(2))
        .expect("another column is another value");
    assert!(charges.charge_lookup(column(3), value("b"), at(3)).is_err());
    charges
        .charge_lookup(column(3), value("a"), at(4))
        .expect("known ones go on");
}

#[test]
fn looked_up_values_of_an_hour_are_forgotten() {
    let charges = BudgetMeter::new().charges(&budget(&[("r", &[(BudgetKind::Lookups, "1/hour")])]));
    let value = |text: &str| lookup_digest(&[7; 32], text.as_bytes());
    charges
        .charge_lookup(column(3), value("a"), at(0))
        .expect("first");
    assert!(charges.charge_lookup(column(3), value("b"), at(HOUR_MS)).is_err());
    charges
        .charge_lookup(column(3), value("b"), at(2 * HOUR_MS))
        .expect("the first is an hour old");
    assert!(
        charges
            .charge_lookup(column(3), value("a"), at(2 * HOUR_MS))
            .is_err()
    );
}

#[test]
fn changed_rows_add_up_over_a_transaction() {
    let budget = budget(&[
        ("r", &[(BudgetKind::Changed, "10")]),
        ("l", &[(BudgetKind::Changed, "25/lease")]),
    ]);
    let charges = BudgetMeter::new().charges(&budget);
    let mut changes = Changes::default();
    charges.charge_changed(6, &mut changes, at(0)).expect("6 of 10");
    let refused = charges
        .charge_changed(6, &mut changes, at(0))
        .expect_err("12 of 10");
    assert_eq!((refused.limit.scope, refused.fits), (BudgetScope::Transaction, 4));
    changes.end();
    charges
        .charge_changed(10, &mut changes, at(0))
        .expect("a new transaction");
    changes.end();
    let refused = charges
        .charge_changed(6, &mut changes, at(0))
        .expect_err("28 of 25");
    assert_eq!(refused.limit.scope, BudgetScope::Lease);
}

#[test]
fn cores_that_charge_at_once_never_pass_the_limit_together() {
    for scope in ["lease", "hour"] {
        let meter = BudgetMeter::new();
        let budget = budget(&[("r", &[(BudgetKind::Rows, &format!("1000/{scope}"))])]);
        let passed: u64 = std::thread::scope(|threads| {
            let one = || {
                let charges = meter.charges(&budget);
                (0..1000u64)
                    .filter(|turn| charges.charge_rows(1, at(turn % 7 * 60_000)).is_ok())
                    .count() as u64
            };
            let running: Vec<_> = (0..4).map(|_| threads.spawn(one)).collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("ends"))
                .sum()
        });
        assert!(passed <= 1000, "{passed} by {scope}");
        assert!(passed > 900, "{passed} by {scope}: most of it may be used");
    }
}

proptest! {
    #[test]
    fn what_passes_never_exceeds_the_limit(steps in prop::collection::vec((0u64..40, 0u64..90), 1..120)) {
        let charges = BudgetMeter::new().charges(&budget(&[("l", &[(BudgetKind::Rows, "500")]), ("h", &[(BudgetKind::Rows, "100/hour")])]));
        let (mut now, mut passed) = (0, Vec::new());
        for (count, minutes) in steps {
            now += minutes * 20_000;
            let fits = match charges.charge_rows(count, at(now)) {
                Ok(()) => count,
                Err(refused) => refused.fits,
            };
            prop_assert!(fits <= count);
            passed.push((now, fits));
            let all: u64 = passed.iter().map(|(_, count)| count).sum();
            let hour: u64 = passed.iter().filter(|(then, _)| then + HOUR_MS > now).map(|(_, count)| count).sum();
            prop_assert!(all <= 500 && hour <= 100, "{all} in all, {hour} in the hour");
        }
    }
}
