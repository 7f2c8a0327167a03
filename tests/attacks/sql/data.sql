-- Every row of the fixture, as one value.
SELECT md5(string_agg(what, '|' ORDER BY what)) FROM (
SELECT ROW('p', t::text)::text AS what FROM vault.people t UNION ALL SELECT ROW('k', t::text)::text FROM vault.keys t
UNION ALL SELECT ROW('v', t::text)::text FROM vault.visits t UNION ALL SELECT ROW('o', t::text)::text FROM vault.orders t
UNION ALL SELECT ROW('r', t::text)::text FROM vault.products t UNION ALL SELECT ROW('a', t::text)::text FROM vault.audit t
UNION ALL SELECT ROW('c', t::text)::text FROM vault.counters t UNION ALL SELECT ROW('b', t::text)::text FROM vault.outbox t
UNION ALL SELECT ROW('s', last_value, is_called)::text FROM vault.audit_id_seq
) x
