"""Stands between psql and a server, and notes what each statement really locked, scanned, changed, made and dropped.

A simple Query outside a transaction block is put into a block of our own, so that its locks are still held when it is done;
they are read by a second connection, which also sees what the catalogs held before. Texts that refuse to run in a block run
as they are, and only their number is kept. Within a block, new locks and counters since the last statement are what is seen.
What was seen goes to `judge`, with linegate's reading of the same text."""

import contextlib
import json
import socket
import struct
import threading

import judge
import wire

# Counters of this transaction, of every relation that has any; they do not include other transactions' if read twice.
COUNTERS = """SELECT c.oid::pg_catalog.int8, n.nspname, c.relname, c.relkind,
  pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), pg_catalog.pg_stat_get_xact_tuples_updated(c.oid),
  pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid), pg_catalog.pg_stat_get_xact_numscans(c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{r,m,t,i}'::pg_catalog.text[])
   AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
   OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
   OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_numscans(c.oid) OPERATOR(pg_catalog.>) 0::pg_catalog.int8"""

LOCKS = """SELECT l.relation::int8, l.mode FROM pg_catalog.pg_locks l
 WHERE l.pid = %d AND l.locktype = 'relation' AND l.granted
   AND l.database IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))"""

# Every relation, with the relation that it is a part of: an index's table, a TOAST table's owner, an owned sequence's table.
RELATIONS = """SELECT c.oid::pg_catalog.int8, n.nspname, c.relname, c.relkind,
    COALESCE(i.indrelid, t.oid, d.refobjid)::pg_catalog.int8, c.relfilenode::pg_catalog.int8
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  LEFT JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid
  LEFT JOIN pg_catalog.pg_class t ON c.relkind OPERATOR(pg_catalog.=) 't' AND t.reltoastrelid OPERATOR(pg_catalog.=) c.oid
  LEFT JOIN pg_catalog.pg_depend d ON c.relkind OPERATOR(pg_catalog.=) 'S' AND d.objid OPERATOR(pg_catalog.=) c.oid
   AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.deptype::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{a,i}'::pg_catalog.text[])"""

# Pairs of relations with a foreign key between them.
FOREIGN_KEYS = """SELECT k.conrelid::pg_catalog.int8, k.confrelid::pg_catalog.int8 FROM pg_catalog.pg_constraint k
 WHERE k.contype OPERATOR(pg_catalog.=) 'f'"""

# Pairs of a relation with a row policy and a relation that the policy reads.
ROW_POLICIES = """SELECT y.polrelid::pg_catalog.int8, d.refobjid::pg_catalog.int8 FROM pg_catalog.pg_policy y
  JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass
   AND d.objid OPERATOR(pg_catalog.=) y.oid AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"""

PG_CLASS = 1259
INHERITS = "SELECT i.inhrelid::pg_catalog.int8, i.inhparent::pg_catalog.int8 FROM pg_catalog.pg_inherits i"
FLUSH = "SELECT pg_catalog.pg_stat_force_next_flush()"
IN_NO_BLOCK = {"25001", "2D000", "25P01"}


