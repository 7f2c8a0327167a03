# Sourced by the scripts beside it: a PostgreSQL and a linegate of their own in a directory that goes away with them.
# Programs come from $LINEGATE_BIN, or $CARGO_TARGET_DIR/release. Everything started here is ended here, by its process id.
set -euo pipefail

what="$(basename "$0")"
fail() { echo "$what: $1" >&2; exit 1; }
bin="${LINEGATE_BIN:-${CARGO_TARGET_DIR:-$HOME/.cache/linegate-target}/release}"
for program in linegate linegated linegate-control linegate-loadtest; do
  [ -x "$bin/$program" ] || fail "$program is not built: cargo build --release --locked -p linegated -p linegate-control -p linegate -p linegate-loadtest"
done
export PATH="$bin:$PATH" PSQL_HISTORY=/dev/null PGCONNECT_TIMEOUT=30
unset LINEGATE_CONTROL LINEGATE_LEASE_USER LINEGATE_LEASE_PASSWORD LINEGATE_LEASE_TOKEN PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE

work="$(mktemp -d "/tmp/linegate-$what.XXXXXX")"
chmod 755 "$work"
started=()
# ended PID: asks a process that was started here to end, and waits.
ended() {
  kill -TERM "$1" 2>/dev/null || true
  for _ in {1..100}; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
finish() {
  local status=$? index
  set +e
  for ((index = ${#started[@]} - 1; index >= 0; index--)); do ended "${started[index]}"; done
  if [ "$status" -ne 0 ]; then
    echo "$what: stopped with status $status; what was said last:" >&2
    tail -n 12 "$work"/*.log >&2 2>/dev/null
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
is_alive() { kill -0 "$1" 2>/dev/null; }
within() { # seconds, what, command…
  local deadline=$((SECONDS + $1)) event="$2"
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$event did not happen in time"
    sleep 0.05
  done
}

# ---------------------------------------------------------------------------------------------- the server
superuser() { psql -h "$work/pg" -p "$server_port" -U postgres -X -q -v ON_ERROR_STOP=1 "$@"; }
server_answers() { superuser -d postgres -c 'SELECT 1' >/dev/null 2>&1; }
start_server() {
  local as=() server_bin
  server_bin="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)"
  [ -n "$server_bin" ] || server_bin="$(dirname "$(command -v postgres || fail "no PostgreSQL server: tests/setup/install")")"
  [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  mkdir "$work/pg"
  [ "$(id -u)" -ne 0 ] || chown postgres: "$work/pg"
  "${as[@]}" "$server_bin/initdb" -D "$work/pg/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  server_port="$(free_port)"
  "${as[@]}" "$server_bin/postgres" -D "$work/pg/data" -k "$work/pg" -h 127.0.0.1 -p "$server_port" -c fsync=off \
    -c shared_buffers=512MB -c jit=off -c autovacuum=off >"$work/postgres.log" 2>&1 </dev/null &
  started+=($!)
  within 20 "PostgreSQL's start" server_answers
  superuser -d postgres -c 'CREATE ROLE app LOGIN' -c 'CREATE DATABASE shop OWNER app'
  server_version="$("$server_bin/postgres" --version)"
}

# make_schema TABLES VIEWS: tables of ten columns, of which every hundredth has labelled ones, and views of one table each.
make_schema() {
  {
    echo "SET synchronous_commit = off; SET client_min_messages = warning; CREATE SCHEMA app;"
    echo "SELECT format('CREATE TABLE app.t%s (id int PRIMARY KEY, name text, card text, email text, c5 int, c6 numeric, c7 date, c8 timestamptz, c9 boolean, c10 jsonb)', n) FROM generate_series(1, $1) AS n \\gexec"
    echo "SELECT format('CREATE VIEW app.v%s AS SELECT id, name, card, upper(email) AS email FROM app.t%s WHERE c9', n, n) FROM generate_series(1, $2) AS n \\gexec"
    echo "INSERT INTO app.t1 SELECT n, 'name ' || n, lpad(n::text, 16, '4'), n || '@example.org' FROM generate_series(1, 1000) AS n;"
  } >"$work/schema.sql"
  PGOPTIONS='-c role=app' superuser -d shop -f "$work/schema.sql" >"$work/schema.log"
  superuser -d shop -c 'VACUUM ANALYZE' -c CHECKPOINT
}

# ---------------------------------------------------------------------------------------------- linegate
# start_linegate TABLES: `analyst` sees labelled columns masked, `reader` sees them raw, `migrate` makes and drops tables.
start_linegate() {
  local number
  shop_port="$(free_port)"
  mkdir "$work/linegate"
  cat >"$work/linegate/bench.cedar" <<'CEDAR'
@id("sessions")
permit (principal is Workload, action == Action::"connect", resource);
@id("reading")
permit (principal is Workload, action in [Action::"select", Action::"set", Action::"show", Action::"transaction", Action::"prepared"], resource);
@id("raw")
permit (principal in Group::"raw", action == Action::"read_raw", resource);
@id("definitions")
permit (principal == Workload::"migrate", action in [Action::"create", Action::"drop", Action::"alter"], resource);
CEDAR
  {
    cat <<TOML
[[target]]
name = "shop"
protocol = "postgres"
listen = "127.0.0.1:$shop_port"
address = "127.0.0.1:$server_port"
database = "shop"
tls = "disable"
credential = { user = "app" }
record = "statements"

[[group]]
name = "raw"
members = ["workload:reader", "workload:migrate"]

[policy]
files = ["bench.cedar"]

TOML
    for ((number = 1; number <= $1; number += 100)); do
      printf '[[label]]\nname = "pii"\ntarget = "shop"\ncolumns = ["app.t%s.card", "app.t%s.email"]\nredact = "keep-last-4"\n\n' "$number" "$number"
    done
  } >"$work/linegate/linegate.toml"
  export LINEGATE_CONTROL="$work/state"
  linegate check --config "$work/linegate/linegate.toml" >"$work/check.log" 2>&1 || { cat "$work/check.log" >&2; fail "the configuration"; }
  LINEGATE_LOG=info,linegated=debug NO_COLOR=1 linegate up --config "$work/linegate/linegate.toml" --state-dir "$work/state" \
    >"$work/up.out" 2>"$work/linegate.log" </dev/null &
  started+=($!)
  up_pid=$!
  within 30 "linegate's start" linegate_ready
  data_pid="$(pgrep -P "$up_pid" -x linegated)"
}
linegate_ready() { is_alive "$up_pid" || fail "linegate ended"; grep -q '^ready' "$work/up.out"; }

# lease WORKLOAD: lets it in; `as WORKLOAD` is then psql through linegate, `gate WORKLOAD` a path for the load test.
declare -A user
lease() {
  local lease
  lease="$(linegate lease create --target shop --as "workload:$1" --ttl 1h --json)"
  user[$1]="$(field username <<<"$lease")"
  (umask 077; field password <<<"$lease" >"$work/$1.password")
}
as() {
  local who="$1"
  shift
  PGPASSWORD="$(cat "$work/$who.password")" psql -h 127.0.0.1 -p "$shop_port" -U "${user[$who]}" -d shop -X -q -v ON_ERROR_STOP=1 "$@"
}
gate() { echo "127.0.0.1:$shop_port/shop,user=${user[$1]},password-file=$work/$1.password"; }
# What the catalog thread said, without colours: "RELATIONS MS" a line.
readings() { sed 's/\x1b\[[0-9;]*m//g' "$work/linegate.log" | sed -n 's/.*catalog read.*relations=\([0-9]*\).* ms=\([0-9]*\).*/\1 \2/p'; }
memory_kb() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$data_pid/$2"; }
