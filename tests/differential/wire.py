"""PostgreSQL's wire protocol, as much of it as a bystander needs: messages, a plain client, and linegate's reader as a child.
Source: PostgreSQL manual, "Frontend/Backend Protocol"."""

import json
import socket
import struct
import subprocess
import threading


class Link:
    """One side of a connection: whole messages in and out. Backend messages have a tag, and so have a frontend's after startup."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    def _exactly(self, count):
        while len(self.buffer) < count:
            got = self.sock.recv(1 << 16)
            if not got:
                raise EOFError("the peer went away")
            self.buffer += got
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read(self):
        head = self._exactly(5)
        return head[:1], self._exactly(struct.unpack("!I", head[1:])[0] - 4)

    def read_startup(self):
        size = struct.unpack("!I", self._exactly(4))[0]
        return self._exactly(size - 4)

    def send(self, tag, body):
        self.sock.sendall(tag + struct.pack("!I", len(body) + 4) + body)

    def send_raw(self, data):
        self.sock.sendall(data)


def framed(tag, body):
    return tag + struct.pack("!I", len(body) + 4) + body


def fields(body):
    """The fields of an ErrorResponse or NoticeResponse."""
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


class ServerError(Exception):
    def __init__(self, found):
        super().__init__(found.get("M", "?"))
        self.code = found.get("C", "")


def query(link, text):
    """Runs a simple query to ReadyForQuery; rows as tuples of text or None, and the status."""
    link.send(b"Q", text.encode() + b"\0")
    rows, error = [], None
    while True:
        tag, body = link.read()
        if tag == b"D":
            cells, at = [], 2
            for _ in range(struct.unpack("!H", body[:2])[0]):
                size = struct.unpack("!i", body[at:at + 4])[0]
                at += 4
                if size < 0:
                    cells.append(None)
                else:
                    cells.append(body[at:at + size].decode("utf-8", "replace"))
                    at += size
            rows.append(tuple(cells))
        elif tag == b"E":
            error = error or ServerError(fields(body))
        elif tag == b"Z":
            if error:
                raise error
            return rows


def connect(path, user, database):
    """A link of our own to a server's Unix socket, without a password."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    link = Link(sock)
    pairs = {"user": user, "database": database, "client_encoding": "UTF8"}
    body = struct.pack("!I", 196608) + b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in pairs.items()) + b"\0"
    link.send_raw(struct.pack("!I", len(body) + 4) + body)
    while True:
        tag, body = link.read()
        if tag == b"E":
            raise ServerError(fields(body))
        if tag == b"Z":
            return link


class Reader:
    """linegate's reader, one line for one."""

    def __init__(self, program):
        self.lock = threading.Lock()
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        self.found = self._ask({"queries": True})

    def _ask(self, what):
        with self.lock:
            self.child.stdin.write(json.dumps(what) + "\n")
            self.child.stdin.flush()
            return json.loads(self.child.stdout.readline())

    def read(self, text, bare=True):
        """The text's reading, by itself or with the catalog."""
        return self._ask({"text": text, "bare": bare}) | {"text": text}

    def catalog(self, rows):
        self._ask({"catalog": rows})

    def close(self):
        self.child.stdin.close()
        self.child.wait()

