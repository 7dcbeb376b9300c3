"""The end of an own CA, and what it means for the certificates that the CA signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from django.conf import settings

from certs.models import Issuer
from certs.spec import Validity, end_of_day


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
    # A request that the CA can serve in full is issued to the last day. What would be cut is served as long as a useful rest is
    # left: else the last week of a CA gives certificates for an hour.
    end = end_of(issuer)
    least = timedelta(days=settings.PKI_CA_LEAST_DAYS)
    if asked_end <= end or end - now >= least:
        return ""
    if end <= now:
        return f"{issuer.name} ended on {end.day} {end:%b %Y %H:%M} UTC. The operators have to roll over to a new CA."
    return (
        f"{issuer.name} ends on {end.day} {end:%b %Y %H:%M} UTC, and certificates would be cut to less than "
        f"{least.days} days. The operators have to roll over to a new CA; a shorter validity may fit."
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """When a certificate would end if its CA signed it now.

    `note` says why that is earlier than requested, "" if it is not. `refusal` says why the CA would
    not sign it at all.
    """

    at: datetime
    note: str = ""
    refusal: str = ""


def ending_of(issuer: Issuer, validity: Validity, *, now: datetime) -> Ending | None:
    """Return when a certificate with that validity would end, None for a CA elsewhere.

    The policy judges the validity that was requested; the CA's end only shortens it (RFC 5280 6.1:
    a path is valid while each certificate of it is).
    """
    # What a CA elsewhere would do near its end is not known here.
    if issuer.certificate_der is None:
        return None
    asked_end = end_of_day(validity.not_after) if validity.not_after else now + timedelta(days=validity.days or 0)
    end = end_of(issuer)
    if asked_end <= end:
        return Ending(asked_end)
    refusal = too_short(issuer, asked_end=asked_end, now=now)
    return Ending(end, cut_note(end, validity, now=now, issuer=issuer), refusal)


def cut_note(end: datetime, validity: Validity, *, now: datetime, issuer: Issuer) -> str:
    """Return the sentence for people about why a certificate ends earlier than requested."""
    days = max((end - now).days, 0)
    return (
        f"The certificate ends on {end.day} {end:%b %Y %H:%M} UTC, in {days} days, not as requested ({validity.text}): "
        f"the CA {issuer.name} ends then, and no certificate outlives its CA."
    )
