//! What constraints, sizes and counts tell.

use linegate_policy::catalog::{Cascade, Test};
use linegate_policy::{Column, LabelIndex, LabelSpec, RedactSpec, Relation};

use super::{catalog, check, check_with, lineage, relation, specs};

const INTERVAL: u32 = 1186;
const BOX: u32 = 603;
const INT4RANGE: u32 = 3904;

/// Salaries: `CHECK (least <= salary)`, spans that must not overlap within a room, and a table below with a check of its own.
fn index() -> LabelIndex {
    let mut catalog = catalog();
    let test = |oid, of_others, columns: &[i16], tells: &[i16]| Test {
        oid,
        of_others,
        columns: columns.to_vec(),
        tells: tells.to_vec(),
    };
    let mut pay = relation(
        400,
        "pay",
        b'r',
        "id:int least:int salary:int room:int span lasts area note",
    );
    for (number, type_oid) in [(6, INTERVAL), (7, BOX)] {
        pay.columns[number - 1].type_oid = type_oid;
    }
    pay.tests = vec![
        test(1, false, &[2, 3], &[2, 3]),
        test(2, true, &[4, 5], &[5]),
        test(3, false, &[3], &[3]),
    ];
    pay.sources = vec![401];
    pay.columns[4].type_oid = INT4RANGE;
    let mut below = Relation {
        oid: 401,
        name: "pay_abroad".to_owned(),
        sources: vec![400],
        tests: vec![test(4, false, &[3, 9], &[3, 9])],
        ..pay.clone()
    };
    below.columns.push(Column {
        number: 9,
        name: "tax".to_owned(),
        type_oid: 23,
    });
    let through = Relation {
        sources: vec![400],
        body: Some("SELECT id, least AS lo, salary FROM app.pay".to_owned()),
        ..relation(402, "pay_view", b'v', "id:int lo:int salary:int")
    };
    let refers = |column, referenced| Cascade {
        relation: 400,
        column,
        referenced,
        ..Cascade::default()
    };
    // A bonus, which carries no label, refers to a salary and its span.
    let is_referred_to = |column, referenced| Cascade {
        relation: 405,
        column,
        referenced,
        ..Cascade::default()
    };
    pay.reactions.cascades = vec![is_referred_to(2, 3), is_referred_to(3, 5)];
    let bonus = relation(405, "bonus", b'r', "id:int salary:int during");
    // Salaries refer to grades, which carry no label.
    let mut grades = relation(403, "grades", b'r', "grade:int title");
    grades.reactions.cascades = vec![refers(3, 1), refers(4, 2)];
    let shown = Relation {
        sources: vec![403],
        body: Some("SELECT grade AS g FROM app.grades".to_owned()),
        ..relation(404, "grades_view", b'v', "g:int")
    };
    catalog
        .relations
        .extend([pay, below, through, grades, shown, bonus]);
    let mut specs = specs();
    specs.push(LabelSpec {
        name: "pay".to_owned(),
        columns: ["salary", "span", "lasts", "area"]
            .iter()
            .map(|column| ("app".to_owned(), "pay".to_owned(), (*column).to_owned()))
            .collect(),
        paths: Vec::new(),
        redact: RedactSpec::Null,
    });
    let (mut index, missing) = LabelIndex::resolve(&catalog, &specs);
    assert_eq!(missing, Vec::<String>::new());
    crate::lineage::follow(&mut index);
    index
}

fn check_pay(cases: &[(&str, &str)]) {
    check_with(&index(), cases);
}

#[test]
fn a_check_compares_what_is_written_with_what_stays() {
    check_pay(&[
        (
            "UPDATE app.pay SET least = 5 WHERE id = 1",
            "? | probe pay.salary",
        ),
        ("UPDATE app.pay SET least = 5, salary = 7 WHERE id = 1", "?"),
        ("UPDATE app.pay SET note = 'x' WHERE id = 1", "?"),
        (
            "UPDATE app.pay_abroad SET tax = 5 WHERE id = 1",
            "? | probe pay_abroad.salary",
        ),
        (
            "UPDATE app.pay_view SET lo = 5 WHERE id = 1",
            "? | probe pay.salary pay.span pay_abroad.salary",
        ),
        ("INSERT INTO app.pay (id, least, salary) VALUES (9, 5, 7)", "?"),
        (
            "INSERT INTO app.pay_abroad (id, least, salary, tax) SELECT id + 9, 5, salary, 1 FROM app.pay_abroad",
            "? | probe pay.salary pay_abroad.salary",
        ),
        (
            "MERGE INTO app.pay p USING (VALUES (1)) v (i) ON p.id = v.i WHEN MATCHED THEN UPDATE SET least = 5",
            "? | probe pay.salary",
        ),
        (
            "INSERT INTO app.pay (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET least = 5",
            "? | probe pay.salary",
        ),
    ]);
}

