"""A server that sends its reply byte by byte, so that no time-out of one read ends the call."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n" + b" " * 900


@contextlib.contextmanager
def dripping(at_once: int) -> Iterator[str]:
    """A server that sends so many octets of its reply at once, and then one every 50 ms."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(REPLY[:at_once])
            for octet in REPLY[at_once:]:
                if stop.wait(0.05):
                    return
                connection.sendall(bytes([octet]))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@contextlib.contextmanager
def flooding() -> Iterator[tuple[str, list[int]]]:
    """A server that sends a gigabyte as its reply, as long as somebody takes it. Yields its address and what it sent to each caller."""
    server, sent = socket.create_server(("127.0.0.1", 0)), list[int]()

    def serve(connection: socket.socket) -> None:
        place = len(sent)
        sent.append(0)
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while sent[place] < 1_000_000_000:
                sent[place] += connection.send(b" " * 65536)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", sent
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
