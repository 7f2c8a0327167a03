//! What a labelled value chose, and what may change its name: nothing that could fail is computed from the one, and nothing
//! depends on the other. Each of these told a value, or showed one, when it was tried against a server.

use super::check;

#[test]
fn what_was_chosen_is_shown_and_nothing_more() {
    check(&[
        // Shown as they are, masked.
        (
            "SELECT ssn LIKE '5%', substring(ssn from '^5'), length(ssn) FROM app.customers",
            "~ssn ~ssn ~ssn | probe ssn",
        ),
        (
            "SELECT upper(substring(ssn from '^5')) FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT round(length(ssn), 2) FROM app.customers", "~ssn"),
        (
            "SELECT coalesce(substring(ssn from '^5'), '-') FROM app.customers",
            "~ssn | probe ssn",
        ),
        // Put together, and worked on further.
        (
            "SELECT left(lower(email) || ' ' || phone, 3) || '!' FROM app.customers",
            "~email+phone",
        ),
        (
            "SELECT string_agg(lower(email), ',') FROM app.customers",
            "~email",
        ),
        (
            "SELECT coalesce(nullif(email, ''), phone) FROM app.customers",
            "~email+phone",
        ),
        // Types that do not fit, found only if the value was found.
        (
            "SELECT coalesce(ascii(substring(ssn from '^5')), 5000000000) = 5::oid FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (ARRAY[1])[coalesce(ascii(substring(ssn from '^5')), 7)] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT coalesce(ascii(substring(ssn from '^5')), 1e400) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ascii(substring(ssn from '^5')) FROM app.customers UNION ALL SELECT 5::float8",
            "~ssn | probe ssn",
        ),
        (
            "SELECT abs(ascii(substring(ssn from '^5'))) FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT to_char(length(ssn), '9V999') FROM app.customers",
            "~ssn | probe ssn",
        ),
        ("SELECT to_char(length(ssn), '999') FROM app.customers", "~ssn"),
        (
            "SELECT to_char(length(ssn), 'FMRN') FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT substr(to_char(length(ssn), '999'), 1, -1) FROM app.customers",
            "~ssn | probe ssn",
        ),
        // A number whose absolute value is none, where nothing was found.
        (
            "SELECT abs(coalesce(nullif(ssn, g), '-9223372036854775808')) FROM app.customers, generate_series(1, 9) g",
            "~ssn | probe ssn",
        ),
        // A subscript that is no number, found only if the value was found.
        (
            "SELECT (regexp_match(ssn, '^5'))['nosuch'::text::regclass::int] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (regexp_match(ssn, '^5'))[$1] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (regexp_match(ssn, '^5'))[1] FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT to_jsonb((ARRAY['1'::json])[regexp_count(ssn, '^5')]) FROM app.customers",
            "~ssn | probe ssn",
        ),
        // Collations and rows that cannot be compared.
        (
            "SELECT s = b FROM (SELECT substring(ssn from '^5') COLLATE \"C\" AS s, 'x' COLLATE \"POSIX\" AS b FROM app.customers) x",
            "~ssn | probe ssn",
        ),
        (
            "SELECT r = q FROM (SELECT coalesce(ROW(ssn ~ '^5', 1), NULL) AS r FROM app.customers) x, (SELECT coalesce(ROW(true, 'x'::text)) AS q) y",
            "~ssn | probe ssn",
        ),
        (
            "SELECT s = b FROM (SELECT NULLIF(left(quote_ident(substr(md5(ssn), 1, 1)), -1), '') COLLATE \"C\" AS s, 'x' COLLATE \"POSIX\" AS b FROM app.customers) x",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (max(a))[2] = 5::oid FROM (SELECT ARRAY[length(ssn), 5000000000] a FROM app.customers UNION ALL SELECT ARRAY[7, 1]) x",
            "~ssn | probe ssn",
        ),
        // Of a row that is tested, later fields only where the first ones are as they should be, also behind a name.
        (
            "SELECT s IS NULL FROM (SELECT regexp_match(ssn, '^5') a, 1/(id - id) b FROM app.customers) s",
            "~ssn | probe ssn",
        ),
        (
            "SELECT s.r IS NOT NULL FROM (SELECT ROW(regexp_match(ssn, '^5'), 1/(id - id)) r FROM app.customers) s",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ROW(x.*) IS NULL FROM app.customers c, LATERAL (SELECT regexp_match(c.ssn, '^5') a, 1/(c.id - c.id) b) x",
            "~ssn | probe ssn",
        ),
        // Keys and paths.
        (
            r#"SELECT coalesce(to_json(ssn) -> 'x', '{"a":"\u0000"}') ->> 'a' FROM app.customers"#,
            "~ssn | probe ssn",
        ),
        (
            "SELECT coalesce(profile -> 'home' -> 'street', '{}') ->> 'a' FROM app.customers",
            "~profile",
        ),
        // The condition of a sub-query that the join takes over.
        (
            "SELECT q.id FROM app.customers q LEFT JOIN LATERAL (SELECT p.email FROM app.customers p WHERE p.email = q.phone) x ON true",
            "- | probe email phone",
        ),
        (
            "SELECT q.id FROM app.customers q JOIN LATERAL (SELECT p.id FROM app.customers p WHERE p.email = q.phone) x ON true",
            "- | lookup email phone",
        ),
        (
            "SELECT '{}'::json ->> substring(ssn from '^5') FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT JSON_EXISTS(profile, '$.tax_id ? (@ starts with \"t\" && $nov == 1)') FROM app.customers",
            "~profile | probe profile",
        ),
        // As long as it was made.
        (
            "WITH RECURSIVE r AS (SELECT regexp_replace(ssn, '^5.*', '') t, 1 n FROM app.customers UNION ALL SELECT concat(t, t), n + 1 FROM r) SELECT left(t, 1) FROM r",
            "~ssn | probe ssn",
        ),
        (
            "SELECT (ARRAY(SELECT concat(a, a) FROM (SELECT regexp_replace(ssn, '^5.*', '') AS a FROM app.customers) x))[1]",
            "~ssn | probe ssn",
        ),
    ]);
}

