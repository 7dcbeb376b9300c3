"""A body sent in chunks is read like any other, by the server of the image without a proxy before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.conf import settings

from certs.models import Issuer
from tests.faults.processes import Web, environment
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="plan_only"\r\n\r\ntrue\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    b"name\na.example.com\nb.example.com\n\r\n--b--\r\n"
)


@pytest.fixture
def web(portal: Portal, tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "web.log", environment(PKI_BULK_MAX_BYTES="2000000")) as running:
        yield running


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def post(web: Web, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(HTTPConnection(urlsplit(web.url).netloc, timeout=20)) as connection:
        connection.request("POST", path, pieces(body), named, encode_chunked=True)
        response = connection.getresponse()
        return response.status, response.read()


def test_chunked_bodies_are_read_everywhere(web: Web, portal: Portal) -> None:
    """O4: they were taken for empty: "order: Field required"."""
    token = {"Authorization": f"Bearer {portal.token()}"}
    order = {"text": "issue certificate for api.example.com", "plan_only": True}
    json_type = {"Content_Type": "application/json"}
    status, answer = post(web, "/api/v1/requests/words", json.dumps(order).encode(), **token, **json_type)
    assert (status, json.loads(answer)["decision"]) == (200, "allow")
    status, answer = post(web, "/api/v1/bulk/upload", FORM, **token, Content_Type="multipart/form-data; boundary=b")
    assert (status, json.loads(answer)["total"]) == (200, 2)
    issuer = Issuer.objects.get(name=settings.PKI_DEFAULT_CA)
    authority = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    question = ocsp.OCSPRequestBuilder().add_certificate(authority, authority, SHA256()).build()
    status, answer = post(web, f"/pki/ocsp/{issuer.slug}", question.public_bytes(Encoding.DER))
    found = ocsp.load_der_ocsp_response(answer).response_status
    assert found is not ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    status, answer = post(web, "/api/v1/bulk", b" " * 3_500_000, **token, **json_type)
    assert (status, json.loads(answer)["title"]) == (413, "too_large")
    with closing(HTTPConnection(urlsplit(web.url).netloc, timeout=20)) as broken:
        headers = {"Transfer-Encoding": "chunked", **token}
        broken.request("POST", "/api/v1/bulk", b"not chunks at all\r\n\r\n", headers)
        assert broken.getresponse().status == 400
    assert "Traceback" not in web.log.read_text()
