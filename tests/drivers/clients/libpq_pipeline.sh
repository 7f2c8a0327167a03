# PostgreSQL's own test of libpq's pipeline mode, with its traces of both directions.
exec 2>&1
program="$DRIVERS_CACHE/bin/libpq_pipeline"
for test in $("$program" tests); do
  echo "=== $test"
  trace="$DRIVERS_SCRATCH/$test.trace"
  "$program" -t "$trace" -r 700 "$test" "host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=$PGUSER password=$PGPASSWORD sslmode=$PGSSLMODE"
  echo "status $?"
  [ ! -e "$trace" ] || cat "$trace"
done
exit 0
