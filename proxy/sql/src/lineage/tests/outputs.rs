//! What result columns hold.

use super::check;

#[test]
fn columns_as_they_are() {
    check(&[
        ("SELECT ssn FROM app.customers", "=ssn"),
        (
            "SELECT id, name, email FROM app.customers WHERE id = $1",
            "- - =email",
        ),
        (
            "SELECT * FROM app.customers",
            "- - =email =ssn =card_number =phone - =profile -",
        ),
        (
            "TABLE app.customers",
            "- - =email =ssn =card_number =phone - =profile -",
        ),
        (
            "SELECT c.* FROM app.customers c",
            "- - =email =ssn =card_number =phone - =profile -",
        ),
        ("SELECT customers.ssn FROM app.customers", "=ssn"),
        ("SELECT app.customers.ssn FROM app.customers", "=ssn"),
        (
            "SELECT bypass.app.customers.email FROM bypass.app.customers",
            "=email",
        ),
        ("SELECT U&\"\\0073sn\" FROM app.customers", "=ssn"),
        ("SELECT ssn AS name FROM app.customers", "=ssn"),
        ("SELECT t.b FROM app.customers AS t(a, n, e, b)", "=ssn"),
        (
            "SELECT t.n, t.phone FROM app.customers AS t(a, n, e, b)",
            "- =phone",
        ),
        ("SELECT (ssn) FROM app.customers", "=ssn"),
        ("SELECT ssn COLLATE \"C\" FROM app.customers", "=ssn"),
        (
            "SELECT ssn::text, email::varchar FROM app.customers",
            "=ssn =email",
        ),
        ("SELECT ssn FROM ONLY app.customers", "=ssn"),
        ("SELECT id, amount FROM app.orders", "?"),
        (
            "SELECT o.id, c.name FROM app.orders o JOIN app.customers c ON c.id = o.customer_id",
            "- -",
        ),
        (
            "SELECT ctid, tableoid, name FROM app.customers",
            "~email+ssn+card_number+phone+profile - -",
        ),
        ("SELECT 1, 'ssn', $1, now() FROM app.customers", "- - - -"),
        (
            "SELECT token, name FROM app.api_tokens t JOIN app.customers c ON c.id = t.customer_id",
            "=token -",
        ),
    ]);
}

