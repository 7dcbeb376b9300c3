"""A proxy before an HTTP server that loses, holds, cuts and alters what passes, and counts it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests


@dataclass(frozen=True)
class Fault:
    """What happens to one call.

    `status`: answered by the proxy itself, the server never sees the call. `hold`: seconds before
    anything else. `reset`: the connection is reset, after the call was served where `served`.
    `cut`: only so many octets of the body arrive. `body`: replaces the server's body.
    """

    status: int = 0
    hold: float = 0.0
    reset: bool = False
    served: bool = False
    cut: int = -1
    body: bytes | None = None


Decide = Callable[[str, str], Fault | None]


@dataclass
class Wire:
    """`decide(method, path)` is asked for each call; None lets it pass."""

    url: str
    decide: Decide = lambda _method, _path: None
    calls: list[tuple[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def count(self, method: str, part: str) -> int:
        return sum(1 for called, path in self.calls if called == method and part in path)


@contextlib.contextmanager
def wired(upstream: str, *, ca_file: str | None = None) -> Iterator[Wire]:
    """A proxy before `upstream`, on a port of its own, by plain HTTP."""
    server = _Server(upstream, ca_file)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.wire
    finally:
        server.wire.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, ca_file: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.ca_file = upstream, ca_file
        self.wire = Wire(f"http://127.0.0.1:{self.server_address[1]}")
        self._local = threading.local()

    def session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
        return session


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_args: Any) -> None:
        """Silence: a test reads `wire.calls`."""

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wire = self.server.wire
        wire.calls.append((self.command, self.path))
        fault = wire.decide(self.command, self.path) or Fault()
        if fault.hold:
            wire.released.wait(fault.hold)
        if fault.status:
            self.answer(fault.status, b'{"errors":[]}', "application/json", fault)
        elif fault.reset and not fault.served:
            self.reset()
        else:
            self.forward(body, fault)

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = serve  # noqa: N815 - names of the standard library

    def forward(self, body: bytes, fault: Fault) -> None:
        ours = ("host", "content-length", "accept-encoding")
        served = self.server.session().request(
            self.command,
            self.server.upstream + self.path,
            data=body,
            headers={k: v for k, v in self.headers.items() if k.lower() not in ours},
            verify=self.server.ca_file or True,
            allow_redirects=False,
            timeout=30,
        )
        if fault.reset:
            self.reset()
        else:
            content = served.content if fault.body is None else fault.body
            self.answer(served.status_code, content, served.headers.get("Content-Type", ""), fault)

    def answer(self, status: int, content: bytes, kind: str, fault: Fault) -> None:
        self.close_connection = self.close_connection or fault.cut >= 0
        with contextlib.suppress(OSError):  # the caller may have given up meanwhile
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if fault.cut < 0 else content[: fault.cut])

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
