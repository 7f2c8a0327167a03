//! The questions to the server's catalogs, as plain simple-protocol texts.
//! Source: PostgreSQL manual, "System Catalogs": pg_class, pg_attribute, pg_rewrite, pg_depend, pg_inherits, pg_index, pg_proc,
//! pg_extension; "System Columns" for xmin.

use super::goes_along::{DEPENDENTS, OBJECTS};
use super::temporary::ON_TEMPORARY;

/// Functions of extensions that compute with their arguments only: compiled code that ships with the server, and what citext
/// says in SQL.
macro_rules! harmless {
    () => {
        "SELECT q.oid FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      JOIN pg_catalog.pg_proc q ON q.oid = d.objid
      JOIN pg_catalog.pg_language l ON l.oid = q.prolang
     WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
       AND (l.lanname IN ('c', 'internal') OR e.extname = 'citext' AND l.lanname = 'sql'
            AND q.pronamespace = e.extnamespace AND q.proname IN ('regexp_match', 'regexp_matches', 'regexp_replace',
                'regexp_split_to_array', 'regexp_split_to_table', 'strpos', 'replace', 'split_part', 'translate')) AND q.prokind <> 'p' AND NOT q.prosecdef
       AND (q.provolatile IN ('i', 's')
            OR q.proname IN ('gen_random_uuid', 'uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4'))
       AND (e.extname IN ('citext', 'isn', 'ltree', 'hstore', 'pg_trgm', 'btree_gin', 'btree_gist', 'intarray', 'cube',
                          'seg', 'uuid-ossp', 'unaccent', 'fuzzystrmatch')
            OR e.extname = 'pgcrypto' AND q.proname IN ('digest', 'hmac', 'gen_random_uuid'))"
    };
}
/// Whether a function `p` is one.
macro_rules! pure {
    () => {
        concat!("p.oid IN (", harmless!(), ")")
    };
}

/// Types whose values are checked by somebody's functions: domains, and whatever is made of them. Behind `harmless`, in a recursive WITH.
macro_rules! checked {
    () => {
        "checked (oid) AS (
SELECT k.contypid
  FROM pg_catalog.pg_depend u
  JOIN pg_catalog.pg_constraint k ON k.oid = u.objid AND k.contypid <> 0
  LEFT JOIN pg_catalog.pg_operator o ON u.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = u.refobjid
  JOIN pg_catalog.pg_proc p ON p.oid = CASE u.refclassid
       WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN u.refobjid ELSE o.oprcode END
 WHERE u.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND u.refobjid >= 16384
   AND u.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
   AND p.oid NOT IN (SELECT h.oid FROM harmless h)
UNION
SELECT u.objid
  FROM pg_catalog.pg_depend u
  JOIN pg_catalog.pg_type t ON t.oid = u.objid AND t.typtype = 'd'
 WHERE u.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND u.refobjid >= 16384
   AND u.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
   AND u.refobjid NOT IN (SELECT h.oid FROM harmless h)
UNION
SELECT m.oid FROM checked c JOIN (
  SELECT t.oid, t.typbasetype AS part FROM pg_catalog.pg_type t WHERE t.typbasetype <> 0
  UNION ALL SELECT t.oid, t.typelem FROM pg_catalog.pg_type t WHERE t.typelem <> 0
  UNION ALL SELECT r.rngtypid, r.rngsubtype FROM pg_catalog.pg_range r
  UNION ALL SELECT r.rngmultitypid, r.rngsubtype FROM pg_catalog.pg_range r
  UNION ALL SELECT t.oid, a.atttypid FROM pg_catalog.pg_type t
              JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 WHERE t.typrelid >= 16384
) m ON m.part = c.oid)"
    };
}

/// Names mean what they say, and locks are waited for.
pub const SETTINGS: &[&str] = &["SET search_path = pg_catalog", "RESET lock_timeout"];

/// The schema in which the role makes what it names without one, unless a session moves its path or acts as another: all that a
/// session begins with holds for one query. [`SETTINGS`] and the role are as they were behind it.
pub const MADE_IN: &str = "RESET ROLE; RESET search_path; SELECT pg_catalog.current_schema(); \
SET ROLE NONE; SET search_path = pg_catalog";

