"""A root whose certificate has no end (RFC 5280 4.1.2.5), as of many private CAs: every page that names its end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client

from certs.access.time_zones import choose_zone
from certs.models import Issuer
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def endless() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=Endless Root")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4711)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("path", ["/trust/", "/cas/", "/estate/", "/machinery/", "/readyz", "/metrics", "/"])
def test_page_of_an_endless_root(path: str, cast: Cast, endless: bytes, client: Client) -> None:
    Issuer.objects.update(trust_anchor_der=endless)
    choose_zone(cast["officer"], "Asia/Tokyo")
    client.force_login(cast["officer"])
    assert client.get(path).status_code in (200, 403, 503)
    if path == "/trust/":
        assert "no end" in client.get(path).content.decode()