#[test]
fn what_reports_send_is_shown() {
    check(&[
        (
            "SELECT id, regexp_replace(phone, '[^0-9]', '', 'g'), split_part(email, '@', 2), lpad(ssn, 20, '0') FROM app.customers ORDER BY id",
            "- ~phone ~email ~ssn",
        ),
        // Not where it may decide what else is done.
        (
            "SELECT upper(split_part(email, '@', 2)) FROM app.customers",
            "~email | probe email",
        ),
        (
            "SELECT x.a FROM (SELECT split_part(email, '@', 2) AS a FROM app.customers) x",
            "~email | probe email",
        ),
        (
            "WITH s AS (SELECT c.email, g FROM app.customers c, generate_series(1, 90000) g) SELECT split_part(email, '@', 2) FROM s ORDER BY g % 3",
            "~email | probe email",
        ),
        (
            "SELECT replace(ssn, '5', ''), repeat(name, 900000) FROM app.customers",
            "~ssn - | probe ssn",
        ),
        (
            "SELECT split_part(c.email, '@', 2) FROM app.customers c, generate_series(1, 90000) g ORDER BY g % 3",
            "~email | probe email",
        ),
        (
            "SELECT coalesce(nullif(trim(email), ''), name) FROM app.customers",
            "~email",
        ),
        (
            "SELECT json_agg(json_build_object('id', id, 'email', email)) FROM app.customers",
            "~email",
        ),
        (
            "SELECT coalesce(email, '') || ' ' || coalesce(phone, '') FROM app.customers",
            "~email+phone",
        ),
        (
            "SELECT row_to_json(q) FROM (SELECT id, name FROM app.customers) q",
            "-",
        ),
    ]);
}

