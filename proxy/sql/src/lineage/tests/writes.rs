//! Where values go.

use super::{check, index, lineage};

#[test]
fn values_that_leave_their_column() {
    check(&[
        (
            "UPDATE app.customers SET notes = email WHERE id = 2",
            "? | moved email",
        ),
        (
            "UPDATE app.customers SET notes = 'x' || ssn WHERE id = 2",
            "? | moved ssn",
        ),
        (
            "UPDATE app.customers SET ssn = substr(ssn, 1, 4) WHERE id = 2",
            "? | moved ssn",
        ),
        (
            "UPDATE app.customers SET email = ssn WHERE id = 2",
            "? | moved ssn",
        ),
        (
            "UPDATE app.customers SET (notes, name) = (SELECT name, ssn FROM app.customers LIMIT 1)",
            "? | moved ssn",
        ),
        (
            "UPDATE app.customers SET (notes, name) = (phone, 'x') WHERE id = 1",
            "? | moved phone",
        ),
        (
            "UPDATE app.customers c SET notes = to_jsonb(c)",
            "? | moved email ssn card_number phone profile",
        ),
        (
            "UPDATE app.orders SET note = (SELECT token FROM app.api_tokens WHERE id = 2) WHERE id = 5 RETURNING note",
            "- | moved token",
        ),
        (
            "UPDATE app.orders o SET note = c.ssn FROM app.customers c WHERE c.id = o.customer_id",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.audit_log (what) SELECT card_number FROM app.customers",
            "? | moved card_number",
        ),
        (
            "INSERT INTO app.audit_log SELECT id, created_at, ssn FROM app.customers",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.audit_log (what) VALUES ((SELECT ssn FROM app.customers LIMIT 1))",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.customers (id, notes) SELECT id, ssn FROM app.customers",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.nowhere (x) SELECT ssn FROM app.customers",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.customers VALUES (1) ON CONFLICT (id) DO UPDATE SET notes = customers.ssn",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.customers AS excluded VALUES (1) ON CONFLICT (id) DO UPDATE SET notes = excluded.ssn",
            "? | moved ssn",
        ),
        (
            "INSERT INTO app.orders (id, note) SELECT 1, c.n FROM (SELECT max(phone) AS n FROM app.customers) c",
            "? | probe phone | moved phone",
        ),
        (
            "MERGE INTO app.orders o USING app.customers c ON c.id = o.customer_id WHEN MATCHED THEN UPDATE SET note = c.ssn",
            "? | moved ssn",
        ),
        (
            "MERGE INTO app.orders o USING app.customers c ON c.id = o.customer_id WHEN NOT MATCHED THEN INSERT (id, note) VALUES (c.id, c.email)",
            "? | moved email",
        ),
        // What is not matched comes in the order of what was compared.
        (
            "MERGE INTO app.customers q USING (SELECT phone FROM app.customers) p ON p.phone = q.email WHEN NOT MATCHED BY SOURCE THEN UPDATE SET name = q.name",
            "? | probe email phone",
        ),
        (
            "MERGE INTO app.customers q USING (VALUES ('x'), ('y')) v (e) ON v.e = q.email WHEN NOT MATCHED BY SOURCE THEN DELETE",
            "? | probe email",
        ),
        (
            "MERGE INTO app.customers q USING (VALUES ('x'), ('y')) v (e) ON v.e = q.email WHEN MATCHED THEN UPDATE SET name = 'n' WHEN NOT MATCHED THEN DO NOTHING",
            "? | lookup email",
        ),
        (
            "MERGE INTO app.orders o USING app.customers c ON c.id = o.customer_id WHEN MATCHED AND c.ssn LIKE '1%' THEN DELETE",
            "? | probe ssn",
        ),
        // Without its schema, the target may be a table of that name that was made a moment ago.
        (
            "INSERT INTO customers (id, ssn) SELECT id, ssn FROM app.customers",
            "? | moved ssn",
        ),
        ("UPDATE customers SET ssn = ssn WHERE id = 1", "? | moved ssn"),
        (
            "CREATE TEMP TABLE t AS SELECT id, ssn AS v FROM app.customers",
            "? | moved ssn",
        ),
        (
            "CREATE TABLE t AS TABLE app.customers",
            "? | moved email ssn card_number phone profile",
        ),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT upper(ssn) FROM app.customers",
            "? | moved ssn",
        ),
        (
            "CREATE TEMP VIEW pv AS SELECT ssn AS z FROM app.customers",
            "? | moved ssn",
        ),
        ("SELECT ssn INTO t FROM app.customers", "? | moved ssn"),
        (
            "SELECT ssn INTO t FROM app.customers UNION ALL SELECT name FROM app.customers",
            "? | moved ssn",
        ),
        (
            "COPY app.customers TO STDOUT (NULL '536-90-4399')",
            "? | moved email ssn card_number phone profile",
        ),
        (
            "COPY app.customers (id, ssn) TO STDOUT (FORMAT csv, ENCODING 'LATIN1')",
            "? | moved ssn",
        ),
        (
            "COPY (SELECT ssn FROM app.customers) TO STDOUT; COPY (SELECT 1) TO STDOUT",
            "? | moved ssn",
        ),
        (
            "COPY (UPDATE app.customers SET notes = 'x' WHERE id = 1 RETURNING ssn) TO STDOUT",
            "? | moved ssn",
        ),
        (
            "SELECT pg_notify('ch', ssn) FROM app.customers",
            "~ssn | probe ssn | moved ssn",
        ),
        (
            "SELECT set_config('a.b', email, false) FROM app.customers",
            "~email | probe email | moved email",
        ),
        (
            "SELECT pg_advisory_lock(length(ssn)) FROM app.customers",
            "~ssn | probe ssn | moved ssn",
        ),
        (
            "WITH d AS (UPDATE app.customers SET notes = 'x' WHERE id = 1 RETURNING ssn) INSERT INTO app.orders (note) SELECT ssn FROM d",
            "? | moved ssn",
        ),
        (
            "WITH d AS (UPDATE app.customers SET notes = ssn RETURNING id) SELECT id FROM d",
            "- | moved ssn",
        ),
        (
            "EXPLAIN ANALYZE CREATE TABLE t AS SELECT ssn FROM app.customers",
            "- | probe ssn | moved ssn",
        ),
        (
            "PREPARE p AS INSERT INTO app.audit_log (what) SELECT ssn FROM app.customers",
            "? | moved ssn",
        ),
    ]);
}

