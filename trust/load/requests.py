"""Requests that a served model must refuse: each kind sends one, and says which answers are right."""

import base64
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

PLAIN = "application/json"


@dataclass(frozen=True)
class Kind:
    """A kind of request. `allowed`: statuses that are right; 0 stands for a closed connection without an answer.

    `make(chance, limit)` returns the bytes to send, where `limit` is the size that the server allows. `pause`: seconds between
    the bytes of a slow sender; `leaves`: the client closes at once.
    """

    allowed: frozenset[int]
    make: Callable[[Random, int], bytes]
    pause: float = 0
    leaves: bool = False


def request(body: bytes, content_type: str = PLAIN, first: str = "POST /invocations", length: str = "") -> bytes:
    """Returns the bytes of a request; `length` is the announced length, if it is not the true one."""
    lines = [
        f"{first} HTTP/1.1",
        "Host: x",
        f"Content-Type: {content_type}",
        f"Content-Length: {length or len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _rows(*rows: object) -> bytes:
    return request(json.dumps({"dataframe_records": rows}).encode())


def _noise(chance: Random, count: int) -> bytes:
    return bytes(chance.getrandbits(8) for _ in range(count))


def _samples(values: list[object], rate: object) -> bytes:
    return _rows({"samples": values, "rate": rate})


BAD = frozenset({400})
KINDS = {
    "not JSON": Kind(BAD, lambda c, n: request(_noise(c, 200))),
    "half of a JSON": Kind(BAD, lambda c, n: request(b'{"dataframe_records": [{"audio": "' + b"A" * c.randrange(5000))),
    "JSON without rows": Kind(BAD, lambda c, n: request(c.choice([b"{}", b"[1]", b"null", b"3", b'{"dataframe_records": 3}']))),
    "deep JSON": Kind(BAD, lambda c, n: request(c.choice([b"[", b'{"a":']) * c.randrange(2000, 100_000))),
    "not base64": Kind(BAD, lambda c, n: _rows({"audio": "%$" * 50})),
    "not a sound": Kind(BAD, lambda c, n: _rows({"audio": base64.b64encode(_noise(c, 3000)).decode()})),
    "cut sound": Kind(BAD, lambda c, n: _rows({"audio": base64.b64encode(b"RIFF\xff\xff\xff\xffWAVEfmt ").decode()})),
    "a path": Kind(BAD, lambda c, n: _rows({"path": "/etc/hostname"})),
    "a row of another type": Kind(BAD, lambda c, n: _rows({"audio": c.choice([3, None, ["x"], {"a": 1}, True])})),
    "no rows": Kind(BAD | {200}, lambda c, n: _rows()),
    "too long samples": Kind(BAD, lambda c, n: _samples([0] * 610_000, 1000)),
    "samples out of range": Kind(BAD, lambda c, n: _samples([1e308] * 2000, 16_000)),
    "samples that are no numbers": Kind(BAD, lambda c, n: _samples(c.choice([["x"] * 50, [[1], 2], [None] * 9]), 16_000)),
    "NaN samples": Kind(BAD, lambda c, n: _samples([float("nan")] * 16_000, 16_000)),
    "impossible rate": Kind(BAD, lambda c, n: _samples([0.1] * 999, c.choice([0, -1, 10**40, "x", 1e308, None]))),
    "many empty rows": Kind(BAD, lambda c, n: _rows(*[{"audio": ""}] * 5000)),
    "wrong parameter": Kind(BAD, lambda c, n: request(b'{"dataframe_records": [{"audio": ""}], "params": {"x": 1}}')),
    "another content type": Kind(frozenset({415}), lambda c, n: request(b"a,b", c.choice(["text/csv", "", "x/" + "y" * 999]))),
    "too large": Kind(frozenset({0, 413}), lambda c, n: request(b" " * (n + c.randrange(1, n)))),
    "said to be huge": Kind(frozenset({413}), lambda c, n: request(b"{", length=str(10**12))),
    "impossible length": Kind(frozenset({0, 400}), lambda c, n: request(b"{}", length=c.choice(["-1", "x", "1e3"]))),
    "another path": Kind(frozenset({404}), lambda c, n: request(b"{}", first="POST /" + c.choice(["x", "../etc", "%00"]))),
    "another method": Kind(frozenset({405}), lambda c, n: request(b"", first=c.choice(["PUT", "GET"]) + " /invocations")),
    "not HTTP": Kind(frozenset({0, 400}), lambda c, n: _noise(c, 300) + b"\r\n\r\n"),
    "endless header": Kind(frozenset({0, 400, 431}), lambda c, n: b"GET /ping HTTP/1.1\r\nX: " + b"x" * 200_000),
    "half a request": Kind(frozenset(), lambda c, n: _rows({"audio": "A" * 5000})[: c.randrange(1, 5000)], leaves=True),
    "nobody waits": Kind(frozenset(), lambda c, n: _samples([0.01, -0.01] * 20_000, 16_000), leaves=True),
    "slow sender": Kind(frozenset({408}), lambda c, n: request(b"{" * 5, length="500"), pause=0.5),
}  # fmt: skip
"""All kinds of requests, by name."""


def sent(name: str, port: int, chance: Random, timeout: float, limit: int) -> str:
    """Sends a request of this kind; returns what is wrong with the answer, or "". `timeout`: of the server, in seconds."""
    kind = KINDS[name]
    content = kind.make(chance, limit)
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.settimeout(120)
        with suppress(ConnectionError):  # the server may answer and close before all is sent
            connection.sendall(content)
            ends = time.monotonic() + 3 * timeout
            while kind.pause and time.monotonic() < ends and not _readable(connection):
                time.sleep(kind.pause)
                connection.sendall(b" ")
        if kind.leaves:
            return ""
        answer = _read(connection)
    status = int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0
    if status not in kind.allowed:
        return f"answer {answer[-200:]!r}, expected {sorted(kind.allowed)}"
    if b"Traceback" in answer or b"site-packages" in answer:
        return "the answer has a traceback"
    return ""


def _readable(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK)) or True
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(120)


def _read(connection: socket.socket) -> bytes:
    """Returns the answer: its header, and as much of its body as is announced."""
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65_536):
            answer += piece
            header, end, body = answer.partition(b"\r\n\r\n")
            if end and b"content-length: " in header.lower():
                length = int(header.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(body) >= length:
                    break
    return answer
