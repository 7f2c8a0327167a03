"""psycopg 3: text and binary, server-side binding, automatic preparation, pipeline mode, COPY, cursors, async; libpq's trace of both directions."""

import asyncio
import logging
import os

import psycopg
from psycopg import pq, sql
from psycopg.rows import dict_row

from common import *


logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def fetch(cursor, query, args=None, **options):
    cursor.execute(query, args, **options)
    sets = []
    while True:
        sets.append((cursor.fetchall() if cursor.description else None, cursor.rowcount, cursor.statusmessage, [(d.name, d.type_code, d.internal_size, d.precision, d.scale) for d in cursor.description or ()]))
        if not cursor.nextset():
            return sets


def main():
    c = psycopg.connect("", autocommit=True)
    c.add_notice_handler(lambda diag: log("  notice", [getattr(diag, n) for n in DIAG if getattr(diag, n)]))
    log(c.info.server_version, c.info.encoding, c.info.timezone, c.info.transaction_status, getattr(c.pgconn, 'protocol_version', 3))
    for binary in (False, True):
        cur = c.cursor(binary=binary)
        for column in TYPES:
            step(f"{column} {binary}", fetch, cur, f"SELECT {column} FROM types ORDER BY id")
    for column in TYPES:  # as bytes, whatever psycopg makes of them
        for form in (0, 1):
            result = c.pgconn.exec_params(f"SELECT {column} FROM types ORDER BY id".encode(), [], result_format=form)
            log(column, form, result.status, [result.get_value(row, 0) for row in range(result.ntuples)], result.ftype(0), result.ftable(0) > 0, result.ftablecol(0), result.fmod(0), result.fsize(0), result.error_message)
    cur = c.cursor()
    values = [1, 2**40, 1.5, "t'", b"\x00\xff", None, True, datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc), datetime.timedelta(days=1), [1, None, 3], ["a", None]]
    for value in values:
        for placeholder in ("%s", "%b", "%t"):
            step(f"{value!r} {placeholder}", fetch, cur, f"SELECT {placeholder}", (value,))
    for query, args in [("SELECT 1/%s", (0,)), ("SELEC", None), ("SELECT 1; SELECT 2", None), ("SELECT %s::int", ("x",)), ("SELECT * FROM nowhere", None), ("SELECT chat(2)", None), ("SELECT fail('P0003')", None), ("", None),
                        ("INSERT INTO items (name, qty) VALUES (%s, %s)", ("item 1", 1)), ("SELECT 1 WHERE false", None), ("SELECT row(1, 'x')", None), ("INSERT INTO watched VALUES (%s, 'v')", (11,)), ("CALL steps(%s, 0)", (2,))]:
        step(query, fetch, cur, query, args)
    log("prepared by itself")
    for n in range(12):
        step("n", fetch, cur, "SELECT name FROM items WHERE id = %s", (n,))
    step("prepared", fetch, cur, "SELECT %s + 1", (5,), prepare=True)
    fetch(cur, "ALTER TABLE watched ADD extra int")
    step("shape", lambda: [fetch(cur, "SELECT * FROM watched", prepare=True), fetch(cur, "ALTER TABLE watched DROP extra"), fetch(cur, "SELECT * FROM watched", prepare=True)])
    fetch(cur, "DEALLOCATE ALL")
    step("executemany", lambda: (cur.executemany("INSERT INTO log VALUES (%s, %s) RETURNING at", [(n, f"m{n}") for n in range(200)], returning=True), cur.rowcount))
    log("pipeline")
    with c.pipeline() as pipe:
        a, b, d = c.cursor(), c.cursor(), c.cursor()
        a.execute("SELECT 1")
        b.execute("INSERT INTO log VALUES (%s, 'piped')", (1000,))
        pipe.sync()
        d.execute("SELECT count(*) FROM log WHERE line = 'piped'")
        step("a", a.fetchall)
        step("d", d.fetchall)
    for bad in ("SELECT 1/0", "SELEC", "SELECT * FROM nowhere"):
        def failing():
            with c.pipeline():
                first = c.execute("INSERT INTO log VALUES (2000, 'failing')")
                c.execute(bad)
                last = c.execute("SELECT 3")
                return last.fetchall()
        step("failing " + bad, failing)
        step("left", fetch, cur, "SELECT count(*) FROM log WHERE at = 2000")
    def many():
        with c.pipeline(), c.transaction():
            cursors = [c.execute("SELECT %s::int", (n,)) for n in range(500)]
        return sum(k.fetchone()[0] for k in cursors)
    step("many in flight", many)
    log("transactions")
    def nested():
        with c.transaction():
            c.execute("INSERT INTO log VALUES (3000, 'outer')")
            try:
                with c.transaction():
                    c.execute("SELECT 1/0")
            except psycopg.Error:
                pass
            with c.transaction("named"):
                c.execute("INSERT INTO log VALUES (3001, 'inner')")
                raise psycopg.Rollback("named")
        return fetch(cur, "SELECT * FROM log WHERE at >= 3000")
    step("nested", nested)
    log("copy")
    for options in ("", "(FORMAT csv, HEADER)", "(FORMAT binary)"):
        with cur.copy(f"COPY types TO STDOUT {options}") as copy:
            log(options, [bytes(piece) for piece in copy])
    with cur.copy("COPY (SELECT id, name, price FROM items ORDER BY id LIMIT 5) TO STDOUT") as copy:
        copy.set_types(["int4", "text", "numeric"])
        log(list(copy.rows()))
    def copy_in(text, rows, types=None):
        with cur.copy(text) as copy:
            if types:
                copy.set_types(types)
            for row in rows:
                copy.write_row(row)
        return cur.rowcount, cur.statusmessage
    step("copy in", copy_in, "COPY log FROM STDIN", [(n, f"c{n}") for n in range(3000)])
    step("copy in binary", copy_in, "COPY log FROM STDIN (FORMAT binary)", [(n, f"c{n}") for n in range(300)], ["int4", "text"])
    step("copy bad", copy_in, "COPY log FROM STDIN", [("x", "y")])
    def interrupted():
        with cur.copy("COPY log FROM STDIN") as copy:
            copy.write_row((1, "x"))
            raise ValueError("interrupted")
    step("copy interrupted", interrupted)
    def half():
        with psycopg.connect("", autocommit=True) as k:
            with k.cursor().copy("COPY (SELECT n, repeat('h', 100) FROM generate_series(1, 1000000) n) TO STDOUT") as copy:
                log(bytes(copy.read())[:10])
                k.cancel_safe()
                raise ValueError("left early")
    step("copy left early", half)
    step("usable", fetch, cur, "SELECT 1")
    log("cursors")
    with c.transaction():
        for binary in (False, True):
            with c.cursor("named", binary=binary, scrollable=True) as server:
                server.itersize = 33
                server.execute("SELECT id, name, price, added FROM items ORDER BY id")
                step("server cursor", lambda: [server.fetchone(), server.fetchmany(4), server.description, sum(1 for _ in server)])
                step("scroll", lambda: (server.scroll(3, "absolute"), server.fetchone()))
    step("stream", lambda: sum(len(row[1]) for row in cur.stream("SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n")))
    step("stream fails", lambda: list(cur.stream("SELECT 1/(3 - n) FROM generate_series(1, 5) n")))
    if pq.version() >= 170000:
        step("stream chunks", lambda: sum(row[0] for row in cur.stream("SELECT n FROM generate_series(1, 5000) n", size=100)))
    step("client cursor", lambda: fetch(psycopg.ClientCursor(c), "SELECT %s, %s", (1, "x'")))
    step("raw cursor", lambda: fetch(psycopg.RawCursor(c), "SELECT $1::int + 1", (1,)))
    step("dict", lambda: c.cursor(row_factory=dict_row).execute("SELECT 1 AS a, 2 AS b").fetchall())
    step("composed", lambda: fetch(cur, sql.SQL("SELECT {} FROM {} LIMIT 1").format(sql.Identifier("name"), sql.Identifier("app", "items"))))
    log("notify, cancel, two-phase")
    c.execute("LISTEN ring")
    other = psycopg.connect("", autocommit=True)
    other.execute("NOTIFY ring, 'one'")
    other.execute("SELECT pg_notify('ring', 'two')")
    step("heard", lambda: [(n.channel, n.payload) for n in c.notifies(timeout=5, stop_after=2)])
    import threading
    threading.Timer(0.4, c.cancel).start()
    step("cancelled", fetch, cur, "SELECT pg_sleep(20)")
    threading.Timer(0.4, c.cancel_safe).start()
    step("cancelled safely", fetch, cur, "SELECT pg_sleep(20)")
    def two_phase():
        k = psycopg.connect("")
        k.tpc_begin("x1")
        k.execute("INSERT INTO log VALUES (1, 'tpc')")
        k.tpc_prepare()
        k.tpc_rollback()
    step("two phase", two_phase)
    step("large", lambda: len(fetch(c.cursor(binary=True), "SELECT repeat('x', 100000000)::bytea")[0][0][0][0]))
    step("large parameter", lambda: fetch(cur, "SELECT length(%s)", ("y" * 10_000_000,)))
    step("1600", lambda: [len(r) for r in fetch(c.cursor(binary=True), "SELECT * FROM wide")[0][0]])
    for dsn in ("options='-c statement_timeout=4321 -c search_path=public'", "application_name=me", "client_encoding=latin1", "dbname=nowhere", "connect_timeout=3 target_session_attrs=read-only", "password=wrong") + (("min_protocol_version=3.0 max_protocol_version=latest",) if pq.version() >= 180000 else ()):
        def settings():
            with psycopg.connect(dsn) as k:
                return k.info.encoding, None, fetch(k.cursor(), "SELECT current_setting('statement_timeout'), current_setting('search_path'), 'ä'")
        step(dsn, settings) if dsn != "password=wrong" else log("wrong password", "error" if isinstance(refused(), psycopg.OperationalError) else "let in")
    trace()
    asyncio.run(asynchronous())