#[test]
fn values_that_stay_and_others() {
    check(&[
        ("UPDATE app.customers SET notes = 'x' WHERE id = 1", "?"),
        (
            "UPDATE app.customers SET email = 'changed@mail.example' WHERE id = 4",
            "?",
        ),
        (
            "UPDATE app.customers SET ssn = $1, name = upper(name) WHERE id = $2",
            "?",
        ),
        ("UPDATE app.customers SET ssn = ssn WHERE id = 1", "?"),
        ("UPDATE app.customers SET ssn = card_number WHERE id = 1", "?"),
        (
            "INSERT INTO app.customers VALUES (1, 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
            "?",
        ),
        (
            "INSERT INTO app.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET notes = excluded.ssn",
            "?",
        ),
        (
            "INSERT INTO app.orders (id, note) SELECT id, name FROM app.customers",
            "?",
        ),
        (
            "INSERT INTO app.customers (id, ssn) SELECT id + 100, ssn FROM app.customers",
            "?",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT id, name, profile->>'plan' FROM app.customers",
            "?",
        ),
        ("COPY app.customers (id, name) TO STDOUT", "- -"),
        ("COPY app.customers (id, ssn) TO STDOUT", "- =ssn"),
        ("COPY (SELECT ssn FROM app.customers) TO STDOUT", "=ssn"),
        (
            "COPY (SELECT upper(ssn), id FROM app.customers WHERE email LIKE 'a%') TO STDOUT",
            "~ssn - | probe email",
        ),
        (
            "COPY (SELECT id, count(*) FROM app.customers GROUP BY id) TO STDOUT",
            "- -",
        ),
        ("COPY app.customers (id, ssn) FROM STDIN", "?"),
        (
            "MERGE INTO app.orders o USING app.customers c ON c.id = o.customer_id WHEN MATCHED THEN UPDATE SET note = c.name",
            "?",
        ),
        ("SELECT pg_notify('ch', name) FROM app.customers", "-"),
        ("SELECT ssn, pg_notify('ch', 'x') FROM app.customers", "=ssn -"),
    ]);
}