#[test]
fn computed_values() {
    check(&[
        ("SELECT substr(ssn, 1, 11) FROM app.customers", "~ssn"),
        ("SELECT 'v' || email FROM app.customers", "~email"),
        (
            "SELECT name || ' ' || email || phone FROM app.customers",
            "~email+phone",
        ),
        ("SELECT upper(email), lower(name) FROM app.customers", "~email -"),
        ("SELECT CASE WHEN id > 0 THEN ssn END FROM app.customers", "~ssn"),
        (
            "SELECT CASE id WHEN 1 THEN 'a' ELSE name END FROM app.customers",
            "-",
        ),
        (
            "SELECT CASE WHEN ssn LIKE '1%' THEN 1 ELSE 0 END FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT CASE ssn WHEN '1' THEN 1 END FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT coalesce(NULL, phone, 'x') FROM app.customers", "~phone"),
        ("SELECT nullif(ssn, '') FROM app.customers", "~ssn"),
        (
            "SELECT greatest(ssn, name), least(id, 3) FROM app.customers",
            "~ssn - | probe ssn",
        ),
        ("SELECT ssn::varchar(40) FROM app.customers", "~ssn"),
        (
            "SELECT (ssn)::name, card_number::bpchar FROM app.customers",
            "~ssn ~card_number",
        ),
        ("SELECT ssn::int FROM app.customers", "~ssn | probe ssn"),
        (
            "SELECT ssn::app.short_text FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT encode(ssn::bytea, 'hex') FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT md5(ssn), length(email) FROM app.customers", "~ssn ~email"),
        (
            "SELECT card_number::numeric + 1 FROM app.customers",
            "~card_number | probe card_number",
        ),
        ("SELECT ssn OPERATOR(pg_catalog.||) '' FROM app.customers", "~ssn"),
        (
            "SELECT ssn OPERATOR(app.||) '' FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT ssn = '1' FROM app.customers", "~ssn | probe ssn"),
        (
            "SELECT ssn LIKE '1%', ssn ~ '^1', name LIKE 'a%' FROM app.customers",
            "~ssn ~ssn - | probe ssn",
        ),
        ("SELECT 'a' LIKE ssn FROM app.customers", "~ssn | probe ssn"),
        (
            "SELECT ssn BETWEEN 'a' AND 'b', ssn IN ('a', 'b') FROM app.customers",
            "~ssn ~ssn | probe ssn",
        ),
        ("SELECT ssn IS NULL, email IS NOT NULL FROM app.customers", "- -"),
        (
            "SELECT nullif(ssn, 'x') IS NULL FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (ssn = 'x') IS TRUE FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ssn IS DISTINCT FROM 'x' FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT 1 / (length(ssn) - 11) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT ARRAY[ssn], ARRAY[1, 2] FROM app.customers", "~ssn -"),
        ("SELECT (ARRAY[name, ssn])[1] FROM app.customers", "~ssn"),
        (
            "SELECT overlay(token placing 'zz' from 1 for 2) FROM app.api_tokens",
            "~token",
        ),
        (
            "SELECT trim(both ' ' from ssn), lpad(phone, 60, '_') FROM app.customers",
            "~ssn ~phone",
        ),
        (
            "SELECT lpad('x', length(ssn)) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT json_build_object('k', regexp_replace(ssn, '(.)', 'x', 'g')) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT jsonb_build_array(ssn, name) FROM app.customers", "~ssn"),
        (
            "SELECT JSON_OBJECT('a': ssn), JSON_ARRAY(name) FROM app.customers",
            "~ssn -",
        ),
        ("SELECT JSON_ARRAY(SELECT ssn FROM app.customers)", "~ssn"),
        (
            "SELECT xmlelement(name a, ssn), xmlforest(name) FROM app.customers",
            "~ssn -",
        ),
        (
            "SELECT xmlserialize(content xmlelement(name a, email) AS text) FROM app.customers",
            "~email | probe email",
        ),
        ("SELECT format('%s', ssn) FROM app.customers", "~ssn | probe ssn"),
        ("SELECT pg_typeof(ssn) FROM app.customers", "-"),
        (
            "SELECT has_table_privilege(token, 'select') FROM app.api_tokens",
            "~token | probe token",
        ),
        (
            "SELECT NOT (ssn = 'x') OR name = 'y' FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT to_char(created_at, 'YYYY') FROM app.customers", "-"),
        (
            "SELECT generate_series(1, ascii(ssn)) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (regexp_matches(token, '.{1,3}', 'g'))[1] FROM app.api_tokens",
            "~token | probe token",
        ),
        (
            "SELECT substr(token, i, 1) FROM app.api_tokens, generate_series(1, 36) i",
            "~token | probe token",
        ),
        (
            "SELECT substr('abc', 1, 2), upper(name) FROM app.customers",
            "- -",
        ),
    ]);
}

#[test]
fn whole_rows() {
    let all = "~email+ssn+card_number+phone+profile";
    let failing = "~email+ssn+card_number+phone+profile | probe email ssn card_number phone profile";
    check(&[
        ("SELECT c FROM app.customers c", all),
        ("SELECT customers FROM app.customers", all),
        ("SELECT row_to_json(c) FROM app.customers c", all),
        ("SELECT to_jsonb(c.*) FROM app.customers c", all),
        ("SELECT ROW(c.*) FROM app.customers c", all),
        ("SELECT ROW(id, ssn), ROW(id, name) FROM app.customers", "~ssn -"),
        ("SELECT (id, name, phone) FROM app.customers", "~phone"),
        ("SELECT (c).ssn FROM app.customers c", "=ssn"),
        ("SELECT (c).name, (c).id FROM app.customers c", "- -"),
        ("SELECT (c.*).email FROM app.customers c", "=email"),
        (
            "SELECT (c).* FROM app.customers c",
            "- - =email =ssn =card_number =phone - =profile -",
        ),
        ("SELECT (c::text) FROM app.customers c", all),
        ("SELECT c::text LIKE '%1%' FROM app.customers c", failing),
        ("SELECT count(c), count(c.*) FROM app.customers c", "- -"),
        ("SELECT c IS NULL FROM app.customers c", "-"),
        ("SELECT array_agg(c) FROM app.customers c", failing),
        (
            "SELECT jsonb_agg(to_jsonb(c) - 'ssn') FROM app.customers c",
            "~email+ssn+card_number+phone+profile | probe email ssn card_number phone profile",
        ),
        ("SELECT x.ssn FROM (SELECT c FROM app.customers c) x", failing),
        ("SELECT (x.c).ssn FROM (SELECT c FROM app.customers c) x", "=ssn"),
        (
            "SELECT o FROM app.orders o JOIN app.customers c ON c.id = o.customer_id",
            "-",
        ),
        ("SELECT row_to_json(o) FROM app.orders o, app.customers c", "-"),
        ("SELECT c.ssn2 FROM app.customers c", failing),
        ("SELECT nothing FROM app.customers c", all),
    ]);
}

