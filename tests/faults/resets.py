"""A TCP proxy whose connections can be reset: what a broker behind a rebooting firewall looks like."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


class ResettingProxy:
    """Forwards a loopback port to another. `cut()` resets connections, and each new one until `mend()`.

    `cut(but=(b"BRPOP",))` leaves those alone whose client sent such a word last: a firewall forgets idle connections first.
    """

    def __init__(self, to: int) -> None:
        self._to, self._cut = to, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        self._ended = False

    def cut(self, *, but: Sequence[bytes] = ()) -> None:
        self._cut.set()
        for pair in [pair for pair in self._pairs if not any(word in pair.last_sent for word in but)]:
            self._pairs.remove(pair)
            _reset(pair.client)
            _reset(pair.server)

    def mend(self) -> None:
        self._cut.clear()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut.is_set():
                _reset(client)
                continue
            pair = _Pair(client, socket.create_connection(("127.0.0.1", self._to)))
            self._pairs.append(pair)
            threading.Thread(target=_forward, args=(pair,), daemon=True).start()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        self.cut()
        self._listener.close()


@dataclass
class _Pair:
    client: socket.socket
    server: socket.socket
    last_sent: bytes = b""


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        one.shutdown(socket.SHUT_RD)  # wakes the thread that waits for it
    one.close()


def _forward(pair: _Pair) -> None:
    other = {pair.client: pair.server, pair.server: pair.client}
    with selectors.DefaultSelector() as ready, contextlib.suppress(OSError, ValueError):
        for one in other:
            ready.register(one, selectors.EVENT_READ)
        while True:
            readable = {key.fileobj for key, _ in ready.select(timeout=1)}
            for one in [one for one in other if one in readable]:
                data = one.recv(65536)
                if not data:
                    raise ConnectionResetError
                if one is pair.client:
                    pair.last_sent = data
                other[one].sendall(data)
    for one in other:
        one.close()