class Session:
    """One psql connection."""

    def __init__(self, client, watcher):
        self.client = wire.Link(client)
        self.watcher = watcher
        self.server = self.observer = None
        self.settings = {}
        self.named = {}
        self.pending = True

    def serve(self):
        startup = self.client.read_startup()
        while struct.unpack("!I", startup[:4])[0] != 196608:
            if struct.unpack("!I", startup[:4])[0] == 80877102:
                return
            self.client.send_raw(b"N")
            startup = self.client.read_startup()
        pairs = startup[4:].split(b"\0")
        given = dict(zip(pairs[::2], pairs[1::2]))
        user = given[b"user"].decode()
        database = given.get(b"database", given[b"user"]).decode()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.watcher.path)
        self.server = wire.Link(sock)
        self.server.send_raw(struct.pack("!I", len(startup) + 4) + startup)
        pid = 0
        while True:
            tag, body = self.server.read()
            self.client.send(tag, body)
            if tag == b"K":
                pid = struct.unpack("!I", body[:4])[0]
            elif tag == b"S":
                self.parameter(body)
            elif tag == b"E":
                return
            elif tag == b"Z":
                break
        self.observer = wire.connect(self.watcher.path, self.watcher.user, database)
        wire.query(self.observer, "SET lock_timeout = '3s'; SET search_path = pg_catalog")
        self.pid, self.user, self.database = pid, user, database
        status = b"I"
        while True:
            tag, body = self.client.read()
            if tag == b"X":
                self.server.send(tag, body)
                return
            if tag == b"Q":
                status = self.simple(body, status)
            elif tag in b"SF":
                self.pending = True
                self.server.send(tag, body)
                messages, status = self.answer()
                self.client.send_raw(messages)
                self.watcher.count("not watched: extended protocol or fast path")
            else:
                self.server.send(tag, body)

    def parameter(self, body):
        name, value = body.split(b"\0")[:2]
        self.settings[name.decode()] = value.decode("utf-8", "replace")

    def answer(self):
        """Everything up to ReadyForQuery, COPY data from the client included. The last message comes back apart."""
        kept = bytearray()
        self.error = None
        while True:
            tag, body = self.server.read()
            if tag == b"S":
                self.parameter(body)
            elif tag == b"E":
                self.error = self.error or wire.fields(body)
            if tag == b"Z":
                kept += wire.framed(tag, body)
                return bytes(kept), body
            kept += wire.framed(tag, body)
            if tag in b"GW":
                self.client.send_raw(bytes(kept))
                kept.clear()
                while True:
                    tag, body = self.client.read()
                    self.server.send(tag, body)
                    if tag in b"cf":
                        break

    def pass_on(self, body):
        self.pending = True
        self.server.send(b"Q", body)
        messages, status = self.answer()
        self.client.send_raw(messages)
        return status

    def simple(self, body, status):
        try:
            text = body[:-1].decode("utf-8")
        except UnicodeDecodeError:
            text = None
        lexing = (self.settings.get("client_encoding"), self.settings.get("standard_conforming_strings"))
        if text is None or lexing != ("UTF8", "on"):
            self.watcher.count("not watched: lexing settings under which linegate reads nothing")
            return self.pass_on(body)
        reading = self.watcher.reader.read(text)
        self.watcher.text(text)
        ends_block = "transaction" in reading["effects"] or reading["count"] == 0
        if status == b"E" or ends_block:
            self.watcher.count("not watched: transaction control, empty texts")
            return self.pass_on(body)
        if status == b"I":
            status = self.in_own_block(text, body, reading)
        else:
            status = self.in_their_block(text, body, reading)
        return status

    def ours(self, text):
        return wire.query(self.server, text)

    def in_own_block(self, text, body, reading):
        # Counters begin anew with each transaction when the one before handed its own in, as ours do.
        if self.pending:
            self.ours(FLUSH)
            self.pending = False
        self.ours("BEGIN;" + FLUSH)
        before = {}
        self.server.send(b"Q", body)
        messages, status = self.answer()
        if self.error is not None and status == b"E":
            with contextlib.suppress(wire.ServerError):
                self.ours("ROLLBACK")
            if self.error.get("C") in IN_NO_BLOCK:
                self.watcher.count("not watched: refuses to run in a transaction block")
                self.note_names(reading)
                return self.pass_on(body)
            self.watcher.count("failed at the server")
            self.client.send_raw(messages[:-6] + wire.framed(b"Z", b"I"))
            return b"I"
        if status != b"T":
            self.client.send_raw(messages)
            self.watcher.count("not watched: ended the block")
            return status
        self.seen(text, reading, before, set(), own=True)
        self.server.send(b"Q", b"COMMIT\0")
        _, after = self.answer()
        if self.error is not None:
            found = b"".join(key.encode() + value.encode() + b"\0" for key, value in self.error.items()) + b"\0"
            messages = wire.framed(b"E", found) + wire.framed(b"Z", after)
        else:
            messages = messages[:-6] + wire.framed(b"Z", after)
        self.client.send_raw(messages)
        return after

    def in_their_block(self, text, body, reading):
        self.pending = True
        try:
            before = self.look()
            locks = self.locked()
        except wire.ServerError:
            before, locks = {}, set()
        self.server.send(b"Q", body)
        messages, status = self.answer()
        self.client.send_raw(messages)
        if self.error is not None:
            self.watcher.count("failed at the server")
        elif status == b"T":
            self.seen(text, reading, before, locks, own=False)
        return status

    def look(self):
        rows = self.ours(COUNTERS)
        return {int(row[0]): (row[1:4], tuple(int(cell or 0) for cell in row[4:])) for row in rows}

    def locked(self):
        return {(int(oid), mode) for oid, mode in wire.query(self.observer, LOCKS % self.pid)}

    def relations(self, link):
        found = {}
        for oid, schema, name, kind, of, file in wire.query(link, RELATIONS):
            found[int(oid)] = judge.Relation(int(oid), schema, name, kind, int(of) if of else None, int(file))
        return found

    def note_names(self, reading):
        for name in reading["defines"]:
            self.named[tuple(name)] = reading

    def seen(self, text, reading, before, locks, own):
        try:
            after = self.look()
            locks = self.locked() - locks
        except wire.ServerError as error:
            self.watcher.count(f"not watched: the observer was kept out ({error.code})")
            return
        changed = {}
        for oid, (names, counts) in after.items():
            old = before.get(oid, (None, (0, 0, 0, 0)))[1]
            delta = tuple(now - then for now, then in zip(counts, old))
            if any(delta):
                changed[oid] = (names, delta)
        self.note_names(reading)
        whole = reading
        if reading["runs"]:
            unknown = {"opaque": ["a cursor or statement that was not made in a text"]}
            whole = judge.union(reading, self.named.get(tuple(reading["runs"]), unknown | {"fires_triggers": False}))
        elif "prepared" in reading["effects"] and not reading["defines"]:
            for earlier in list(self.named.values()):  # CREATE TABLE AS EXECUTE, EXPLAIN EXECUTE
                whole = judge.union(whole, earlier)
        relevant = {oid for oid, _ in locks if oid >= judge.OURS_FROM} | {oid for oid in changed if oid >= judge.OURS_FROM}
        seen = judge.Seen(text, locks, changed, own)
        if relevant or any(names[0] == "pg_catalog" and any(delta[:3]) for names, delta in changed.values()) or seen.sensitive():
            try:
                seen.now = self.relations(self.server)
                is_changed = any(changed.get(PG_CLASS, (None, (0, 0, 0)))[1][:3])
                seen.then = self.relations(self.observer) if is_changed or not own else seen.now
            except wire.ServerError as error:
                self.watcher.count(f"not watched: the observer was kept out ({error.code})")
                return
        found = judge.judge(seen, whole)
        if found:
            again = self.with_catalog(seen, whole, reading, self.observer)
            found = found if again is None else again
            if not own and any(one.is_serious for one in found):
                # What this transaction made itself is not in any catalog that others can read yet.
                again = self.with_catalog(seen, whole, reading, self.server)
                if again is not None and not any(one.is_serious for one in again):
                    found = [judge.Finding("open transaction", one.relation, one.what) for one in found]
        self.watcher.judged(self.watcher.test, text, whole, found, own)

    def with_catalog(self, seen, whole, reading, link):
        reader = self.watcher.reader
        try:
            version = wire.query(link, reader.found["version"])
            if version != self.watcher.version:
                rows = []
                for number, text in reader.found["queries"]:
                    found = self.watcher.of_system.get(text) or wire.query(link, text)
                    if "< 16384" in text and ">= 16384" not in text:  # what the server brought along does not change
                        self.watcher.of_system[text] = found
                    rows += ([number, row] for row in found)
                reader.catalog(rows)
                self.watcher.version = version
                self.watcher.count("catalogs read")
            pairs = lambda link, text: {(int(a), int(b)) for a, b in wire.query(link, text)}
            seen.foreign_keys, seen.foreign_keys_now = pairs(link, FOREIGN_KEYS), pairs(self.server, FOREIGN_KEYS)
            seen.row_policies, seen.inherits = pairs(link, ROW_POLICIES), pairs(link, INHERITS)
        except wire.ServerError as error:
            self.watcher.count(f"catalog not read ({error.code})")
            return None
        again = reader.read(seen.text, bare=False)
        if reading["runs"]:
            earlier = self.named.get(tuple(reading["runs"]))
            again = judge.union(again, reader.read(earlier["text"], bare=False)) if earlier else whole
        elif "prepared" in reading["effects"] and not reading["defines"]:
            again = judge.union(again, whole)
            for earlier in list(self.named.values()):
                again = judge.union(again, reader.read(earlier["text"], bare=False))
        return judge.judge(seen, again)


class Watcher:
    """Listens for psql, one connection after the other."""

    def __init__(self, path, user, program, log):
        self.path, self.user, self.log = path, user, log
        self.reader = wire.Reader(program)
        self.test, self.version, self.of_system = "", None, {}
        self.counts = {}
        self.texts = set()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            client, _ = self.listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        session = Session(client, self)
        try:
            session.serve()
        except (EOFError, OSError):
            pass
        except wire.ServerError as error:
            self.count(f"a connection ended ({error.code})")
        finally:
            for link in (session.client, session.server, session.observer):
                if link is not None:
                    link.sock.close()

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def text(self, text):
        self.texts.add(text)

    def judged(self, test, text, reading, found, own):
        self.count("watched in a block of its own" if own else "watched in the test's own block")
        record = {"test": test, "text": text, "found": [vars(one) for one in found]}
        if found:
            record["reading"] = {key: reading[key] for key in ("effects", "reads", "writes", "functions", "opaque")}
            self.log.write(json.dumps(record) + "\n")
            self.log.flush()
        for name in {one.name for one in found} or {"agree"}:
            self.count("statements: " + name)
