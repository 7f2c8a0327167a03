"""What drivers see when the server restarts, crashes, is away, or loses one process; and that they get in again."""

import time

import psycopg
import psycopg2

from common import *
from pgwire import Gone, Query, Wire


def reconnect(connect):
    for _ in range(100):
        try:
            return connect().cursor()
        except (psycopg.Error, psycopg2.Error) as error:
            last = error
            time.sleep(0.1)
    log("does not get in again:", describe(last))


def short_error(error):
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or getattr(error, 'pgcode', None)} {getattr(getattr(error, 'diag', None), 'message_primary', None)}"


def main():
    for how in ("restart", "crash"):
        log("===", how)
        idle, busy, inside = Wire(log), Wire(log), Wire(log)
        busy.send(Query("SELECT pg_sleep(30)"))
        inside.say(Query("BEGIN; INSERT INTO log VALUES (1, 'open')"))
        three, two = psycopg.connect(""), psycopg2.connect("")
        three.execute("SELECT 1")
        two.cursor().execute("SELECT 1")
        time.sleep(0.3)
        log(control(how))
        for name, wire in (("idle", idle), ("busy", busy), ("inside", inside)):
            log(name)
            try:
                wire.until("Z")
            except (Gone, OSError) as gone:
                log("  gone")
            wire.sock.close()
        for name, run in (("psycopg", lambda: three.execute("SELECT 1")), ("psycopg2", lambda: two.cursor().execute("SELECT 1"))):
            try:
                run()
                log(name, "answered")
            except (psycopg.Error, psycopg2.Error) as error:
                log(name, short_error(error))
        log(bool(three.closed), bool(two.closed))
        for name, connect in (("psycopg", lambda: psycopg.connect("")), ("psycopg2", lambda: psycopg2.connect(""))):
            cursor = reconnect(connect)
            cursor.execute("SELECT count(*) FROM log")
            log(name, "again", cursor.fetchall())
    log("=== away")
    log(control("stop"))
    for connect in (lambda: psycopg.connect(""), lambda: psycopg2.connect("")):
        try:
            connect()
            log("got in")
        except (psycopg.Error, psycopg2.Error) as error:
            log("refused", type(error).__name__)
    log(control("start"))
    reconnect(lambda: psycopg.connect("")).execute("SELECT 1")
    log("=== one process of the server is killed")
    victim = Wire(log)
    victim.say(Query("SELECT 1"))
    other = Wire(log)
    log(control(f"kill {int.from_bytes(victim.key[:4], 'big')}"))
    for name, wire in (("victim", victim), ("other", other)):
        log(name)
        try:
            wire.until("Z")
        except (Gone, OSError):
            log("  gone")
    cursor = reconnect(lambda: psycopg.connect(""))
    cursor.execute("SELECT count(*) FROM items")
    log("again", cursor.fetchall())


main()
