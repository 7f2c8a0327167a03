//! What goes along with what is dropped, beside views and foreign keys, and the schemas of objects that are no relations.
//! Source: PostgreSQL manual, "Dependency Tracking", "System Catalogs": pg_depend.

/// A relation's OID where an object is one or a part of one, else the object's own beside that of its catalog.
macro_rules! node {
    ($class:literal, $object:literal) => {
        concat!(
            "CASE ", $class, "
       WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN (
            SELECT CASE WHEN c.relkind = 'c' THEN 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + c.reltype::pg_catalog.int8
                   ELSE COALESCE(i.indrelid, c.oid)::pg_catalog.int8 END
              FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE c.oid = ", $object, ")
       WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN (
            SELECT COALESCE(c.oid::pg_catalog.int8, 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + COALESCE(e.oid, t.oid)::pg_catalog.int8)
              FROM pg_catalog.pg_type t
              LEFT JOIN pg_catalog.pg_type e ON t.typtype = 'b' AND t.typcategory = 'A' AND e.oid = t.typelem
              LEFT JOIN pg_catalog.pg_class c ON c.oid = COALESCE(e.typrelid, t.typrelid) AND c.relkind <> 'c'
             WHERE t.oid = ", $object, ")
       WHEN 'pg_catalog.pg_constraint'::pg_catalog.regclass THEN (
            SELECT CASE WHEN k.conrelid <> 0 THEN k.conrelid::pg_catalog.int8
                   ELSE 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + k.contypid::pg_catalog.int8 END
              FROM pg_catalog.pg_constraint k WHERE k.oid = ", $object, ")
       WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN (
            SELECT f.adrelid::pg_catalog.int8 FROM pg_catalog.pg_attrdef f WHERE f.oid = ", $object, ")
       WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass THEN (
            SELECT w.ev_class::pg_catalog.int8 FROM pg_catalog.pg_rewrite w WHERE w.oid = ", $object, ")
       WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass THEN (
            SELECT g.tgrelid::pg_catalog.int8 FROM pg_catalog.pg_trigger g WHERE g.oid = ", $object, ")
       WHEN 'pg_catalog.pg_policy'::pg_catalog.regclass THEN (
            SELECT y.polrelid::pg_catalog.int8 FROM pg_catalog.pg_policy y WHERE y.oid = ", $object, ")
       WHEN 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass THEN (
            SELECT s.stxrelid::pg_catalog.int8 FROM pg_catalog.pg_statistic_ext s WHERE s.oid = ", $object, ")
       ELSE ", $class, "::pg_catalog.int8 * 4294967296 + ", $object, "::pg_catalog.int8 END"
        )
    };
}

/// What depends on what, as pairs of an object and one that goes, or loses something, when it is dropped with CASCADE. A relation
/// is its OID (a sequence between a table and others' defaults, like any other object), with its row type, indexes, constraints, defaults, rules, triggers, policies and statistics; any other object is its own OID
/// beside that of its catalog, in the upper half. An extension goes with any of its parts, and takes all of
/// them. Left out is what [`super::QUERIES`] ask in other ways: what views and rules
/// show, foreign keys, children. At a sequence of a table, all that uses it.
pub(super) const DEPENDENTS: &str = concat!(
    "\
WITH d AS MATERIALIZED (
SELECT DISTINCT d.classid, d.objid, d.refclassid, d.refobjid
  FROM pg_catalog.pg_depend d
 WHERE d.refobjid >= 16384
   AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::pg_catalog.regclass, 'pg_catalog.pg_extension'::pg_catalog.regclass,
                            'pg_catalog.pg_publication'::pg_catalog.regclass)
   AND CASE d.refclassid
       WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.deptype = 'n'
        AND d.classid <> 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                 AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = d.objid AND h.inhparent = d.refobjid))
        AND NOT (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                 AND EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.oid = d.objid AND k.contype = 'f'))
        AND NOT (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                 AND EXISTS (SELECT FROM pg_catalog.pg_class q WHERE q.oid = d.refobjid AND q.relkind = 'S'))
       WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN d.deptype <> 'i' OR d.classid <> 'pg_catalog.pg_type'::pg_catalog.regclass
       ELSE d.deptype = 'n' OR d.refclassid <> 'pg_catalog.pg_constraint'::pg_catalog.regclass END)
