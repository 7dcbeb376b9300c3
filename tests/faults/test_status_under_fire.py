"""F18: CRLs and OCSP while clients send nonsense, or send so slowly that they would hold every thread; as the image and its proxy run."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certs.models import Certificate
from tests.certs.status.ocsp.questions import request_for
from tests.faults.processes import Web, environment
from tests.faults.proxy import proxied
from tests.portal.authority import issue, publish_everything
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
SLOW = 80  # connections, some half of them in the head of a request and the others in its body; gunicorn has 16 threads
GENEROUS = 10.0  # seconds; without the proxy nothing is answered while the slow ones are there


@pytest.fixture
def certificate(portal: Portal) -> Certificate:
    (certificate,) = issue(portal, 1)
    publish_everything()
    return certificate


@pytest.fixture
def web(certificate: Certificate, tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "web.log", environment(PKI_OCSP_NONCES_PER_MINUTE="1000000")) as running:
        yield running


def asking(certificate: Certificate) -> bytes:
    return request_for(certificate, nonce=secrets.token_bytes(32))


def ask(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GENEROUS)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/ocsp-request"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def word(answer: tuple[int, bytes]) -> str:
    status, body = answer
    if status != 200:
        return str(status)
    reply = ocsp.load_der_ocsp_response(body)
    if reply.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return reply.response_status.name
    return reply.certificate_status.name


def test_nonsense_is_answered_at_once_and_leaves_nothing_behind(certificate: Certificate, web: Web) -> None:
    issuer = certificate.issuer
    path = f"/pki/ocsp/{issuer.slug}"
    good = asking(certificate)
    other = ocsp.OCSPRequestBuilder().add_certificate_by_hash(b"x" * 20, b"y" * 20, 5, hashes.SHA1())  # noqa: S303 - as clients ask
    before = web.memory()
    for _ in range(20):
        assert [
            word(ask(web.port, path, secrets.token_bytes(300))),
            word(ask(web.port, path, secrets.token_bytes(64 * 1024))),
            word(ask(web.port, path, good[:-1])),
            word(ask(web.port, path, b"")),
            word(ask(web.port, path, other.build().public_bytes(Encoding.DER))),
            word(ask(web.port, path, request_for(certificate, serial=int("7f" * 12, 16)))),
            word(ask(web.port, "/pki/ocsp/nobody", good)),
            word(ask(web.port, path, good)),
        ] == ["MALFORMED_REQUEST"] * 4 + ["UNAUTHORIZED", "UNKNOWN", "404", "GOOD"]
    assert web.memory() - before < 64 * 1024 * 1024


def slow_connection(port: int, head: bytes) -> socket.socket:
    """From another address than the good clients': the proxy counts each client's connections."""
    slow = socket.create_connection(("127.0.0.1", port), GENEROUS, source_address=("127.0.0.2", 0))
    slow.sendall(head)
    return slow


def test_clients_that_dribble_their_requests_hold_up_nobody(certificate: Certificate, web: Web, tmp_path: Path) -> None:
    folder = tmp_path / "proxy"
    folder.mkdir()
    path = f"/pki/ocsp/{certificate.issuer.slug}"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with proxied(folder, services=web.port) as (plain, _), ExitStack() as stack:
        slow = [
            stack.enter_context(slow_connection(plain, f"{head}{'Content-Length: 5000' if number % 2 else 'X-A: a'}\r\n".encode()))
            for number in range(SLOW)
        ]
        for connection in slow[1::2]:
            connection.sendall(b"\r\n")  # its head is over, its body begins
        for _ in range(10):
            for connection in slow:
                connection.sendall(b"x")
            assert word(ask(plain, path, asking(certificate))) == "GOOD"


def test_proxy_as_it_is_shipped(certificate: Certificate, web: Web, tmp_path: Path) -> None:
    """Status information by plain HTTP, everything else by TLS alone; a request that is too long is refused before it is read."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    trusted = ssl.create_default_context()
    with proxied(folder, services=web.port) as (plain, tls):
        trusted.load_verify_locations(folder / "tls_certificate")
        trusted.check_hostname = False

        def get(path: str, *, secure: bool) -> tuple[int, str]:
            connection = (
                http.client.HTTPSConnection("127.0.0.1", tls, timeout=GENEROUS, context=trusted)
                if secure
                else http.client.HTTPConnection("127.0.0.1", plain, timeout=GENEROUS)
            )
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            connection.close()
            return response.status, response.headers.get("Location", "")

        issuer = certificate.issuer
        for path in (f"/pki/crl/{issuer.slug}.crl", f"/pki/ca/{issuer.slug}.crt"):
            assert (get(path, secure=False), get(path, secure=True)) == ((200, ""), (200, ""))
        assert get("/healthz?a=b", secure=False) == (308, "https://127.0.0.1/healthz?a=b")
        assert get("/healthz", secure=True) == (200, "")
        assert get("/api/v1/ca/chain", secure=True)[0] in (200, 401)
        assert get("/metrics", secure=True) == (404, "")
        assert word(ask(plain, f"/pki/ocsp/{issuer.slug}", secrets.token_bytes(64 * 1024 + 1))) == "413"
        assert word(ask(plain, f"/pki/ocsp/{issuer.slug}", asking(certificate))) == "GOOD"