/// One read-only view of the server for all queries: while it is held, VACUUM keeps every row of the database that was
/// removed since, and marks no page that was filled since as visible to all.
pub const VIEW: &[&str] = &["BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"];

/// Ends what [`VIEW`] began.
pub const POSTLUDE: &[&str] = &["COMMIT"];

macro_rules! relations {
    ($whose:expr) => {
        concat!(
            "\
SELECT c.oid, n.nspname, c.relname, c.relkind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't') AND c.oid",
            $whose,
            "
 ORDER BY c.oid"
        )
    };
}

macro_rules! columns {
    ($whose:expr) => {
        concat!("\
SELECT a.attrelid, a.attnum, a.attname, a.atttypid
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't') AND a.attnum > 0 AND NOT a.attisdropped AND a.attrelid", $whose, "
 ORDER BY a.attrelid, a.attnum")
    };
}

/// Columns of unique indexes, the first of every index, and those of foreign keys.
macro_rules! keys {
    ($whose:expr) => {
        concat!("\
SELECT x.indrelid, k.number
  FROM pg_catalog.pg_index x, LATERAL pg_catalog.unnest(x.indkey) WITH ORDINALITY AS k(number, place)
 WHERE x.indisvalid AND k.number > 0 AND k.place <= x.indnkeyatts AND (x.indisunique OR k.place = 1) AND x.indexrelid", $whose, "
UNION
SELECT c.conrelid, k.number
  FROM pg_catalog.pg_constraint c, LATERAL pg_catalog.unnest(c.conkey) AS k(number)
 WHERE c.contype = 'f' AND c.oid", $whose)
    };
}

/// CHECK constraints (c) with the columns that they read, 0 for a whole row; exclusion constraints and keys WITHOUT OVERLAPS
/// with the columns that they compare, for equality (e) or otherwise (x), 0 for an expression.
macro_rules! tests {
    ($whose:expr) => {
        concat!("\
SELECT k.conrelid, k.oid, CASE WHEN k.contype = 'c' THEN 'c' WHEN o.oprname = '=' AND c.number > 0 THEN 'e' ELSE 'x' END, c.number
  FROM pg_catalog.pg_constraint k
 CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) WITH ORDINALITY AS c(number, place)
  LEFT JOIN pg_catalog.pg_operator o ON o.oid = k.conexclop[c.place]
 WHERE (k.contype = 'c' OR k.conexclop IS NOT NULL) AND k.conrelid <> 0 AND k.oid", $whose)
    };
}

macro_rules! sources {
    ($whose:expr) => {
        concat!("\
SELECT r.ev_class, m.found[1]::pg_catalog.oid
  FROM pg_catalog.pg_rewrite r,
       LATERAL pg_catalog.regexp_matches(r.ev_action::pg_catalog.text, ':relid ([0-9]+)', 'g') AS m(found)
 WHERE r.oid", $whose, "
UNION
SELECT r.ev_class, d.refobjid
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
 WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid", $whose, "
UNION
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid", $whose, "
UNION
SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhrelid", $whose, "
UNION
SELECT c.reltoastrelid, c.oid FROM pg_catalog.pg_class c WHERE c.reltoastrelid <> 0 AND c.oid", $whose)
    };
}

/// Functions in `pg_catalog` that initdb did not make (their OIDs start at FirstNormalObjectId) count as well.
macro_rules! functions {
    ($whose:expr) => {
        concat!(
            "SELECT DISTINCT p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE (n.nspname <> 'pg_catalog' OR p.oid >= 16384) AND p.oid",
            $whose,
            " AND NOT ",
            pure!()
        )
    };
}

/// Bodies of SQL functions that run under the caller's settings. The others come without.
macro_rules! bodies {
    ($whose:expr) => {
        concat!(
            "SELECT n.nspname, p.proname, p.pronargs,
       CASE WHEN l.lanname = 'sql' AND p.prokind = 'f' AND p.proconfig IS NULL
                 AND p.pronargdefaults = 0
            THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END,
       p.proargtypes::pg_catalog.text
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE (n.nspname <> 'pg_catalog' OR p.oid >= 16384) AND p.oid",
            $whose,
            " AND NOT ",
            pure!(),
            " ORDER BY p.oid"
        )
    };
}

/// What initdb makes has smaller OIDs than this (`FirstNormalObjectId`).
macro_rules! of_system {
    () => {
        " < 16384"
    };
}
macro_rules! of_others {
    () => {
        " >= 16384"
    };
}

/// What the server brought along, each query with the number of the one in [`QUERIES`] that asks the same of the rest. It
/// changes when an administrator replaces something of the server's own: [`SYSTEM_VERSION`] tells.
pub const SYSTEM_QUERIES: &[(usize, &str)] = &[
    (0, relations!(of_system!())),
    (1, columns!(of_system!())),
    (2, sources!(of_system!())),
    (3, functions!(of_system!())),
    (7, keys!(of_system!())),
    (8, tests!(of_system!())),
    (11, BUILTINS),
    (BODIES_AT + 2, bodies!(of_system!())),
];

/// The queries about everything else, in the order in which their rows are to be fed, behind those of [`SYSTEM_QUERIES`].
pub const QUERIES: &[&str] = &[
    relations!(of_others!()),
    columns!(of_others!()),
    sources!(of_others!()),
    functions!(of_others!()),
    GENERATED,
    REACTIONS,
    CASCADES,
    keys!(of_others!()),
    tests!(of_others!()),
    EXTENSION_FUNCTIONS,
    VERSION,
    NOTHING,
    CALLING,
    DEPENDENTS,
    OBJECTS,
    ON_TEMPORARY,
    PATIENCE,
    VIEWS,
    bodies!(of_others!()),
];

/// The first query that may fail without making the catalog useless; within one view none can run after it.
pub const BODIES_AT: usize = 16;

/// In place of a query that is only asked about what the server brought along.
const NOTHING: &str = "SELECT 1 LIMIT 0";

const EXTENSION_FUNCTIONS: &str = concat!(
    "SELECT DISTINCT n.nspname, p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.oid >= 16384 AND ",
    pure!()
);

/// The server's version and the signature and traits of each of its own functions, as `linegate_policy::builtins` lists them.
const BUILTINS: &str = "\
SELECT pg_catalog.current_setting('server_version_num'),
       pg_catalog.concat(p.proname, '(', pg_catalog.oidvectortypes(p.proargtypes), ')'),
       pg_catalog.concat(p.prokind, p.provolatile, CASE WHEN p.proisstrict THEN 's' ELSE '-' END,
                         CASE WHEN p.provariadic <> 0 THEN 'v' ELSE '-' END,
                         CASE WHEN p.prosecdef THEN pg_catalog.upper(pg_catalog.left(l.lanname, 1)) ELSE pg_catalog.left(l.lanname, 1) END)
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.oid < 16384";

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
UNION ALL SELECT 'y', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_policy t
UNION ALL SELECT 'x', t.xmin::pg_catalog.text::pg_catalog.int8, t.indexrelid::pg_catalog.int8
  FROM pg_catalog.pg_index t WHERE t.indexrelid >= 16384
UNION ALL SELECT 'o', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_operator t WHERE t.oid >= 16384
UNION ALL SELECT 'f', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_cast t WHERE t.oid >= 16384
UNION ALL SELECT 't', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype <> 'c' AND (t.typtype <> 'b' OR t.typcategory <> 'A')
UNION ALL SELECT 'b', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_event_trigger t
UNION ALL SELECT 's', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8 FROM pg_catalog.pg_statistic_ext t
UNION ALL SELECT 'l', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_collation t WHERE t.oid >= 16384
UNION ALL SELECT 'e', t.xmin::pg_catalog.text::pg_catalog.int8, t.objid::pg_catalog.int8
  FROM pg_catalog.pg_depend t
 WHERE t.deptype = 'e' OR t.deptype = 'a' AND t.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND t.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.objid >= 16384
) x GROUP BY x.kind ) y";

