//! Texts in a database whose keys, triggers and sequences are known: what is bounded, what fires triggers, what runs by name.

use linegate_identity::Effects;
use linegate_policy::catalog::Reactions;
use linegate_policy::{Catalog, Column, LabelIndex, Named, Relation, Statement};

use super::read_with;

const INT4: u32 = 23;
const BOOL: u32 = 16;

/// Columns as `name`, `name*` for a key, `name?` for a truth value.
fn relation(oid: u32, schema: &str, name: &str, kind: u8, columns: &str) -> Relation {
    let names: Vec<&str> = columns.split_whitespace().collect();
    let columns = (1..).zip(&names).map(|(number, name)| Column {
        number,
        name: name.trim_end_matches(['*', '?']).to_owned(),
        type_oid: if name.contains('?') { BOOL } else { INT4 },
    });
    let keys = (1..).zip(&names).filter(|(_, name)| name.contains('*'));
    Relation {
        keys: keys.map(|(number, _)| number).collect(),
        ..Relation::new(oid, schema, name, kind, columns.collect())
    }
}

fn read(text: &str) -> Statement {
    let fires = Reactions {
        triggers: true,
        ..Reactions::default()
    };
    let catalog = Catalog {
        relations: vec![
            relation(20_000, "app", "orders", b'r', "id* customer* status active*?"),
            relation(20_001, "app", "counters", b'r', "name* n"),
            relation(20_002, "app", "log", b'r', "id what"),
            Relation {
                reactions: fires.clone(),
                ..relation(20_003, "app", "outbox", b'r', "id* body")
            },
            Relation {
                sources: vec![20_005],
                ..relation(20_004, "app", "parts", b'p', "id*")
            },
            Relation {
                reactions: fires,
                sources: vec![20_004],
                ..relation(20_005, "app", "parts_1", b'r', "id*")
            },
            relation(20_006, "pg_temp_4", "mine", b'r', "id"),
            relation(20_007, "app", "order_list", b'v', "id status"),
        ],
        ..Catalog::default()
    };
    let (index, _) = LabelIndex::resolve(&catalog, &[]);
    read_with(text.as_bytes(), Some(&index))
}

#[test]
fn only_keys_bound_where_they_are_known() {
    for (text, expected) in [
        ("DELETE FROM app.orders WHERE id = 1", true),
        ("DELETE FROM orders o WHERE o.customer IN (1, 2)", true),
        ("DELETE FROM orders WHERE id = ANY ($1)", true),
        ("DELETE FROM orders WHERE id = 1 AND status = 'new'", true),
        ("DELETE FROM orders WHERE ctid = '(0,1)'", true),
        (
            "DELETE FROM orders WHERE id = 1 OR status IN ('new', 'paid')",
            false,
        ),
        ("DELETE FROM orders WHERE status = 'new'", false),
        ("DELETE FROM orders WHERE active IN (true, false)", false),
        ("DELETE FROM orders WHERE id = nextval('s')", false),
        ("DELETE FROM orders WHERE id = app.next(1)", false),
        ("UPDATE app.log SET what = 1 WHERE id = 1", false),
        ("UPDATE app.order_list SET status = 1 WHERE id = 1", false),
        ("UPDATE mine SET id = 2 WHERE id = 1", true),
        ("DELETE FROM not_known_yet WHERE a = 1", true),
        (
            "UPDATE orders o SET status = v.s FROM (VALUES (1, 2)) v (id, s) WHERE o.id = v.id",
            true,
        ),
        (
            "UPDATE orders o SET status = 1 FROM (SELECT unnest($1::int[]) AS id) v WHERE o.id = v.id",
            true,
        ),
        (
            "UPDATE orders o SET status = 1 FROM (SELECT generate_series(1, 9) AS id) v WHERE o.id = v.id",
            false,
        ),
        (
            "UPDATE orders o SET status = 1 FROM (SELECT id FROM orders) v WHERE o.id = v.id",
            false,
        ),
        (
            "UPDATE orders o SET status = 1 FROM orders p, LATERAL (VALUES (p.id)) v (id) WHERE o.id = v.id",
            false,
        ),
        (
            "MERGE INTO counters c USING (VALUES ('calls', 5)) v (name, n) ON c.name = v.name \
             WHEN MATCHED THEN UPDATE SET n = v.n WHEN NOT MATCHED THEN INSERT VALUES (v.name, v.n)",
            true,
        ),
        (
            "MERGE INTO counters c USING (VALUES (5)) v (n) ON c.n = v.n WHEN MATCHED THEN DELETE",
            false,
        ),
        (
            "MERGE INTO counters c USING (VALUES ('calls')) v (name) ON c.name = v.name \
             WHEN NOT MATCHED BY SOURCE THEN DELETE",
            false,
        ),
        (
            "MERGE INTO orders o USING orders p ON o.id = p.id WHEN MATCHED THEN DELETE",
            false,
        ),
    ] {
        assert_eq!(read(text).bounded, expected, "{text}");
    }
}

