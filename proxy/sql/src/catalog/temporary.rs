//! What depends on something temporary that some session has, by name.
//! Source: PostgreSQL manual, "Dependency Tracking", "System Catalogs": pg_depend (deptype i, e: an object and what it is part of go
//! together, whichever of both goes first).

/// Names of relations with their indexes, types, functions, extensions and what else a definition can name, but for what is temporary
/// itself; and of types that are only announced, which whatever gets their name becomes. `*` stands for operators and casts, which are
/// used by signs, or by nothing that a text says.
pub(super) const ON_TEMPORARY: &str = "\
WITH RECURSIVE spaces AS MATERIALIZED (
SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(toast_)?temp_[0-9]+$'),
goes (class, object) AS (
SELECT d.classid, d.objid
  FROM spaces s
  JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = s.oid
UNION
SELECT x.class, x.object
  FROM goes g, LATERAL (
SELECT d.classid AS class, d.objid AS object
  FROM pg_catalog.pg_depend d WHERE d.refclassid = g.class AND d.refobjid = g.object
UNION ALL
SELECT d.refclassid, d.refobjid
  FROM pg_catalog.pg_depend d
 WHERE d.classid = g.class AND d.objid = g.object AND d.deptype IN ('i', 'e')
   AND d.refclassid <> 'pg_catalog.pg_namespace'::pg_catalog.regclass) x)
SELECT DISTINCT o.name FROM (
SELECT c.relname, c.relnamespace FROM goes g
  JOIN pg_catalog.pg_class c ON g.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = g.object
UNION ALL SELECT t.typname, t.typnamespace FROM goes g
  JOIN pg_catalog.pg_type t ON g.class = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = g.object
UNION ALL SELECT p.proname, p.pronamespace FROM goes g
  JOIN pg_catalog.pg_proc p ON g.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = g.object
UNION ALL SELECT e.extname, 0 FROM goes g
  JOIN pg_catalog.pg_extension e ON g.class = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.oid = g.object
UNION ALL SELECT '*', o.oprnamespace FROM goes g
  JOIN pg_catalog.pg_operator o ON g.class = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = g.object
UNION ALL SELECT '*', 0 FROM goes g WHERE g.class = 'pg_catalog.pg_cast'::pg_catalog.regclass
UNION ALL SELECT t.typname, 0 FROM pg_catalog.pg_type t WHERE NOT t.typisdefined
UNION ALL SELECT l.collname, l.collnamespace FROM goes g
  JOIN pg_catalog.pg_collation l ON g.class = 'pg_catalog.pg_collation'::pg_catalog.regclass AND l.oid = g.object
UNION ALL SELECT x.opcname, x.opcnamespace FROM goes g
  JOIN pg_catalog.pg_opclass x ON g.class = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND x.oid = g.object
UNION ALL SELECT x.cfgname, x.cfgnamespace FROM goes g
  JOIN pg_catalog.pg_ts_config x ON g.class = 'pg_catalog.pg_ts_config'::pg_catalog.regclass AND x.oid = g.object
UNION ALL SELECT x.dictname, x.dictnamespace FROM goes g
  JOIN pg_catalog.pg_ts_dict x ON g.class = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass AND x.oid = g.object
) o (name, schema) WHERE o.schema NOT IN (SELECT s.oid FROM spaces s) ORDER BY o.name";