#[test]
fn documents() {
    check(&[
        ("SELECT profile FROM app.customers", "=profile"),
        ("SELECT profile->>'plan' FROM app.customers", "-"),
        ("SELECT profile->'tags'->0 FROM app.customers", "-"),
        ("SELECT profile->'tags'->>'tax_id' FROM app.customers", "-"),
        ("SELECT profile->>'tax_id' FROM app.customers", "~profile"),
        ("SELECT profile->'home' FROM app.customers", "~profile"),
        ("SELECT profile->'home'->>'city' FROM app.customers", "-"),
        ("SELECT profile->'home'->>'street' FROM app.customers", "~profile"),
        (
            "SELECT profile->'home'->0->>'street' FROM app.customers",
            "~profile",
        ),
        ("SELECT profile->0->>'tax_id' FROM app.customers", "~profile"),
        ("SELECT profile->'tax_id'->'x' FROM app.customers", "~profile"),
        ("SELECT profile->>$1 FROM app.customers", "~profile"),
        ("SELECT profile->>name FROM app.customers", "~profile"),
        ("SELECT profile->>('tax' || '_id') FROM app.customers", "~profile"),
        (
            "SELECT profile#>>'{home,city}', profile#>>'{home,street}' FROM app.customers",
            "- ~profile",
        ),
        (
            "SELECT profile#>'{home}', profile#>ARRAY['tags','0'] FROM app.customers",
            "~profile -",
        ),
        (
            "SELECT profile#>>'{\"tax_id\"}', profile#>>'{}' FROM app.customers",
            "~profile ~profile",
        ),
        (
            "SELECT profile['plan'], profile['home']['city'], profile['tax_id'] FROM app.customers",
            "- - ~profile",
        ),
        (
            "SELECT jsonb_extract_path_text(profile, 'home', 'city') FROM app.customers",
            "-",
        ),
        (
            "SELECT jsonb_extract_path(profile, VARIADIC ARRAY['tax_id']) FROM app.customers",
            "~profile",
        ),
        (
            "SELECT profile::text, profile::jsonb->>'plan' FROM app.customers",
            "~profile -",
        ),
        ("SELECT (profile)::json->>'tax_id' FROM app.customers", "~profile"),
        (
            "SELECT profile ? 'plan', profile ?| ARRAY['a'] FROM app.customers",
            "- ~profile | lookup profile | probe profile",
        ),
        (
            "SELECT (profile->'tax_id') ? '1' FROM app.customers",
            "~profile | probe profile",
        ),
        (
            "SELECT profile @> '{\"plan\": \"a\"}' FROM app.customers",
            "~profile | probe profile",
        ),
        (
            "SELECT profile - 'tax_id' FROM app.customers",
            "~profile | probe profile",
        ),
        ("SELECT profile || '{}' FROM app.customers", "~profile"),
        (
            "SELECT jsonb_pretty(profile), jsonb_typeof(profile->'home') FROM app.customers",
            "~profile ~profile | probe profile",
        ),
        (
            "SELECT JSON_VALUE(profile, '$.plan'), JSON_VALUE(profile, '$.tax_id') FROM app.customers",
            "- ~profile",
        ),
        (
            "SELECT JSON_QUERY(profile, '$.*'), JSON_QUERY(profile, '$') FROM app.customers",
            "~profile ~profile",
        ),
        (
            "SELECT p->>'plan' FROM (SELECT profile AS p FROM app.customers) x",
            "-",
        ),
        (
            "SELECT h->>'city', h->>'street' FROM (SELECT profile->'home' AS h FROM app.customers) x",
            "- ~profile",
        ),
        (
            "SELECT jsonb_array_elements_text(profile->'tags') FROM app.customers",
            "-",
        ),
        (
            "SELECT t.* FROM app.customers c, jsonb_array_elements_text(c.profile->'tags') t",
            "?",
        ),
        (
            "SELECT jsonb_object_keys(profile) FROM app.customers",
            "~profile | probe profile",
        ),
        (
            "SELECT key FROM app.customers, jsonb_each(profile)",
            "~profile | probe profile",
        ),
        (
            "SELECT profile->>'plan' AS plan, count(*) FROM app.customers GROUP BY 1 ORDER BY 1",
            "- -",
        ),
        ("SELECT profile->>'tax_id' IS NULL FROM app.customers", "-"),
    ]);
}