#[test]
fn an_exclusion_constraint_compares_with_other_rows() {
    check_pay(&[
        ("UPDATE app.pay SET room = 5 WHERE id = 1", "? | probe pay.span"),
        (
            "UPDATE app.pay SET span = '[1,2)' WHERE id = 1",
            "? | probe pay.span",
        ),
        ("COPY app.pay (id, span) FROM STDIN", "? | probe pay.span"),
        ("COPY app.pay FROM STDIN", "? | probe pay.span"),
        ("COPY app.pay (id, least) FROM STDIN", "?"),
        (
            "INSERT INTO app.pay (id, span) VALUES (9, '[1,2)')",
            "? | probe pay.span",
        ),
        ("COPY app.orders FROM STDIN", "?"),
    ]);
}

#[test]
fn what_refers_to_a_row_shows_when_it_goes() {
    check_pay(&[
        ("DELETE FROM app.grades WHERE grade > 5", "? | probe pay.salary"),
        ("DELETE FROM app.grades_view WHERE g > 5", "? | probe pay.salary"),
        (
            "UPDATE app.grades SET grade = 0 WHERE grade = 5",
            "? | probe pay.salary",
        ),
        ("UPDATE app.grades SET title = 'x' WHERE grade = 5", "?"),
        (
            "MERGE INTO app.grades g USING (VALUES (1)) v (i) ON g.grade = v.i WHEN MATCHED THEN DELETE",
            "? | probe pay.salary",
        ),
        ("INSERT INTO app.grades VALUES (5, 'x')", "?"),
        ("SELECT * FROM app.grades", "?"),
        ("DELETE FROM app.products WHERE id = 5", "?"),
    ]);
}

#[test]
fn a_reference_to_a_label_asks_for_it() {
    check_pay(&[
        (
            "INSERT INTO app.bonus (id, salary) VALUES (1, 5)",
            "? | lookup pay.salary",
        ),
        (
            "UPDATE app.bonus SET salary = $1 WHERE id = 1",
            "? | lookup pay.salary",
        ),
        (
            "INSERT INTO app.bonus (id, salary) SELECT 1, g FROM generate_series(1, 9) g",
            "? | probe pay.salary",
        ),
        (
            "INSERT INTO app.bonus (id, during) VALUES (1, '[1,2)')",
            "? | probe pay.span",
        ),
        ("INSERT INTO app.bonus (id) VALUES (1)", "?"),
        ("COPY app.bonus (id, salary) FROM STDIN", "? | probe pay.salary"),
        ("DELETE FROM app.bonus WHERE id = 1", "?"),
    ]);
}

#[test]
fn what_a_column_stands_for_is_evaluated_where_it_is_named() {
    check(&[
        (
            "SELECT coalesce(substring(ssn FROM '^5'), c) FROM (SELECT ssn, (1/(id-1))::text AS c FROM app.customers) x",
            "~ssn | probe ssn",
        ),
        (
            "WITH x AS (SELECT ssn, 1/(id-1) AS c FROM app.customers) SELECT left(ssn, 3) IN ('517', c::text) FROM x",
            "~ssn | probe ssn",
        ),
        (
            "SELECT name FROM (SELECT name, ssn, id AS c FROM app.customers) x WHERE ssn = '5' AND c = 1",
            "- | lookup ssn",
        ),
        (
            "SELECT name FROM (SELECT name, ssn, count(*) AS c FROM app.customers) x WHERE ssn = '5' AND c = 1",
            "- | lookup ssn",
        ),
        (
            "DECLARE c CURSOR FOR SELECT ssn || 'z' FROM app.customers",
            "~ssn",
        ),
        ("PREPARE q AS SELECT ssn || 'x' FROM app.customers", "~ssn"),
    ]);
}

#[test]
fn squares_and_filters_answer() {
    check_pay(&[
        (
            "SELECT var_pop(salary), bit_and(salary) FROM ONLY app.pay_abroad",
            "~pay_abroad.salary ~pay_abroad.salary | probe pay_abroad.salary",
        ),
        (
            "SELECT var_pop(v) FROM (SELECT salary AS v FROM ONLY app.pay_abroad UNION ALL SELECT 2e65536) x",
            "~pay_abroad.salary | probe pay_abroad.salary",
        ),
        (
            "SELECT bit_or(v) FROM (SELECT note::varbit AS v FROM ONLY app.pay_abroad UNION ALL SELECT B'1') x",
            "-",
        ),
        (
            "SELECT JSON_VALUE(jsonb '5', '$ ? (@ < $x)' PASSING salary AS x ERROR ON EMPTY) FROM ONLY app.pay_abroad",
            "~pay_abroad.salary | probe pay_abroad.salary",
        ),
        (
            "SELECT JSON_EXISTS(jsonb '5', '$ ? (@ < $x)' PASSING salary AS x) FROM ONLY app.pay_abroad",
            "~pay_abroad.salary | probe pay_abroad.salary",
        ),
    ]);
}