def refused():
    try:
        return psycopg.connect(password="wrong")
    except psycopg.Error as error:
        return error


def trace():
    """The conversation as libpq saw it."""
    path = os.path.join(os.environ["DRIVERS_SCRATCH"], "trace")
    with psycopg.connect("", autocommit=True) as c, open(path, "w") as out:
        c.pgconn.trace(out.fileno())
        c.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS | pq.Trace.REGRESS_MODE)
        for query in ("SELECT 1", "SELECT 1/0", "SELECT chat(1)", "SET TimeZone = 'UTC'", "SELECT * FROM rows_of(2)"):
            step("traced", fetch, c.cursor(binary=True), query)
            step("traced", fetch, c.cursor(), query, prepare=True)
        with c.pipeline():
            for n in range(3):
                c.execute("SELECT %s::int", (n,))
        with c.cursor().copy("COPY (SELECT 1) TO STDOUT") as copy:
            list(copy)
        c.pgconn.untrace()
    log(open(path).read())


async def asynchronous():
    async with await psycopg.AsyncConnection.connect("", autocommit=True) as c:
        cur = await c.execute("SELECT n FROM generate_series(1, 3) n")
        log("async", await cur.fetchall())
        async with c.pipeline():
            cursors = [await c.execute("SELECT %s::int * 2", (n,)) for n in range(20)]
        log("async pipeline", [(await k.fetchone())[0] for k in cursors])
        task = asyncio.create_task(c.execute("SELECT pg_sleep(20)"))
        await asyncio.sleep(0.4)
        await c.cancel_safe()
        await astep("async cancelled", task)
        async with c.cursor().copy("COPY log FROM STDIN") as copy:
            await copy.write("7\tasync\n")
        await astep("left", c.execute("SELECT 1"))
    connections = await asyncio.gather(*(psycopg.AsyncConnection.connect("") for _ in range(10)))
    answers = await asyncio.gather(*(k.execute("SELECT %s::int", (n,)) for n, k in enumerate(connections)))
    log("ten at once", [(await k.fetchone())[0] for k in answers])
    for k in connections:
        await k.close()


main()
