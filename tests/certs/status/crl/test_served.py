"""The published CRL over real HTTP, judged by OpenSSL, GnuTLS, curl, pkilint and pyhanko."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID

from certs.models import Certificate, Issuer
from certs.status.maintenance import keep_status_information
from certs.x509.asn1.pem import pem_of
from pkiportal.web.status_information import StatusInformation
from tests.certs.relying_parties import Files, crl_der, crl_pem, gnutls_crl, lint, openssl_verify, pyhanko_refuses, run
from tests.portal.authority import issue, publish_everything, published, revoke, served
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_headers_let_caches_ask_again_for_nothing(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    issuer = publish_everything()
    whole = published(issuer).public_bytes(Encoding.DER)
    with served() as url:
        path = f"/pki/crl/{issuer.slug}.crl"
        status, headers, body = ask(url, path)
        assert (status, body) == (200, whole)
        assert headers["content-type"] == "application/pkix-crl"
        assert headers["cache-control"] == "public, max-age=300, no-transform, must-revalidate"
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers
        assert ask(url, path, If_None_Match=headers["etag"])[::2] == (304, b"")
        assert ask(url, path, If_Modified_Since=headers["last-modified"])[::2] == (304, b"")
        for other in ("2024 00:00:00 GMT", f"{'9' * 20} 00:00:00 GMT", f"2024 00:00:00 +{'9' * 14}", "0000 00:00:00 GMT"):
            assert ask(url, path, If_Modified_Since=f"Mon, 01 Jan {other}")[0] == 200
        assert ask(url, path, If_None_Match='"another"', If_Modified_Since=headers["last-modified"])[0] == 200
        head = ask(url, path, "HEAD")
        assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(whole)), b"")


def test_certificate_of_a_ca_is_cached_like_its_crl(portal: Portal) -> None:
    """T10: ETag and Last-Modified, and 304 for either."""
    issuer = publish_everything()
    path = f"/pki/ca/{issuer.slug}.crt"
    with served() as url:
        status, headers, body = ask(url, path)
        assert (status, body) == (200, bytes(issuer.certificate_der or b""))
        known = ask(url, path, If_None_Match=headers["etag"])
        assert known[::2] == (304, b"")
        assert known[1]["cache-control"] == headers["cache-control"] == "public, max-age=3600", "RFC 9110 15.4.5"
        assert ask(url, path, If_Modified_Since=headers["last-modified"])[::2] == (304, b"")
        assert ask(url, path, If_None_Match='"another"')[0] == 200
        head = ask(url, path, "HEAD")
        assert (head[0], head[1]["etag"], head[2]) == (200, headers["etag"], b"")
        assert ask(url, "/pki/ca/nobody.crt")[0] == 404


@pytest.mark.parametrize("path", ["/pki/crl/nobody.crl", "/pki/crl/", "/pki/ocsp/nobody/MAA=", "/pki/ocsp/"])
def test_answer_to_head_has_no_content_also_where_there_is_nothing(path: str, portal: Portal) -> None:
    """On a connection that is kept, the sentence would be read as the beginning of the next answer (RFC 9110 9.3.2)."""
    begun: list[str] = []
    environ = {"REQUEST_METHOD": "HEAD", "PATH_INFO": path, "REMOTE_ADDR": "10.0.0.1"}
    answered = StatusInformation(lambda *_: [b"Django"])(environ, lambda status, _headers: begun.append(status))
    assert (begun, b"".join(answered)) == (["404 Not Found"], b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/pki/crl/nobody.crl", "GET", 404),
        ("/pki/crl/internal-ca-prod/1.crl", "GET", 404),
        ("/pki/crl/internal-ca-prod/0.crl", "GET", 404),
        ("/pki/crl/../../etc/passwd", "GET", 404),
        ("/pki/crl/internal-ca-prod.crl%00", "GET", 404),
        ("/pki/crl/internal-ca-prod.crl", "POST", 405),
        ("/pki/crl/internal-ca-prod.crl", "DELETE", 405),
    ],
)
def test_what_is_not_there_is_said(portal: Portal, path: str, method: str, status: int) -> None:
    publish_everything()
    with served() as url:
        assert ask(url, path, method)[0] == status


def test_openssl_strict_and_pyhanko_believe_the_crl(portal: Portal, tmp_path: Path) -> None:
    good, bad = issue(portal, 2)
    revoke(bad)
    issuer = publish_everything()
    assert issuer.parent is not None
    crls = [published(issuer), published(issuer.parent)]
    files, both = Files.of(issuer, tmp_path), crl_pem(tmp_path / "crls.pem", *crls)
    assert openssl_verify(files, good, both) == "OK"
    assert openssl_verify(files, bad, both) == "certificate revoked"
    ders = [crl.public_bytes(Encoding.DER) for crl in crls]
    assert pyhanko_refuses(good, crls=ders) == ""
    assert "revoked" in pyhanko_refuses(bad, crls=ders)


def test_shard_is_for_its_own_certificates_and_the_complete_crl_for_all(portal: Portal, tmp_path: Path, settings: Any) -> None:
    settings.PKI_CRL_SHARD_SIZE = 1
    (first,) = issue(portal, 1)
    issuer = publish_everything()
    keep_status_information()
    (second,) = issue(portal, 1, prefix="s")
    keep_status_information()
    issuer.refresh_from_db()
    assert issuer.parent is not None
    files, root = Files.of(issuer, tmp_path), published(issuer.parent)
    own = [crl_pem(tmp_path / f"{shard}.pem", published(issuer, shard), root) for shard in (0, 1)]
    assert [openssl_verify(files, one, crls) for one, crls in zip((first, second), own, strict=True)] == ["OK", "OK"]
    assert openssl_verify(files, first, own[1]) == "different CRL scope"
    assert openssl_verify(files, second, own[0]) == "OK"  # T4: the complete CRL is for everybody
    revoke(second)
    keep_status_information()
    complete = crl_pem(tmp_path / "complete.pem", published(issuer), root)
    assert openssl_verify(files, second, complete) == "certificate revoked"


def test_certtool_and_the_linters_find_nothing(portal: Portal, tmp_path: Path, settings: Any) -> None:
    settings.PKI_CRL_SHARD_SIZE = 2
    certificates = issue(portal, 2)
    for certificate, reason in zip(certificates, ("unspecified", "keyCompromise"), strict=True):
        revoke(certificate, reason)
    issuer = publish_everything()
    assert issuer.parent is not None
    whole = crl_der(tmp_path / "whole.crl", published(issuer))
    keep_status_information()
    shard = crl_der(tmp_path / "shard.crl", published(issuer))
    root = crl_der(tmp_path / "root.crl", published(issuer.parent))
    files = Files.of(issuer, tmp_path)
    for authority, crl, kind in ((files.issuer, whole, "CRL"), (files.issuer, shard, "CRL"), (files.root, root, "ARL")):
        gnutls_crl(authority, crl)
        assert lint("lint_crl", "-t", kind, "-p", "PKIX", crl) == ""
        assert lint("lint_crl", "-t", kind, "-p", "BR", crl) == ""


@contextmanager
def _tls(certificate: Certificate, issuer: Issuer, key: ec.EllipticCurvePrivateKey, folder: Path) -> Iterator[int]:
    """A web server with that certificate on a loopback port."""
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_text(pem_of(bytes(certificate.body.der)) + pem_of(bytes(issuer.certificate_der or b"")))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            return

    class Server(TCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a client that refuses our certificate hangs up: that is the test

    with Server(("127.0.0.1", 0), Page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


def test_curl_takes_the_good_and_refuses_the_revoked(portal: Portal, tmp_path: Path) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    certificates = issue(portal, 2, keys=keys)
    revoke(certificates[1])
    issuer = publish_everything()
    assert issuer.parent is not None
    files = Files.of(issuer, tmp_path)
    crls = crl_pem(tmp_path / "crls.pem", published(issuer), published(issuer.parent))
    outcomes = []
    for number, (certificate, key) in enumerate(zip(certificates, keys, strict=True)):
        host = f"h{number}.example.com"
        with _tls(certificate, issuer, key, tmp_path) as port:
            trust = ["--cacert", str(files.root), "--crlfile", str(crls), "--noproxy", "*", "--resolve", f"{host}:{port}:127.0.0.1"]
            done = run("curl", "--silent", "--show-error", "--max-time", "10", *trust, f"https://{host}:{port}/")
            outcomes.append((done.returncode, done.stdout or done.stderr.strip()))
    assert outcomes[0] == (0, "ok")
    assert outcomes[1][0] == 60
    assert "certificate revoked" in outcomes[1][1]


def test_every_address_in_every_certificate_answers(portal: Portal, settings: Any) -> None:
    """Also those in the issuing CA's own certificate, and over a roll-over of shards."""
    settings.PKI_CRL_SHARD_SIZE = 1
    with served() as url:
        settings.PKI_BASE_URL = url  # what a new portal would write into its certificates
        certificates = issue(portal, 1)
        issuer = publish_everything()
        keep_status_information()
        certificates += issue(portal, 1, prefix="s")
        keep_status_information()
        ders = [bytes(one.body.der) for one in certificates] + [bytes(issuer.certificate_der or b"")]
        found = [address for der in ders for address in addresses(x509.load_der_x509_certificate(der))]
        kinds = {kind for kind, _ in found}
        assert kinds == {"crl", "ca", "ocsp"}
        for kind, address in found:
            path = urlsplit(address).path
            if kind == "ocsp":
                assert ask(url, path)[1]["content-type"] == "application/ocsp-response"
                continue
            status, headers, body = ask(url, path)
            assert status == 200, address
            if kind == "crl":
                assert headers["content-type"] == "application/pkix-crl"
                x509.load_der_x509_crl(body)
            else:
                assert headers["content-type"] == "application/pkix-cert"
                x509.load_der_x509_certificate(body)


def addresses(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    for point in certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value:
        yield from (("crl", name.value) for name in point.full_name or ())
    for description in certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value:
        kind = "ocsp" if description.access_method == AuthorityInformationAccessOID.OCSP else "ca"
        yield kind, description.access_location.value
