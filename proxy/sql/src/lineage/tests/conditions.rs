//! Look-ups and probes.

use super::{check, index, lineage};

#[test]
fn look_ups_by_equality() {
    check(&[
        (
            "SELECT id FROM app.customers WHERE email = $1",
            "- | lookup email",
        ),
        (
            "SELECT id FROM app.customers WHERE 'x' = ssn AND id > 3",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IN ('a', $2, 'b'::text)",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY ($1)",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY['a', 'b']::text[])",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = 'a' OR email = 'b'",
            "- | lookup email ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE (ssn, id) = ('a', 1)",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE (ssn, email) IN (('a', 'b'))",
            "- | lookup email ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn::text = $1",
            "- | lookup ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = lower('A') AND email = 'a' || '@b'",
            "- | lookup email ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IS NOT DISTINCT FROM $1",
            "- | lookup ssn",
        ),
        (
            "SELECT c.id FROM app.customers c JOIN app.newsletter n ON n.email = c.email",
            "- | probe email",
        ),
        (
            "SELECT c.id FROM app.customers c JOIN app.newsletter n USING (email)",
            "- | probe email",
        ),
        (
            "SELECT c.id FROM app.customers c, app.customers d WHERE c.ssn = d.card_number",
            "- | lookup ssn card_number",
        ),
        (
            "SELECT c.id FROM app.customers c WHERE EXISTS (SELECT 1 FROM app.newsletter n WHERE n.email = c.email)",
            "- | probe email",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IN (SELECT note FROM app.orders)",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.newsletter WHERE email IN (SELECT email FROM app.customers)",
            "- | probe email ssn card_number phone profile",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = (SELECT note FROM app.orders LIMIT 1)",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers JOIN (VALUES ('a'), ('b')) v(x) ON x = ssn",
            "- | lookup ssn",
        ),
        (
            "WITH p AS (SELECT $1::text AS e) SELECT id FROM app.customers, p WHERE email = p.e",
            "- | lookup email",
        ),
        (
            "SELECT id FROM app.customers, unnest($1::text[]) u WHERE email = u",
            "- | lookup email",
        ),
        (
            "SELECT name, count(*) FROM app.customers GROUP BY name, email HAVING email = 'x'",
            "- - | lookup email | probe email",
        ),
        (
            "SELECT id FROM app.customers WHERE email = current_setting('a.b')",
            "- | probe email",
        ),
        (
            "UPDATE app.orders SET note = 'x' FROM app.customers c WHERE c.email = $1 AND orders.id = 1",
            "? | lookup email",
        ),
        ("DELETE FROM app.customers WHERE ssn = 'x'", "? | lookup ssn"),
    ]);
}

#[test]
fn null_tests_and_unlabelled_conditions_are_free() {
    check(&[
        (
            "SELECT ssn FROM app.customers WHERE ssn IS NOT NULL AND id > 3",
            "=ssn",
        ),
        ("SELECT ssn FROM app.customers WHERE NOT (email IS NULL)", "=ssn"),
        (
            "SELECT email FROM app.customers ORDER BY name, id DESC LIMIT 5 OFFSET $1",
            "=email",
        ),
        ("SELECT ssn, name FROM app.customers ORDER BY 2", "=ssn -"),
        (
            "SELECT c.ssn FROM app.customers c JOIN app.orders o ON o.customer_id = c.id WHERE o.note LIKE 'a%'",
            "=ssn",
        ),
        ("SELECT DISTINCT name FROM app.customers", "-"),
        (
            "SELECT ssn FROM app.customers WHERE profile->>'plan' = 'pro' AND profile ? 'tags'",
            "=ssn | lookup profile",
        ),
        (
            "SELECT id FROM app.customers WHERE created_at > now() - interval '1 day'",
            "-",
        ),
    ]);
}