#[test]
fn queries_within_queries() {
    check(&[
        ("SELECT * FROM (SELECT ssn AS a FROM app.customers) t", "=ssn"),
        (
            "SELECT a FROM (SELECT ssn, name FROM app.customers) t(a, b)",
            "=ssn",
        ),
        ("SELECT b FROM (SELECT ssn, name FROM app.customers) t(a, b)", "-"),
        (
            "SELECT x.\"?column?\" FROM (SELECT ssn AS \"?column?\" FROM app.customers) x",
            "=ssn",
        ),
        (
            "SELECT x.\"?column?\" FROM (SELECT ssn || '' FROM app.customers) x",
            "~ssn",
        ),
        (
            "SELECT \"case\" FROM (SELECT CASE WHEN true THEN ssn END, name FROM app.customers) x",
            "~ssn",
        ),
        (
            "SELECT upper FROM (SELECT upper(ssn) FROM app.customers) x",
            "~ssn",
        ),
        (
            "WITH x AS (SELECT email AS e FROM app.customers) SELECT e FROM x",
            "=email",
        ),
        (
            "WITH x(e, n) AS (SELECT email, name FROM app.customers) SELECT n, e FROM x",
            "- =email",
        ),
        (
            "WITH x AS (SELECT 1 AS ssn) SELECT x.ssn, c.name FROM x, app.customers c",
            "~email+ssn+card_number+phone+profile -",
        ),
        (
            "WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM customers",
            "?",
        ),
        (
            "WITH orders AS (SELECT ssn AS note FROM app.customers) SELECT note FROM orders",
            "=ssn",
        ),
        (
            "WITH x AS (SELECT ssn FROM app.customers) SELECT (WITH x AS (SELECT 1 AS ssn) SELECT ssn FROM x) FROM x",
            "~email+ssn+card_number+phone+profile | probe email ssn card_number phone profile",
        ),
        (
            "SELECT name FROM app.customers UNION ALL SELECT ssn FROM app.customers",
            "~ssn",
        ),
        (
            "SELECT ssn FROM app.customers UNION ALL SELECT ssn FROM app.customers",
            "=ssn",
        ),
        (
            "SELECT ssn FROM app.customers UNION SELECT ssn FROM app.customers",
            "=ssn | probe ssn",
        ),
        (
            "SELECT id, name FROM app.customers UNION SELECT id, sku FROM app.products",
            "- -",
        ),
        (
            "SELECT ssn FROM app.customers EXCEPT ALL SELECT note FROM app.orders",
            "~ssn | probe ssn",
        ),
        (
            "SELECT id, ssn FROM app.customers UNION ALL SELECT 1, 'x' UNION ALL SELECT 2, email FROM app.customers",
            "- ~email+ssn",
        ),
        (
            "(SELECT id FROM app.customers ORDER BY 1) UNION ALL (SELECT id FROM app.orders LIMIT 1) ORDER BY 1",
            "-",
        ),
        (
            "SELECT ssn FROM app.customers UNION ALL SELECT name FROM app.customers ORDER BY ssn",
            "~ssn | probe ssn",
        ),
        ("SELECT (SELECT ssn FROM app.customers WHERE id = 1)", "=ssn"),
        (
            "SELECT (SELECT name FROM app.customers WHERE id = 1), EXISTS (SELECT ssn FROM app.customers)",
            "- -",
        ),
        ("SELECT ARRAY(SELECT ssn FROM app.customers)", "~ssn"),
        (
            "SELECT 'x' IN (SELECT ssn FROM app.customers)",
            "~ssn | probe ssn",
        ),
        ("SELECT (SELECT c.ssn) FROM app.customers c", "=ssn"),
        (
            "SELECT (SELECT max(c.ssn || o.note) FROM app.orders o) FROM app.customers c",
            "~ssn | probe ssn",
        ),
        (
            "SELECT u.v FROM app.customers c CROSS JOIN LATERAL (VALUES (c.ssn)) u(v)",
            "=ssn",
        ),
        (
            "SELECT u.v FROM app.customers c CROSS JOIN LATERAL (VALUES (c.ssn), (c.name)) u(v)",
            "~ssn",
        ),
        (
            "SELECT l.x FROM app.customers c, LATERAL (SELECT c.phone AS x) l",
            "=phone",
        ),
        (
            "SELECT column1 FROM (VALUES ((SELECT ssn FROM app.customers LIMIT 1))) v",
            "=ssn",
        ),
        ("VALUES ((SELECT ssn FROM app.customers LIMIT 1), 1)", "=ssn -"),
        (
            "SELECT j.ssn FROM (app.customers c JOIN app.orders o ON o.customer_id = c.id) AS j",
            "=ssn",
        ),
        (
            "SELECT j.c4 FROM (app.customers c CROSS JOIN app.orders o) AS j(c1, c2, c3, c4)",
            "~email+ssn+card_number+phone+profile",
        ),
        (
            "SELECT * FROM app.orders o JOIN app.api_tokens t USING (id)",
            "- - - - - - - =token -",
        ),
        (
            "SELECT * FROM app.orders NATURAL JOIN app.api_tokens",
            "- - - - - - =token | probe token",
        ),
        (
            "SELECT u.id FROM app.orders JOIN app.api_tokens USING (id) AS u",
            "-",
        ),
        (
            "SELECT t.* FROM app.orders o LEFT JOIN app.api_tokens t ON t.id = o.id",
            "- - =token -",
        ),
        (
            "SELECT f.x FROM app.customers c, unnest(ARRAY[c.ssn]) f(x)",
            "~ssn | probe ssn",
        ),
        (
            "SELECT f FROM app.customers c, regexp_split_to_table(c.ssn, '') f",
            "~ssn | probe ssn",
        ),
        (
            "SELECT i, c.name FROM app.customers c, generate_series(1, 2) i",
            "- -",
        ),
        (
            "SELECT i, n FROM app.customers c, unnest(ARRAY[1]) WITH ORDINALITY AS t(i, n)",
            "- -",
        ),
        (
            "SELECT x FROM app.customers, XMLTABLE('/a' PASSING xmlelement(name a, ssn) COLUMNS x text PATH '.') t",
            "~ssn | probe ssn",
        ),
        (
            "SELECT t.a FROM app.customers, JSON_TABLE(profile, '$' COLUMNS (a text PATH '$.tax_id')) t",
            "~profile | probe profile",
        ),
        (
            "SELECT r.a FROM app.customers, json_to_record('{}') AS r(a text)",
            "-",
        ),
        (
            "SELECT c.ssn FROM app.customers c TABLESAMPLE system (10)",
            "=ssn",
        ),
        ("SELECT ssn FROM app.customers FOR UPDATE", "=ssn"),
    ]);
}