#[test]
fn many_values_in_a_column_that_takes_each_once() {
    let mut catalog = catalog();
    catalog.relations[0].keys = vec![1, 3, 4];
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    for (text, is_search) in [
        (
            "UPDATE app.customers SET ssn = '5' || id WHERE id IN (1, 2)",
            true,
        ),
        (
            "UPDATE app.customers SET ssn = nextval('s')::text WHERE id IN (1, 2)",
            true,
        ),
        (
            "UPDATE app.customers SET (name, ssn) = (SELECT note, note FROM app.orders LIMIT 1)",
            true,
        ),
        (
            "INSERT INTO app.customers (id) VALUES (1), (2) ON CONFLICT (id) DO UPDATE SET ssn = 'x' || excluded.id",
            true,
        ),
        (
            "UPDATE app.customers SET ssn = '5', email = $1 WHERE id = 1",
            false,
        ),
        (
            "UPDATE app.customers SET email = gen_random_uuid()::text || '@mail.example' WHERE id < 9",
            false,
        ),
        (
            "INSERT INTO app.customers (id, ssn) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
            false,
        ),
        ("UPDATE app.customers SET notes = name || id WHERE id = 1", false),
    ] {
        assert_eq!(!lineage(&index, text).probes.is_empty(), is_search, "{text}");
    }
}

#[test]
fn sizes_stand_in_a_plan_that_was_measured() {
    check(&[
        ("EXPLAIN SELECT left(ssn, 3) FROM app.customers", "-"),
        (
            "EXPLAIN ANALYZE SELECT left(ssn, 3) FROM app.customers",
            "- | probe ssn",
        ),
        (
            "EXPLAIN (COSTS OFF, Analyze) SELECT count(*) FROM app.customers GROUP BY name",
            "-",
        ),
        (
            "EXPLAIN (ANALYZE) SELECT name, ssn FROM app.customers WHERE ssn = 'x'",
            "- | lookup ssn | probe ssn",
        ),
        (
            "EXPLAIN (ANALYZE) SELECT x.r FROM (SELECT substring(ssn from '^5') r, id FROM app.customers) x ORDER BY id",
            "- | probe ssn",
        ),
        ("EXPLAIN ANALYZE EXECUTE p", "- | unknown"),
        ("EXPLAIN ANALYZE SELECT ssn FROM app.customers", "-"),
        (
            "EXPLAIN ANALYZE SELECT ssn FROM app.customers ORDER BY id",
            "- | probe ssn",
        ),
        (
            "EXPLAIN ANALYZE SELECT c.ssn FROM app.customers c JOIN app.orders o ON o.customer_id = c.id",
            "- | probe ssn",
        ),
    ]);
}

#[test]
fn counts_and_sums() {
    check(&[
        ("SELECT num_nonnulls(ssn, email) FROM app.customers", "-"),
        (
            "SELECT num_nonnulls(VARIADIC string_to_array(ssn, '-')) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT profile->'home'->'street' IS NULL FROM app.customers", "-"),
        (
            "SELECT profile->'home'->'street'->0 IS NULL FROM app.customers",
            "~profile | probe profile",
        ),
        (
            "SELECT profile->'tax_id'->'a' IS NULL FROM app.customers",
            "~profile | probe profile",
        ),
        (
            "SELECT count(profile#>'{tax_id,0}') FROM app.customers",
            "~profile | probe profile",
        ),
        ("SELECT profile->'home'->'city'->0 FROM app.customers", "-"),
    ]);
    check_pay(&[
        ("SELECT sum(salary) FROM app.pay", "~pay.salary"),
        ("SELECT sum(lasts) FROM app.pay", "~pay.lasts | probe pay.lasts"),
        (
            "SELECT sum(v) FROM (SELECT salary AS v FROM app.pay UNION ALL SELECT 5) x",
            "~pay.salary | probe pay.salary",
        ),
        (
            "SELECT id FROM app.pay WHERE area = '(0,0),(1,1)'",
            "- | probe pay.area",
        ),
        (
            "SELECT id FROM app.pay WHERE salary = ANY ('{1,2}'::int[])",
            "- | lookup pay.salary",
        ),
        (
            "SELECT id FROM app.pay WHERE salary = ANY ('1 2'::oidvector)",
            "- | probe pay.salary",
        ),
    ]);
}

