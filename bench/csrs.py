"""CSRs for benchmarks, and a client that sends them. No Django here: clients are processes of their own."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keys.spec import spki_der


def make_csr(name: str) -> tuple[bytes, bytes, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER), spki_der(key.public_key()), name


_ready: list[Any] = []  # a barrier, in a client process


def at_once(barrier: Any) -> None:
    """In a client's process before anything else: it begins when all have their requests ready, for that work is not the server's."""
    _ready.append(barrier)


def post_for(port: int, token: str, number: int, seconds: float) -> int:
    """Send prepared requests over one keep-alive connection for that long; answers how many were issued. Fails on anything but 200.

    A bare socket: http.client takes a tenth of what the portal itself does for a request.
    """
    prefix = f"{os.getpid()}-{number}"
    prepared = [_request(port, token, f"{prefix}-{n}") for n in range(int(seconds * 500))]
    for barrier in _ready:
        barrier.wait(120)
    done, end = 0, time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for request in prepared:
            if time.monotonic() >= end:
                break
            connection.sendall(request)
            answer = _answer(connection)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"{answer[:600]!r}")
            done += 1
    return done


def _request(port: int, token: str, name: str) -> bytes:
    body = _body(f"h{name}.example.com")
    head = f"POST /api/v1/certificates/issue HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Idempotency-Key: {name}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _answer(connection: socket.socket) -> bytes:
    """Head and body of one answer, whose head names its length."""
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])  # type: ignore[index] # gunicorn says it, or this fails
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _body(name: str) -> str:
    der, _, _ = make_csr(name)
    return json.dumps(
        {"csr": x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode(), "validity_days": 90, "profile": "tls-server"}
    )
