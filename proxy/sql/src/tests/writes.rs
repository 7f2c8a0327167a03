//! What changes write, where the values come from, and what a WHERE bounds.

use super::*;

#[test]
fn changes_name_their_targets() {
    check(&[
        ("INSERT INTO t VALUES (1)", "insert writes t"),
        ("INSERT INTO t DEFAULT VALUES", "insert writes t"),
        (
            "INSERT INTO t VALUES ((SELECT x FROM u))",
            "select+insert reads u writes t",
        ),
        ("INSERT INTO t SELECT * FROM u", "select+insert reads u writes t"),
        ("INSERT INTO t TABLE u", "select+insert reads u writes t"),
        ("INSERT INTO t VALUES (1) RETURNING id", "insert reads t writes t"),
        ("INSERT INTO t VALUES (1) RETURNING 1", "insert writes t"),
        (
            "INSERT INTO t VALUES (1) RETURNING (SELECT x FROM u)",
            "select+insert reads t,u writes t",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1 RETURNING *",
            "select+insert+update reads t writes t",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1",
            "insert+update reads t writes t",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
            "insert writes t",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = (SELECT 1 FROM u) WHERE t.b = 1",
            "select+insert+update reads t,u writes t",
        ),
        (
            "INSERT INTO t SELECT * FROM u ON CONFLICT (id) DO UPDATE SET a = 1",
            "select+insert+update reads t,u writes t unbounded",
        ),
        (
            "INSERT INTO t SELECT 1, 2 ON CONFLICT (id) DO UPDATE SET a = 1",
            "select+insert+update reads t writes t",
        ),
        ("UPDATE t SET a = 1 WHERE id = 1", "update reads t writes t"),
        ("UPDATE ONLY t SET a = 1 WHERE id = 1", "update reads t writes t"),
        ("UPDATE t SET a = 1", "update writes t unbounded"),
        ("UPDATE t SET a = a + 1", "update reads t writes t unbounded"),
        (
            "UPDATE t SET e[(SELECT 1 FROM u)] = 1 WHERE id = 1",
            "select+update reads t,u writes t",
        ),
        (
            "UPDATE t SET (a, b) = (SELECT x, y FROM u) WHERE id = 1",
            "select+update reads t,u writes t",
        ),
        (
            "UPDATE t SET a = 1 FROM u WHERE t.id = 1 AND u.x = t.x",
            "select+update reads t,u writes t",
        ),
        (
            "UPDATE t SET a = 1 WHERE id = 1 RETURNING *",
            "select+update reads t writes t",
        ),
        (
            "DELETE FROM t USING u WHERE u.id = 1",
            "select+delete reads t,u writes t unbounded",
        ),
        ("DELETE FROM t", "delete writes t unbounded"),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED AND (SELECT true FROM v) THEN UPDATE SET a = (SELECT 1 FROM w) WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "select+insert+update reads t,u,v,w writes t unbounded",
        ),
        (
            "MERGE INTO t USING (SELECT * FROM u) s ON true WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "select+insert reads t,u writes t",
        ),
        (
            "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
            "select+delete reads t,u writes t unbounded",
        ),
        (
            "TRUNCATE a, ONLY app.b CASCADE",
            "truncate writes a,app.b unbounded",
        ),
        (
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'role'",
            "update+set+role reads pg_settings writes pg_settings sets *",
        ),
        (
            "UPDATE pg_authid SET rolpassword = '' WHERE rolname = 'x'",
            "update+role reads pg_authid writes pg_authid opaque a system catalog's rows secret",
        ),
        (
            "DELETE FROM pg_catalog.pg_class WHERE oid = 1",
            "delete+alter reads pg_catalog.pg_class writes pg_catalog.pg_class opaque a system catalog's rows catalog",
        ),
    ]);
}

/// The texts of `cases` for which `is` differs from what they say.
fn differing<'c>(cases: &[(&'c str, bool)], is: impl Fn(&Statement) -> bool) -> Vec<&'c str> {
    let found = |sql: &str| read_detailed(sql.as_bytes()).map(|found| is(&found));
    cases
        .iter()
        .filter(|(sql, expected)| found(sql) != Ok(*expected))
        .map(|(sql, _)| *sql)
        .collect()
}

