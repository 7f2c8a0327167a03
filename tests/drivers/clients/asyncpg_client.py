"""asyncpg: binary everywhere, its statement cache, cursors, COPY, LISTEN, server settings, cancel by time-out."""

import asyncio
import io

import asyncpg

from common import *


async def main():
    c = await asyncpg.connect()
    c.add_log_listener(lambda _, message: log("  notice", sorted(message.as_dict().items())))
    log(c.get_server_version(), {n: getattr(c.get_settings(), n) for n in ("client_encoding", "TimeZone", "DateStyle", "is_superuser", "server_version", "standard_conforming_strings", "IntervalStyle")})
    for column in TYPES:
        await astep(column, c.fetch(f"SELECT {column} FROM types ORDER BY id"))
    await astep("all", c.fetch("SELECT * FROM types ORDER BY id"))
    for query, args in [("SELECT $1::int + 1", (1,)), ("SELECT $1::int", ("x",)), ("SELECT 1/$1::int", (0,)), ("SELEC", ()), ("SELECT * FROM nowhere", ()), ("SELECT $1::text, $2::int[], $3::timestamptz", ("t", [1, None], datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))),
                        ("SELECT $1::jsonb", ('{"a": 1}',)), ("SELECT $1::numeric", (12.5,)), ("SELECT $1::bytea", (b"\0\xff",)), ("SELECT $1::app.mood", ("happy",)), ("SELECT $1::app.pair", ((1, "x"),)), ("SELECT fail('22023')", ()), ("SELECT chat(2)", ()), ("SELECT $1::inet", ("10.0.0.1",)),
                        ("INSERT INTO items (name, qty) VALUES ($1, $2)", ("item 1", 2)), ("INSERT INTO orders VALUES (1, 1, '')", ()), ("SELECT 1 WHERE false", ()), ("SELECT * FROM rows_of(2)", ()), ("SELECT", ()), ("SELECT $1", (1,)), ("SELECT 1 AS a, 2 AS a", ())]:
        await astep(query, c.fetch(query, *args))
    await astep("script", c.execute("CREATE TEMP TABLE tt (a int); INSERT INTO tt VALUES (1), (2); SELECT * FROM tt"))
    await astep("script fails", c.execute("INSERT INTO tt VALUES (3); SELECT 1/0"))
    await astep("count", c.fetchval("SELECT count(*) FROM tt"))
    await astep("status", c.execute("UPDATE tt SET a = a + $1", 5))
    await astep("executemany", c.executemany("INSERT INTO log VALUES ($1, $2)", [(n, f"many {n}") for n in range(2000)]))
    await astep("executemany fails", c.executemany("INSERT INTO items (name, qty) VALUES ($1, $2)", [("new", 1), ("item 1", 1)]))
    await astep("fetchmany", c.fetchmany("SELECT $1::int * 2", [(1,), (2,), (3,)]))
    await astep("rolled back", c.fetchval("SELECT count(*) FROM items WHERE name = 'new'"))
    statement = await c.prepare("SELECT id, name FROM items WHERE id > $1 ORDER BY id")
    log([(a.name, a.type.name) for a in statement.get_attributes()], [p.name for p in statement.get_parameters()])
    log("prepared", await statement.fetch(497), await statement.fetchval(3, column=1), await statement.fetchrow(499), statement.get_statusmsg())
    for n in range(150):  # more statements than the cache holds
        await c.fetchval(f"SELECT {n} + $1::int", n)
    async with c.transaction():
        log("cursor", [row["id"] async for row in c.cursor("SELECT id FROM items ORDER BY id", prefetch=7)][-3:])
        cursor = await c.cursor("SELECT id FROM items ORDER BY id")
        log(await cursor.fetch(3), await cursor.forward(10), await cursor.fetchrow())
    for kind in ("serializable", "repeatable_read"):
        async with c.transaction(isolation=kind, readonly=True, deferrable=kind == "serializable"):
            await astep(kind, c.fetchval("SHOW transaction_isolation"))
            await astep("read only", c.execute("DELETE FROM log"))
    async with c.transaction():
        await c.execute("INSERT INTO log VALUES (1, 'kept')")
        try:
            async with c.transaction():
                await c.execute("SELECT 1/0")
        except asyncpg.PostgresError as error:
            log("savepoint", error.sqlstate)
    await c.execute("ALTER TABLE watched ADD extra int")
    await astep("shape", c.fetch("SELECT * FROM watched"))
    await c.execute("ALTER TABLE watched DROP extra")
    await astep("shape again", c.fetch("SELECT * FROM watched"))
    for form in ("text", "csv", "binary"):
        out = io.BytesIO()
        await astep("copy from query", c.copy_from_query("SELECT * FROM types WHERE id < $1 ORDER BY id", 9, output=out, format=form))
        log(out.getvalue())
    out = io.BytesIO()
    await astep("copy table", c.copy_from_table("items", columns=["id", "name"], output=out, format="csv", header=True))
    log(len(out.getvalue()))
    await astep("records", c.copy_records_to_table("log", records=[(n, f"r{n}") for n in range(5000)], columns=["at", "line"]))
    await astep("copy to table", c.copy_to_table("log", source=io.BytesIO(b"1,a\n2,b\n"), format="csv"))
    await astep("copy bad", c.copy_to_table("log", source=io.BytesIO(b"x,a\n"), format="csv"))

    async def breaks():
        yield b"3,c\n"
        raise ValueError("the source broke")

    await astep("copy breaks", c.copy_to_table("log", source=breaks(), format="csv"))
    await astep("sum", c.fetchrow("SELECT count(*), sum(at) FROM log"))
    heard = asyncio.Queue()
    await c.add_listener("ring", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
    other = await asyncpg.connect()
    await other.execute("NOTIFY ring, 'hello'")
    log("heard", await asyncio.wait_for(heard.get(), 5))
    await c.remove_listener("ring", lambda *_: None)
    await c.reset()
    await astep("time-out", c.fetch("SELECT pg_sleep(20)", timeout=0.4))
    await astep("usable", c.fetchval("SELECT 1"))
    task = asyncio.create_task(c.fetch("SELECT pg_sleep(20)"))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        log("task cancelled")
    await asyncio.sleep(0.3)
    await astep("usable", c.fetchval("SELECT 2"))
    await astep("large", c.fetchval("SELECT length($1::text)", "z" * 5_000_000))
    log("large", len(await c.fetchval("SELECT repeat('x', 100000000)")))
    log("1600", [len(r) for r in await c.fetch("SELECT * FROM wide")])
    log("many rows", sum(r[0] for r in await c.fetch("SELECT n, 'row ' || n FROM generate_series(1, 100000) n")))
    for settings in ({"application_name": "me"}, {"search_path": "public"}, {"jit": "off"}, {"statement_timeout": "5000", "geqo": "off"}, {"bogus": "1"}, {"timezone": "Asia/Tokyo"}, {"options": "-c lock_timeout=77"}):
        async def get():
            k = await asyncpg.connect(server_settings=settings)
            row = await k.fetchrow("SELECT current_setting('search_path'), current_setting('jit'), current_setting('statement_timeout'), current_setting('TimeZone'), current_setting('lock_timeout')")
            await k.close()
            return row
        await astep(str(settings), get())
    pool = await asyncpg.create_pool(min_size=3, max_size=6)

    async def work(n):
        async with pool.acquire() as k:
            return await k.fetchval("SELECT $1::int * 2", n)

    log("pool", sum(await asyncio.gather(*(work(n) for n in range(300)))))
    await pool.close()
    pid = c.get_server_pid()
    await astep("terminate", other.fetchval("SELECT pg_terminate_backend($1)", pid))
    await asyncio.sleep(0.3)
    await astep("victim", c.fetchval("SELECT 1"))
    log(c.is_closed())
    await other.close()
    other.terminate()


asyncio.run(main())
