-- Every function of pg_catalog that came with the server, one line each: its signature, a tab, and five letters: kind
-- (f function, a aggregate, w window, p procedure), volatility (i, s, v), s if strict, v if variadic, language (i internal,
-- c, s SQL; S, C or I where it runs with its owner's rights). Extensions' functions are left out.
-- Source: PostgreSQL manual, "System Catalogs": pg_proc, pg_language, pg_depend.
SET search_path = pg_catalog;
SELECT concat(p.proname, '(', oidvectortypes(p.proargtypes), ')', E'\t', p.prokind, p.provolatile,
              CASE WHEN p.proisstrict THEN 's' ELSE '-' END, CASE WHEN p.provariadic <> 0 THEN 'v' ELSE '-' END,
              CASE WHEN p.prosecdef THEN upper(left(l.lanname, 1)) ELSE left(l.lanname, 1) END)
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
   AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY concat(p.proname, '(', oidvectortypes(p.proargtypes), ')') COLLATE "C";
