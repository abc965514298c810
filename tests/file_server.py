"""A web server on this machine that sends one file, with the faults that real ones have."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What the next requests get, and what they asked for."""

    body: bytes = b""
    drops: list[int] = field(default_factory=list)  # bytes sent before request 1, 2, … loses its connection
    statuses: list[int] = field(default_factory=list)  # of request 1, 2, … ; 200 or 206 after them
    knows_ranges: bool = True
    tells_length: bool = True
    stall_after: int | None = None  # bytes, then nothing more
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    agents: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            server.agents.append(self.headers["User-Agent"])
            if server.statuses and (status := server.statuses.pop(0)) not in (200, 206):
                self.send_error(status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
            if start and start >= len(server.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.body)}")
                self.end_headers()
                return
            self._send(server.body[start:], start)

        def _send(self, rest: bytes, start: int) -> None:
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
            if server.tells_length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut = server.drops.pop(0) if server.drops else server.stall_after
            self.wfile.write(rest[:cut])
            self.wfile.flush()
            if server.stall_after is not None:
                server.over.wait(20)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """Serves until the block ends."""
    server = Server()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{httpd.server_port}/corpus.zip"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()
