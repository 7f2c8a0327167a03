"""What the Python clients share: steps that print what they saw, an error's every field, and the line to the server's keeper."""

import datetime
import os
import socket
import traceback

MASKED, TLS = bool(os.environ.get("DRIVERS_MASKED")), bool(os.environ.get("DRIVERS_TLS"))
HOST, PORT, USER, PASSWORD, DATABASE = (os.environ[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"))
TYPES = [line.split()[0] for line in open(os.path.join(os.path.dirname(__file__), "types.txt")) if line.strip()]


def log(*words):
    print(*words, flush=True)


def step(label, function, *args, **kwargs):
    """Runs one piece of work; an error is an observation like any other."""
    try:
        value = function(*args, **kwargs)
        log(f"{label}: {short(value)}")
        return value
    except Exception as error:  # whatever the driver raises
        log(f"{label}: {describe(error)}")
        return None


async def astep(label, awaitable):
    try:
        value = await awaitable
        log(f"{label}: {short(value)}")
        return value
    except Exception as error:
        log(f"{label}: {describe(error)}")
        return None


def short(value):
    text = repr(value)
    if " at 0x" in text:
        text = type(value).__name__
    if len(text) > 6000:
        import hashlib
        text = f"{text[:200]}… {len(text)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text


DIAG = ("sqlstate", "severity", "severity_nonlocalized", "message_primary", "message_detail", "message_hint", "statement_position", "internal_position", "internal_query", "context", "schema_name",
        "table_name", "column_name", "datatype_name", "constraint_name", "source_file", "source_line", "source_function")


def describe(error):
    words = [type(error).__name__, " ".join(str(error).split())]
    diag = getattr(error, "diag", None)
    if diag is not None:
        words += [f"{name}={getattr(diag, name)!r}" for name in DIAG if getattr(diag, name, None)]
    if hasattr(error, "as_dict"):
        words.append(str(sorted(error.as_dict().items())))
    if os.environ.get("DRIVERS_TRACE"):
        words.append(traceback.format_exc())
    return " | ".join(words)


def control(words):
    """Asks the runner: restart, stop, start, crash, kill PID, sql TEXT."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(90)
        s.connect(os.environ["DRIVERS_CONTROL"])
        s.sendall(words.encode() + b"\n")
        return s.makefile().readline().strip()
