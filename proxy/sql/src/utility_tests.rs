//! Statements that wrap, define or administer.

use super::tests::check;
use linegate_identity::Effects;

#[test]
fn wrapped_statements_do_what_is_inside() {
    check(&[
        ("EXPLAIN SELECT * FROM t", "select+explain reads t"),
        ("EXPLAIN DELETE FROM t", "select+explain reads t"),
        (
            "EXPLAIN (COSTS OFF, ANALYZE false) DELETE FROM t",
            "select+explain reads t",
        ),
        ("EXPLAIN (ANALYZE off) DELETE FROM t", "select+explain reads t"),
        ("EXPLAIN (ANALYZE 0) DELETE FROM t", "select+explain reads t"),
        (
            "EXPLAIN ANALYZE DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN ANALYZE VERBOSE DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN (ANALYZE) DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN (ANALYZE true) DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN (ANALYZE 'on') DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN (ANALYZE 1) DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN (\"analyze\" ON) DELETE FROM t",
            "delete+explain writes t unbounded",
        ),
        (
            "EXPLAIN CREATE TABLE x AS SELECT * FROM t",
            "select+explain reads t,x",
        ),
        ("EXPLAIN EXECUTE p", "explain+prepared"),
        ("EXPLAIN ANALYZE EXECUTE p(1)", "explain+prepared"),
        (
            "PREPARE p AS DELETE FROM t",
            "delete+prepared writes t unbounded prepares",
        ),
        (
            "PREPARE p(int) AS SELECT * FROM t WHERE id = $1",
            "select+prepared reads t prepares",
        ),
        ("DECLARE c CURSOR FOR SELECT * FROM t", "select reads t prepares"),
        ("EXECUTE p((SELECT x FROM t))", "select+prepared reads t"),
        ("EXECUTE p(1)", "prepared"),
        ("FETCH ALL FROM c", "prepared"),
        ("MOVE c", "prepared"),
        ("CLOSE ALL", "prepared"),
        ("DEALLOCATE p", "prepared"),
        ("COPY t FROM STDIN", "copy-in writes t"),
        ("COPY t FROM STDIN WHERE x > 1", "copy-in writes t"),
        ("COPY t TO STDOUT", "copy-out reads t"),
        ("COPY (SELECT * FROM t) TO STDOUT", "select+copy-out reads t"),
        (
            "COPY (DELETE FROM t RETURNING *) TO STDOUT",
            "select+delete+copy-out reads t writes t unbounded",
        ),
        ("COPY t TO '/tmp/x'", "server reads t"),
        ("COPY t FROM '/tmp/x'", "server writes t"),
        ("COPY t TO PROGRAM 'cat'", "server reads t"),
        ("COPY t FROM PROGRAM 'cat'", "server writes t"),
        (
            "COPY t FROM STDIN; DROP TABLE x",
            "drop+copy-in writes t,x catalog",
        ),
        (
            "CREATE TABLE x AS SELECT * FROM t",
            "select+create reads t writes x catalog",
        ),
        ("CREATE TABLE x AS EXECUTE p", "create+prepared writes x catalog"),
        (
            "CREATE MATERIALIZED VIEW x AS SELECT * FROM t",
            "select+create reads t writes x catalog",
        ),
        (
            "CREATE VIEW v AS WITH t AS (SELECT * FROM u) SELECT * FROM t",
            "select+create reads u writes v catalog",
        ),
        (
            "CREATE SCHEMA s CREATE TABLE s.a (x int REFERENCES b) CREATE VIEW s.v AS SELECT * FROM c",
            "select+create reads b,c writes s,s.a,s.v catalog",
        ),
        (
            "DO $$ BEGIN DELETE FROM t; END $$",
            "execute opaque a DO block catalog",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''y'''; END $$",
            "execute opaque a DO block catalog secret",
        ),
        (
            "CALL app.p((SELECT x FROM t))",
            "select+call reads t calls app.p opaque a procedure body catalog",
        ),
    ]);
}

#[test]
fn definitions_name_their_objects() {
    check(&[
        (
            "CREATE TABLE app.x (a int DEFAULT nextval('s'), b int CHECK (f(b)), c int REFERENCES u, FOREIGN KEY (b) REFERENCES v, LIKE w)",
            "create reads u,v,w writes app.x calls f,nextval catalog",
        ),
        (
            "CREATE TEMP TABLE x PARTITION OF y FOR VALUES FROM (1) TO (MAXVALUE)",
            "create reads y writes y,pg_temp.x catalog",
        ),
        (
            "CREATE TABLE x () INHERITS (y)",
            "create reads y writes x,y catalog",
        ),
        (
            "CREATE TABLE x (a int GENERATED ALWAYS AS (f(b)) STORED) PARTITION BY RANGE ((g(a)))",
            "create writes x calls f,g catalog",
        ),
        (
            "CREATE FOREIGN TABLE x (a int) SERVER s OPTIONS (password 'p')",
            "create+server writes x catalog secret",
        ),
        (
            "CREATE INDEX CONCURRENTLY i ON t (lower(a)) WHERE f(b)",
            "create writes t calls f,lower catalog",
        ),
        (
            "ALTER TABLE t ADD COLUMN a int DEFAULT f(), ALTER b TYPE text USING g(b)",
            "alter writes t calls f,g catalog",
        ),
        (
            "ALTER TABLE t ATTACH PARTITION u DEFAULT",
            "alter reads u writes t,u catalog",
        ),
        ("ALTER TABLE t INHERIT u", "alter reads u writes t,u catalog"),
        ("ALTER TABLE t RENAME TO u", "alter writes t,u catalog"),
        ("ALTER TABLE app.t RENAME a TO b", "alter writes app.t catalog"),
        (
            "ALTER TABLE app.t SET SCHEMA pub",
            "create+alter writes app.t,pub.t catalog",
        ),
        ("ALTER TABLE t OWNER TO x", "alter writes t catalog"),
        (
            "ALTER FUNCTION app.f(int) OWNER TO x",
            "alter writes app.f opaque a function body catalog",
        ),
        (
            "ALTER SCHEMA s RENAME TO u",
            "alter writes s opaque everything in a schema catalog",
        ),
        ("ALTER SEQUENCE s RESTART", "alter writes s catalog"),
        ("ALTER VIEW v SET (security_barrier)", "alter writes v catalog"),
        ("ALTER TYPE e ADD VALUE 'x'", "alter writes e catalog"),
        ("COMMENT ON TABLE app.t IS 'x'", "alter writes app.t"),
        ("COMMENT ON COLUMN app.t.c IS 'x'", "alter writes app.t"),
        ("COMMENT ON FUNCTION f(int) IS 'x'", "alter writes f"),
        ("SECURITY LABEL ON TABLE t IS 'x'", "alter writes t"),
        (
            "DROP TABLE IF EXISTS a, app.b CASCADE",
            "drop writes a,app.b catalog",
        ),
        ("DROP FUNCTION app.f(int), g", "drop writes g,app.f catalog"),
        ("DROP SCHEMA s", "drop writes s catalog"),
        ("DROP TYPE app.e", "drop writes app.e catalog"),
        ("DROP TRIGGER x ON app.t", "drop writes x,app.t catalog"),
        ("DROP POLICY x ON t", "drop writes t,x catalog"),
        ("DROP CAST (app.a AS app.b)", "drop writes app.a,app.b catalog"),
        ("DROP OPERATOR CLASS o USING btree", "drop writes o catalog"),
        ("DROP AGGREGATE a(int)", "drop writes a catalog"),
        ("DROP INDEX i", "drop writes i catalog"),
        (
            "DROP OWNED BY x",
            "drop+grant opaque everything that a role owns catalog",
        ),
        (
            "CREATE FUNCTION f(a int DEFAULT g()) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "create writes f calls g opaque a function body catalog",
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM t; SELECT x FROM u; END",
            "create reads t,u writes f opaque a function body catalog",
        ),
        (
            "CREATE FUNCTION f() RETURNS int RETURN (SELECT x FROM u)",
            "create reads u writes f opaque a function body catalog",
        ),
        (
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN END'",
            "create writes p opaque a function body catalog",
        ),
        (
            "CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW WHEN (g(NEW.a)) EXECUTE FUNCTION app.f()",
            "create writes t calls g,app.f opaque a function body catalog",
        ),
        (
            "CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u",
            "delete+create writes t,u opaque a rule body unbounded catalog",
        ),
        (
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
            "create writes e calls f opaque a function body catalog",
        ),
        (
            "CREATE POLICY p ON t USING (EXISTS (SELECT 1 FROM u))",
            "select+create reads u writes t catalog",
        ),
        (
            "CREATE AGGREGATE a(int) (sfunc = f, stype = int)",
            "create writes a opaque a user-defined operator, aggregate or cast catalog",
        ),
        (
            "CREATE DOMAIN d AS int CHECK (f(VALUE))",
            "create writes d calls f catalog",
        ),
        ("CREATE TYPE e AS ENUM ('a')", "create writes e catalog"),
        ("CREATE STATISTICS s ON a, b FROM t", "create writes s,t catalog"),
        ("CREATE SEQUENCE s OWNED BY t.a", "create writes s catalog"),
    ]);
}

#[test]
fn only_one_query_may_take_a_settings_name_from_a_row() {
    let restrict = "'restrict_nonsystem_relation_kind'";
    let value = "'view, foreign-table'";
    for text in [
        format!("SELECT set_config(name, 'postgres', false) FROM pg_settings WHERE name = {restrict}"),
        format!("SELECT set_config(name, {value}, false) FROM pg_settings WHERE name = 'role'"),
        format!("SELECT set_config(name, {value}, false) FROM pg_settings WHERE name <> {restrict}"),
        format!(
            "SELECT set_config(name, {value}, false) FROM pg_settings WHERE name OPERATOR(app.=) {restrict}"
        ),
        format!("SELECT set_config(name, {value}, false) FROM pg_settings WHERE name = {restrict} OR true"),
        format!("SELECT set_config(name, {value}, false) FROM pg_settings"),
        format!("SELECT set_config(setting, {value}, false) FROM pg_settings WHERE name = {restrict}"),
        format!("SELECT set_config(name, setting, false) FROM pg_settings WHERE name = {restrict}"),
        format!(
            "SELECT set_config(name, {value}, false) FROM pg_settings s(ssn, name) WHERE name = {restrict}"
        ),
        format!("SELECT set_config(name, {value}, false) FROM pg_settings, c WHERE name = {restrict}"),
        format!("SELECT set_config(name, {value}, false) FROM app.pg_settings WHERE name = {restrict}"),
        format!("SELECT set_config(name, {value}, false), ssn FROM pg_settings WHERE name = {restrict}"),
        format!(
            "WITH pg_settings AS (SELECT ssn AS name FROM c) SELECT set_config(name, {value}, false) FROM pg_settings WHERE name = {restrict}"
        ),
    ] {
        let found = super::read(text.as_bytes());
        assert!(found.effects.contains(Effects::ROLE), "{text}");
        assert_eq!(found.settings, ["*"], "{text}");
        assert!(!found.opaque.is_empty(), "{text}");
    }
}

#[test]
fn sessions_roles_and_servers() {
    check(&[
        ("BEGIN", "transaction"),
        ("START TRANSACTION READ ONLY", "transaction"),
        ("SAVEPOINT a", "transaction"),
        ("PREPARE TRANSACTION 'x'", "transaction+server"),
        ("ROLLBACK TO a", "transaction"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "transaction"),
        ("SET CONSTRAINTS ALL DEFERRED", "transaction"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "set sets default_transaction_read_only",
        ),
        ("SET \"Search_Path\" TO x", "set sets search_path=x"),
        ("SET search_path TO x, y", "set sets search_path"),
        ("SET LOCAL statement_timeout = 0", "set sets statement_timeout=0"),
        ("SET NAMES 'latin1'", "set sets client_encoding=latin1"),
        ("SET TIME ZONE 'UTC'", "set sets timezone=UTC"),
        ("SET client_encoding TO 'UTF8'", "set sets client_encoding=UTF8"),
        ("SET client_encoding TO DEFAULT", "set sets client_encoding"),
        (
            "SET standard_conforming_strings = on",
            "set sets standard_conforming_strings=on",
        ),
        (
            "SET standard_conforming_strings = 1",
            "set sets standard_conforming_strings=1",
        ),
        (
            "SET client_min_messages = warning",
            "set sets client_min_messages=warning",
        ),
        ("SET \"a=b\" = 'x'", "set sets a=b"),
        (
            "SET work_mem = '0000000000000000000000000000000000000000000000000000000000000000000'",
            "set sets work_mem",
        ),
        ("RESET ALL", "set sets *"),
        ("RESET search_path", "set sets search_path"),
        ("DISCARD ALL", "set sets * catalog"),
        ("DISCARD PLANS", "set"),
        ("SHOW ALL", "show"),
        ("SET ROLE admin", "role sets role=admin"),
        ("SET LOCAL ROLE NONE", "role sets role=none"),
        ("SET \"ROLE\" = 'admin'", "role sets role=admin"),
        ("RESET ROLE", "set sets role"),
        ("SET SESSION AUTHORIZATION x", "role sets session_authorization=x"),
        ("RESET SESSION AUTHORIZATION", "set sets session_authorization"),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            "set sets session_authorization",
        ),
        (
            "SELECT set_config('Search_Path', 'x', false)",
            "select+set calls set_config sets search_path=x",
        ),
        (
            "SELECT pg_catalog.set_config('role'::text, 'x', false)",
            "select+role calls set_config sets role=x",
        ),
        (
            "SELECT set_config(is_local => false, new_value => 'x', setting_name => 'role')",
            "select+role calls set_config sets role=x",
        ),
        (
            "SELECT set_config('client_encoding', $1, false)",
            "select+set calls set_config sets client_encoding",
        ),
        (
            "SELECT set_config('client_encoding', 'UTF8x'::varchar(4), false)",
            "select+set calls set_config sets client_encoding",
        ),
        (
            "SELECT set_config('role-x'::char(4), 'x', false)",
            "select+set+role calls set_config sets *",
        ),
        (
            "SELECT set_config('ro' || 'le', 'x', false)",
            "select+set+role calls set_config sets *",
        ),
        (
            "SELECT set_config('a.b', ssn, false) FROM c",
            "select+set reads c calls set_config sets a.b opaque a function that keeps or sends a value",
        ),
        (
            "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
            "select+set reads pg_settings calls set_config sets restrict_nonsystem_relation_kind=view, foreign-table",
        ),
        (
            "SELECT set_config(s.name, 'view, foreign-table', true) FROM pg_catalog.pg_settings s WHERE s.name = 'restrict_nonsystem_relation_kind'",
            "select+set reads pg_catalog.pg_settings calls set_config sets restrict_nonsystem_relation_kind=view, foreign-table",
        ),
        ("CREATE ROLE x LOGIN PASSWORD 'y'", "role writes x secret"),
        ("ALTER USER x PASSWORD NULL", "role writes x"),
        ("ALTER ROLE x CREATEDB", "role writes x"),
        (
            "ALTER ROLE x SET search_path = y",
            "role writes x sets search_path=y",
        ),
        ("ALTER ROLE x RENAME TO y", "role writes x catalog"),
        ("DROP ROLE x, y", "role writes x,y"),
        (
            "REASSIGN OWNED BY x TO y",
            "alter+role opaque everything that a role owns catalog",
        ),
        ("GRANT SELECT ON app.t TO x", "grant writes app.t"),
        (
            "GRANT ALL ON ALL TABLES IN SCHEMA s TO x",
            "grant writes s opaque everything in a schema",
        ),
        ("REVOKE EXECUTE ON FUNCTION f(int) FROM x", "grant writes f"),
        ("GRANT x TO y", "grant+role"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x", "grant"),
        ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "lock writes t"),
        ("VACUUM FULL t", "maintenance writes t"),
        ("ANALYZE", "maintenance"),
        ("REINDEX TABLE t", "maintenance writes t"),
        ("REINDEX SCHEMA s", "maintenance writes s"),
        ("CLUSTER t USING i", "maintenance writes t"),
        ("CHECKPOINT", "maintenance"),
        ("REFRESH MATERIALIZED VIEW m", "maintenance writes m"),
        ("LISTEN a", "notify"),
        ("NOTIFY a, 'b'", "notify"),
        ("UNLISTEN *", "notify"),
        ("SELECT pg_notify('a', 'b')", "select+notify calls pg_notify"),
        (
            "SELECT pg_notify('a', ssn) FROM c",
            "select+notify reads c calls pg_notify opaque a function that keeps or sends a value",
        ),
        ("ALTER SYSTEM SET work_mem = 1", "server sets work_mem=1"),
        ("LOAD 'x'", "server"),
        ("CREATE EXTENSION x", "create+server writes x catalog"),
        (
            "CREATE EXTENSION IF NOT EXISTS x WITH VERSION '1' SCHEMA s CASCADE",
            "create+server writes s.x catalog",
        ),
        (
            "ALTER EXTENSION x SET SCHEMA s",
            "create+server writes x,s.x catalog",
        ),
        (
            "DROP EXTENSION x",
            "drop+server writes x opaque what depends on what is dropped catalog",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h')",
            "server writes s secret",
        ),
        (
            "CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'p')",
            "server writes s secret",
        ),
        (
            "ALTER USER MAPPING FOR x SERVER s OPTIONS (SET password 'p')",
            "server writes s secret",
        ),
        (
            "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
            "create+server writes b.? catalog",
        ),
        (
            "IMPORT FOREIGN SCHEMA a EXCEPT (t) FROM SERVER s INTO b",
            "create+server writes b.? catalog",
        ),
        (
            "IMPORT FOREIGN SCHEMA a LIMIT TO (t, u) FROM SERVER s INTO b",
            "create+server writes b.t,b.u catalog",
        ),
        ("CREATE DATABASE d", "server writes d"),
        ("DROP DATABASE d", "drop+server writes d"),
        (
            "ALTER DATABASE d SET search_path = x",
            "server writes d sets search_path=x",
        ),
        ("CREATE TABLESPACE s LOCATION '/x'", "server writes s"),
        (
            "ALTER TABLE ALL IN TABLESPACE s SET TABLESPACE t",
            "maintenance+server writes s",
        ),
        ("CREATE LANGUAGE plx HANDLER h", "server writes plx catalog"),
        (
            "CREATE PUBLICATION p FOR TABLE t WHERE (a > 1)",
            "replication reads t writes p",
        ),
        ("ALTER PUBLICATION p ADD TABLE t", "replication reads t writes p"),
        ("DROP PUBLICATION p", "drop+replication writes p catalog"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=p' PUBLICATION q",
            "replication writes s opaque what a publisher sends secret",
        ),
        (
            "SELECT * FROM dblink('host=h', 'SELECT 1') t(a int)",
            "select+execute+server calls dblink opaque a function that runs query text catalog secret",
        ),
        (
            "SELECT query_to_xml('SELECT 1', true, true, '')",
            "select+execute calls query_to_xml opaque a function that runs query text catalog",
        ),
        (
            "SELECT * FROM pg_read_file('/etc/passwd')",
            "select+server calls pg_read_file opaque a function that reads or writes server files",
        ),
        (
            "SELECT pg_terminate_backend(1)",
            "select+server calls pg_terminate_backend opaque a function that controls the server",
        ),
        (
            "SELECT pg_create_physical_replication_slot('x')",
            "select+replication calls pg_create_physical_replication_slot opaque a function on replication or the write-ahead log",
        ),
    ]);
}