#[test]
fn recursion_settles() {
    check(&[
        (
            "WITH RECURSIVE t(n, s) AS (SELECT 1, ssn FROM app.customers UNION ALL SELECT n + 1, substr(s, 2) FROM t WHERE n < 5) \
             SELECT n, s FROM t",
            "- ~ssn | probe ssn",
        ),
        (
            "WITH RECURSIVE t(a, b) AS (SELECT 'x', ssn FROM app.customers UNION ALL SELECT b, a FROM t) SELECT a, b FROM t",
            "~email+ssn+card_number+phone+profile ~ssn | probe email ssn card_number phone profile | unknown",
        ),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT t.* FROM t) SELECT n, name FROM t, app.customers",
            "- -",
        ),
        (
            "WITH RECURSIVE a AS (SELECT s FROM b), b AS (SELECT ssn AS s FROM app.customers) SELECT s FROM a",
            "=ssn",
        ),
        (
            "WITH RECURSIVE t(id, p) AS (SELECT id, phone FROM app.customers UNION ALL SELECT id, p FROM t) \
             SEARCH DEPTH FIRST BY id SET o SELECT id, p FROM t",
            "- =phone | probe phone",
        ),
        (
            "WITH RECURSIVE up AS (SELECT id, name FROM app.customers WHERE id = 1 UNION SELECT c.id, c.name FROM app.customers c \
             JOIN up ON up.id = c.id) SELECT * FROM up",
            "- -",
        ),
    ]);
}

