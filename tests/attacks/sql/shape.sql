-- Everything outside the rows that a case could have changed, as one value.
SELECT md5(string_agg(what, '|' ORDER BY what)) FROM (
SELECT ROW('c', oid, relname, relkind, relnamespace, relowner, coalesce(relacl::text, ''), relrowsecurity, coalesce(reloptions::text, ''), relhastriggers, relhasrules)::text AS what
    FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('vault', 'scratch', 'public', 'app'))
UNION ALL SELECT ROW('a', attrelid, attname, atttypid, attnum, attnotnull, atthasdef, coalesce(attacl::text, ''))::text
    FROM pg_attribute a WHERE attnum > 0 AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN
        (SELECT oid FROM pg_namespace WHERE nspname IN ('vault', 'scratch', 'public')))
UNION ALL SELECT ROW('p', oid, proname, prosecdef, coalesce(proacl::text, ''), md5(prosrc))::text FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT ROW('t', oid, typname)::text FROM pg_type WHERE oid >= 16384
    AND typnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
UNION ALL SELECT ROW('n', nspname, nspowner, coalesce(nspacl::text, ''))::text FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)'
UNION ALL SELECT ROW('r', rolname, rolsuper, rolcanlogin, coalesce(rolconfig::text, ''))::text FROM pg_roles
UNION ALL SELECT ROW('m', roleid, member)::text FROM pg_auth_members
UNION ALL SELECT ROW('s', setdatabase, setrole, setconfig::text)::text FROM pg_db_role_setting
UNION ALL SELECT ROW('g', tgrelid, tgname, tgenabled)::text FROM pg_trigger
UNION ALL SELECT ROW('w', ev_class, rulename)::text FROM pg_rewrite WHERE oid >= 16384
UNION ALL SELECT ROW('k', conrelid, conname)::text FROM pg_constraint WHERE oid >= 16384
    AND connamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
UNION ALL SELECT ROW('i', inhrelid, inhparent)::text FROM pg_inherits
UNION ALL SELECT ROW('d', objoid, description)::text FROM pg_description WHERE objoid >= 16384
UNION ALL SELECT ROW('e', evtname)::text FROM pg_event_trigger
UNION ALL SELECT ROW('f', srvname)::text FROM pg_foreign_server
UNION ALL SELECT ROW('u', pubname)::text FROM pg_publication
UNION ALL SELECT ROW('x', extname)::text FROM pg_extension
UNION ALL SELECT ROW('z', slot_name)::text FROM pg_replication_slots
UNION ALL SELECT ROW('q', gid)::text FROM pg_prepared_xacts
UNION ALL SELECT ROW('b', datname)::text FROM pg_database
UNION ALL SELECT ROW('o', oid)::text FROM pg_operator WHERE oid >= 16384
UNION ALL SELECT ROW('l', oid)::text FROM pg_largeobject_metadata
UNION ALL SELECT ROW('y', name)::text FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'
) x
