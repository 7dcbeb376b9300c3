"""A local server that speaks the provider's HTTP API: what it was sent, and what it is told to answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up has closed its connection."""


class ModelServer:
    """`answer`: the text of the model. `status`, `body` and `delay` make it go wrong."""

    def __init__(self) -> None:
        self.answer = "Issue certificate for shop.example.com on nginx"
        self.status, self.delay = 200, 0.0
        self.body: bytes | None = None
        self.received: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def reply(self) -> bytes:
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": self.answer}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        return json.dumps(message).encode() if self.body is None else self.body


@pytest.fixture
def model_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """The helper is on and asks this server; skipped where its package is not installed."""
    pytest.importorskip("anthropic", reason="the extra requirement anthropic is not installed (requirements-assistant.txt)")
    told = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            told.received.append((self.path, dict(self.headers.items()), json.loads(self.rfile.read(length))))
            time.sleep(told.delay)
            reply = told.reply()
            self.send_response(told.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's signature
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.PKI_NL_PROVIDER, settings.PKI_NL_TIMEOUT_SECONDS = "anthropic", 1
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-environment")
    yield told
    server.shutdown()
    server.server_close()