/// The same of what the server brought along, as far as [`SYSTEM_QUERIES`] ask for it.
pub const SYSTEM_VERSION: &str = "\
SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', y.kind, y.n, y.plain, y.weighted), ' ' ORDER BY y.kind) FROM (
SELECT x.kind, pg_catalog.count(*) AS n, pg_catalog.sum(x.made) AS plain, pg_catalog.sum(x.made * (x.place % 8191 + 1)) AS weighted FROM (
SELECT 'c' AS kind, t.xmin::pg_catalog.text::pg_catalog.int8 AS made, t.oid::pg_catalog.int8 AS place
  FROM pg_catalog.pg_class t WHERE t.oid < 16384
UNION ALL SELECT 'a', t.xmin::pg_catalog.text::pg_catalog.int8, t.attrelid::pg_catalog.int8 * 31 + t.attnum + 8
  FROM pg_catalog.pg_attribute t WHERE t.attrelid < 16384
UNION ALL SELECT 'w', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_rewrite t WHERE t.oid < 16384
UNION ALL SELECT 'p', t.xmin::pg_catalog.text::pg_catalog.int8, t.oid::pg_catalog.int8
  FROM pg_catalog.pg_proc t WHERE t.oid < 16384
UNION ALL SELECT 'x', t.xmin::pg_catalog.text::pg_catalog.int8, t.indexrelid::pg_catalog.int8
  FROM pg_catalog.pg_index t WHERE t.indexrelid < 16384
) x GROUP BY x.kind ) y";

