"""CSRs that the portal makes, for keys of every kind."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.errors import PortalError
from certs.x509.csr.build import build_csr
from keys.backends.private_keys import remote_private_key
from keys.signing import sign_message
from keys.spec import spki_der
from tests.certs.x509.certificate.chains import LEAF_KINDS, key_of

LONG = "long." * 13 + "example.com"


@pytest.mark.parametrize("common_name", ["a.example.com", "", LONG])
@pytest.mark.parametrize("kind", [kind for kind in LEAF_KINDS if not kind.startswith("ml-dsa")])
def test_request_has_key_names_and_a_valid_signature(kind: str, common_name: str) -> None:
    key = key_of(kind)
    made = x509.load_der_x509_csr(build_csr(key, common_name=common_name, dns_names=("a.example.com", LONG), ip_addresses=("::1",)))
    san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert made.is_signature_valid
    assert spki_der(made.public_key()) == spki_der(key.public_key())
    assert list(san.value) == [x509.DNSName("a.example.com"), x509.DNSName(LONG), x509.IPAddress(ipaddress.ip_address("::1"))]
    subject = [name.value for name in made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert (subject, san.critical) == ((["a.example.com"], False) if common_name == "a.example.com" else ([], True))


@pytest.mark.parametrize("kind", ["p-256", "rsa-2048", "ed25519"])
def test_request_signed_with_another_key_is_thrown_away(kind: str) -> None:
    """As a backend would whose key was replaced between two calls."""
    wanted, other = key_of(kind), key_of(kind, "other")

    def signs_with_the_other(message: bytes, padding: Any, algorithm: Any) -> bytes:
        return sign_message(other, message)

    remote = remote_private_key(wanted.public_key(), signs_with_the_other)
    with pytest.raises(PortalError, match="not the one asked for"):
        build_csr(remote, common_name="a.example.com", dns_names=("a.example.com",), ip_addresses=())