#[test]
fn written_values_are_of_the_text_or_move() {
    let cases = [
        ("SELECT ssn FROM t", false),
        ("DELETE FROM t WHERE a = b", false),
        ("UPDATE t SET a = 'x' WHERE id = 1", false),
        (
            "UPDATE t SET a = $1, b = lower($2) || now()::text WHERE id = $3",
            false,
        ),
        ("UPDATE t SET a = DEFAULT, b[1] = 2", false),
        ("UPDATE t SET (a, b) = ROW(1, 2)", false),
        ("UPDATE t SET a = 'x' WHERE ssn = 'y' RETURNING ssn", false),
        ("UPDATE t SET a = 'x' FROM u WHERE t.id = u.id", false),
        ("UPDATE t SET a = ssn", true),
        ("UPDATE t SET a = t.ssn WHERE id = 1", true),
        ("UPDATE t SET n = n + 1", true),
        ("UPDATE t SET a = to_jsonb(t)", true),
        ("UPDATE t SET a = CASE WHEN ssn LIKE '1%' THEN 1 END", true),
        ("UPDATE t SET (a, b) = ROW(1, ssn)", true),
        ("UPDATE t SET (a, b) = (SELECT 1, 2)", true),
        ("UPDATE t SET a = (SELECT count(*) FROM u)", true),
        ("UPDATE t SET a = EXISTS (TABLE u)", true),
        ("UPDATE t SET a = JSON_ARRAY(VALUES (1))", true),
        ("UPDATE t SET e[digits] = 1", true),
        ("UPDATE t SET a = excluded.ssn FROM u excluded", true),
        ("INSERT INTO t VALUES (1, $1, now(), DEFAULT)", false),
        ("INSERT INTO t DEFAULT VALUES", false),
        ("INSERT INTO t VALUES ((SELECT ssn FROM u))", true),
        ("INSERT INTO t VALUES (1) LIMIT (SELECT 1 FROM u)", true),
        ("INSERT INTO t SELECT * FROM u", true),
        ("INSERT INTO t TABLE t", true),
        ("INSERT INTO t WITH x AS (TABLE u) VALUES (1)", true),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 'x'",
            false,
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.a WHERE t.b = 1",
            false,
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = t.ssn",
            true,
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = ssn",
            true,
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded",
            true,
        ),
        (
            "INSERT INTO t AS excluded VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.ssn",
            true,
        ),
        (
            "INSERT INTO excluded VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.ssn",
            true,
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = (SELECT excluded.ssn FROM t excluded)",
            true,
        ),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1",
            false,
        ),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
            false,
        ),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = u.ssn",
            true,
        ),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = t.ssn",
            true,
        ),
        (
            "MERGE INTO t USING u ON true WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
            false,
        ),
        (
            "MERGE INTO t USING u ON true WHEN NOT MATCHED THEN INSERT (a) VALUES (u.ssn)",
            true,
        ),
        ("WITH d AS (UPDATE t SET a = ssn) SELECT 1", true),
        (
            "WITH d AS (UPDATE t SET a = 1 RETURNING ssn) UPDATE u SET b = d.ssn FROM d",
            true,
        ),
        ("UPDATE t SET a = 1; UPDATE t SET a = ssn", true),
        ("PREPARE p AS UPDATE t SET a = ssn", true),
    ];
    let wrong = differing(&cases, |found| found.moves_values);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(Statement::unreadable().moves_values);
}

