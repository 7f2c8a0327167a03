-- Operators and casts of pg_catalog and the functions behind them, one pair a line: what is applied, a tab, the function's
-- signature. Source: PostgreSQL manual, "System Catalogs": pg_operator, pg_cast.
SET search_path = pg_catalog;
SELECT a.what || E'\t' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
  FROM (SELECT 'operator ' || o.oprname || ' (' || COALESCE(format_type(NULLIF(o.oprleft, 0), NULL), '-') || ', '
               || COALESCE(format_type(NULLIF(o.oprright, 0), NULL), '-') || ')' AS what, o.oprcode::oid AS made_by
          FROM pg_operator o WHERE o.oid < 16384 AND o.oprcode <> 0
        UNION ALL
        SELECT 'cast ' || format_type(c.castsource, NULL) || ' as ' || format_type(c.casttarget, NULL), c.castfunc
          FROM pg_cast c WHERE c.oid < 16384 AND c.castfunc <> 0) a
  JOIN pg_proc p ON p.oid = a.made_by
 ORDER BY 1;
