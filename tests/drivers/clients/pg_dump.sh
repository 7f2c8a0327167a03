# pg_dump and pg_restore in every format, in parallel too; dumps are compared, and so is what a restore through the same door made.
exec 2>&1
plain() { sed -E '/^\\(un)?restrict /d; /^-- Dumped (from|by)/d'; }
cd "$DRIVERS_SCRATCH"
only=(--schema=app)
echo "=== plain"
pg_dump "${only[@]}" | plain
echo "=== plain, inserts"
pg_dump "${only[@]}" --inserts --rows-per-insert=50 --column-inserts -t items -t types | plain
pg_dump -t app.orders --no-owner --no-privileges --serializable-deferrable | plain | sha256sum
pg_dump --schema-only "${only[@]}" --clean --if-exists | plain | sha256sum
pg_dump --data-only -t app.items --enable-row-security | plain | sha256sum
echo "=== custom, directory, tar"
pg_dump -Fc "${only[@]}" -f d.custom; echo "status $?"
pg_dump -Fd -j2 "${only[@]}" -f d.dir; echo "status $?"
pg_dump -Ft "${only[@]}" -f d.tar; echo "status $?"
for form in d.custom d.dir d.tar; do pg_restore -l "$form" | grep -v '^;' ; pg_restore -f - "$form" | plain | sha256sum; done
[ -n "$DRIVERS_MASKED" ] || { echo "=== whole database"; pg_dump | plain | sha256sum; }
# A restore makes functions, which nobody under a mask may.
[ -z "$DRIVERS_MASKED" ] || exit 0
echo "=== restored"
for how in "-Fc d.custom" "-Fd -j2 d.dir" "-Ft d.tar" "-Fc -1 d.custom" "-Fc -j2 d.custom"; do
  psql -XqAt -c "DROP SCHEMA IF EXISTS app CASCADE" 2>/dev/null
  pg_restore -d drivers --no-owner $how; echo "status $?"
  pg_dump "${only[@]}" | plain | sha256sum
done
psql -XqAt -c "DROP SCHEMA IF EXISTS app CASCADE" 2>/dev/null
pg_restore -f - d.custom | plain >d.sql
psql -Xq -v ON_ERROR_STOP=1 -f d.sql; echo "status $?"
pg_dump "${only[@]}" | plain | sha256sum
pg_dump -t nowhere; echo "status $?"
pg_dump -d nowhere; echo "status $?"
exit 0