#[test]
fn probes() {
    check(&[
        (
            "SELECT id FROM app.customers WHERE ssn LIKE '1%'",
            "- | probe ssn",
        ),
        ("SELECT id FROM app.customers WHERE ssn > 'a'", "- | probe ssn"),
        ("SELECT id FROM app.customers WHERE ssn <> 'a'", "- | probe ssn"),
        (
            "SELECT id FROM app.customers WHERE NOT (ssn = 'a')",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn NOT IN ('a')",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn <> ALL ($1)",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn < ANY ($1)",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn BETWEEN 'a' AND 'b'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE left(ssn, 1) = '4'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn || '' = 'x'",
            "- | probe ssn",
        ),
        ("SELECT id FROM app.customers WHERE ssn::int = 3", "- | probe ssn"),
        (
            "SELECT id FROM app.customers WHERE length(ssn) = 3",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = name || 'x'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn OPERATOR(app.=) 'x'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE (ssn = 'x') = true",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE (ssn = 'x') IS NOT FALSE",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE nullif(ssn, 'x') IS NULL",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE CASE WHEN ssn = 'x' THEN true ELSE 1/0 = 1 END",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE profile->>'tax_id' = 'x'",
            "- | probe profile",
        ),
        (
            "SELECT id FROM app.customers WHERE profile @> '{\"tax_id\": \"1\"}'",
            "- | probe profile",
        ),
        (
            "SELECT id FROM app.customers WHERE (c).ssn LIKE 'x' AND false",
            "- | probe email ssn card_number phone profile",
        ),
        (
            "SELECT id FROM app.customers c WHERE (c).ssn LIKE 'x'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers c WHERE c::text LIKE '%x%'",
            "- | probe email ssn card_number phone profile",
        ),
        (
            "SELECT id FROM app.customers c WHERE c = ROW(1, 'a')",
            "- | probe email ssn card_number phone profile",
        ),
        ("SELECT id FROM app.customers ORDER BY ssn", "- | probe ssn"),
        (
            "SELECT id, ssn FROM app.customers ORDER BY 2",
            "- =ssn | probe ssn",
        ),
        (
            "SELECT id, ssn AS s FROM app.customers ORDER BY s",
            "- =ssn | probe ssn",
        ),
        (
            "SELECT id FROM app.customers ORDER BY (ssn LIKE '1%') DESC",
            "- | probe ssn",
        ),
        ("SELECT count(*) FROM app.customers GROUP BY ssn", "- | probe ssn"),
        (
            "SELECT count(*) FROM app.customers GROUP BY GROUPING SETS ((id), (left(ssn, 1)))",
            "- | probe ssn",
        ),
        ("SELECT DISTINCT ssn FROM app.customers", "=ssn | probe ssn"),
        ("SELECT DISTINCT ON (ssn) id FROM app.customers", "- | probe ssn"),
        (
            "SELECT id FROM app.customers GROUP BY id HAVING max(ssn) > 'x'",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers LIMIT (SELECT length(ssn) FROM app.customers LIMIT 1)",
            "- | probe ssn",
        ),
        (
            "SELECT c.id FROM app.customers c JOIN app.orders o ON o.note LIKE c.ssn || '%'",
            "- | probe ssn",
        ),
        (
            "SELECT c.id FROM app.customers c LEFT JOIN app.orders o ON c.ssn > o.note",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE id = (SELECT id FROM app.customers WHERE ssn < 'x')",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.orders WHERE EXISTS (SELECT 1 FROM app.customers WHERE ssn ~ '^1')",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE 'x' > ALL (SELECT ssn FROM app.customers)",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE pg_sleep(length(ssn)) IS NULL",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE xmlexists('/a' PASSING xmlelement(name a, ssn))",
            "- | probe ssn",
        ),
        ("DELETE FROM app.customers WHERE ssn LIKE '1%'", "? | probe ssn"),
        (
            "UPDATE app.customers SET notes = CASE WHEN ssn = 'x' THEN 'a' ELSE 'b' END WHERE id = 1",
            "? | probe ssn | moved ssn",
        ),
    ]);
}

