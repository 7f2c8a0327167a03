"""Seeded chance: messages in any order, valid and not, over one connection; every answer is compared.

DRIVERS_SEEDS (default 60) is how many sequences; each is played on a connection of its own.
"""

import os
import random

from pgwire import *

STATEMENTS = ["SELECT 1 AS one", "SELECT n FROM generate_series(1, 7) n", "SELECT 1/0", "SELEC", "", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "INSERT INTO log VALUES (1, 'r')", "SELECT count(*) FROM log",
              "SELECT 1/(3 - n) FROM generate_series(1, 5) n", "SET work_mem = '4MB'", "SHOW work_mem", "SELECT chat(1)", "DELETE FROM log", "FETCH 2 FROM p1", "DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 4) n", "FETCH 1 FROM c", "CLOSE c",
              "DEALLOCATE ALL", "DEALLOCATE s1", "PREPARE s2 AS SELECT 'sql'", "EXECUTE s1", "EXECUTE s2", "CLOSE ALL", "SET TimeZone = 'Asia/Tokyo'", "RESET TimeZone", "COPY (SELECT 1) TO STDOUT", "NOTIFY ch, 'x'", "LISTEN ch", "VACUUM log",
              "CREATE TABLE tt (a int)", "DROP TABLE tt", "INSERT INTO tt VALUES (1)", "SELECT * FROM tt", "INSERT INTO watched VALUES (1, 'w')", "TABLE types", "COPY log FROM STDIN", "VALUES (1), (2), (3)"]
QUERIES = STATEMENTS + ["SELECT 1; SELECT 2", "SELECT 1; SELECT 1/0; SELECT 3", "BEGIN; SELECT 1", "BEGIN; SELECT 1/0", "INSERT INTO log VALUES (2, 'q'); COMMIT", "SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3", ";", "DISCARD ALL"]
NAMES, PORTALS = ["", "", "s1", "s2"], ["", "", "p1", "c"]


def play(seed):
    chance = random.Random(seed)
    lines = []
    log = lambda *words: lines.append(" ".join(str(word) for word in words))
    w = Wire(log)
    copying = False
    try:
        for _ in range(chance.randint(4, 14)):
            series, ends = [], 0
            for _ in range(chance.randint(1, 4)):
                if chance.random() < 0.25:
                    text = chance.choice(QUERIES)
                    series.append(Query(text))
                    log("Q", text)
                    ends += 1
                    if "FROM STDIN" in text:
                        # The data must be there, or the server waits for it.
                        series += [CopyData(b"5\tcopied\n"), chance.choice([CopyDone(), CopyFail("no")])]
                    continue
                for _ in range(chance.randint(1, 6)):
                    pick = chance.random()
                    name, portal = chance.choice(NAMES), chance.choice(PORTALS)
                    if pick < 0.3:
                        text = chance.choice(STATEMENTS)
                        log("P", repr(name), text)
                        series.append(Parse(text, name))
                    elif pick < 0.55:
                        results = chance.choice([(), (0,), (1,), (1, 1)])
                        log("B", repr(portal), repr(name), results)
                        series.append(Bind([], portal, name, results=results))
                    elif pick < 0.8:
                        rows = chance.choice([0, 0, 1, 2, 100])
                        log("E", repr(portal), rows)
                        series += [Execute(portal, rows)]
                        # In case it is a COPY: outside of one these are ignored.
                        series += [CopyData(b"6\tx\n"), CopyDone()]
                    elif pick < 0.9:
                        kind = chance.choice("SP")
                        log("D", kind, repr(name if kind == "S" else portal))
                        series.append(Describe(kind, name if kind == "S" else portal))
                    elif pick < 0.96:
                        kind = chance.choice("SP")
                        log("C", kind, repr(name if kind == "S" else portal))
                        series.append(Close(kind, name if kind == "S" else portal))
                    else:
                        log("H")
                        series.append(Flush())
                log("S")
                series.append(Sync())
                ends += 1
            # The fence is an error that only it can bring, in every transaction status.
            log("--")
            pieces = chance.choice([None, None, None, 1, 5, 64])
            try:
                w.send(*series, Describe("S", "the fence"), Sync(), pieces=pieces)
            except OSError:
                pass  # the server left in the middle of it; its last words may still be there
            fenced = False
            while True:
                tag, payload = w.message()
                log("  " + show(tag, payload))
                fenced = fenced or (tag == "E" and b"the fence" in payload)
                if tag == "Z" and fenced:
                    break
    except (Gone, OSError):
        log("  gone")
    w.close()
    return lines


for seed in range(int(os.environ.get("DRIVERS_SEEDS", "60"))):
    print("=== seed", seed, flush=True)
    print("\n".join(play(seed)), flush=True)