#[test]
fn what_is_quoted_again_and_again_is_as_long_as_what_it_holds() {
    let nest = |function: &str, inner: &str, times: usize| {
        let open = format!("{function}(").repeat(times);
        format!(
            "SELECT {open}{inner}{} FROM app.customers WHERE id = 1",
            ")".repeat(times)
        )
    };
    let rows = (0..12).fold("notes".to_owned(), |inner, _| format!("(ROW({inner}))::text"));
    // Each is a row, or a document, that is made text and stands in the next.
    let steps = |around: &str| {
        (0..12).fold("SELECT email AS x FROM app.customers".to_owned(), |inner, at| {
            let around = around
                .replace("s.", &format!("s{at}."))
                .replace("(s)", &format!("(s{at})"));
            format!("SELECT {around} AS x FROM ({inner}) s{at}")
        })
    };
    for text in [
        steps("(s)::text"),
        steps("(s.*)::text"),
        steps("concat(to_jsonb(s.x))"),
        steps("concat(ARRAY[s.x])"),
        steps("jsonb_pretty(to_jsonb(s.x))"),
        steps("jsonb_extract_path_text(jsonb_build_array(jsonb_build_array(s.x)), '0')"),
        steps("jsonb_build_array(s.x)#>>'{}'"),
        steps("quote_literal(s.x)"),
        steps("concat(array_append('{}'::text[], s.x::text))"),
        nest("quote_ident", "substr(email, 1, 1) || 'elect'", 27),
        nest("quote_literal", "md5(ssn)", 12),
        format!("SELECT {} FROM app.customers", rows.replace("notes", "email")),
        "WITH RECURSIVE r(x, n) AS (SELECT quote_ident(email), 1 FROM app.customers
           UNION ALL SELECT quote_ident(x), n + 1 FROM r WHERE n < 27) SELECT x FROM r WHERE n = 27"
            .to_owned(),
        "SELECT sum(length(email)), repeat('x', 60000000) FROM app.customers".to_owned(),
        "WITH RECURSIVE r(x, n) AS (SELECT 'x', 1 UNION ALL SELECT x || x, n + 1 FROM r WHERE n < 27)
           SELECT left(email, 2), x FROM app.customers, r WHERE n = 27"
            .to_owned(),
    ] {
        let found = lineage(&index(), &text);
        assert!(!found.probes.is_empty(), "{text}");
    }
    for text in [
        "SELECT quote_ident(email), quote_literal(ssn) FROM app.customers",
        "SELECT id, string_agg(name, ', '), string_agg(email, ', ') FROM app.customers GROUP BY id",
        "SELECT g, string_agg(c.email, ', ') FROM generate_series(1, 2) g LEFT JOIN app.customers c ON c.id = g GROUP BY g",
        "SELECT json_agg(row_to_json(t)) FROM (SELECT id, (SELECT json_agg(row_to_json(u)) FROM (SELECT id,
           (SELECT json_agg(row_to_json(c)) FROM app.customers c) AS c FROM app.orders) u) AS o FROM app.orders) t",
        "SELECT json_agg(json_build_object('a', email, 'b', json_build_array(ssn, name))) FROM app.customers",
        "SELECT id::text, name::text, email::text, ssn::text, row_to_json(c)::text FROM app.customers c",
        "SELECT json_build_object('a', (SELECT json_agg(json_build_object('b', json_build_object('c', json_build_array(
           json_build_object('d', json_build_object('e', c.ssn)))))) FROM app.customers c))::text",
    ] {
        let found = lineage(&index(), text);
        assert!(found.probes.is_empty(), "{text}");
    }
}

#[test]
fn below_a_change_nothing_is_only_shown() {
    let tidied =
        "WITH x AS MATERIALIZED (SELECT id, replace(ssn, '1', 'xxxxxx') r FROM app.customers WHERE id = 1)";
    for text in [
        format!("{tidied} DELETE FROM app.orders o USING x WHERE o.id = x.id RETURNING x.r"),
        format!("{tidied} UPDATE app.orders o SET note = 'x' FROM x WHERE o.id = x.id RETURNING x.r"),
        format!("{tidied} INSERT INTO app.orders (id) SELECT id FROM x RETURNING id"),
        "CREATE VIEW v AS SELECT id, replace(ssn, '1', 'xxxxxx') r FROM app.customers".to_owned(),
        "CREATE TABLE v AS SELECT id, replace(ssn, '1', 'xxxxxx') r FROM app.customers".to_owned(),
    ] {
        assert!(!lineage(&index(), &text).probes.is_empty(), "{text}");
    }
    let shown = "SELECT id, replace(ssn, '1', 'xxxxxx') r FROM app.customers";
    assert!(lineage(&index(), shown).probes.is_empty());
}