SELECT DISTINCT x.given, x.taken FROM (
SELECT ",
    node!("d.refclassid", "d.refobjid"),
    " AS given, ",
    node!("d.classid", "d.objid"),
    " AS taken
  FROM d
UNION ALL
SELECT CASE m.side WHEN 1 THEN m.part ELSE m.owner END, CASE m.side WHEN 1 THEN m.owner ELSE m.part END
  FROM (SELECT d.refclassid::pg_catalog.int8 * 4294967296 + d.refobjid::pg_catalog.int8 AS owner, e.side, ",
    node!("d.classid", "d.objid"),
    " AS part
          FROM pg_catalog.pg_depend d CROSS JOIN (VALUES (1), (2)) AS e(side)
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND d.refobjid >= 16384) m
 WHERE m.part IS NOT NULL
UNION ALL
SELECT CASE e.side WHEN 1 THEN o.owner ELSE o.sequence END, CASE e.side WHEN 1 THEN o.sequence ELSE o.taken END
  FROM (SELECT s.refobjid::pg_catalog.int8 AS owner,
               'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + s.objid::pg_catalog.int8 AS sequence, ",
    node!("d.classid", "d.objid"),
    " AS taken
          FROM pg_catalog.pg_depend s
          JOIN pg_catalog.pg_class q ON q.oid = s.objid AND q.relkind = 'S'
          JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = s.objid
           AND d.deptype = 'n'
         WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND s.deptype IN ('a', 'i')) o
 CROSS JOIN (VALUES (1), (2)) AS e(side)
 WHERE o.taken <> o.owner
) x WHERE x.given <> x.taken"
);

/// Objects beside tables and views whose names are looked up along the search path: types, functions, operators, statistics,
/// collations, what text search is made of (that which the server brought along as well), each as in [`DEPENDENTS`]; and indexes, each as
/// its table.
pub(super) const OBJECTS: &str = "\
SELECT n.nspname, o.name, o.object FROM (
SELECT c.relnamespace AS schema, c.relname AS name, i.indrelid::pg_catalog.int8 AS object
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE c.oid >= 16384
UNION ALL SELECT t.typnamespace, t.typname, 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + t.oid::pg_catalog.int8
  FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
 WHERE (t.typrelid = 0 OR c.relkind = 'c') AND (t.typtype <> 'b' OR t.typcategory <> 'A')
   AND (t.oid >= 16384 OR t.typtype = 'd')
UNION ALL SELECT p.pronamespace, p.proname, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + p.oid::pg_catalog.int8
  FROM pg_catalog.pg_proc p WHERE p.oid >= 16384
UNION ALL SELECT o.oprnamespace, o.oprname, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + o.oid::pg_catalog.int8
  FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
UNION ALL SELECT s.stxnamespace, s.stxname, s.stxrelid::pg_catalog.int8 FROM pg_catalog.pg_statistic_ext s
UNION ALL SELECT l.collnamespace, l.collname, 'pg_catalog.pg_collation'::pg_catalog.regclass::pg_catalog.int8 * 4294967296 + l.oid::pg_catalog.int8
  FROM pg_catalog.pg_collation l WHERE l.oid >= 16384 OR l.collname NOT LIKE '%-x-icu'
UNION ALL SELECT x.cfgnamespace, x.cfgname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_ts_config x
UNION ALL SELECT x.dictnamespace, x.dictname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_ts_dict x
UNION ALL SELECT x.prsnamespace, x.prsname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_ts_parser x
UNION ALL SELECT x.tmplnamespace, x.tmplname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_ts_template x
UNION ALL SELECT x.opcnamespace, x.opcname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_opclass x WHERE x.oid >= 16384
UNION ALL SELECT x.opfnamespace, x.opfname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_opfamily x WHERE x.oid >= 16384
UNION ALL SELECT x.connamespace, x.conname, x.tableoid::pg_catalog.int8 * 4294967296 + x.oid::pg_catalog.int8 FROM pg_catalog.pg_conversion x WHERE x.oid >= 16384
) o JOIN pg_catalog.pg_namespace n ON n.oid = o.schema AND n.nspname <> 'pg_toast'";