/// Equality with values that run through all there are is a search, not a look-up.
#[test]
fn guesses_by_the_dozen_are_probes() {
    check(&[
        (
            "SELECT g FROM app.customers c JOIN generate_series(1, 999999999) g ON c.ssn = g::text",
            "- | probe ssn",
        ),
        (
            "SELECT x.g FROM (SELECT lpad(i::text, 9, '0') AS g FROM generate_series(1, 9) i) x JOIN app.customers ON ssn = g",
            "- | probe ssn",
        ),
        (
            "SELECT g FROM app.customers JOIN guesses ON g = ssn",
            "- | probe ssn",
        ),
        (
            "SELECT a.d || b.d FROM app.customers, (VALUES ('0'), ('1')) a(d), (VALUES ('0'), ('1')) b(d) WHERE ssn = a.d || b.d",
            "- | probe ssn",
        ),
        (
            "SELECT n FROM app.customers, (SELECT '0' UNION ALL SELECT '1') a(d), (SELECT '2') b(n) WHERE ssn = a.d || b.n",
            "- | probe ssn",
        ),
        (
            "WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g) SELECT n FROM g, app.customers WHERE ssn = n::text",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = random()::text",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY(SELECT note FROM app.orders))",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IN (SELECT i::text FROM generate_series(1, 9) i)",
            "- | probe ssn",
        ),
        (
            "SELECT i FROM generate_series(1, 9) i INTERSECT SELECT ssn::int FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT c.name FROM app.customers c NATURAL JOIN guesses",
            "- | probe email ssn card_number phone profile",
        ),
        (
            "SELECT id FROM app.customers, generate_series(0, 9) i WHERE ssn = CASE i WHEN 0 THEN '0' ELSE '1' END || 'x'",
            "- | probe ssn",
        ),
    ]);
}

/// Whether it fails is an answer, wherever it stands.
#[test]
fn what_may_not_be_evaluated_tells_about_what_came_before() {
    check(&[
        (
            "SELECT coalesce(nullif(left(ssn, 1), '5'), (1 / (id - 1))::text) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT left(ssn, 1) = '5' AND 1 / (id - 1) = 1 FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT left(ssn, 1) IN ('5', (1 / (id - 1))::text) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT left(ssn, 1) BETWEEN '5' AND (1 / (id - 1))::text FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (left(ssn, 1), 1) < ('5', 1 / (id - 1)) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT coalesce(nullif(email, ''), phone, name, 'none') FROM app.customers",
            "~email+phone",
        ),
        (
            "SELECT email = 'x' OR lower(phone) LIKE 'a%' FROM app.customers",
            "~email+phone | probe email phone",
        ),
        ("SELECT email IS NOT NULL AND 1 / id = 1 FROM app.customers", "-"),
        ("SELECT ssn LIKE '5\\' FROM app.customers", "~ssn | probe ssn"),
        (
            "SELECT id FROM app.customers WHERE ssn = 'a' COLLATE app.weird",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array(repeat('1,', 9), ','))",
            "- | probe ssn",
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array($1, ','))",
            "- | lookup ssn",
        ),
    ]);
}

#[test]
fn operations_that_fail_by_the_value_are_probes() {
    check(&[
        (
            "SELECT (btrim(ssn, '5')).int8::text FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT x.int8::text FROM app.customers c, LATERAL btrim(c.ssn, '5') x",
            "~ssn | probe ssn",
        ),
        (
            "SELECT date(left(ssn, 4))::text FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT repeat(ssn, 100000000) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT json_object_agg(nullif(ssn, '5'), 1) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT json_object_agg(id, ssn) FROM app.customers", "~ssn"),
        (
            "SELECT ARRAY[string_to_array(ssn, '5'), ARRAY['a']] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ARRAY[regexp_match(ssn, '5'), ARRAY['a']] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ARRAY[ssn, left(email, 2), lower(phone)::text] FROM app.customers",
            "~email+ssn+phone",
        ),
        (
            "SELECT array_agg(regexp_match(ssn, '5')) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT array_agg(ssn), array_agg(left(ssn, 2)) FROM app.customers",
            "~ssn ~ssn",
        ),
        (
            "SELECT JSON_OBJECT(left(ssn, 1): 1) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT JSON_OBJECT('k': ssn) FROM app.customers", "~ssn"),
        (
            "SELECT JSON_OBJECTAGG(left(ssn, 1): 1 WITH UNIQUE KEYS) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT JSON_ARRAY(ssn FORMAT JSON) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT JSON_ARRAY(ssn RETURNING varchar(4)) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT JSON_ARRAYAGG(ssn RETURNING varchar(4)) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT JSON_ARRAY(ssn) FROM app.customers", "~ssn"),
    ]);
}

