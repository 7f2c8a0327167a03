# psql: every \d command, \copy, \gdesc, \bind (newer psql), FETCH_COUNT, ON_ERROR_ROLLBACK, \watch, \crosstabview, pipelined variables, URIs.
# Output and errors are one stream, in order.
exec 2>&1
p() { psql -X "$@" 2>&1 | sed -E "s/(server process with PID) [0-9]+/\1 N/; s/ *"pg_temp_[0-9]+/"pg_temp_N/"; return "${PIPESTATUS[0]}"; }
echo "=== backslash"
p -v VERBOSITY=verbose <<'SQL'
\pset pager off
\d
\d+ app.*
\d types
\d+ items
\d parts
\d+ parts_a
\dS+ pg_class
\da
\dA+
\db
\dc
\dC
\dd
\ddp
\dD+
\det
\dew
\des
\deu
\df+ app.*
\dF
\dFd
\dFp
\dFt
\di+
\dl
\dL+
\dm
\dn+
\do app.*
\do pg_catalog.+ int4
\dO
\dp
\dP+
\drds
\dRp
\dRs
\ds
\dt+ app.*
\dT+ app.*
\du
\dv+
\dx+
\dy
\l
\z app.items
\sf app.chat
\sf+ add
\sv cheap
\encoding
\dconfig work_mem
\set
SQL
echo "=== statements"
p -v VERBOSITY=verbose -e <<'SQL'
\pset null '(null)'
SELECT * FROM types \gx
SELECT * FROM items ORDER BY id LIMIT 3;
SELECT 1/0;
SELECT * FROM itms;
\errverbose
SELECT id, name, price FROM items WHERE false \gdesc
SELECT $1::int AS a, now() AS b \gdesc
SELECT nonsense \gdesc
SELECT 'SELECT ' || n || ' AS made' FROM generate_series(1, 3) n \gexec
SELECT 7 AS seven, 'x' AS ex \gset got_
\echo :got_seven :got_ex :ROW_COUNT :ERROR :SQLSTATE :LAST_ERROR_MESSAGE
SELECT qty, name, price FROM items WHERE id < 5 \crosstabview
SELECT 1 \; SELECT 2 \; SELECT 3;
\set SHOW_ALL_RESULTS off
SELECT 1 \; SELECT 2;
\timing off
SELECT chat(2);
SELECT fail('P0001');
INSERT INTO log VALUES (1, 'a'), (2, 'b') RETURNING *;
UPDATE log SET line = 'c';
\echo :ROW_COUNT
BEGIN;
SELECT 1/0;
SELECT 1;
ROLLBACK;
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO log VALUES (3, 'kept');
SELECT 1/0;
INSERT INTO nowhere VALUES (1);
INSERT INTO log VALUES (4, 'kept too');
COMMIT;
\unset ON_ERROR_ROLLBACK
SELECT * FROM log ORDER BY at;
\set AUTOCOMMIT off
INSERT INTO log VALUES (5, 'rolled back');
ROLLBACK;
SELECT count(*) FROM log;
COMMIT;
\set AUTOCOMMIT on
\set FETCH_COUNT 7
SELECT n, 'row ' || n FROM generate_series(1, 30) n;
SELECT 1/(20 - n) FROM generate_series(1, 30) n;
INSERT INTO log SELECT n, 'f' FROM generate_series(1, 3) n RETURNING *;
\unset FETCH_COUNT
LISTEN here;
NOTIFY here, 'payload';
SELECT 1;
CALL steps(2, NULL);
DO $$ BEGIN RAISE WARNING 'careful'; END $$;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT count(*) FROM items;
PREPARE s (int) AS SELECT name FROM items WHERE id = $1;
EXECUTE s(3);
EXECUTE s('x');
DEALLOCATE s;
SELECT count(*) > 300 FROM pg_settings;
SET client_min_messages = debug;
CREATE TEMP TABLE tt (id serial PRIMARY KEY, v text);
RESET client_min_messages;
\d tt
DROP TABLE tt;
\c -
SELECT current_database(), session_user, current_user;
\c nowhere
SELECT 1;
SQL
echo "=== connects again within a session"
p -c '\c' -c 'SELECT 1'
p -v ON_ERROR_STOP=1 -c 'SELECT 1; SELECT 1/0; SELECT 2'; echo "status $?"
p -c 'SELECT 1; SELECT 2; INSERT INTO log VALUES (77, $$x$$)'
p -1 -c 'INSERT INTO log VALUES (78, $$x$$)' -c 'SELECT 1/0'; echo "status $?"
p -At -c "SELECT count(*) FROM log WHERE at >= 77"
echo "=== copy"
cd "$DRIVERS_SCRATCH"
p <<'SQL'
\copy types TO 'types.txt'
\copy types TO 'types.csv' WITH (FORMAT csv, HEADER)
\copy types TO 'types.bin' WITH (FORMAT binary)
\copy (SELECT id, name FROM items WHERE id < 4 ORDER BY id) TO STDOUT CSV
CREATE TEMP TABLE back (LIKE types);
\copy back FROM 'types.txt'
\copy back FROM 'types.csv' WITH (FORMAT csv, HEADER)
\copy back FROM 'types.bin' WITH (FORMAT binary)
SELECT count(*), count(DISTINCT back::text) FROM back;
\copy back FROM 'types.csv'
COPY log FROM STDIN;
100	hundred
101	\N
\.
COPY log FROM STDIN WITH (FORMAT csv);
102,"a,b"
x,y
\.
\copy nowhere FROM 'types.txt'
SELECT count(*) FROM log WHERE at >= 100;
\copy (SELECT n, repeat('z', n % 200) FROM generate_series(1, 50000) n) TO 'many.txt'
CREATE TEMP TABLE many (n int, t text);
\copy many FROM 'many.txt'
SELECT count(*), sum(n), sum(length(t)) FROM many;
SQL
sha256sum types.txt types.csv types.bin many.txt
cd - >/dev/null
echo "=== large objects, which psql calls by number"
echo hello >"$DRIVERS_SCRATCH/lo"
p -c "\lo_import $DRIVERS_SCRATCH/lo comment"
echo "=== URIs and options"
auth="$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT"
q="SELECT current_setting('statement_timeout'), current_setting('search_path'), current_setting('application_name'), current_setting('TimeZone'), current_setting('geqo')"
for uri in "postgresql://$auth/drivers" "postgresql://$auth/drivers?options=-c%20statement_timeout%3D4321" "postgres://$auth/drivers?options=-cgeqo%3Doff%20-c%20search_path%3Dpublic" "postgresql://$auth/drivers?application_name=mine" \
  "postgresql://$auth/drivers?connect_timeout=9&keepalives=1&client_encoding=UTF8" "postgresql://$auth/drivers?client_encoding=LATIN1" "postgresql://$auth/drivers?gssencmode=disable&target_session_attrs=read-write" \
  "postgresql://$auth/drivers?target_session_attrs=standby" "postgresql://$auth/drivers?options=-c%20bogus%3D1" "postgresql://$auth/nowhere" "postgresql://$auth,$PGHOST:1/drivers"; do
  psql -XAt "$uri" -c "$q"; echo "status $?"
done
PGOPTIONS='-c statement_timeout=99' PGAPPNAME=appname PGTZ=Asia/Tokyo PGDATESTYLE=German PGCLIENTENCODING=UTF8 p -At -c "$q" -c "SELECT '2024-02-03'::date"
PGOPTIONS='--search_path=public --lock_timeout=1s' p -At -c "SHOW search_path" -c "SHOW lock_timeout"
psql -XAt "host=$PGHOST port=$PGPORT dbname=drivers options='-c default_transaction_read_only=on'" -c "INSERT INTO log VALUES (1, 'x')"
echo "=== interrupted"
# In the foreground: otherwise the signal goes to psql and again to its group, and may be seen twice.
timeout --foreground -s INT 1 psql -X -c "SELECT pg_sleep(20)"; echo "status $?"
(p -c "SELECT pg_sleep(0.6), 'other'" & p -c "SELECT pg_sleep(0.1), 'one'"; wait)
p -At -c "SELECT n, repeat('ä', n) FROM generate_series(1, 300) n" | sha256sum
p -At -c "SELECT repeat('y', 50000000)" | sha256sum
exit 0