#[test]
fn aggregates_and_windows() {
    check(&[
        (
            "SELECT count(*), count(ssn), count(DISTINCT id) FROM app.customers",
            "- - -",
        ),
        ("SELECT count(DISTINCT ssn) FROM app.customers", "- | probe ssn"),
        (
            "SELECT count(nullif(ssn, 'x')) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT count(*) FILTER (WHERE ssn LIKE '1%') FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT count(*) FILTER (WHERE ssn IS NOT NULL) FROM app.customers",
            "-",
        ),
        (
            "SELECT string_agg(ssn, ';'), string_agg(name, ';') FROM app.customers",
            "~ssn -",
        ),
        (
            "SELECT max(email), min(id), avg(id) FROM app.customers",
            "~email - -",
        ),
        (
            "SELECT left((SELECT max(email) FROM app.customers), 180) FROM generate_series(1, 9)",
            "~email | probe email",
        ),
        (
            "SELECT id, max(email) FROM app.customers GROUP BY id",
            "- ~email | probe email",
        ),
        (
            "SELECT array_agg(id ORDER BY ssn) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT lag(ssn) OVER (ORDER BY id), row_number() OVER (ORDER BY id) FROM app.customers",
            "~ssn -",
        ),
        (
            "SELECT rank() OVER (ORDER BY ssn) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT rank() OVER w FROM app.customers WINDOW w AS (PARTITION BY phone)",
            "- | probe phone",
        ),
        (
            "SELECT sum(amount) OVER (PARTITION BY c.name) FROM app.orders o, app.customers c",
            "-",
        ),
        (
            "SELECT json_object_agg(name, ssn), JSON_ARRAYAGG(phone), JSON_OBJECTAGG(name: id) FROM app.customers",
            "~ssn ~phone -",
        ),
        (
            "SELECT grouping(name) FROM app.customers GROUP BY ROLLUP (name)",
            "-",
        ),
        (
            "SELECT name, count(*) FROM app.customers GROUP BY name HAVING count(*) > 1",
            "- -",
        ),
    ]);
}

#[test]
fn rows_have_the_names_of_their_type_and_casts_those_of_what_they_cast() {
    let index = super::index();
    for text in [
        "SELECT (s.x).email FROM (SELECT c AS x FROM app.customers c (id, email, name)) s",
        "SELECT (SELECT ssn FROM (SELECT (SELECT ssn FROM app.customers)::text) x) FROM (SELECT 'a' AS ssn) o",
        "SELECT (SELECT \"coalesce\" FROM (SELECT coalesce(ssn, '')::text FROM app.customers) x) \
         FROM (SELECT 'a' AS \"coalesce\") o",
    ] {
        let found = super::lineage(&index, text);
        let flows = found.outputs.unwrap_or_default();
        assert!(
            !flows.is_empty() && flows[0].columns().next().is_some(),
            "{text}: {flows:?}"
        );
    }
}

#[test]
fn several_statements_and_others() {
    check(&[
        ("SELECT 1; SELECT ssn FROM app.customers; SELECT 2", "?"),
        ("BEGIN; SELECT ssn FROM app.customers; COMMIT", "=ssn"),
        ("EXPLAIN SELECT ssn FROM app.customers", "-"),
        (
            "EXPLAIN ANALYZE SELECT 1 FROM app.customers WHERE ssn > 'a'",
            "- | probe ssn",
        ),
        ("PREPARE p AS SELECT ssn FROM app.customers", "=ssn"),
        (
            "DECLARE c CURSOR FOR SELECT upper(ssn), name FROM app.customers",
            "~ssn -",
        ),
        (
            "PREPARE d(text) AS SELECT to_jsonb(c) ->> $1 FROM app.customers c",
            "~email+ssn+card_number+phone+profile",
        ),
        ("CREATE TEMP TABLE t AS EXECUTE p", "? | unknown"),
        ("SELECT email FROM customers", "~email"),
        ("SELECT ssn FROM customers", "=ssn"),
        ("SELECT id, closed FROM customers", "- -"),
        ("SELECT * FROM customers", "?"),
        ("SELECT c.ssn FROM customers c", "=ssn"),
        ("SELECT o.customer_doc FROM app.orders o", "- | unknown"),
        ("SELECT (o).customer_doc FROM app.orders o", "- | unknown"),
        (
            "SELECT c.customer_doc, o.id FROM app.customers c, app.orders o",
            "~email+ssn+card_number+phone+profile - | probe email ssn card_number phone profile | unknown",
        ),
        (
            "SELECT digits, phone FROM app.leads",
            "=leads.digits =leads.phone",
        ),
    ]);
}
