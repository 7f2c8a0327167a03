//! What statements do, one line each, and what hostile texts must not do.

use super::*;
use linegate_policy::OutputColumn;

mod limits;
mod writes;

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
