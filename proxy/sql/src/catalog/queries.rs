//! The questions to the server's catalogs, as plain simple-protocol texts.
//! Source: PostgreSQL manual, "System Catalogs": pg_class, pg_attribute, pg_rewrite, pg_depend, pg_inherits, pg_index, pg_proc,
//! pg_extension; "System Columns" for xmin.

/// Functions `p` of extensions that compute with their arguments only: compiled code that ships with the server.
macro_rules! pure {
    () => {
        "EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
       AND l.lanname IN ('c', 'internal') AND p.prokind <> 'p' AND NOT p.prosecdef
       AND (p.provolatile IN ('i', 's')
            OR p.proname IN ('gen_random_uuid', 'uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4'))
       AND (e.extname IN ('citext', 'isn', 'ltree', 'hstore', 'pg_trgm', 'btree_gin', 'btree_gist', 'intarray', 'cube',
                          'seg', 'uuid-ossp', 'unaccent', 'fuzzystrmatch')
            OR e.extname = 'pgcrypto' AND p.proname IN ('digest', 'hmac', 'gen_random_uuid')))"
    };
}

/// Brings the connection into one consistent, read-only view, with names that mean what they say.
pub const PRELUDE: &[&str] = &[
    "SET search_path = pg_catalog",
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
];

/// Ends what [`PRELUDE`] began.
pub const POSTLUDE: &[&str] = &["COMMIT"];

/// The queries, in the order in which their rows are to be fed.
pub const QUERIES: &[&str] = &[
    RELATIONS,
    COLUMNS,
    SOURCES,
    FUNCTIONS,
    GENERATED,
    REACTIONS,
    CASCADES,
    KEYS,
    EXTENSION_FUNCTIONS,
    VERSION,
    PATIENCE,
    VIEWS,
    BODIES,
];

/// The first query that may fail without making the catalog useless, and after which none can run in the same transaction.
pub const BODIES_AT: usize = 10;

const RELATIONS: &str = "\
SELECT c.oid, n.nspname, c.relname, c.relkind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't')
 ORDER BY c.oid";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attnum, a.attname, a.atttypid
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't') AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum";

const SOURCES: &str = "\
SELECT r.ev_class, m.found[1]::pg_catalog.oid
  FROM pg_catalog.pg_rewrite r,
       LATERAL pg_catalog.regexp_matches(r.ev_action::pg_catalog.text, ':relid ([0-9]+)', 'g') AS m(found)
UNION
SELECT r.ev_class, d.refobjid
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
 WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
UNION
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i
UNION
SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i
UNION
SELECT c.reltoastrelid, c.oid FROM pg_catalog.pg_class c WHERE c.reltoastrelid <> 0";

/// Functions in `pg_catalog` that initdb did not make (their OIDs start at FirstNormalObjectId) count as well.
const FUNCTIONS: &str = concat!(
    "SELECT DISTINCT p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE (n.nspname <> 'pg_catalog' OR p.oid >= 16384) AND NOT ",
    pure!()
);

const EXTENSION_FUNCTIONS: &str = concat!(
    "SELECT DISTINCT n.nspname, p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.oid >= 16384 AND ",
    pure!()
);

/// Columns of unique indexes, the first of every index, and those of foreign keys.
const KEYS: &str = "\
SELECT x.indrelid, k.number
  FROM pg_catalog.pg_index x, LATERAL pg_catalog.unnest(x.indkey) WITH ORDINALITY AS k(number, place)
 WHERE x.indisvalid AND k.number > 0 AND k.place <= x.indnkeyatts AND (x.indisunique OR k.place = 1)
UNION
SELECT c.conrelid, k.number
  FROM pg_catalog.pg_constraint c, LATERAL pg_catalog.unnest(c.conkey) AS k(number)
 WHERE c.contype = 'f'";

/// One text that changes with every committed change of names, shapes, views, rules, triggers, keys and functions: rows of
/// the catalogs are never changed in place where that matters, so the transactions that made them tell.
pub const VERSION: &str = "\
SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', y.kind, y.n, y.plain, y.weighted), ' ' ORDER BY y.kind) FROM (
SELECT x.kind, pg_catalog.count(*) AS n, pg_catalog.sum(x.made) AS plain, pg_catalog.sum(x.made * (x.place % 8191 + 1)) AS weighted FROM (
SELECT 'c' AS kind, t.xmin::pg_catalog.text::pg_catalog.int8 AS made, t.oid::pg_catalog.int8 AS place
  FROM pg_catalog.pg_class t WHERE t.oid >= 16384
UNION ALL SELECT 'a', t.xmin::pg_catalog.text::pg_catalog.int8, t.attrelid::pg_catalog.int8 * 31 + t.attnum + 8
  FROM pg_catalog.pg_attribute t WHERE t.attrelid >= 16384
UNION ALL SELECT 'w', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_rewrite t WHERE t.oid >= 16384
UNION ALL SELECT 'p', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_proc t WHERE t.oid >= 16384
UNION ALL SELECT 'g', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_trigger t
UNION ALL SELECT 'k', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_constraint t
UNION ALL SELECT 'd', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_attrdef t
UNION ALL SELECT 'n', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_namespace t
UNION ALL SELECT 'h', t.xmin::pg_catalog.text::pg_catalog.int8, t.inhrelid::pg_catalog.int8 * 31 + t.inhparent::pg_catalog.int8
  FROM pg_catalog.pg_inherits t
UNION ALL SELECT 'x', t.xmin::pg_catalog.text::pg_catalog.int8, t.indexrelid::pg_catalog.int8
  FROM pg_catalog.pg_index t WHERE t.indexrelid >= 16384
) x GROUP BY x.kind ) y";

/// Generated columns with the columns that their expressions read.
const GENERATED: &str = "\
SELECT DISTINCT d.adrelid, d.adnum, m.found[1]::pg_catalog.int2
  FROM pg_catalog.pg_attrdef d
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
     , LATERAL pg_catalog.regexp_matches(d.adbin::pg_catalog.text, ':varattno ([0-9]+)', 'g') AS m(found)";

/// Relations with somebody's triggers, or with rules on changes.
const REACTIONS: &str = "\
SELECT c.oid,
       EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)::pg_catalog.int4,
       EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')::pg_catalog.int4
  FROM pg_catalog.pg_class c
 WHERE (c.relhastriggers OR c.relhasrules) AND c.oid >= 16384";

/// Foreign keys with actions, from the relation they point at: ON DELETE and ON UPDATE.
const CASCADES: &str = "\
SELECT k.confrelid, k.conrelid, k.confdeltype, k.confupdtype
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))";

const PATIENCE: &str = "SET LOCAL lock_timeout = '500ms'";

/// What every role made: system views show no rows of users' tables but statistics, which policy knows by name.
const VIEWS: &str = "\
SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid)
  FROM pg_catalog.pg_class c
 WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384
 ORDER BY c.oid";

/// Bodies of SQL functions that run under the caller's settings. The others come without.
const BODIES: &str = concat!(
    "SELECT n.nspname, p.proname, p.pronargs,
       CASE WHEN l.lanname = 'sql' AND p.prokind = 'f' AND p.proconfig IS NULL
            THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE (n.nspname <> 'pg_catalog' OR p.oid >= 16384) AND NOT ",
    pure!(),
    " ORDER BY p.oid"
);