#[test]
fn nothing_that_can_fail_stands_behind_a_labelled_condition() {
    for text in [
        "SELECT coalesce(substring(ssn from '^5'), d) FROM (SELECT ssn, c AS d FROM (SELECT ssn, (1/(id-1))::text AS c FROM app.customers) x) y",
        "SELECT coalesce(substring(j.s from '^5'), j.d) FROM ((SELECT ssn, (1/(id-1))::text AS c FROM app.customers) x CROSS JOIN (SELECT 1) y) AS j(s, d, e)",
        "WITH w AS (SELECT ssn, (1/(id-1))::text AS c FROM app.customers) SELECT coalesce(substring(j.s from '^5'), j.d) FROM w AS j(s, d)",
        "SELECT coalesce(substring(ssn from '^5'), x.date::text) FROM app.customers, unnest(ARRAY['bad']) x",
        "SELECT ssn ~ '^5' AND x.j = x.k FROM app.customers, (SELECT 'a' COLLATE \"C\" j, 'b' COLLATE \"POSIX\" k OFFSET 0) x",
        "SELECT ssn ~ '^5' AND x.r = y.q FROM app.customers, (SELECT ROW(1,2) r OFFSET 0) x, (SELECT ROW(1,'a'::text) q OFFSET 0) y",
        "SELECT ssn ~ '^5' AND length(x.b, x.n) > 3 FROM app.customers, (SELECT '\\x41'::bytea b, 'nosuch'::name n OFFSET 0) x",
        "SELECT ssn ~ '^5' AND (x.title || 'abc'::text) IS NOT NULL FROM app.customers, app.products x",
        "SELECT ssn ~ '^5' AND (x.j->>'a') = 'z' FROM app.customers, (SELECT '{}'::json j OFFSET 0) x",
    ] {
        let found = super::line(&super::index(), &super::lineage(&super::index(), text));
        assert!(
            found.contains("probe") && found.contains("ssn"),
            "{text}: {found}"
        );
    }
    check(&[
        (
            "SELECT ssn ~ '^5' AND id = 7 FROM app.customers",
            "~ssn | probe ssn",
        ),
        (
            "SELECT ssn ~ '^5' OR name IS NULL FROM app.customers",
            "~ssn | probe ssn",
        ),
    ]);
}

#[test]
fn names_may_mean_what_stands_further_out() {
    check(&[
        // Once `newsletter` has no such column any more, it is the customer's.
        (
            "SELECT (SELECT email || '' FROM app.newsletter LIMIT 1) FROM app.customers",
            "~email | probe email",
        ),
        (
            "SELECT (SELECT n.email || '' FROM app.newsletter n LIMIT 1) FROM app.customers",
            "-",
        ),
        (
            "SELECT (SELECT email || '' FROM (SELECT * FROM app.newsletter) n) FROM app.customers",
            "~email | probe email",
        ),
        (
            "SELECT (SELECT email || '' FROM (SELECT 'x' AS email) n) FROM app.customers",
            "~email+ssn+card_number+phone+profile | probe email ssn card_number phone profile",
        ),
        (
            "SELECT id FROM app.customers WHERE id IN (SELECT id FROM app.newsletter WHERE email LIKE 'a%')",
            "- | probe email",
        ),
        // A column may become a whole row's name.
        (
            "SELECT title::text FROM app.products, app.customers title",
            "~email+ssn+card_number+phone+profile",
        ),
        // By place, after columns that come and go.
        (
            "SELECT s.c || '' FROM (SELECT * FROM app.newsletter, app.customers) AS s(a, b, c)",
            "~email+ssn+card_number+phone+profile | probe email ssn card_number phone profile",
        ),
    ]);
}

