"""How long an own CA lasts, and what that means for what it signs."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509

from certs.models import Issuer


@lru_cache(maxsize=64)
def loaded(der: bytes) -> x509.Certificate:
    """Return the parsed certificate of a CA; each is parsed once."""
    return x509.load_der_x509_certificate(der)


def end_of(issuer: Issuer) -> datetime:
    """Return the notAfter of an own CA. Raises ValueError where its certificate is missing."""
    if issuer.certificate_der is None:
        raise ValueError(f"{issuer.name} has no certificate here")
    return loaded(bytes(issuer.certificate_der)).not_valid_after_utc


def has_ended(issuer: Issuer, *, now: datetime) -> bool:
    """Return whether an own CA is past its notAfter: nothing that it signs is valid any more."""
    return end_of(issuer) <= now
