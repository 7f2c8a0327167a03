"""A PostgreSQL client that sends what it is told and prints what it hears, message by message.

Source: PostgreSQL manual, "Frontend/Backend Protocol". Python's standard library only.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct

HOST, PORT = os.environ["PGHOST"], int(os.environ["PGPORT"])


def scram(password, server_first, client_first_bare):
    parts = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={parts['r']}"
    message = f"{client_first_bare},{server_first},{final}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    return f"{final},p={base64.b64encode(proof).decode()}".encode()


def frame(tag, payload=b""):
    return tag.encode() + struct.pack(">i", len(payload) + 4) + payload


def z(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def Query(text): return frame("Q", z(text))
def Parse(text, name="", types=()): return frame("P", z(name) + z(text) + struct.pack(f">h{len(types)}I", len(types), *types))
def Describe(kind, name=""): return frame("D", kind.encode() + z(name))
def Execute(portal="", rows=0): return frame("E", z(portal) + struct.pack(">i", rows))
def Close(kind, name=""): return frame("C", kind.encode() + z(name))
def Sync(): return frame("S")
def Flush(): return frame("H")
def Terminate(): return frame("X")
def CopyData(data): return frame("d", data)
def CopyDone(): return frame("c")
def CopyFail(why): return frame("f", z(why))


def Bind(values=(), portal="", statement="", formats=(), results=()):
    """`values` are None, text or bytes."""
    out = z(portal) + z(statement) + struct.pack(f">h{len(formats)}h", len(formats), *formats) + struct.pack(">h", len(values))
    for value in values:
        if value is None:
            out += struct.pack(">i", -1)
        else:
            value = value if isinstance(value, bytes) else str(value).encode()
            out += struct.pack(">i", len(value)) + value
    return frame("B", out + struct.pack(f">h{len(results)}h", len(results), *results))


class Gone(Exception):
    pass


class Wire:
    """One connection, logged in."""

    def __init__(self, log=print, quiet_login=True, seconds=40, **parameters):
        self.log, self.buffer, self.key = log, b"", None
        self.sock = socket.create_connection((HOST, PORT), timeout=seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if os.environ.get("PGSSLMODE") == "require":
            self.sock.sendall(struct.pack(">ii", 8, 80877103))
            if self.sock.recv(1) != b"S":
                raise Gone("no TLS")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        settings = {"user": os.environ["PGUSER"], "database": os.environ["PGDATABASE"], **parameters}
        body = b"".join(z(k) + z(v) for k, v in settings.items()) + b"\0"
        self.sock.sendall(struct.pack(">iI", len(body) + 8, 196608) + body)
        self.login(quiet_login)

    def login(self, quiet):
        first = "n=,r=" + base64.b64encode(os.urandom(18)).decode()
        while True:
            tag, payload = self.message()
            kind = struct.unpack(">i", payload[:4])[0] if tag == "R" else None
            if kind == 10:
                initial = f"n,,{first}".encode()
                self.sock.sendall(frame("p", z("SCRAM-SHA-256") + struct.pack(">i", len(initial)) + initial))
            elif kind == 11:
                self.sock.sendall(frame("p", scram(os.environ["PGPASSWORD"], payload[4:].decode(), first[0:])))
            elif tag == "K":
                self.key = payload
            elif tag == "S" and payload.startswith((b"application_name\0",)):
                continue
            elif tag == "E":
                self.log("login", show(tag, payload))
                raise Gone(show(tag, payload))
            elif tag == "Z":
                return
            elif not quiet and kind is None:
                self.log("login", show(tag, payload))

    def send(self, *frames, pieces=None):
        data = b"".join(frames)
        if pieces is None:
            return self.sock.sendall(data)
        for at in range(0, len(data), pieces):
            self.sock.sendall(data[at:at + pieces])

    def message(self):
        while True:
            if len(self.buffer) >= 5:
                size = struct.unpack(">i", self.buffer[1:5])[0] + 1
                if len(self.buffer) >= size:
                    tag, payload = chr(self.buffer[0]), self.buffer[5:size]
                    self.buffer = self.buffer[size:]
                    return tag, payload
                if size > 1 << 20:
                    self.gather(size)
                    continue
            try:
                piece = self.sock.recv(1 << 16)
            except (ConnectionError, ssl.SSLError) as error:
                raise Gone("closed") from error
            if not piece:
                raise Gone("closed" if not self.buffer else f"closed inside a message after {len(self.buffer)} bytes")
            self.buffer += piece

    def gather(self, size):
        whole = bytearray(self.buffer)
        while len(whole) < size:
            piece = self.sock.recv(1 << 20)
            if not piece:
                raise Gone("closed inside a long message")
            whole += piece
        self.buffer = bytes(whole)

    def until(self, stop="Z", most=100000):
        """Prints messages up to one whose tag is in `stop`."""
        for _ in range(most):
            try:
                tag, payload = self.message()
            except socket.timeout:
                self.log("  (nothing more)")
                raise Gone("silence") from None
            except Gone as gone:
                self.log(f"  ({gone})")
                raise
            self.log("  " + show(tag, payload))
            if tag in stop:
                return payload
        raise Gone("too many messages")

    def say(self, *frames, until="Z", syncs=1, pieces=None):
        self.send(*frames, pieces=pieces)
        for _ in range(syncs):
            self.until(until)

    def silent(self, seconds=0.3):
        """Whether nothing arrives."""
        self.sock.settimeout(seconds)
        try:
            while True:
                tag, payload = self.message()
                self.log("  " + show(tag, payload))
        except (socket.timeout, TimeoutError):
            self.log("  (silence)")
        finally:
            self.sock.settimeout(40)

    def cancel(self):
        with socket.create_connection((HOST, PORT), timeout=20) as other:
            other.sendall(struct.pack(">iI", 8 + len(self.key), 80877102) + self.key)
            try:
                self.log("  cancel:", other.recv(100))
            except ConnectionError:
                self.log("  cancel: reset")

    def close(self):
        try:
            self.sock.sendall(Terminate())
        except OSError:
            pass
        self.sock.close()


def show(tag, payload):
    if len(payload) > 400:
        return f"{tag} [{len(payload)}] {hashlib.sha256(payload).hexdigest()[:16]} {payload[:60]!r}"
    if tag == "A":  # the process id of who notified
        return f"{tag} {payload[4:]!r}"
    if tag in "EN":
        fields = [f.decode("utf-8", "replace") for f in payload.split(b"\0") if f]
        return f"{tag} " + " | ".join(fields)
    return f"{tag} {payload!r}" if payload else tag
