# pgbench: its own tables and scripts in every protocol mode, a pipeline, errors; what the tables hold afterwards is compared too.
exec 2>&1
pgbench() { command pgbench "$@" 2>&1; }
clean() { sed -E "/^(latency|initial connection|average connection|tps|done in|[0-9]+ of [0-9]+ tuples|pgbench \\(|statement latencies)/d; s/^ +[0-9.]+ +([0-9]+ +)?(.)/\2/; /^$/d"; }
sum() { psql -XAt -c "SELECT count(*), sum(abalance) FROM pgbench_accounts" -c "SELECT count(*), sum(delta) FROM pgbench_history" -c "SELECT sum(bbalance) FROM pgbench_branches" -c "SELECT sum(tbalance) FROM pgbench_tellers"; }
for steps in dtgvp dtGvpf; do
  echo "=== init $steps"
  pgbench -i -q -I "$steps" -s 1 | clean
  psql -XAt -c "SELECT count(*), sum(aid) FROM pgbench_accounts"
done
for mode in simple extended prepared; do
  echo "=== $mode"
  pgbench -n -M "$mode" -c 4 -j 2 -t 100 --random-seed=7 | clean
  pgbench -n -M "$mode" -c 8 -j 2 -t 100 -S --random-seed=7 | clean
  pgbench -n -M "$mode" -N -c 4 -t 50 --random-seed=7 | clean
  pgbench -n -C -M "$mode" -S -c 2 -t 20 --random-seed=7 | clean
  psql -XAt -c "SELECT count(*) FROM pgbench_history"
done
echo "=== pipeline"
cat >"$DRIVERS_SCRATCH/pipe.sql" <<'S'
\set n random(1, 500)
\startpipeline
SELECT name FROM items WHERE id = :n;
UPDATE items SET qty = qty + 1 WHERE id = :n;
SELECT count(*) FROM orders WHERE item = :n;
BEGIN;
INSERT INTO log VALUES (:n, 'pipe');
COMMIT;
\endpipeline
\startpipeline
SELECT 1;
SELECT generate_series(1, 50);
\endpipeline
S
for mode in extended prepared; do pgbench -n -M "$mode" -c 4 -j 2 -t 50 --random-seed=3 -f "$DRIVERS_SCRATCH/pipe.sql" | clean; done
psql -XAt -c "SELECT count(*), sum(at) FROM log" -c "SELECT sum(qty) FROM items"
echo "=== errors in a pipeline"
printf '\\startpipeline\nSELECT 1;\nSELECT 1/0;\nSELECT 2;\n\\endpipeline\n' >"$DRIVERS_SCRATCH/bad.sql"
pgbench -n -M extended -c 1 -t 1 -f "$DRIVERS_SCRATCH/bad.sql" | clean
echo "=== errors retried"
cat >"$DRIVERS_SCRATCH/serial.sql" <<'S'
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sum(qty) FROM items WHERE id < 10;
UPDATE items SET qty = qty + 1 WHERE id = 5;
COMMIT;
S
pgbench -n -M prepared -c 4 -t 25 --max-tries=100 -f "$DRIVERS_SCRATCH/serial.sql" | clean | grep -E 'actually|failed'
psql -XAt -c "SELECT qty FROM items WHERE id = 5"
echo "=== gset, many columns"
printf '\\set a 3\nSELECT :a + 1 AS b, 2 AS c \\gset p_\nSELECT :p_b, :p_c;\nSELECT 1 \\; SELECT 2 AS x \\aset y_\nINSERT INTO log VALUES (:p_b * 1000, %s);\n' "'gset'" >"$DRIVERS_SCRATCH/gset.sql"
pgbench -n -c 1 -t 3 -f "$DRIVERS_SCRATCH/gset.sql" | clean
psql -XAt -c "SELECT at, line FROM log WHERE line = 'gset'"
exit 0