/// Operators (o), and types (t) that call somebody's functions where they are used: domains by their checks, somebody's types by
/// casts to them. An operator that shares its name with one of the server's own is told by its schema as well: without, the name
/// says nothing. Event triggers (e), but for the one that `linegate role` prints.
const CALLING: &str = concat!(
    "WITH RECURSIVE harmless AS MATERIALIZED (",
    harmless!(),
    "), ",
    checked!(),
    "
SELECT 'o', CASE WHEN o.oprname IN (SELECT b.oprname FROM pg_catalog.pg_operator b WHERE b.oid < 16384)
            THEN pg_catalog.concat(n.nspname, '.', o.oprname) ELSE o.oprname END, 0::pg_catalog.oid
  FROM pg_catalog.pg_operator o
  JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
  JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
 WHERE o.oid >= 16384 AND p.oid >= 16384 AND p.oid NOT IN (SELECT h.oid FROM harmless h)
UNION
SELECT 't', t.typname, t.oid
  FROM pg_catalog.pg_cast c
  JOIN pg_catalog.pg_type t ON t.oid = c.casttarget AND t.oid >= 16384
  JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
 WHERE c.oid >= 16384 AND p.oid >= 16384 AND p.oid NOT IN (SELECT h.oid FROM harmless h)
UNION
SELECT 't', t.typname, t.oid FROM checked k JOIN pg_catalog.pg_type t ON t.oid = k.oid
UNION
SELECT 'e', e.evtname, 0
  FROM pg_catalog.pg_event_trigger e
  JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE e.evtenabled <> 'D' AND e.evtevent <> 'login'
   AND NOT (p.proname = 'linegate_catalog_changed' AND l.lanname = 'plpgsql' AND p.proconfig IS NULL AND NOT p.prosecdef
            AND p.prosrc ~ '^\\s*BEGIN PERFORM pg_catalog[.]pg_notify[(]''[^'']*'', ''''[)]; END\\s*$')"
);

/// Generated columns with the columns that their expressions read.
const GENERATED: &str = "\
SELECT DISTINCT d.adrelid, d.adnum, m.found[1]::pg_catalog.int2
  FROM pg_catalog.pg_attrdef d
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
     , LATERAL pg_catalog.regexp_matches(d.adbin::pg_catalog.text, ':varattno ([0-9]+)', 'g') AS m(found)";

/// What else runs: 1, somebody's triggers, or defaults, checks (of columns' domains as well) and indexes that call somebody's
/// functions or operators, when rows change; 2, such functions in a view's query or a row policy, when rows are read; 4, locks of rows by
/// a view's query. Then, whether there are rules on changes.
const REACTIONS: &str = concat!(
    "WITH RECURSIVE harmless AS MATERIALIZED (",
    harmless!(),
    "), ",
    checked!(),
    "
SELECT c.oid,
       (c.oid IN (SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal))::pg_catalog.int4,
       (c.oid IN (SELECT r.ev_class FROM pg_catalog.pg_rewrite r WHERE r.ev_type <> '1'))::pg_catalog.int4
  FROM pg_catalog.pg_class c
 WHERE (c.relhastriggers OR c.relhasrules) AND c.oid >= 16384
UNION ALL
SELECT COALESCE(f.adrelid, k.conrelid, i.indrelid, b.oid, y.polrelid, r.ev_class),
       CASE WHEN y.oid IS NOT NULL THEN 3 WHEN r.oid IS NOT NULL THEN 2 ELSE 1 END, 0
  FROM pg_catalog.pg_depend u
  LEFT JOIN pg_catalog.pg_operator o ON u.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = u.refobjid
  LEFT JOIN pg_catalog.pg_proc p ON p.oid = CASE u.refclassid
       WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN u.refobjid ELSE o.oprcode END
  LEFT JOIN pg_catalog.pg_attrdef f ON u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = u.objid
  LEFT JOIN pg_catalog.pg_constraint k ON u.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = u.objid
       AND k.contype = 'c' AND k.conrelid <> 0
  LEFT JOIN pg_catalog.pg_index i ON u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = u.objid
  LEFT JOIN pg_catalog.pg_class b ON u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND b.oid = u.objid AND b.relkind = 'p'
  LEFT JOIN pg_catalog.pg_policy y ON u.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND y.oid = u.objid
  LEFT JOIN pg_catalog.pg_rewrite r ON u.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = u.objid
       AND r.ev_type = '1'
 WHERE u.refobjid >= 16384 AND COALESCE(f.adrelid, k.conrelid, i.indrelid, b.oid, y.polrelid, r.ev_class) IS NOT NULL
   AND (u.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
        AND p.oid NOT IN (SELECT h.oid FROM harmless h)
        OR u.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND u.refobjid IN (SELECT k.oid FROM checked k))
UNION ALL
SELECT DISTINCT a.attrelid, 3, 0
  FROM checked k JOIN pg_catalog.pg_attribute a ON a.atttypid = k.oid AND a.attnum > 0
UNION ALL
SELECT r.ev_class, 4, 0
  FROM pg_catalog.pg_rewrite r
 WHERE r.ev_type = '1' AND r.oid >= 16384 AND pg_catalog.strpos(r.ev_action::pg_catalog.text, '{ROWMARKCLAUSE ') > 0"
);

/// Foreign keys, from the relation they point at: ON DELETE and ON UPDATE. TRUNCATE and DROP go along those without actions.
const CASCADES: &str = "\
SELECT k.confrelid, k.conrelid, k.confdeltype, k.confupdtype, c.number, k.confkey[c.place]
  FROM pg_catalog.pg_constraint k, LATERAL pg_catalog.unnest(k.conkey) WITH ORDINALITY AS c(number, place)
 WHERE k.contype = 'f'";

/// For the rest of the reading; [`SETTINGS`] takes it back.
const PATIENCE: &str = "SET lock_timeout = '500ms'";

/// What every role made: system views show no rows of users' tables but statistics, which policy knows by name.
///
/// A view that would have to be waited for, since somebody changes it or what it shows, is left out.
const VIEWS: &str = "\
WITH locked AS MATERIALIZED (
SELECT l.relation FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
   AND l.relation >= 16384)
SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid)
  FROM pg_catalog.pg_class c
 WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND c.oid NOT IN (SELECT l.relation FROM locked l)
   AND NOT EXISTS (SELECT 1 FROM locked l
                     JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = l.relation
                      AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                     JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
                    WHERE r.ev_class = c.oid)
 ORDER BY c.oid";