#[test]
fn values_that_the_text_does_not_spell_out_are_counted() {
    for (text, count) in [
        ("SELECT upper(name), now() FROM app.customers WHERE ssn = $1", 0),
        (
            "SELECT id FROM app.customers WHERE ssn IN ('a', $2, 'b'::text)",
            0,
        ),
        (
            "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY['a', 'b'])",
            0,
        ),
        ("SELECT id FROM app.customers WHERE ssn = lower('A')", 1),
        ("SELECT id FROM app.customers WHERE ssn = current_user", 1),
        (
            "SELECT id FROM app.customers WHERE ssn IN (current_catalog, 'a' || 'b', 'c')",
            2,
        ),
        ("SELECT id FROM app.customers WHERE ssn = (SELECT upper('a'))", 1),
        (
            "SELECT c.id FROM app.customers c, (VALUES (upper('a')), ('b'), (upper('c'))) v(x) WHERE c.ssn = v.x",
            2,
        ),
        (
            "SELECT id FROM app.customers WHERE ssn IN (SELECT upper('a') UNION ALL SELECT upper('b'))",
            2,
        ),
    ] {
        let found = lineage(&index(), text);
        assert_eq!(
            (found.computed_constants, found.by_settings),
            (count, false),
            "{text}"
        );
        assert!(found.probes.is_empty() && !found.lookups.is_empty(), "{text}");
    }
}

#[test]
fn what_settings_the_clock_and_the_catalog_spell_is_no_look_up() {
    for by_them in [
        "to_char(timestamptz '2000-01-01', 'tz')",
        "'2000-01-01'::timestamptz::text",
        "left('2000-01-01'::timestamptz::text, 3)",
        "1259::regclass::text",
        "current_setting('TimeZone')",
        "current_date::text",
        "now()::text",
        "md5(now()::text)",
        "1.5::float8::text",
        "(SELECT to_char(now(), 'tz'))",
        "extract(microseconds from now())::text",
        "quote_ident('a')",
        "json_build_array(now())::text",
        "(SELECT 1259::oid)::regclass::text",
        "lower('[2000-01-01,2001-01-01)'::tstzrange)::text",
        "'(1,2)'::point::text",
        "'\\x00'::bytea::text",
        "left('[2000-01-01,2001-01-01)'::daterange::text, 3)",
    ] {
        for condition in [
            format!("ssn = {by_them}"),
            format!("ssn IN ({by_them}, 'a')"),
            format!("ssn = ANY (ARRAY[{by_them}])"),
            format!("ssn IN (SELECT * FROM unnest(ARRAY[{by_them}]))"),
            format!("ssn IN (VALUES ({by_them}), ('a'))"),
        ] {
            let text = format!("SELECT id FROM app.customers WHERE {condition}");
            assert!(!lineage(&index(), &text).probes.is_empty(), "{text}");
        }
    }
}