#[test]
fn returning_lists_show_columns_or_compute() {
    let cases = [
        ("UPDATE t SET a = 1", false),
        ("UPDATE t SET a = 1 RETURNING *", false),
        ("UPDATE t SET a = 1 RETURNING t.*, id AS x, 1, now()", false),
        ("UPDATE t SET a = 1 RETURNING lower(ssn)", true),
        ("UPDATE t SET a = 1 RETURNING id, ssn::text", true),
        ("INSERT INTO t VALUES (1) RETURNING id", false),
        ("INSERT INTO t VALUES (1) RETURNING id + 1", true),
        ("DELETE FROM t WHERE id = 1 RETURNING (SELECT x FROM u)", true),
        ("WITH d AS (DELETE FROM t RETURNING lower(ssn)) SELECT 1", true),
        ("SELECT lower(ssn) FROM t", false),
    ];
    let wrong = differing(&cases, |found| found.returns_computed);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_where_bounds_only_if_it_names_rows() {
    let bounded = [
        "id = 1",
        "1 = id",
        "id = $1",
        "t.id = $1 AND a > 3",
        "a > 3 AND (b = 1 AND c < 2)",
        "id = 1 OR id = 2",
        "(id = 1 AND true) OR (id = 2)",
        "id IN (1, 2, $3)",
        "id = ANY ($1)",
        "id = ANY (ARRAY[1, 2])",
        "id = lower('A')",
        "id = now() - interval '1 day'",
        "id = (SELECT max(u.id) FROM u)",
        "id = (SELECT u.id FROM u JOIN v ON v.x = u.x WHERE u.y = 1)",
        "id = (SELECT 1)",
        "id IS NOT DISTINCT FROM 1",
        "(a, b) = (1, 2)",
        "(a, b) IN ((1, x), (2, y))",
        "id OPERATOR(pg_catalog.=) 1",
        "name COLLATE \"C\" = 'x'",
        "CURRENT OF c",
    ];
    let unbounded = [
        "true",
        "1 = 1",
        "$1 = $1",
        "$1",
        "id = id",
        "id = t.id",
        "id = id + 0",
        "id IS NOT NULL",
        "name IS NOT DISTINCT FROM NULL",
        "name IS NOT DISTINCT FROM NULL::text",
        "id IS NULL OR id IS NOT NULL",
        "id > 0",
        "id >= 1 AND id <= 100",
        "id BETWEEN 1 AND 100",
        "id = 1 OR true",
        "id = 1 OR 1 = 1",
        "id = 1 OR a = a",
        "id = 1 OR (a > 1 AND b = b)",
        "NOT false",
        "NOT (id = 1)",
        "id <> 1",
        "id NOT IN (1, 2)",
        "id IN (1, id)",
        "id IN (SELECT id FROM u)",
        "id = ANY (SELECT u.id FROM u)",
        "id = ANY (ARRAY(SELECT id FROM t))",
        "id = ANY (ARRAY[id])",
        "id = ALL (ARRAY[1])",
        "id = (SELECT id)",
        "id = (SELECT id FROM u)",
        "id = (SELECT t.id FROM u)",
        "id = (SELECT t.id FROM (SELECT 1 FROM x t) s)",
        "id = (SELECT j.id FROM (u CROSS JOIN v) j)",
        "id = (SELECT max(u.id) FROM u WHERE x = 1)",
        "EXISTS (SELECT 1)",
        "active",
        "active IS TRUE",
        "name LIKE '%'",
        "name ~ ''",
        "tableoid = 't'::regclass",
        "id OPERATOR(app.=) 1",
        "coalesce(id, 1) = 1",
        "id::boolean = true",
        "(a, b) = (a, b)",
        "CASE WHEN true THEN id END = id",
        "u.id = 1",
    ];
    for among_its_own in [
        "DELETE FROM t WHERE id = (SELECT max(z.id) FROM t z)",
        "UPDATE app.t SET a = 1 WHERE id = (SELECT u.id FROM u JOIN app.t v ON v.id = u.id)",
    ] {
        assert!(
            !read_detailed(among_its_own.as_bytes())
                .expect(among_its_own)
                .bounded
        );
    }
    for (conditions, expected) in [(&bounded[..], true), (&unbounded[..], false)] {
        for condition in conditions {
            for statement in [
                "DELETE FROM app.t WHERE ",
                "UPDATE t SET a = 2 WHERE ",
                "SELECT 1; DELETE FROM x AS t WHERE ",
            ] {
                let statement = format!("{statement}{condition}");
                let found = read_detailed(statement.as_bytes()).expect(&statement);
                assert_eq!(found.bounded, expected, "{statement}");
            }
        }
    }
    check(&[
        (
            "DELETE FROM t USING u WHERE t.id = 1",
            "select+delete reads t,u writes t",
        ),
        (
            "DELETE FROM t USING u WHERE id = 1",
            "select+delete reads t,u writes t unbounded",
        ),
        (
            "DELETE FROM t AS x USING t WHERE t.id = 1",
            "select+delete reads t writes t unbounded",
        ),
        (
            "DELETE FROM t WHERE id = 1; DELETE FROM u",
            "delete reads t writes t,u unbounded",
        ),
    ]);
}
