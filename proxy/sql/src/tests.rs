//! What statements do, one line each, and what hostile texts must not do.

use proptest::prelude::*;

use super::*;
use linegate_policy::OutputColumn;

/// A statement in one line: effects, then whatever is not as in an empty statement.
pub(super) fn line(statement: &Statement) -> String {
    let mut line = statement.effects.to_string();
    let mut list = |word: &str, items: Vec<String>| {
        if !items.is_empty() {
            line.push_str(&format!(" {word} {}", items.join(",")));
        }
    };
    let names = |names: &[linegate_policy::Name]| names.iter().map(ToString::to_string).collect();
    list("reads", names(&statement.reads));
    list("writes", names(&statement.writes));
    list("calls", names(&statement.functions));
    list("sets", statement.settings.clone());
    list(
        "opaque",
        statement.opaque.iter().map(ToString::to_string).collect(),
    );
    for (is, word) in [
        (!statement.bounded, "unbounded"),
        (statement.prepares, "prepares"),
        (statement.changes_catalog, "catalog"),
        (statement.carries_secret, "secret"),
    ] {
        if is {
            line.push(' ');
            line.push_str(word);
        }
    }
    line
}

/// Checks `sql => line` pairs, all before failing.
pub(super) fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(sql, expected)| {
            let found =
                read_detailed(sql.as_bytes()).map_or_else(|error| format!("{error:?}"), |found| line(&found));
            (found != *expected).then(|| format!("{sql}\n   want {expected}\n   have {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn queries_name_what_they_read() {
    check(&[
        ("", ""),
        (" ; -- nothing\n ;", ""),
        ("SELECT 1", "select"),
        ("SELECT * FROM customers", "select reads customers"),
        ("SELECT * FROM ONLY customers", "select reads customers"),
        ("SELECT * FROM ONLY (customers) c", "select reads customers"),
        ("SELECT * FROM customers *", "select reads customers"),
        ("TABLE app.customers", "select reads app.customers"),
        ("SELECT * FROM shop.app.customers", "select reads app.customers"),
        (
            "SELECT * FROM CUSTOMERS, \"Customers\"",
            "select reads Customers,customers",
        ),
        ("SELECT * FROM U&\"cu\\0073tomers\"", "select reads customers"),
        ("VALUES ((SELECT ssn FROM c))", "select reads c"),
        (
            "SELECT a FROM t WHERE b > (SELECT max(x) FROM u)",
            "select reads t,u calls max",
        ),
        (
            "SELECT (SELECT 1 FROM a) FROM b GROUP BY (SELECT 1 FROM c) HAVING (SELECT true FROM d) ORDER BY (SELECT 1 FROM e) LIMIT (SELECT 1 FROM f) OFFSET (SELECT 1 FROM g)",
            "select reads a,b,c,d,e,f,g",
        ),
        (
            "SELECT rollup((SELECT 1 FROM a)) FROM b GROUP BY ROLLUP ((SELECT 1 FROM c)), CUBE (x), GROUPING SETS ((y))",
            "select reads a,b,c calls rollup",
        ),
        (
            "SELECT DISTINCT ON ((SELECT 1 FROM a)) x FROM b",
            "select reads a,b",
        ),
        (
            "SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM a)) FROM b",
            "select reads a,b calls count",
        ),
        (
            "SELECT sum(x) OVER (PARTITION BY (SELECT 1 FROM a) ORDER BY (SELECT 1 FROM b)) FROM c",
            "select reads a,b,c calls sum",
        ),
        (
            "SELECT sum(x) OVER w FROM c WINDOW w AS (ORDER BY (SELECT 1 FROM b))",
            "select reads b,c calls sum",
        ),
        (
            "SELECT array_agg(x ORDER BY (SELECT 1 FROM a)) FROM b",
            "select reads a,b calls array_agg",
        ),
        (
            "SELECT * FROM t TABLESAMPLE bernoulli ((SELECT 1 FROM a)) REPEATABLE ((SELECT 2 FROM b))",
            "select reads a,b,t",
        ),
        (
            "SELECT * FROM t TABLESAMPLE app.mine (1)",
            "select reads t calls app.mine",
        ),
        (
            "SELECT * FROM a JOIN b ON a.x = (SELECT 1 FROM c) NATURAL JOIN d",
            "select reads a,b,c,d",
        ),
        (
            "SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x) s",
            "select reads a,b",
        ),
        (
            "SELECT * FROM generate_series(1, (SELECT max(x) FROM a)) g",
            "select reads a calls generate_series,max",
        ),
        (
            "SELECT * FROM ROWS FROM (f((SELECT 1 FROM a)), app.g(2)) z",
            "select reads a calls f,app.g",
        ),
        (
            "SELECT * FROM XMLTABLE('/r' PASSING (SELECT d FROM a) COLUMNS x int PATH 'x' DEFAULT (SELECT 1 FROM b))",
            "select reads a,b",
        ),
        (
            "SELECT * FROM JSON_TABLE((SELECT d FROM a), '$[*]' PASSING (SELECT 1 FROM b) AS z COLUMNS (x int PATH '$.x' DEFAULT (SELECT 1 FROM c) ON EMPTY))",
            "select reads a,b,c",
        ),
        (
            "SELECT JSON_VALUE((SELECT d FROM a), '$.x'), JSON_OBJECT('k': (SELECT 1 FROM b)), JSON_ARRAY(SELECT x FROM c), JSON_ARRAYAGG(x ORDER BY (SELECT 1 FROM d)) FROM e",
            "select reads a,b,c,d,e",
        ),
        (
            "SELECT xmlelement(name a, xmlattributes((SELECT x FROM a) AS b), (SELECT y FROM b)), xmlserialize(CONTENT (SELECT d FROM c) AS text)",
            "select reads a,b,c",
        ),
        (
            "SELECT CASE (SELECT 1 FROM a) WHEN (SELECT 1 FROM b) THEN (SELECT 1 FROM c) ELSE (SELECT 1 FROM d) END",
            "select reads a,b,c,d",
        ),
        (
            "SELECT ARRAY(SELECT x FROM a), x = ANY (SELECT x FROM b), ROW((SELECT 1 FROM c)), COALESCE((SELECT 1 FROM d)), GREATEST((SELECT 1 FROM e)) FROM f",
            "select reads a,b,c,d,e,f",
        ),
        (
            "SELECT (SELECT a FROM a)::text COLLATE \"C\", (ARRAY[(SELECT 1 FROM b)])[(SELECT 1 FROM c):2]",
            "select reads a,b,c",
        ),
        (
            "SELECT 1 FROM a UNION ALL (SELECT 2 FROM b INTERSECT SELECT 3 FROM c) EXCEPT SELECT 4 FROM d ORDER BY (SELECT 1 FROM e)",
            "select reads a,b,c,d,e",
        ),
        (
            "SELECT extract(year FROM now()), substring('a' FROM 1), 'a' LIKE 'b' ESCAPE 'c', now() AT TIME ZONE 'UTC'",
            "select calls extract,like_escape,now,substring,timezone",
        ),
        (
            "SELECT pg_catalog.lower('A'), app.lower('A')",
            "select calls lower,app.lower",
        ),
        (
            "SELECT * FROM pg_statistic, pg_catalog.pg_authid",
            "select reads pg_statistic,pg_catalog.pg_authid",
        ),
        (
            "SELECT * FROM t FOR UPDATE OF t SKIP LOCKED",
            "select+lock reads t",
        ),
        (
            "SELECT * FROM (SELECT * FROM t FOR SHARE) s",
            "select+lock reads t",
        ),
        (
            "SELECT 1 /* /* ; DROP TABLE x */ */ ; SELECT 2 FROM t",
            "select reads t",
        ),
        ("SELECT * INTO x FROM t", "select+create reads t writes x catalog"),
        ("SELECT INTO x FROM t", "select+create reads t writes x catalog"),
        (
            "SELECT 1 INTO TEMP x UNION SELECT 2 FROM t",
            "select+create reads t writes pg_temp.x catalog",
        ),
    ]);
}

#[test]
fn common_table_expressions_resolve_as_in_the_server() {
    check(&[
        ("WITH c AS (SELECT * FROM t) SELECT * FROM c", "select reads t"),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "select reads t"),
        (
            "WITH RECURSIVE t AS (SELECT 1 UNION SELECT * FROM t) SELECT * FROM t",
            "select",
        ),
        (
            "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT * FROM u) SELECT * FROM a",
            "select reads u",
        ),
        (
            "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM u) SELECT * FROM a",
            "select reads b,u",
        ),
        ("WITH c AS (SELECT 1) SELECT * FROM app.c", "select reads app.c"),
        (
            "WITH c AS (SELECT 1) SELECT * FROM (SELECT * FROM c) s, (WITH d AS (SELECT 2) SELECT * FROM c, d) u, d",
            "select reads d",
        ),
        (
            "SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) s, c",
            "select reads c",
        ),
        (
            "WITH c AS (SELECT 1) SELECT * FROM a UNION SELECT * FROM c",
            "select reads a",
        ),
        (
            "(WITH c AS (SELECT 1) SELECT * FROM c) UNION SELECT * FROM c",
            "select reads c",
        ),
        (
            "WITH c AS (SELECT 1) INSERT INTO c SELECT * FROM c",
            "select+insert writes c",
        ),
        (
            "WITH c AS (SELECT 1) DELETE FROM c WHERE id = 1",
            "select+delete reads c writes c",
        ),
        (
            "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
            "select+delete reads t writes t unbounded",
        ),
        (
            "WITH d AS (UPDATE t SET a = 1 WHERE id = 1), i AS (INSERT INTO u VALUES (1)) SELECT 1",
            "select+insert+update reads t writes t,u",
        ),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) CYCLE n SET c USING p SELECT * FROM t, u",
            "select reads u",
        ),
        ("SELECT (WITH c AS (SELECT 1) SELECT x FROM c)", "select"),
    ]);
}

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
            "update+role reads pg_authid writes pg_authid",
        ),
        (
            "DELETE FROM pg_catalog.pg_class WHERE oid = 1",
            "delete+alter reads pg_catalog.pg_class writes pg_catalog.pg_class catalog",
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

#[test]
fn names_are_folded_and_truncated_as_the_server_does() {
    let long = "ü".repeat(40);
    let statement = read(format!("SELECT * FROM \"{long}\"").as_bytes());
    assert_eq!(statement.reads[0].name, "ü".repeat(31));
    let statement = read(format!("SELECT * FROM {}", "X".repeat(70)).as_bytes());
    assert_eq!(statement.reads[0].name, "x".repeat(63));
}

#[test]
fn output_columns_are_judged_by_the_text() {
    let output = |sql: &str| {
        read(sql.as_bytes()).output.map(|columns| {
            columns
                .iter()
                .map(|column| if *column == OutputColumn::Clean { 'c' } else { '?' })
                .collect::<String>()
        })
    };
    for (sql, expected) in [
        (
            "SELECT 1, 'a', NULL, $1, $1::text, 1 + $2, count(*), count(ssn), now(), current_user, -1 FROM t",
            Some("ccccccccccc"),
        ),
        (
            "SELECT id, id + 1, lower(ssn), max(id), (SELECT 1), t, id IS NULL, EXISTS (SELECT 1) FROM t",
            Some("????????"),
        ),
        ("SELECT app.now(), 1 OPERATOR(app.+) 2, app.count(*)", Some("???")),
        ("SELECT CASE WHEN ssn = '1' THEN 1 END FROM t", Some("?")),
        ("VALUES (1, 2), (3, (SELECT ssn FROM t))", Some("c?")),
        ("INSERT INTO t VALUES (1) RETURNING id, 1", Some("?c")),
        ("DELETE FROM t WHERE id = 1 RETURNING 1", Some("c")),
        ("SELECT", Some("")),
        ("SELECT * FROM t", None),
        ("SELECT 1, t.* FROM t", None),
        ("SELECT (t).* FROM t", None),
        ("SELECT 1 UNION SELECT ssn FROM t", None),
        ("SELECT 1; SELECT 2", None),
        ("SELECT 1 INTO x", None),
        ("DELETE FROM t RETURNING *", None),
        ("EXPLAIN SELECT 1", None),
        ("EXECUTE p", None),
        ("", None),
    ] {
        assert_eq!(output(sql).as_deref(), expected, "{sql}");
    }
}

#[test]
fn what_cannot_be_read_is_unreadable() {
    let why = |text: &[u8]| read_detailed(text).unwrap_err();
    assert_eq!(why(b"SELEC 1"), ReadError::Syntax);
    assert_eq!(why(b"SELECT 1\0; DROP TABLE x"), ReadError::EmbeddedNul);
    assert_eq!(why(b"SELECT '\xff'"), ReadError::NotUtf8);
    let long = vec![b' '; STATEMENT_BYTES_MAX + 1];
    assert_eq!(
        why(&long),
        ReadError::TooLong {
            bytes: STATEMENT_BYTES_MAX + 1
        }
    );
    assert_eq!(read_detailed(&long[1..]).unwrap(), Statement::empty());
    assert_eq!(read(b"SELEC 1"), Statement::unreadable());
    assert!(read(b"ALTER ROLE x PASSWRD 'y'; -- Password").carries_secret);
    assert_eq!(read(b"SELECT 1; SELECT 2;").count, 2);
}

#[test]
fn literals_that_are_not_text_do_not_panic() {
    for sql in [
        "SELECT E'\\xff'",
        "SELECT set_config(E'\\xff', '', false)",
        "SELECT * FROM U&\"\\D800\"",
        "SELECT '\u{1}'",
    ] {
        let _ = read_detailed(sql.as_bytes());
    }
}

/// Deep and long texts end in an answer within the policy thread's stack, and soon.
#[test]
fn depth_and_length_cost_neither_the_stack_nor_the_day() {
    let many = |piece: &str, count: usize| piece.repeat(count);
    let shapes = [
        format!("SELECT {}1{}", many("(", 100_000), many(")", 100_000)),
        format!("SELECT 1{}", many(" UNION SELECT 1", 50_000)),
        format!(
            "SELECT 1 {} {}",
            many("UNION (SELECT 1 ", 2_000),
            many(")", 2_000)
        ),
        format!("SELECT 'a'{}", many("||'a'", 150_000)),
        format!("SELECT 1 WHERE {}true", many("true AND ", 80_000)),
        format!("SELECT {}true", many("NOT ", 100_000)),
        format!("SELECT {}1", many("- ", 100_000)),
        format!(
            "DELETE FROM t WHERE {}id = 1{}",
            many("(a > 1 AND (id = 1 OR ", 3_000),
            many("))", 3_000)
        ),
        format!("SELECT {}1{}", many("f(", 50_000), many(")", 50_000)),
        format!(
            "SELECT * FROM {}t{}",
            many("(SELECT * FROM ", 3_000),
            many(") s", 3_000)
        ),
        format!("SELECT {}1{}", many("(SELECT ", 3_000), many(")", 3_000)),
        format!(
            "SELECT {}1{}",
            many("CASE WHEN true THEN ", 3_000),
            many(" END", 3_000)
        ),
        format!("SELECT * FROM t{}", many(" JOIN t USING (a)", 50_000)),
        format!("SELECT ARRAY{}{}", many("[", 100_000), many("]", 100_000)),
        format!("SELECT a{}", many("[1]", 100_000)),
        format!("SELECT 1{}", many("::int", 100_000)),
        format!(
            "WITH {} SELECT 1",
            many("c AS (SELECT 1 FROM c),", 30_000).trim_end_matches(',')
        ),
        many("WITH a AS (", 3_000),
        format!("EXPLAIN {}", many("EXPLAIN ", 10_000)),
        many("SELECT 1 FROM t;", 60_000),
        format!("UPDATE t SET ({}a) = (SELECT 1 FROM u)", many("a,", 100_000)),
        format!("SELECT $1{}", many(" + $1", 200_000)),
    ];
    let run = move || {
        for shape in &shapes {
            let begun = std::time::Instant::now();
            let outcome = read_detailed(shape.as_bytes()).map(|statement| statement.count);
            let taken = begun.elapsed();
            assert!(
                taken.as_secs() < 5,
                "{taken:?} for {} …: {outcome:?}",
                &shape[..20]
            );
        }
    };
    std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn queries_nest_to_the_stated_depth_and_no_deeper() {
    let nested = |depth: usize| {
        format!(
            "{}SELECT 1{}",
            "SELECT * FROM (".repeat(depth),
            ") s".repeat(depth)
        )
    };
    assert!(read_detailed(nested(QUERY_DEPTH_MAX - 1).as_bytes()).is_ok());
    assert_eq!(
        read_detailed(nested(QUERY_DEPTH_MAX).as_bytes()),
        Err(ReadError::TooDeep)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn shuffled_words_are_answered(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let _ = read(words.join(" ").as_bytes());
    }

    /// However a relation is reached, it is named; and no reading of a text loses a statement.
    #[test]
    fn a_relation_is_seen_through_any_wrapping(wraps in proptest::collection::vec(0..WRAPS.len(), 0..6)) {
        let mut query = "SELECT ssn FROM hidden".to_owned();
        for wrap in wraps {
            query = WRAPS[wrap].replace('@', &query);
        }
        let statement = read_detailed(query.as_bytes()).unwrap();
        prop_assert!(statement.reads.iter().any(|name| name.name == "hidden"), "{query}");
        let twice = read_detailed(format!("{query};{query}; DROP TABLE last").as_bytes()).unwrap();
        prop_assert_eq!(twice.count, 3);
        prop_assert!(twice.writes.iter().any(|name| name.name == "last"));
    }
}

const WRAPS: &[&str] = &[
    "SELECT * FROM (@) s",
    "SELECT (@)",
    "SELECT 1 WHERE EXISTS (@)",
    "WITH c AS (@) SELECT 1",
    "SELECT 1 UNION ALL (@)",
    "(@) EXCEPT SELECT 2",
    "SELECT 1 LIMIT (@)",
    "SELECT count(*) FILTER (WHERE (@) = 1)",
    "SELECT sum(1) OVER (ORDER BY (@))",
    "SELECT * FROM f((@)) WITH ORDINALITY",
    "VALUES (1, (@))",
    "SELECT * FROM a LEFT JOIN b ON (@) = 1",
    "SELECT ROW(ARRAY(@), 1 IN (@))",
];

const WORDS: &[&str] = &[
    "SELECT", "FROM", "t", "WHERE", "id", "=", "1", ",", "(", ")", "INSERT", "INTO", "VALUES", "UPDATE",
    "SET", "DELETE", "WITH", "AS", "UNION", "*", ";", "EXPLAIN", "ANALYZE", "COPY", "STDIN", "TO", "CREATE",
    "TABLE", "ALTER", "DROP", "VIEW", "'x'", "$1", "ROLE", "GRANT", "ON", "CALL", "f", "EXECUTE", "PREPARE",
    "BEGIN", "IN",
];
