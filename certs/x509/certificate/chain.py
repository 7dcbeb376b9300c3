"""The certificates above a certificate, as files are made of them. Pure."""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


@lru_cache(maxsize=64)
def intermediates_of(chain: str) -> str:
    """The PEM certificates of a chain without its self-issued root.

    A TLS server sends its certificate and these. A client has the root, or would not trust it for
    being sent (RFC 8446 4.4.2).
    """
    return "".join(_pem(one) for one in _read(chain) if one.subject != one.issuer)


@lru_cache(maxsize=64)
def root_of(chain: str) -> str:
    """The self-issued root at the end of a PEM chain; empty where the chain does not hold it."""
    return "".join(_pem(one) for one in _read(chain) if one.subject == one.issuer)


def _read(chain: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(chain.encode()) if chain else []


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
