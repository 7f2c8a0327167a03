//! What a decision costs: a verdict that was given before, and a miss (read, ask 100 policies) on the policy thread.
//!
//! Aims: a hit within 0.3 µs, a miss within 150 µs. Each case checks its answer first. Run with
//! `cargo bench -p linegate-bench --bench decide`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linegate_identity::{ActorChain, LeaseId, Principal, PrincipalKind, Scope, UnixMillis};
use linegate_policy::{
    BudgetMeter, Cache, Catalog, Column, Engine, Epoch, LabelIndex, MaskScope, Relation, Subject, Verdict,
    decide,
};

/// What an application asks all day, 63 bytes.
const SELECT: &[u8] = b"SELECT id, total FROM app.orders WHERE customer_id = $1 LIMIT 1";
/// A statement of a report: three relations, a sub-select, an aggregate.
const REPORT: &[u8] = b"SELECT c.region, count(*), sum(o.total) FROM app.customers c JOIN app.orders o ON o.customer_id = c.id \
    WHERE o.placed_at > $1 AND o.id IN (SELECT order_id FROM app.lines WHERE product_id = ANY ($2)) \
    GROUP BY c.region ORDER BY 3 DESC LIMIT 10";

/// 100 policies that can all match the session: none is sliced away.
fn engine() -> Engine {
    let mut text =
        "@id(\"all\") @budget_rows(\"100000000\") permit (principal, action, resource);\n".to_owned();
    for number in 1..100 {
        let rule = match number % 4 {
            0 => format!(
                "forbid (principal, action == Action::\"drop\", resource) when {{ context.depth > {number} }};"
            ),
            1 => format!(
                "forbid (principal, action, resource) when {{ context.functions.contains(\"f{number}\") }};"
            ),
            2 => format!("forbid (principal, action, resource == Table::\"shop/app.t{number}\");"),
            _ => format!(
                "permit (principal, action == Action::\"select\", resource) when {{ context.actor == \"a{number}\" }};"
            ),
        };
        text.push_str(&rule);
        text.push('\n');
    }
    let engine = Engine::compile(&[("bench".to_owned(), text)], &[]).expect("the policies compile");
    assert_eq!(engine.policies_count(), 100);
    engine
}

fn labels() -> LabelIndex {
    let names = ["customers", "orders", "lines"];
    let relations = (1..).zip(names).map(|(oid, name)| {
        let column = |(number, name): (i16, &str)| Column {
            number,
            name: name.to_owned(),
            type_oid: 25,
        };
        let columns = (1..).zip(["id", "name", "region"]).map(column).collect();
        Relation::new(oid, "app", name, b'r', columns)
    });
    let catalog = Catalog {
        epoch: 1,
        relations: relations.collect(),
        ..Catalog::default()
    };
    LabelIndex::resolve(&catalog, &[]).0
}

fn subject(engine: &Engine, actors: &[&str]) -> Subject {
    let head = Principal::new(PrincipalKind::Workload, "ci-runner", &[]).expect("a name");
    let chain = actors.iter().fold(ActorChain::new(head), |chain, actor| {
        chain.with_actor(actor).expect("a name")
    });
    let lease = LeaseId("lg_bench".to_owned());
    Subject::new(engine, &chain, &lease, &Scope::all(), "shop").with_database("shop")
}

fn decisions(criterion: &mut Criterion) {
    let (engine, labels, masks) = (engine(), labels(), MaskScope::default());
    let mut group = criterion.benchmark_group("decide");
    for (name, actors) in [("alone", &[][..]), ("two agents", &["build", "migrate"][..])] {
        let subject = subject(&engine, actors);
        assert_eq!(subject.policies_count(), 100, "every policy is asked");
        for (text_name, text) in [("select", SELECT), ("report", REPORT)] {
            let miss = || {
                let statement = linegate_sql::read(black_box(text));
                decide(&engine, &subject, Some(&labels), &masks, &statement)
            };
            assert_eq!(miss().verdict, Verdict::Allow);
            group.bench_function(format!("miss/{text_name}/{name}"), |bencher| bencher.iter(miss));
        }
    }
    group.finish();
}

fn hits(criterion: &mut Criterion) {
    let (engine, labels) = (engine(), labels());
    let subject = subject(&engine, &["build"]);
    let statement = linegate_sql::read(SELECT);
    let decision = Arc::new(decide(
        &engine,
        &subject,
        Some(&labels),
        &MaskScope::default(),
        &statement,
    ));
    let mut cache = Cache::new([7; 32], 4096, 64 << 20);
    for number in 0..4000u32 {
        cache.insert(Epoch(1), format!("SELECT {number}").as_bytes(), decision.clone());
    }
    cache.insert(Epoch(1), SELECT, decision.clone());
    let now = UnixMillis(0);
    assert!(
        cache
            .get_at(Epoch(1), SELECT, now)
            .is_some_and(|found| Arc::ptr_eq(&found, &decision))
    );
    let mut group = criterion.benchmark_group("cache");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hit/63 bytes", |bencher| {
        bencher.iter(|| cache.get_at(Epoch(1), black_box(SELECT), now).expect("a hit"));
    });
    let charges = BudgetMeter::new().charges(&decision.budget);
    assert!(charges.charge_rows(1, now).is_ok() && !charges.is_empty());
    group.bench_function("charge/rows", |bencher| {
        bencher.iter(|| charges.charge_rows(black_box(0), now).is_ok());
    });
    group.finish();
}

criterion_group!(benches, decisions, hits);
criterion_main!(benches);