#[test]
fn triggers_of_a_table_or_its_partitions_are_told() {
    for (text, expected) in [
        ("INSERT INTO app.outbox VALUES (1, 2)", true),
        ("COPY app.outbox FROM STDIN", true),
        ("TRUNCATE app.outbox", true),
        (
            "WITH x AS (DELETE FROM app.outbox RETURNING id) SELECT * FROM x",
            true,
        ),
        ("INSERT INTO app.parts VALUES (1)", true),
        ("INSERT INTO app.orders VALUES (1)", false),
        ("SELECT * FROM app.outbox", false),
        ("COPY app.outbox TO STDOUT", false),
        ("CREATE INDEX ON app.outbox (id)", false),
    ] {
        assert_eq!(read(text).fires_triggers(), expected, "{text}");
    }
}

#[test]
fn what_outlives_the_session_or_numbers_others_rows_is_more_than_a_select() {
    for text in [
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'x'",
    ] {
        assert_eq!(
            read(text).effects,
            Effects::TRANSACTION.with(Effects::SERVER),
            "{text}"
        );
    }
    for (text, expected) in [
        ("SELECT setval('app.s', 1)", "app.s"),
        (
            "SELECT pg_catalog.setval('\"A\".\"b\"\"c\"'::regclass, 1, false)",
            "A.b\"c",
        ),
        ("SELECT setval(' App . S ', 1)", "app.s"),
    ] {
        let found = read(text);
        assert_eq!(found.effects, Effects::SELECT.with(Effects::UPDATE), "{text}");
        assert!(!found.bounded, "{text}");
        let writes: Vec<String> = found.writes.iter().map(ToString::to_string).collect();
        assert_eq!(writes, [expected], "{text}");
    }
    assert!(read("SELECT setval(16400, 1)").writes.is_empty());
}

#[test]
fn names_are_told_of_what_runs_later() {
    let prepared = |name: &str| Named::Prepared(name.to_owned());
    let cursor = |name: &str| Named::Cursor(name.to_owned());
    for (text, defines, runs) in [
        ("PREPARE p AS SELECT 1", vec![prepared("p")], None),
        ("DECLARE c CURSOR FOR SELECT 1", vec![cursor("c")], None),
        ("EXECUTE p", vec![], Some(prepared("p"))),
        ("FETCH 2 FROM c", vec![], Some(cursor("c"))),
        ("MOVE 2 FROM c", vec![], Some(cursor("c"))),
        ("PREPARE p AS SELECT 1; EXECUTE p", vec![prepared("p")], None),
        ("EXPLAIN EXECUTE p", vec![], None),
    ] {
        let found = read(text);
        assert_eq!((found.defines, found.runs), (defines, runs), "{text}");
    }
}

#[test]
fn views_are_told_since_they_may_be_replaced() {
    let through = |text: &str| {
        read(text)
            .lineage
            .is_some_and(|lineage| lineage.through_definitions)
    };
    assert!(through("SELECT id FROM app.order_list"));
    assert!(through("FETCH 2 FROM c"));
    assert!(!through("SELECT id FROM app.orders"));
}

#[test]
fn names_that_the_catalog_lacks_are_told_unless_they_are_made() {
    let strangers = |text: &str| read(text).lineage.is_some_and(|lineage| lineage.strangers);
    assert!(strangers("SELECT 1 FROM nowhere"));
    assert!(strangers("INSERT INTO nowhere VALUES (1)"));
    assert!(!strangers("CREATE TABLE nowhere (a int)"));
    assert!(!strangers("SELECT 1 FROM orders"));
}
