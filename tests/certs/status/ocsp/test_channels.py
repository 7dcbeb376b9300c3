"""OCSP over HTTP: caches, garbage, methods, names."""

from __future__ import annotations

import base64
import http.client
from io import BytesIO
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote, urlsplit
from wsgiref.util import setup_testing_defaults

import pytest
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from certs.models import Certificate, ResponderCertificate
from certs.status.ocsp.nonce_limit import nonces
from certs.status.ocsp.respond import answer
from certs.x509.ocsp import MAX_REQUEST, Unsuccessful
from pkiportal.web.status_information import StatusInformation
from tests.certs.status.ocsp.questions import request_for, word
from tests.portal.authority import issue, publish_everything, served
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def post(url: str, data: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("POST", urlsplit(url).path, body=data, headers={"Content-Type": "application/ocsp-request", **headers})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def get(url: str, data: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    path = f"{urlsplit(url).path}/{quote(base64.b64encode(data).decode(), safe='')}"
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def test_caching_headers_of_a_get(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    with served() as url:
        address = f"{url}/pki/ocsp/{issuer.slug}"
        status, headers, body = get(address, request_for(certificate))
        assert (status, headers["content-type"]) == (200, "application/ocsp-response")
        assert headers["cache-control"] == "public, max-age=60, no-transform, must-revalidate"
        assert get(address, request_for(certificate), If_None_Match=headers["etag"])[0] == 304
        assert get(address, request_for(certificate, nonce=b"n" * 32))[1]["cache-control"] == "no-store"
        assert post(address, request_for(certificate))[1]["cache-control"] == "no-store"
        assert body == post(address, request_for(certificate))[2]


def test_get_is_answered_however_its_address_was_joined_and_encoded(portal: Portal) -> None:
    """O2: slashes doubled or behind, no padding, the URL-safe alphabet, encoded twice."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    data = next(one for one in (request_for(certificate, nonce=bytes([n]) * 16) for n in range(256)) if _has_all(one))
    text, safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    ways = {
        "plain": text,
        "encoded": quote(text, safe=""),
        "encoded twice": quote(quote(text, safe=""), safe=""),
        "doubled slash": f"/{quote(text, safe='')}",
        "slash behind": f"{quote(text, safe='')}/",
        "slashes behind": f"{text}//",
        "no padding": quote(text.rstrip("="), safe=""),
        "no padding, slash behind": f"{text.rstrip('=')}/",
        "URL-safe": safe,
        "URL-safe without padding": safe.rstrip("="),
        "plus as a space": text.replace("+", "%20"),
    }
    words = {}
    with served() as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        for name, path in ways.items():
            connection.request("GET", f"/pki/ocsp/{issuer.slug}/{path}")
            body = connection.getresponse().read()
            response = ocsp.load_der_ocsp_response(body)
            words[name] = word(response) if response.response_status.value == 0 else response.response_status.name
        connection.close()
    assert words == dict.fromkeys(ways, "good")


def _has_all(data: bytes) -> bool:
    """Its base64 has both characters that differ between the alphabets, and padding."""
    text = base64.b64encode(data).decode()
    return "+" in text and "/" in text and text.endswith("=")


def test_head_of_a_get_address_is_answered(portal: Portal) -> None:
    """T10: as GET, without the body (RFC 9110 9.3.2)."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    path = quote(base64.b64encode(request_for(certificate)).decode(), safe="")
    found = []
    with served() as url:
        for method in ("GET", "HEAD"):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
            connection.request(method, f"/pki/ocsp/{issuer.slug}/{path}")
            response = connection.getresponse()
            names = ("ETag", "Content-Length", "Cache-Control", "Last-Modified")
            found.append((response.status, *(response.getheader(name) for name in names)))
            assert bool(response.read()) == (method == "GET")
            connection.close()
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\x30\x03\x02\x01\x05", b"\x00" * 70, b"x" * 65_536, b"\x30\x82\x0f\xff" + b"\x30" * 4000],
    ids=["nothing", "text", "short", "zeros", "64 kB", "nested"],
)
def test_garbage_is_malformed_at_once_and_the_next_client_does_not_wait(portal: Portal, data: bytes) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    with served() as url:
        address = f"{url}/pki/ocsp/{issuer.slug}"
        assert post(address, data)[::2] == (200, Unsuccessful.MALFORMED_REQUEST)
        assert word(ocsp.load_der_ocsp_response(post(address, request_for(certificate))[2])) == "good"
        assert get(address, data[:3000])[::2] == (200, Unsuccessful.MALFORMED_REQUEST)


def test_other_methods_and_other_names_are_refused(portal: Portal) -> None:
    issuer = publish_everything()
    with served() as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.request("PUT", f"/pki/ocsp/{issuer.slug}", body=b"")
        response = connection.getresponse()
        assert (response.status, response.getheader("Allow")) == (405, "GET, HEAD, POST")
        connection.close()
        assert post(f"{url}/pki/ocsp/nobody", b"x")[0] == 404
        assert post(f"{url}/pki/ocsp/", b"x")[0] == 404


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.integers(0, MAX_REQUEST), st.integers(0, 255))
def test_no_bytes_make_it_fail(portal: Portal, tail: bytes, place: int, octet: int) -> None:
    certificate = Certificate.objects.select_related("issuer", "body").first() or issue(portal, 1)[0]
    if not ResponderCertificate.objects.exists():
        publish_everything()
    whole = bytearray(request_for(certificate, nonce=b"n" * 16))
    whole[place % len(whole)] = octet
    for data in (bytes(whole), bytes(whole[: place % len(whole)]) + tail, tail):
        ocsp.load_der_ocsp_response(answer(certificate.issuer.slug, data, client="x").body)


@pytest.mark.parametrize(
    ("trusted", "remote", "addresses", "limited"),
    [
        ("", "127.0.0.1", ["192.0.2.1", "192.0.2.2", "192.0.2.3"], True),
        ("127.0.0.1/32", "127.0.0.1", ["192.0.2.1", "192.0.2.2", "192.0.2.3"], False),
        ("127.0.0.1/32", "127.0.0.1", ["9.9.9.9, 192.0.2.1", "8.8.8.8, 192.0.2.1", "192.0.2.1"], True),
        ("127.0.0.1/32", "127.0.0.1", ["2001:db8::1", "2001:db8::2", "2001:db8::3"], True),
    ],
    ids=["no proxy is trusted", "clients of a trusted proxy", "what a client wrote itself", "one IPv6 /64"],
)
def test_nonces_are_counted_by_the_client_that_proxies_vouch_for(
    portal: Portal, settings: Any, trusted: str, remote: str, addresses: list[str], *, limited: bool
) -> None:
    """A client that chooses its own X-Forwarded-For would have a signature made for each question."""
    settings.PKI_OCSP_NONCES_PER_MINUTE = 2
    settings.PKI_TRUSTED_PROXIES = [ip_network(trusted)] if trusted else []
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    nonces.counts.clear()
    with_nonce, asked = 0, addresses * 2  # six questions: beyond the limit also when a minute ends in between
    for number, forwarded in enumerate(asked):
        environ: dict[str, Any] = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded, "PATH_INFO": f"/pki/ocsp/{issuer.slug}"}
        setup_testing_defaults(environ)
        question = request_for(certificate, nonce=bytes([number]) * 32)
        environ |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(question)), "wsgi.input": BytesIO(question)}
        body = b"".join(StatusInformation(lambda _e, _s: [])(environ, lambda _status, _headers: None))
        with_nonce += bool(list(ocsp.load_der_ocsp_response(body).extensions))
    assert (with_nonce < len(asked)) is limited


class HungUp:
    """The body of a client that is gone."""

    def read(self, _size: int) -> bytes:
        raise ConnectionResetError


@pytest.mark.parametrize("length", ["9" * 5000, "\u00b2", "+5", "-1", "5, 5", "abc", "", "hung up"])
def test_a_length_that_is_no_number_and_a_body_that_ends_early_are_malformed(portal: Portal, length: str) -> None:
    """S13: the first is more digits than Python reads as a number, the second a digit that is none."""
    issuer = publish_everything()
    statuses: list[str] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": f"/pki/ocsp/{issuer.slug}", "CONTENT_LENGTH": length}
    if length == "hung up":
        environ |= {"CONTENT_LENGTH": "5", "wsgi.input": HungUp()}
    body = StatusInformation(lambda *_: [])(environ, lambda status, _headers: statuses.append(status))
    assert statuses == ["200 OK"]
    assert ocsp.load_der_ocsp_response(b"".join(body)).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
