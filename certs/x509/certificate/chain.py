"""The certificates above a certificate, as files are made of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID


@lru_cache(maxsize=64)
def intermediates_of(chain: str) -> str:
    """Return the PEM certificates of a chain without its self-issued root.

    A TLS server sends its certificate and these. A client has the root, or would not trust it for
    being sent (RFC 8446 4.4.2).
    """
    return "".join(_pem(one) for one in _read(chain) if one.subject != one.issuer)


@lru_cache(maxsize=64)
def root_of(chain: str) -> str:
    """Return the self-issued root at the end of a PEM chain; empty where the chain does not hold it."""
    return "".join(_pem(one) for one in _read(chain) if one.subject == one.issuer)


def pkcs7_of(certificates: str) -> bytes:
    """Return PEM certificates as one PKCS #7 file, in PEM (RFC 2315, certificates only)."""
    return pkcs7.serialize_certificates(_read(certificates), Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Link:
    """One CA certificate of a chain."""

    name: str
    ends: datetime
    is_root: bool


@lru_cache(maxsize=64)
def links_of(chain: str) -> tuple[Link, ...]:
    """Return the CA certificates of a PEM chain, the root first where it is in it."""
    found = [Link(_name(one), one.not_valid_after_utc, one.subject == one.issuer) for one in _read(chain)]
    return tuple(reversed(found))


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def _read(chain: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(chain.encode()) if chain else []


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
