"""A root, an issuing CA beneath it and leaves, for tests: made by the house's own builders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from certs.x509.certificate.profiles import TLS_SERVER
from certs.x509.certificate.serial import new_serial
from certs.x509.certificate.tbs import UnsignedCertificate, assemble, build_issuing_ca, build_root, build_tbs
from keys.signing import sign_message
from keys.spec import spki_der

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOST = "api.example.com"
ROOT_KEY = ec.generate_private_key(ec.SECP384R1())
ROOT_DER = build_root(ROOT_KEY, name="Test Root", now=NOW, years=10)
ISSUER_KINDS = ("p-256", "p-384", "rsa-4096", "ed25519")
LEAF_KINDS = ("rsa-2048", "rsa-3072", "p-256", "p-384", "p-521", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")


@lru_cache(maxsize=32)
def key_of(kind: str, purpose: str = "leaf") -> Any:
    """One key of each kind and purpose for the whole run: making RSA keys is slow. The purpose only tells keys apart."""
    match kind.split("-"):
        case ["rsa", bits]:
            return rsa.generate_private_key(65537, int(bits))
        case ["p", bits]:
            return ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}[bits])
        case ["ed25519"]:
            return ed25519.Ed25519PrivateKey.generate()
        case ["ml", "dsa", number]:
            kinds: dict[str, Any] = {"44": mldsa.MLDSA44PrivateKey, "65": mldsa.MLDSA65PrivateKey, "87": mldsa.MLDSA87PrivateKey}
            return kinds[number].generate()
    raise ValueError(kind)


@dataclass(frozen=True)
class Issuer:
    key: Any
    der: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return (self.der, ROOT_DER)


@lru_cache(maxsize=8)
def issuer_of(kind: str) -> Issuer:
    key = key_of(kind, "issuer")
    root = x509.load_der_x509_certificate(ROOT_DER)
    der = build_issuing_ca(
        ROOT_KEY, root, key.public_key(), name=f"Test Issuing CA {kind}", now=NOW, years=5, crl_url="http://crl.example.com/root.crl"
    )
    return Issuer(key, der)


def unsigned_leaf(issuer: Issuer, leaf_kind: str = "p-256", **changes: Any) -> UnsignedCertificate:
    """TBS of a leaf for HOST, valid for 90 days; `changes` are arguments of `build_tbs`."""
    ordered: dict[str, Any] = {
        "profile": TLS_SERVER,
        "issuer": issuer.certificate,
        "spki_der": spki_der(key_of(leaf_kind).public_key()),
        "common_name": HOST,
        "dns_names": (HOST, "www.example.com"),
        "ip_addresses": (),
        "organization": "Example Ltd.",
        "serial": new_serial(),
        "not_before": NOW - timedelta(minutes=1),
        "not_after": NOW - timedelta(minutes=1) + timedelta(days=90) - timedelta(seconds=1),
        "crl_url": "http://crl.example.com/ca.crl",
        "ocsp_url": "http://ocsp.example.com/",
        "ca_issuers_url": "http://crl.example.com/ca.der",
    }
    return build_tbs(**(ordered | changes))


def leaf(issuer: Issuer, leaf_kind: str = "p-256", *, signed_by: Any = None, **changes: Any) -> bytes:
    unsigned = unsigned_leaf(issuer, leaf_kind, **changes)
    return assemble(unsigned, sign_message(signed_by or issuer.key, unsigned.tbs))