#[test]
fn no_more_values_come_of_listed_ones_than_there_were() {
    for relation in [
        "unnest($1) v(x), LATERAL (VALUES (v.x), (v.x::bit(17)::int4::text)) w(y) WHERE c.ssn = w.y",
        "unnest($1) v(x) WHERE c.ssn = v.x::char(3)::text",
        "(SELECT x::int AS y FROM unnest($1) u(x)) v WHERE c.ssn = v.y::text",
        "(SELECT x::text AS y FROM unnest($1) u(x)) v, LATERAL (SELECT v.y::int::text) w(z) WHERE c.ssn = w.z",
        "unnest($1) v(x) WHERE c.ssn = v.x::regclass::text",
        "(VALUES (1::oid), (2)) v(x) WHERE c.ssn = v.x::regclass::text",
        "jsonb_to_recordset($1) v(x regclass) WHERE c.ssn = v.x::text",
        "jsonb_to_recordset($1) v(x varchar(3)) WHERE c.ssn = v.x",
    ] {
        let text = format!("SELECT c.id FROM app.customers c, {relation}");
        assert!(!lineage(&index(), &text).probes.is_empty(), "{text}");
    }
    for relation in [
        "unnest($1) v(x) WHERE c.ssn = v.x::text",
        "(SELECT x::text AS y FROM unnest($1) u(x)) v WHERE c.ssn = v.y",
        "jsonb_to_recordset($1) v(x text) WHERE c.ssn = v.x",
        "(VALUES ('a'), ('b'::text)) v(x) WHERE c.ssn = v.x",
    ] {
        let text = format!("SELECT c.id FROM app.customers c, {relation}");
        assert!(lineage(&index(), &text).probes.is_empty(), "{text}");
    }
    // Another place may give the parameter a type whose values are names.
    for text in [
        "SELECT id, coalesce($1, 1::regclass) IS NULL FROM app.customers WHERE ssn = $1::text",
        "SELECT c.id FROM (SELECT CASE WHEN true THEN $1 ELSE 1::regclass END z) q, app.customers c WHERE c.ssn = $1::text",
        "SELECT id, to_tsvector($1, 'x') FROM app.customers WHERE ssn = $1::text",
        "SELECT id, $1::regclass IS NULL FROM app.customers WHERE ssn = $1::text",
        "PREPARE p AS SELECT id, $1::regclass IS NULL FROM app.customers WHERE ssn = $1::text",
        "DECLARE c CURSOR FOR SELECT id, $1::regclass IS NULL FROM app.customers WHERE ssn = $1::text",
        "EXPLAIN SELECT id, $1::regclass IS NULL FROM app.customers WHERE ssn = $1::text",
        "CREATE TEMP TABLE x AS SELECT id, $1::regclass IS NULL AS b FROM app.customers WHERE ssn = $1::text",
        "COPY (SELECT id, $1::regclass IS NULL FROM app.customers WHERE ssn = $1::text) TO STDOUT",
        "SELECT c.id FROM app.notes n, app.customers c WHERE n.id IN ($1, $1) AND c.ssn = $1::text",
        "SELECT c.id FROM app.notes n, app.customers c WHERE id IN ($1, $1) AND c.ssn = $1::text",
        "SELECT c.id FROM app.notes n, app.customers c WHERE n.ssn IN ($1, 'int4') AND c.ssn = $1::text",
        "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY['a'::app.word]::text[])",
        "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY['2020-01-01'::timestamptz]::text[])",
        "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY[1.5::float8]::text[])",
        "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array(ARRAY['(1,2)'::app.pair]::text, ','))",
        "SELECT c.id FROM unnest(ARRAY['a'::app.word]::text[]) u, app.customers c WHERE c.ssn = u",
        "SELECT c.id FROM (VALUES ($1), (1::regclass)) v(x), app.customers c WHERE c.ssn = $1::text",
        "SELECT id FROM app.customers, (SELECT $1::regclass) q WHERE ssn = $1::text",
        "SELECT id FROM app.customers WHERE id IN (1::regclass, $1) OR ssn = $1::text",
        "SELECT id FROM app.customers WHERE $1 < now() AND ssn = right($1::text, 5)",
        "SELECT id FROM app.customers WHERE $1 = ANY (ARRAY[now()]) AND ssn = $1::text",
        "SELECT id FROM app.customers WHERE $1 BETWEEN now() AND now() AND ssn = $1::text",
        "SELECT c.id FROM (SELECT now() AS name) q, app.customers c WHERE q.name = $1 AND c.ssn = $1::text",
        "SELECT c.id FROM generate_series(now(), now(), '1 day') name, app.customers c WHERE name = $1 AND c.ssn = $1::text",
        "WITH q(name) AS (SELECT now()) SELECT c.id FROM q, app.customers c WHERE q.name = $1 AND c.ssn = $1::text",
        "WITH i AS (INSERT INTO app.notes (id) VALUES ($1)) SELECT id FROM app.customers WHERE ssn = $1::text",
        "SELECT $1 UNION ALL SELECT 1::regclass UNION ALL SELECT id FROM app.customers WHERE ssn = $1::text",
    ] {
        assert!(!lineage(&index(), text).probes.is_empty(), "{text}");
    }
    for text in [
        "SELECT id FROM app.customers WHERE ($1::text IS NULL OR ssn = $1)",
        "SELECT id FROM app.customers WHERE ssn = $1 OR email = $1 OR name = $1",
        "SELECT id, lower($2) FROM app.customers WHERE ssn = lower($1)",
        "PREPARE p AS SELECT id FROM app.customers c WHERE c.ssn = $1 OR c.email = $1",
        "SELECT id FROM app.customers WHERE ssn = ANY (ARRAY['a', 'b']::text[]) OR ssn = ANY (ARRAY['a'::text, 'b'])",
        "SELECT id FROM app.customers WHERE ssn = ANY (string_to_array('a,b', ','))",
        "SELECT id FROM app.customers WHERE ssn IN ($1, $2) AND ($1 IS NOT NULL OR name LIKE $2) LIMIT $3 OFFSET $3",
        "UPDATE app.customers SET name = $1 WHERE ssn = $2 AND $3 = 7 AND $3 <> 9",
    ] {
        assert!(lineage(&index(), text).probes.is_empty(), "{text}");
    }
    // What a cast makes of a list's values is another list, which the text does not show.
    for list in [
        "$1::varchar(3)[]",
        "$1::bit(17)[]",
        "$1::bit(19)[]::bit(17)[]::text[]",
        "$1::text[]::bit(17)[]::text[]",
        "$1::text::varchar(3)[]",
        "$1::text[]::name[]",
        "string_to_array($1::varchar(3), ',')",
        "ARRAY[$1::varchar(1), $1::varchar(2)]",
        "ARRAY[$1]::varchar(3)[]",
        "ARRAY[$1::numeric(9, 1)::text]",
        "ARRAY[$1::name]",
        "$1::bpchar[]",
        "$1::\"char\"[]",
    ] {
        let any = format!("SELECT id FROM app.customers WHERE ssn = ANY ({list})");
        let joined = format!("SELECT c.id FROM app.customers c, unnest({list}) u WHERE c.ssn = u");
        for text in [any, joined] {
            assert!(!lineage(&index(), &text).probes.is_empty(), "{text}");
        }
    }
    for list in [
        "$1::varchar[]",
        "$1::text[]::uuid[]",
        "$1::text::bigint[]",
        "ARRAY[$1, $2]::text[]",
        "ARRAY[$1::text, $2::text]::varchar[]",
        "'{a,b}'::varchar(3)[]",
        "ARRAY['a', 'b']::varchar(3)[]",
    ] {
        let text = format!("SELECT id FROM app.customers WHERE ssn = ANY ({list})");
        assert!(lineage(&index(), &text).probes.is_empty(), "{text}");
    }
    // What a cast makes of a parameter is another value.
    let text = "SELECT id FROM app.customers WHERE ssn IN ($1, $1::char(3)::text, $1::bit(3)::text)";
    assert_eq!(lineage(&index(), text).computed_constants, 2);
}
