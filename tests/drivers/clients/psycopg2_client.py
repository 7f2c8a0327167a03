"""psycopg2: transactions, server-side cursors, COPY, notices, notifications, cancel, big rows."""

import io
import select
import threading
import time

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from common import *

dsn = ""  # all from the environment


def fetch(cursor, sql, args=None):
    cursor.execute(sql, args)
    return (cursor.fetchall() if cursor.description else None, cursor.rowcount, cursor.statusmessage, [tuple(d) for d in cursor.description or ()])


def main():
    c = psycopg2.connect(dsn)
    log(c.encoding, c.server_version, c.protocol_version, c.isolation_level, c.get_transaction_status())
    log({n: c.get_parameter_status(n) for n in ("server_version", "client_encoding", "is_superuser", "DateStyle", "TimeZone", "standard_conforming_strings", "integer_datetimes", "session_authorization", "IntervalStyle")})
    cur = c.cursor()
    for column in TYPES:
        step(column, fetch, cur, f"SELECT {column} FROM types ORDER BY id")
        c.rollback()
    step("types", fetch, cur, "SELECT * FROM types ORDER BY id")
    for sql, args in [("SELECT %s, %s, %s", (1, "it's", None)), ("SELECT %(a)s", {"a": [1, 2]}), ("SELECT 1/0", None), ("SELECT 2", None), ("SELEC", None), ("INSERT INTO items (name, qty) VALUES ('item 1', 1)", None),
                      ("INSERT INTO orders VALUES (1, 1, 'x')", None), ("INSERT INTO items (name, qty) VALUES ('n', -1)", None), ("SELECT fail('P0002')", None), ("SELECT chat(3)", None), ("SELECT 'a'; SELECT 'b'", None), ("", None), ("SELECT '\x00'", None),
                      ("SELECT 1 WHERE false", None), ("SELECT * FROM rows_of(3)", None), ("SELECT row(1, 'x', NULL)", None), ("UPDATE items SET qty = 1 WHERE id < %s", (4,))]:
        step(sql, fetch, cur, sql, args)
        log(c.get_transaction_status(), [n.strip() for n in c.notices])
        del c.notices[:]
        c.rollback()
    with c, c.cursor() as cur:
        psycopg2.extras.execute_values(cur, "INSERT INTO log VALUES %s", [(n, f"line {n}") for n in range(250)])
        psycopg2.extras.execute_batch(cur, "UPDATE log SET line = %s WHERE at = %s", [(f"l{n}", n) for n in range(50)])
        step("callproc", lambda: (cur.callproc("add", (1, 2)), cur.fetchall()))
        step("mogrify", cur.mogrify, "SELECT %s, %s", (datetime.date(2024, 1, 2), b"\x00"))
    with c, c.cursor("walk", withhold=True, scrollable=True) as cur:
        cur.itersize = 40
        cur.execute("SELECT id, name FROM items ORDER BY id")
        log("server side", [next(cur), cur.fetchmany(3), sum(1 for _ in cur)])
        cur.scroll(10, mode="absolute")
        log(cur.fetchone())
    step("with a prepared statement", lambda: fetch(c.cursor(), "PREPARE q (int) AS SELECT $1 + 1; EXECUTE q(4)"))
    c.commit()
    cur = c.cursor()
    out = io.StringIO()
    step("copy out", cur.copy_expert, "COPY (SELECT * FROM types ORDER BY id) TO STDOUT", out)
    log(out.getvalue())
    step("copy in", cur.copy_from, io.StringIO("1\tx\n2\t\\N\n"), "log")
    step("copy bad", cur.copy_from, io.StringIO("z\tx\n"), "log")
    c.rollback()

    class Broken:
        def read(self, size):
            raise ValueError("the file broke")

    step("copy from what fails", cur.copy_expert, "COPY log FROM STDIN", Broken())
    c.rollback()
    step("after it", fetch, cur, "SELECT count(*) FROM log")
    c.rollback()
    for level in (psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE, psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ):
        c.set_session(isolation_level=level, readonly=True, deferrable=True)
        step("session", fetch, cur, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        step("read only", fetch, cur, "DELETE FROM log")
        c.rollback()
    c.set_session(isolation_level="DEFAULT", readonly="DEFAULT", deferrable="DEFAULT", autocommit=True)
    step("autocommit", fetch, cur, "INSERT INTO log VALUES (9, 'auto') RETURNING *")
    step("encoding", lambda: (c.set_client_encoding("LATIN1"), fetch(cur, "SELECT 'é'")))
    step("encoding back", lambda: (c.set_client_encoding("UTF8"), fetch(cur, "SELECT 'é€'")))
    fetch(cur, "LISTEN ring")
    d = psycopg2.connect(dsn)
    d.autocommit = True
    fetch(d.cursor(), "SELECT pg_notify('ring', 'bell')")
    log("notified", bool(select.select([c], [], [], 5)[0]))
    c.poll()
    log([(n.channel, n.payload) for n in c.notifies])
    timer = threading.Timer(0.4, c.cancel)
    timer.start()
    step("cancelled", fetch, cur, "SELECT pg_sleep(20)")
    step("usable", fetch, cur, "SELECT 1")
    step("timeout", fetch, cur, "SET statement_timeout = '100ms'; SELECT pg_sleep(9)")
    step("reset", c.reset)
    def two_phase():
        with_xid = psycopg2.connect(dsn)
        with_xid.tpc_begin(with_xid.xid(1, "g", "b"))
        with_xid.cursor().execute("INSERT INTO log VALUES (1, 'tpc')")
        with_xid.tpc_prepare()
        with_xid.tpc_commit()
    step("two phase", two_phase)
    step("1600", lambda: [len(r) for r in fetch(cur, "SELECT * FROM wide")[0]])
    step("large", lambda: len(fetch(cur, "SELECT repeat('x', 60000000)")[0][0][0]))
    step("many", lambda: hash(tuple(fetch(cur, "SELECT n FROM generate_series(1, 100000) n")[0])))
    c.commit()
    for dsn_ in ("options='-c statement_timeout=1234'", "application_name=a connect_timeout=3", "dbname=nowhere", "options='-c geqo=off -c statement_timeout=7s'"):
        step(dsn_, lambda: fetch(psycopg2.connect(dsn_).cursor(), "SELECT current_setting('statement_timeout'), current_setting('geqo')"))
    asynchronous = psycopg2.connect(dsn, async_=True)

    def wait():
        while (state := asynchronous.poll()) != psycopg2.extensions.POLL_OK:
            select.select([asynchronous] if state == psycopg2.extensions.POLL_READ else [], [asynchronous] if state == psycopg2.extensions.POLL_WRITE else [], [], 10)

    wait()
    cur = asynchronous.cursor()
    cur.execute("SELECT n FROM generate_series(1, 5) n")
    wait()
    log("async", cur.fetchall())
    pid = d.cursor()
    victim = psycopg2.connect(dsn)
    step("terminated", fetch, pid, "SELECT pg_terminate_backend(%s)", (victim.get_backend_pid(),))
    time.sleep(0.3)
    step("victim", fetch, victim.cursor(), "SELECT 1")
    log(victim.closed)


main()
