"""Replies of OCSP responders elsewhere: which are used, and which prove nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from certs.ca.base import CAUnreachable
from certs.ca.outside import http_address, session_to
from certs.ca.remote_crl import fetched_crl
from certs.ca.remote_ocsp import ocsp_address, status_at

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC).replace(microsecond=0)
ADDRESS = "http://ocsp.example.com/"
HASHED = SHA256()


def certificate(name: str, key: Any, signer: Any, issuer: str, *usages: Any, until: int = 9, address: str = "") -> x509.Certificate:
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number()).public_key(key.public_key())
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
    builder = builder.not_valid_before(NOW - timedelta(days=20)).not_valid_after(NOW + timedelta(days=until))
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if address:
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(address))
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else HASHED)


class Elsewhere:
    """A CA, a certificate of it, and a responder."""

    def __init__(self, key: Any) -> None:
        self.key, self.responder_key = key, ec.generate_private_key(ec.SECP256R1())
        self.authority = certificate("CA", key, key, "CA")
        self.leaf = certificate("shop", self.responder_key, key, "CA", address=ADDRESS)

    def reply(self, signer: x509.Certificate | None = None, key: Any = None, **changed: Any) -> bytes:
        given: dict[str, Any] = {
            "cert": self.leaf,
            "issuer": self.authority,
            "algorithm": SHA1(),  # noqa: S303 - it names the certificate, as requests do
            "cert_status": ocsp.OCSPCertStatus.GOOD,
            "this_update": NOW - timedelta(hours=1),
            "next_update": NOW + timedelta(hours=1),
            "revocation_time": None,
            "revocation_reason": None,
        }
        builder = ocsp.OCSPResponseBuilder().add_response(**(given | changed))
        used = key or self.key
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer or self.authority)
        if signer is not None:
            builder = builder.certificates([signer])
        return builder.sign(used, None if isinstance(used, ed25519.Ed25519PrivateKey) else HASHED).public_bytes(Encoding.DER)

    def responder(self, *usages: Any, signer: Any = None, until: int = 9) -> x509.Certificate:
        return certificate("responder", self.responder_key, signer or self.key, "CA", *usages, until=until)


@pytest.fixture(params=["ec", "rsa", "ed25519"])
def ca(request: pytest.FixtureRequest) -> Elsewhere:
    keys: dict[str, Callable[[], Any]] = {
        "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    return Elsewhere(keys.get(request.param, ed25519.Ed25519PrivateKey.generate)())


class Responder(BaseHTTPRequestHandler):
    """Sends the server's content to whoever posts a request of OCSP."""

    def do_POST(self) -> None:
        asked = ocsp.load_der_ocsp_request(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked_for = asked.serial_number  # type: ignore[attr-defined]
        content: bytes = self.server.content  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def replying(ca: Elsewhere) -> Iterator[Any]:
    """A server; called with its content, it returns what the portal makes of that."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def asked(content: bytes) -> str:
            server.content = content  # type: ignore[attr-defined]
            found = status_at(f"http://127.0.0.1:{server.server_address[1]}/", ca.leaf, ca.authority)
            assert server.asked_for == ca.leaf.serial_number  # type: ignore[attr-defined]
            return found

        yield asked
        server.shutdown()


def test_a_reply_of_the_ca_or_of_its_responder_is_used(ca: Elsewhere, replying: Any) -> None:
    assert ocsp_address(ca.leaf) == ADDRESS
    assert ocsp_address(ca.authority) == ""
    assert replying(ca.reply()) == "good"
    revoked = {"cert_status": ocsp.OCSPCertStatus.REVOKED, "revocation_time": NOW}
    delegated = ca.responder(ExtendedKeyUsageOID.OCSP_SIGNING)
    assert replying(ca.reply(delegated, ca.responder_key, **revoked)) == "revoked"


def test_a_reply_that_somebody_else_signed_is_old_or_of_another_certificate_proves_nothing(ca: Elsewhere, replying: Any) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    other = certificate("other", stranger, ca.key, "CA")
    signing = ExtendedKeyUsageOID.OCSP_SIGNING
    wrong = {
        "stranger": ca.reply(certificate("CA", stranger, stranger, "CA", signing), stranger),
        "no responder": ca.reply(ca.responder(), ca.responder_key),
        "a server": ca.reply(ca.responder(ExtendedKeyUsageOID.SERVER_AUTH), ca.responder_key),
        "responder of a stranger": ca.reply(ca.responder(signing, signer=stranger), ca.responder_key),
        "responder that has ended": ca.reply(ca.responder(signing, until=-1), ca.responder_key),
        "old": ca.reply(next_update=NOW - timedelta(minutes=30)),
        "of another": ca.reply(cert=other),
        "refusal": ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED).public_bytes(Encoding.DER),
        "no reply": b"<html>",
    }
    used = []
    for name, content in wrong.items():
        try:
            used.append((name, replying(content)))
        except CAUnreachable:
            continue
    assert used == []


INSIDE = (
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://user:password@127.0.0.1:{port}/",
)


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_a_certificate_leads_to_the_portals_own_machine(ca: Elsewhere, settings: Any, address: str) -> None:
    """Whoever speaks as the CA writes these addresses; a name is judged by what it leads to."""
    settings.PKI_CA_NETWORKS = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.content, server.asked_for = b"", 0  # type: ignore[attr-defined]
        url = address.format(port=server.server_address[1])
        for asked in (lambda: status_at(url, ca.leaf, ca.authority), lambda: fetched_crl(url, ca.authority)):
            with pytest.raises(CAUnreachable):
                asked()
        assert server.asked_for == 0  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name server: the addresses that a name has at each look-up, the last one from then on."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, *_: Any, **__: Any) -> Any:
        address = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "::ffff:127.0.0.1", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fe80::1"],
)
def test_no_name_leads_to_a_metadata_service_or_into_another_form_of_an_address(
    settings: Any, names: dict[str, list[str]], address: str
) -> None:
    settings.PKI_CA_NETWORKS, names["crl.example.test"] = [], [address]
    with pytest.raises(ValueError, match="metadata"), session_to("http://crl.example.test/"):
        pass


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked(settings: Any, names: dict[str, list[str]]) -> None:
    """DNS rebinding: a second look-up would give the address of this machine."""
    settings.PKI_CA_NETWORKS, names["crl.example.test"] = [], ["192.0.2.1", "127.0.0.1"]
    with session_to("http://crl.example.test:8080/a?b=c") as (_session, url, headers):
        assert (url, headers) == ("http://192.0.2.1:8080/a?b=c", {"Host": "crl.example.test:8080"})
    names["crl.example.test"] = ["2001:db8::1"]
    with session_to("https://crl.example.test/") as (_session, url, _headers):
        assert url == "https://[2001:db8::1]:443/"


def test_an_address_that_is_none_is_passed_over(ca: Elsewhere) -> None:
    assert http_address(["ldap://x", "http://[", "https://b"]) == "http://["
    for address in ("http://[", "http://", "http://x:99999999/", "http://x:y/"):
        with pytest.raises(CAUnreachable):
            status_at(address, ca.leaf, ca.authority)
        with pytest.raises(CAUnreachable):
            fetched_crl(address, ca.authority)
