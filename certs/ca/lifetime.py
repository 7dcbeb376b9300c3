"""How long an own CA lasts, and what that means for what it signs."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from django.conf import settings

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


def too_short(issuer: Issuer, *, asked_end: datetime, now: datetime) -> str:
    """Return why an own CA cannot issue a useful certificate any more, "" if it can.

    A certificate that the CA's end would cut to less than PKI_CA_LEAST_DAYS is of no use to the
    requester, who expects the life that was asked for; a short-lived one that fits is issued.
    """
    end = end_of(issuer)
    least = timedelta(days=settings.PKI_CA_LEAST_DAYS)
    if asked_end <= end or end - now >= least:
        return ""
    if end <= now:
        return f"{issuer.name} ended on {end:%d %b %Y %H:%M} UTC. The operators have to roll over to a new CA."
    return (
        f"{issuer.name} ends on {end:%d %b %Y %H:%M} UTC, and certificates would be cut to less than "
        f"{least.days} days. The operators have to roll over to a new CA; a shorter validity may fit."
    )