#[test]
fn returning() {
    check(&[
        (
            "UPDATE app.customers SET notes = 'n' WHERE id = 1 RETURNING ssn AS x",
            "=ssn",
        ),
        (
            "UPDATE app.customers SET notes = 'n' WHERE id = 1 RETURNING *",
            "- - =email =ssn =card_number =phone - =profile -",
        ),
        (
            "UPDATE app.customers SET notes = 'n' WHERE id = 1 RETURNING lower(ssn), id + 1",
            "~ssn -",
        ),
        (
            "UPDATE app.customers c SET notes = 'n' FROM app.orders o WHERE c.id = o.id RETURNING o.note, c.phone",
            "- =phone",
        ),
        (
            "UPDATE app.customers SET notes = 'n' WHERE id = 1 RETURNING old.ssn, new.notes",
            "=ssn -",
        ),
        (
            "UPDATE app.customers SET notes = 'n' WHERE id = 1 RETURNING WITH (OLD AS o) o.ssn",
            "=ssn",
        ),
        (
            "DELETE FROM app.customers WHERE id = 1 RETURNING ssn::bytea",
            "~ssn | probe ssn",
        ),
        (
            "DELETE FROM app.orders o USING app.customers c WHERE o.customer_id = c.id RETURNING c.email, o.id",
            "=email -",
        ),
        (
            "INSERT INTO app.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING email || ''",
            "~email",
        ),
        (
            "INSERT INTO app.customers VALUES (1) RETURNING id + 1, customers",
            "- ~email+ssn+card_number+phone+profile",
        ),
        (
            "MERGE INTO app.customers c USING app.orders o ON c.id = o.customer_id WHEN MATCHED THEN DELETE RETURNING merge_action(), c.ssn, o.id",
            "- =ssn -",
        ),
        (
            "WITH d AS (DELETE FROM app.customers WHERE id = 1 RETURNING *) SELECT ssn, name FROM d",
            "=ssn -",
        ),
    ]);
}

#[test]
fn reading_the_catalog_again_is_asked_for() {
    let index = index();
    assert!(lineage(&index, "SELECT x FROM app.new_table").strangers);
    assert!(lineage(&index, "SELECT n.x, c.ssn FROM app.new_table n, app.customers c").strangers);
    assert!(!lineage(&index, "SELECT ssn FROM app.customers").strangers);
    assert!(lineage(&index, "UPDATE app.counters SET n = 1 WHERE name = 'x'").fires_triggers);
    assert!(!lineage(&index, "UPDATE app.orders SET note = 'x' WHERE id = 1").fires_triggers);
    assert!(!lineage(&index, "CREATE INDEX ON app.customers (ssn)").followed);
    assert!(lineage(&index, "CREATE TABLE t AS SELECT id FROM app.customers").followed);
}

/// Whatever its depth, a text is answered without running out of stack, and what is too deep is refused.
#[test]
fn depth_is_bounded() {
    let index = index();
    for depth in [10, 100, 200, 2000] {
        let parens = format!(
            "SELECT {}ssn{} FROM app.customers",
            "upper(".repeat(depth),
            ")".repeat(depth)
        );
        let found = lineage(&index, &parens);
        assert!(!found.unknown.is_empty() || found.outputs.expect("a column")[0].columns().next().is_some());
    }
    let chain = format!("SELECT ssn{} FROM app.customers", " || 'x'".repeat(5000));
    let found = lineage(&index, &chain);
    assert!(found.unknown.is_empty(), "chains are walked in a loop");
    let arms = vec!["SELECT name FROM app.customers"; 2000].join(" UNION ALL ");
    assert!(lineage(&index, &arms).unknown.is_empty());
    let nested = (0..100).fold("SELECT ssn AS a FROM app.customers".to_owned(), |inner, _| {
        format!("SELECT a FROM ({inner}) t")
    });
    let found = lineage(&index, &nested);
    assert!(
        !found.unknown.is_empty()
            || found.outputs
                == Some(
                    lineage(&index, "SELECT ssn FROM app.customers")
                        .outputs
                        .expect("known")
                )
    );
}
