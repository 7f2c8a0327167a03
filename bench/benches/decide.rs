//! What a decision costs: a verdict that was given before, and a miss on the policy thread, in its parts.
//!
//! Aims: a hit within 0.3 µs and without allocation up to a few KiB, a miss with 100 policies within 150 µs. Run with
//! `cargo bench -p linegate-bench --bench decide`. A miss is `whole`; its parts are measured by themselves:
//!
//! - `parse`: the server's grammar alone, text to tree;
//! - `read`: parse, and the walk that names effects, relations and functions;
//! - `lineage`: read, and the walk that follows labelled values with the catalog at hand;
//! - `policy`: what Cedar and the masks say of a statement that was read.
//!
//! `other literals` is a text that nobody has said before and that is read as a statement which was decided: what the second
//! level of the cache leaves of a miss.
//!
//! The catalog has 200 tables of 12 columns, 20 views over labelled columns among them; the session is under a mask. All
//! 100 policies can match it. Each case checks its answer first.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linegate_identity::{ActorChain, LeaseId, Principal, PrincipalKind, Scope, UnixMillis};
use linegate_policy::{
    BudgetMeter, Cache, Catalog, Column, Engine, Epoch, LabelIndex, LabelSpec, MaskScope, RedactSpec,
    Relation, Subject, Verdict, decide,
};

// The data plane's own allocator, with its count.
#[path = "../../proxy/src/alloc.rs"]
mod alloc;

const TABLES: u32 = 180;
const VIEWS: u32 = 20;
const COLUMNS: i16 = 12;
const TEXT: u32 = 25;

/// What an application asks all day, 63 bytes.
const SELECT: &str = "SELECT id, total FROM app.orders WHERE customer_id = $1 LIMIT 1";

