"""Real servers to look at: TLS of several kinds, words before TLS, and servers that are none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Before = Callable[[socket.socket], None]


def pem_of_key(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def stranger(*names: str, ends: timedelta = timedelta(days=30)) -> tuple[bytes, Any]:
    """A self-signed certificate that the portal does not know, in PEM, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + ends)
    san = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
    return builder.add_extension(san, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), key


def context_of(chain: bytes, key: Any) -> ssl.SSLContext:
    """A server's context from a PEM chain and a key."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pem_of_key(key) + chain)
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
    return context


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that gives each connection to `serve` in a thread. Yields its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=handle, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


@contextlib.contextmanager
def serving(chain: bytes, key: Any, *, before: Before | None = None, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A TLS server; `before` speaks first, as STARTTLS wants it. Yields its port."""
    used = context or context_of(chain, key)

    def serve(connection: socket.socket) -> None:
        if before is not None:
            before(connection)
        with contextlib.suppress(OSError), used.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with listening(serve) as port:
        yield port


class Switch:
    """A server whose certificate can be changed while it runs, as a reload does."""

    def __init__(self, chain: bytes, key: Any) -> None:
        self.context = context_of(chain, key)
        self.connections = 0

    def reload(self, chain: bytes, key: Any) -> None:
        self.context = context_of(chain, key)

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        with contextlib.suppress(OSError), self.context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)


def answer_names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """A DNS in which every name beneath example.com has these addresses. Returns the names that are looked up."""
    real, asked = socket.getaddrinfo, []

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> list[Any]:
        if not str(host).endswith("example.com"):
            return real(host, port, *args, **more)
        asked.append(str(host))
        return [(0, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# --- words before TLS ---


def _lines(connection: socket.socket, *exchanges: tuple[str, str]) -> None:
    """Answer each line that begins or ends with a word. `("", text)` speaks without being asked."""
    reader = connection.makefile("rb")
    for word, answer in exchanges:
        if word:
            line = reader.readline().decode()
            if word.upper() not in line.upper():
                raise OSError(f"expected {word}, got {line!r}")
            connection.sendall(answer.replace("TAG", line.split(" ")[0]).encode())
        else:
            connection.sendall(answer.encode())


def smtp(connection: socket.socket) -> None:
    hello = "250-mx.example.com\r\n250 STARTTLS\r\n"
    _lines(connection, ("", "220 mx.example.com ESMTP\r\n"), ("EHLO", hello), ("STARTTLS", "220 go ahead\r\n"))


def imap(connection: socket.socket) -> None:
    able = "* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n"
    _lines(connection, ("", "* OK ready\r\n"), ("CAPABILITY", able), ("STARTTLS", "TAG OK begin\r\n"))


def pop3(connection: socket.socket) -> None:
    _lines(connection, ("", "+OK ready\r\n"), ("STLS", "+OK begin\r\n"))


def postgres(connection: socket.socket) -> None:
    if connection.recv(8) != b"\x00\x00\x00\x08\x04\xd2\x16\x2f":  # SSLRequest
        raise OSError("no SSLRequest")
    connection.sendall(b"S")


def ldap(connection: socket.socket) -> None:
    request = connection.recv(1024)
    if b"1.3.6.1.4.1.1466.20037" not in request:
        raise OSError("no StartTLS (RFC 4511 4.14)")
    # ExtendedResponse: message 1, success, no matched DN, no message.
    connection.sendall(bytes.fromhex("300c020101" + "7807" + "0a0100" + "0400" + "0400"))


def mysql(connection: socket.socket) -> None:
    able_to_tls = (0x0800 | 0x0200 | 0x8000).to_bytes(2, "little")
    body = b"\x0a8.0.0\x00" + b"\x01\x00\x00\x00" + b"abcdefgh\x00" + able_to_tls + b"\x21" + b"\x02\x00"
    body += b"\x08\x00" + b"\x15" + bytes(10) + b"ijklmnopqrst\x00" + b"mysql_native_password\x00"
    connection.sendall(len(body).to_bytes(3, "little") + b"\x00" + body)
    connection.recv(36)  # SSLRequest


WORDS: dict[str, Before] = {"smtp": smtp, "imap": imap, "pop3": pop3, "postgres": postgres, "ldap": ldap, "mysql": mysql}


# --- servers that are none ---


def silent(connection: socket.socket) -> None:
    """Accepts, and says nothing."""
    threading.Event().wait(10)


def nonsense(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def flooding(connection: socket.socket) -> None:
    """Sends line after line where a greeting is expected."""
    for _ in range(1_000_000):
        connection.sendall(b"220-" + b"x" * 4000 + b"\r\n")


def dripping_greeting(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"2")
        threading.Event().wait(0.1)


@contextlib.contextmanager
def flooding_after_handshake(chain: bytes, key: Any) -> Iterator[int]:
    """A TLS server that sends without end, and a certificate of its own invention among it."""
    context = context_of(chain, key)
    lie = b"\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n    Protocol  : TLSv9\n"

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            for _ in range(10_000):
                secured.sendall(lie * 1000)

    with listening(serve) as port:
        yield port


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
