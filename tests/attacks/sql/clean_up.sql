-- Statements that remove what a case may have left outside the fixture's schemas.
SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
UNION ALL SELECT format('DROP EVENT TRIGGER %I', evtname) FROM pg_event_trigger
UNION ALL SELECT format('SELECT pg_drop_replication_slot(%L)', slot_name) FROM pg_replication_slots WHERE NOT active
UNION ALL SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication
UNION ALL SELECT format('DROP SERVER %I CASCADE', srvname) FROM pg_foreign_server
UNION ALL SELECT format('SELECT lo_unlink(%s)', oid) FROM pg_largeobject_metadata
UNION ALL SELECT format('ALTER SYSTEM RESET %I', name) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'
UNION ALL SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace WHERE nspname LIKE 'lgx%'
UNION ALL SELECT format('DROP OWNED BY %I', rolname) FROM pg_roles WHERE rolname LIKE 'lgx%'
UNION ALL SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname LIKE 'lgx%'
UNION ALL SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'lgx%'
UNION ALL SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.oid::regclass)
    FROM pg_class c WHERE relkind IN ('r', 'v', 'm', 'S', 'f', 'p')
    AND (relnamespace = 'public'::regnamespace
        OR relnamespace = 'app'::regnamespace
            AND relname NOT IN ('customers', 'orders', 'customer_names', 'customer_cards', 'scratch', 'typed'))
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'a', 'i'))
UNION ALL SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure) FROM pg_proc p
    WHERE pronamespace IN ('public'::regnamespace, 'app'::regnamespace)
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL VALUES ('ALTER ROLE app RESET ALL'), ('ALTER DATABASE shop RESET ALL'), ('SELECT pg_reload_conf()'),
    ('ALTER ROLE app SUPERUSER REPLICATION'), ('ALTER ROLE low NOLOGIN PASSWORD NULL'),
    ('ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA vault REVOKE ALL ON TABLES FROM low'),
    ('RESET SESSION AUTHORIZATION'), ('RESET synchronous_commit')