/// A 63-byte look-up, and what applications, mappers and reports say.
fn statements() -> [(&'static str, String); 6] {
    let mapper: Vec<String> = (0..30)
        .map(|number| {
            let (alias, column) = (["t0", "t1", "t2"][number / 10], number % 10);
            format!("\"{alias}\".\"c{column}\" AS \"{alias}_c{column}\"")
        })
        .collect();
    [
        ("select by key", SELECT.to_owned()),
        (
            "report",
            "SELECT c.region, count(*), sum(o.total) FROM app.customers c JOIN app.orders o ON o.customer_id = c.id \
             WHERE o.placed_at > $1 AND o.id IN (SELECT order_id FROM app.lines WHERE product_id = ANY ($2)) \
             GROUP BY c.region ORDER BY 3 DESC LIMIT 10"
                .to_owned(),
        ),
        (
            "join of 4 and a view",
            "SELECT o.id, o.total, l.quantity, p.c3, v.name, v.card FROM app.orders o JOIN app.lines l ON l.order_id = o.id \
             JOIN app.t7 p ON p.id = l.product_id JOIN app.customers c ON c.id = o.customer_id \
             JOIN app.v0 v ON v.id = c.id WHERE o.id = $1 AND o.placed_at > $2"
                .to_owned(),
        ),
        (
            "mapper, 30 columns",
            format!(
                "SELECT {} FROM \"app\".\"t0\" AS \"t0\" LEFT OUTER JOIN \"app\".\"t1\" AS \"t1\" ON \"t0\".\"id\" = \
                 \"t1\".\"c1\" LEFT OUTER JOIN \"app\".\"t2\" AS \"t2\" ON \"t1\".\"id\" = \"t2\".\"c1\" WHERE \
                 \"t0\".\"id\" = $1 AND \"t1\".\"c2\" IN ($2, $3, $4) ORDER BY \"t0\".\"c1\" ASC LIMIT 50 OFFSET 0",
                mapper.join(", ")
            ),
        ),
        (
            "insert from select",
            "INSERT INTO app.t9 (id, c1, c2, c3) SELECT o.id, o.total, c.region, c.name FROM app.orders o \
             JOIN app.customers c ON c.id = o.customer_id WHERE o.placed_at >= $1 AND o.placed_at < $2"
                .to_owned(),
        ),
        (
            "3 CTEs deep",
            "WITH recent AS (SELECT id, customer_id, total FROM app.orders WHERE placed_at > $1), spent AS (SELECT \
             customer_id, sum(total) AS total FROM recent GROUP BY customer_id), best AS (SELECT customer_id, total, \
             rank() OVER (ORDER BY total DESC) AS place FROM spent) SELECT c.id, c.name, c.card, b.total FROM best b \
             JOIN app.customers c ON c.id = b.customer_id WHERE b.place <= 10"
                .to_owned(),
        ),
    ]
}

/// The text with constants in place of its parameters, others for each number.
fn with_literals(text: &str, number: u32) -> String {
    let text = text.replace("ANY ($2)", &format!("ANY ('{{{number},7}}'::int[])"));
    let text = (1..=4).fold(text, |text, parameter| {
        text.replace(
            &format!("${parameter}"),
            &format!("'{}'", 2_000_000 + number * 10 + parameter),
        )
    });
    text.replace("<= 10", &format!("<= {}", 10 + number)) // where there is no parameter
}

/// 100 policies that can all match the session: none is sliced away when it opens.
fn engine() -> Engine {
    let mut text =
        "@id(\"all\") @budget_rows(\"100000000\") permit (principal, action in [Action::\"connect\", \
        Action::\"select\", Action::\"insert\", Action::\"prepared\"], resource);\n"
            .to_owned();
    for number in 1..100 {
        let rule = match number % 4 {
            0 => format!(
                "forbid (principal, action == Action::\"drop\", resource) when {{ context.depth > {number} }};"
            ),
            1 => format!(
                "forbid (principal, action, resource) when {{ context.functions.contains(\"f{number}\") }};"
            ),
            2 => format!("forbid (principal, action, resource == Table::\"shop/app.x{number}\");"),
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

fn specs() -> Vec<LabelSpec> {
    let column = |name: &str| ("app".to_owned(), "customers".to_owned(), name.to_owned());
    vec![LabelSpec {
        name: "pii".to_owned(),
        columns: vec![column("card"), column("ssn")],
        paths: Vec::new(),
        redact: RedactSpec::KeepLast(4),
    }]
}

fn labels() -> LabelIndex {
    let known: [(&str, &[&str]); 3] = [
        ("customers", &["id", "name", "region", "card", "ssn"]),
        ("orders", &["id", "customer_id", "total", "placed_at"]),
        ("lines", &["id", "order_id", "product_id", "quantity"]),
    ];
    let table = |oid: u32, name: &str, kind: u8, first: &[String]| {
        let more = (0..COLUMNS).map(|number| format!("c{number}"));
        let names = first.iter().cloned().chain(more).take(COLUMNS as usize);
        let columns = (1..).zip(names).map(|(number, name)| Column {
            number,
            name,
            type_oid: TEXT,
        });
        let mut relation = Relation::new(oid, "app", name, kind, columns.collect());
        relation.keys = vec![1];
        relation
    };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut relations = Vec::new();
    for (oid, (name, columns)) in (20_000..).zip(known) {
        relations.push(table(oid, name, b'r', &owned(columns)));
    }
    for number in 0..TABLES - 3 {
        let name = format!("t{number}");
        relations.push(table(20_100 + number, &name, b'r', &owned(&["id"])));
    }
    for number in 0..VIEWS {
        let mut view = table(20_900 + number, &format!("v{number}"), b'v', &[]);
        let names = ["id", "name", "region", "card"];
        view.columns.truncate(names.len());
        for (column, name) in view.columns.iter_mut().zip(names) {
            name.clone_into(&mut column.name);
        }
        view.sources = vec![20_000];
        view.body = Some("SELECT c.id, c.name, c.region, c.card FROM app.customers c".to_owned());
        relations.push(view);
    }
    assert_eq!(relations.len(), (TABLES + VIEWS) as usize);
    let catalog = Catalog {
        epoch: 1,
        relations,
        ..Catalog::default()
    };
    let (mut labels, missing) = LabelIndex::resolve(&catalog, &specs());
    assert!(missing.is_empty(), "{missing:?}");
    linegate_sql::follow(&mut labels);
    labels
}

fn subject(engine: &Engine, actors: &[&str]) -> Subject {
    let head = Principal::new(PrincipalKind::Workload, "ci-runner", &[]).expect("a name");
    let chain = actors.iter().fold(ActorChain::new(head), |chain, actor| {
        chain.with_actor(actor).expect("a name")
    });
    let lease = LeaseId("lg_bench".to_owned());
    let subject = Subject::new(engine, &chain, &lease, &Scope::all(), "shop").with_database("shop");
    assert_eq!(subject.policies_count(), 100, "every policy is kept");
    subject
}

fn misses(criterion: &mut Criterion) {
    let (engine, labels, masks) = (engine(), labels(), MaskScope::all(&specs()));
    let (alone, agent) = (subject(&engine, &[]), subject(&engine, &["build"]));
    for (name, text) in statements() {
        let mut group = criterion.benchmark_group(format!("miss/{name}"));
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        let whole = |subject: &Subject| {
            let statement = linegate_sql::read_with(black_box(text.as_bytes()), Some(&labels));
            decide(&engine, subject, Some(&labels), &masks, &statement)
        };
        let statement = linegate_sql::read_with(text.as_bytes(), Some(&labels));
        let lineage = statement.lineage.as_ref().expect("it was followed");
        assert!(
            lineage.unknown.is_empty() && lineage.followed,
            "{name}: {lineage:?}"
        );
        for subject in [&alone, &agent] {
            assert_eq!(whole(subject).verdict, Verdict::Allow, "{name}");
        }
        group.bench_function("parse", |bencher| {
            bencher.iter(|| pg_raw_parse::parse(black_box(&text)).is_ok());
        });
        group.bench_function("read", |bencher| {
            bencher.iter(|| linegate_sql::read(black_box(text.as_bytes())));
        });
        group.bench_function("lineage", |bencher| {
            bencher.iter(|| linegate_sql::read_with(black_box(text.as_bytes()), Some(&labels)));
        });
        group.bench_function("policy", |bencher| {
            bencher.iter(|| decide(&engine, &alone, Some(&labels), &masks, black_box(&statement)));
        });
        let mut known = Cache::new([7; 32], 4096, 64 << 20);
        let first = linegate_sql::read_with(with_literals(&text, 5000).as_bytes(), Some(&labels));
        let decision = decide(&engine, &alone, Some(&labels), &masks, &first);
        known.insert_read(Epoch(1), &first, Arc::new(decision));
        let others: Vec<String> = (0..1000).map(|number| with_literals(&text, number)).collect();
        for other in &others {
            assert_ne!(*other, text);
            let read = linegate_sql::read_with(other.as_bytes(), Some(&labels));
            let found = known.get_read(Epoch(1), &read, UnixMillis(0));
            let found = found.expect("it is read as the same statement");
            assert_eq!(
                *found,
                decide(&engine, &alone, Some(&labels), &masks, &read),
                "{name}"
            );
        }
        let mut next = others.iter().cycle();
        group.bench_function("other literals", |bencher| {
            bencher.iter(|| {
                let other = next.next().expect("a cycle has no end");
                let statement = linegate_sql::read_with(black_box(other.as_bytes()), Some(&labels));
                known
                    .get_read(Epoch(1), &statement, UnixMillis(0))
                    .expect("it is known")
            });
        });
        group.bench_function("whole", |bencher| bencher.iter(|| whole(&alone)));
        group.bench_function("whole, one agent", |bencher| bencher.iter(|| whole(&agent)));
        group.finish();
    }
}

fn hits(criterion: &mut Criterion) {
    let (engine, labels) = (engine(), labels());
    let subject = subject(&engine, &["build"]);
    let text = SELECT.as_bytes();
    let statement = linegate_sql::read_with(text, Some(&labels));
    let masks = MaskScope::all(&specs());
    let decision = Arc::new(decide(&engine, &subject, Some(&labels), &masks, &statement));
    // The data plane's own bounds.
    let mut cache = Cache::new([7; 32], 8192, 16 << 20);
    for number in 0..4000u32 {
        cache.insert(Epoch(1), format!("SELECT {number}").as_bytes(), decision.clone());
    }
    let long = statements()
        .into_iter()
        .map(|(_, text)| text)
        .max_by_key(String::len);
    let long = long.expect("there are statements");
    // Reports and mappers say more; what is longer than is kept is known by its digest.
    let padded = |bytes: usize| [text, b" --", &vec![b'x'; bytes - text.len() - 3]].concat();
    let (more, most, beyond) = (padded(4 << 10), padded(16 << 10), padded(64 << 10));
    let texts = [text, long.as_bytes(), &more, &most, &beyond];
    let now = UnixMillis(0);
    for text in texts {
        cache.insert(Epoch(1), text, decision.clone());
        let found = cache.get_at(Epoch(1), text, now);
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &decision)));
    }
    let asked = alloc::of_this_thread();
    for _ in 0..1000 {
        for text in texts {
            assert!(cache.get_at(Epoch(1), black_box(text), now).is_some());
        }
    }
    assert_eq!(alloc::of_this_thread() - asked, 0, "a hit asks for no memory");
    let counted = alloc::of_this_thread();
    drop(black_box(Box::new(1u8)));
    assert_eq!(alloc::of_this_thread() - counted, 1, "the count counts");
    let mut group = criterion.benchmark_group("cache");
    group.throughput(Throughput::Elements(1));
    for text in texts {
        group.bench_function(format!("hit/{} bytes", text.len()), |bencher| {
            bencher.iter(|| cache.get_at(Epoch(1), black_box(text), now).expect("a hit"));
        });
    }
    let charges = BudgetMeter::new().charges(&decision.budget);
    assert!(charges.charge_rows(1, now).is_ok() && !charges.is_empty());
    group.bench_function("charge/rows", |bencher| {
        bencher.iter(|| charges.charge_rows(black_box(0), now).is_ok());
    });
    group.finish();
}

criterion_group!(benches, misses, hits);
criterion_main!(benches);