#[test]
fn no_name_or_place_hides_a_labelled_column() {
    for text in [
        "SELECT lower(q.b) FROM (SELECT u.*, p.ssn, 'pad'::text FROM CAST('(1,x)' AS app.products) u, app.customers p) q(x, y, b)",
        "SELECT lower(q.b) FROM (SELECT (ROW(o.*, p.ssn, 'pad'::text)).* FROM app.products o, app.customers p) q(x, y, b)",
        "SELECT (SELECT app.customers.ssn || '' FROM (SELECT 'a' AS ssn) customers) FROM app.customers",
        "SELECT (SELECT q.ssn FROM (SELECT app.customers.* FROM (SELECT 'a' AS ssn) customers) q) FROM app.customers",
        "SELECT (SELECT text FROM (SELECT 'a'::text::varchar) x) FROM (SELECT ssn AS text FROM app.customers) p",
        "SELECT (SELECT generate_series FROM ROWS FROM (generate_series(1, 1)) AS t) FROM (SELECT ssn AS generate_series FROM app.customers) p",
        "SELECT (SELECT x FROM json_array_elements('[1]') AS x) FROM (SELECT ssn AS x FROM app.customers) p",
        "SELECT lower(q.b) FROM ((SELECT coalesce(1), 'a'::text AS a) x JOIN (SELECT 1 AS \"coalesce\") y USING (\"coalesce\") CROSS JOIN app.customers k) q(c1, c2, c3, c4, b)",
        "SELECT (SELECT coalesce.coalesce FROM COALESCE(p.ssn)) FROM app.customers p, (SELECT 'x'::text AS coalesce) coalesce",
        "SELECT upper(system_user) FROM (SELECT ssn AS system_user FROM app.customers) p",
        "SELECT upper(system_user) FROM (SELECT 'a' AS system_user UNION ALL SELECT ssn FROM app.customers) p",
        "SELECT (SELECT text FROM (SELECT 'a'::text::varchar) x) FROM (SELECT * FROM (SELECT 'b' AS text) a UNION ALL SELECT ssn FROM app.customers) p",
        "WITH orders AS (SELECT id, ssn AS status FROM app.customers) SELECT upper(orders.status) FROM orders",
        "WITH orders AS (SELECT * FROM (SELECT 'b' AS status) a UNION ALL SELECT ssn FROM app.customers) SELECT upper(o.status) FROM orders o",
        "SELECT (SELECT text FROM (SELECT ('a'::text COLLATE \"C\")::varchar) x) FROM (SELECT ssn AS text FROM app.customers) p",
        "WITH RECURSIVE r AS (SELECT 'b' AS text UNION ALL SELECT ssn FROM app.customers) SELECT (SELECT text FROM (SELECT 'a'::text::varchar) x) FROM r",
        "WITH u AS (UPDATE app.customers SET name = name WHERE id = 1 RETURNING old AS text) SELECT (SELECT text FROM (SELECT 'a'::text::varchar) x) FROM u",
        "WITH u AS (UPDATE app.customers SET name = name WHERE id = 1 RETURNING WITH (OLD AS o) o AS text) SELECT (SELECT text FROM (SELECT 'a'::text::varchar) x) FROM u",
        "SELECT lower(q.b) FROM (SELECT (o).*, p.ssn, 'pad'::text FROM app.products o, app.customers p) q(x, y, b)",
        "SELECT (SELECT a FROM (SELECT * FROM (SELECT (t).* FROM app.products t) y UNION ALL SELECT 'x') x LIMIT 1) FROM (SELECT ssn AS a FROM app.customers) p",
    ] {
        let found = super::line(&super::index(), &super::lineage(&super::index(), text));
        assert!(
            found.starts_with('~') || found.starts_with('='),
            "{text}: {found}"
        );
    }
    for text in [
        "SELECT p.id, (SELECT count(*) FROM (SELECT 'a' AS x) a, (SELECT 1 AS y) b JOIN (SELECT 2 AS z) c ON x ~ '^5') FROM (SELECT id, ssn AS x FROM app.customers) p",
        "SELECT p.id, v.column2 FROM app.customers p, (SELECT 1 AS column1) z, LATERAL (VALUES (p.ssn, 'le'), ('5', 'gt') ORDER BY lower(column1) LIMIT 1) v",
        "SELECT id FROM (SELECT id, ssn AS system_user FROM app.customers) p WHERE system_user ~ '^5'",
        "SELECT * FROM app.customers p NATURAL FULL JOIN app.products",
        "SELECT id FROM (SELECT id, ssn AS x FROM app.customers) p WHERE EXISTS (SELECT 1 FROM (SELECT 'a' AS x) a, app.products TABLESAMPLE bernoulli (CASE WHEN x ~ '^5' THEN 100 ELSE 0 END))",
        "SELECT g.title FROM app.products g NATURAL JOIN app.customers",
    ] {
        let found = super::line(&super::index(), &super::lineage(&super::index(), text));
        assert!(found.contains("probe"), "{text}: {found}");
    }
    check(&[
        (
            "SELECT o.id, upper(o.status) FROM app.orders o JOIN app.customers c ON c.id = o.customer_id WHERE o.status LIKE 'a%'",
            "- -",
        ),
        (
            "SELECT upper(name) FROM app.customers WHERE name LIKE 'a%' ORDER BY name",
            "-",
        ),
        (
            "SELECT x.name || '!' FROM (SELECT id, name, email FROM app.customers) x WHERE x.id > 7",
            "-",
        ),
        (
            "WITH x AS (SELECT id, email FROM app.customers) SELECT o.id + 1, x.email FROM app.orders o JOIN x ON x.id = o.id",
            "- =email",
        ),
    ]);
}
