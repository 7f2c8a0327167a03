"""pg8000, a driver in Python alone: both its interfaces, types, COPY by streams, notifications, two-phase."""

import io
import ssl

import pg8000.dbapi
import pg8000.native

from common import *


def arguments(**more):
    context = None
    if TLS:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"user": USER, "host": HOST, "port": int(PORT), "password": PASSWORD, "database": DATABASE, "ssl_context": context, **more}


def main():
    c = pg8000.native.Connection(**arguments())
    log(sorted((k, v) for k, v in c.parameter_statuses.items() if k != "application_name"))
    for column in TYPES:
        step(column, c.run, f"SELECT {column} FROM types ORDER BY id")
        log([(d["name"], d["type_oid"], d["type_size"], d["type_modifier"], d["format"]) for d in c.columns or ()])
    for query, args in [("SELECT :a::int + 1", {"a": 1}), ("SELECT :a::text", {"a": None}), ("SELECT 1/:a::int", {"a": 0}), ("SELEC", {}), ("SELECT * FROM nowhere", {}), ("SELECT fail('P0004')", {}), ("SELECT chat(2)", {}), ("SELECT 1; SELECT 2", {}), ("", {}),
                        ("SELECT :a::int[]", {"a": [1, None, 2]}), ("SELECT :a::jsonb", {"a": '{"x": [1]}'}), ("SELECT :a", {"a": datetime.date(2024, 1, 2)}), ("SELECT :a::bytea", {"a": b"\x00\xff"}), ("INSERT INTO items (name, qty) VALUES (:n, 1)", {"n": "item 1"}), ("SELECT 1 WHERE false", {})]:
        step(query, c.run, query, **args)
        log(c.row_count, [{k: v for k, v in n.items()} for n in c.notices])
        c.notices.clear()
    ps = c.prepare("SELECT name FROM items WHERE id = :id")
    log([ps.run(id=n) for n in range(1, 6)])
    ps.close()
    c.run("START TRANSACTION")
    step("portal rows", c.run, "SELECT id FROM items ORDER BY id LIMIT 5")
    step("fails", c.run, "SELECT 1/0")
    step("aborted", c.run, "SELECT 1")
    c.run("ROLLBACK")
    out = io.BytesIO()
    step("copy out", c.run, "COPY types TO STDOUT WITH (FORMAT csv)", stream=out)
    log(out.getvalue())
    out = io.BytesIO()
    step("copy binary", c.run, "COPY types TO STDOUT WITH (FORMAT binary)", stream=out)
    log(out.getvalue())
    step("copy in", c.run, "COPY log FROM STDIN", stream=io.BytesIO(b"1\tx\n2\ty\n"))
    step("copy rows", c.run, "COPY log FROM STDIN", stream=["3\tz\n", "4\tw\n"])
    step("copy bad", c.run, "COPY log FROM STDIN", stream=io.BytesIO(b"x\tx\n"))
    step("after", c.run, "SELECT count(*) FROM log")
    c.run("LISTEN ring")
    d = pg8000.native.Connection(**arguments())
    d.run("NOTIFY ring, 'bell'")
    c.run("SELECT 1")
    log([(n[1], n[2]) for n in c.notifications])
    step("large", lambda: len(c.run("SELECT repeat('x', 20000000)")[0][0]))
    step("1600", lambda: [len(r) for r in c.run("SELECT * FROM wide")])
    step("timeout", c.run, "SET statement_timeout = 100")
    step("timed out", c.run, "SELECT pg_sleep(9)")
    c.close()
    for more in ({"application_name": "me"}, {"startup_params": {"statement_timeout": "4000"}}, {"startup_params": {"options": "-c geqo=off"}}, {"database": "nowhere"}):
        step(str(more), lambda: pg8000.native.Connection(**arguments(**more)).run("SELECT current_setting('statement_timeout'), current_setting('geqo')"))
    dbapi = pg8000.dbapi.connect(**arguments())
    cur = dbapi.cursor()
    for query, args in [("SELECT %s::int, %s", (1, "x")), ("SELECT * FROM items WHERE id < %s ORDER BY id", (4,)), ("INSERT INTO log VALUES (%s, %s)", (7, "db")), ("SELECT 1/0", ()), ("SELECT 1", ())]:
        step(query, lambda: (cur.execute(query, args), cur.description and cur.fetchall(), cur.rowcount, cur.description)[1:])
    dbapi.rollback()
    step("executemany", lambda: (cur.executemany("INSERT INTO log VALUES (%s, %s)", [(n, "m") for n in range(50)]), cur.rowcount))
    dbapi.commit()
    xid = dbapi.xid(1, "g", "q")
    step("two-phase", lambda: (dbapi.tpc_begin(xid), cur.execute("INSERT INTO log VALUES (1, 'tpc')"), dbapi.tpc_prepare(), dbapi.tpc_recover(), dbapi.tpc_commit(xid))[3])
    dbapi.close()


main()
