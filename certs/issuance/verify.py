"""Verify the certificate that a CA sent against the order, before anybody may rely on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from certs.ca.base import MOST_BACKDATING, Issued, Order
from certs.errors import SignerMismatch
from certs.models import Issuer
from certs.spec import end_of_day
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.profiles import profile_named
from certs.x509.certificate.verify import CertificateFacts, Expectation, verify_issued


class Verified(NamedTuple):
    """A certificate that is the one ordered, with its facts and the chain that leads to the pinned root."""

    der: bytes
    chain_pem: str
    facts: CertificateFacts


def verify_result(issued: Issued, order: Order, issuer: Issuer, *, now: datetime) -> Verified:
    """Return the certificate of a CA, verified. Raises SignerMismatch with every difference between it and the order."""
    expectation = Expectation(
        spki_sha256=order.spki_sha256,
        common_name=order.common_name,
        dns_names=order.dns_names,
        ip_addresses=order.ip_addresses,
        ekus=profile_named(order.profile).ekus,
        not_before_min=order.intended_at - MOST_BACKDATING,
        validity_max=_longest_life(order),
        not_after_max=end_of_day(order.not_after) if order.not_after else None,
    )
    # Without a pinned root every chain would do, and an attacker between the portal and the CA could send a CA of their own.
    if not issuer.trust_anchor_der:
        raise SignerMismatch([f"no root is pinned for {issuer.name}; add it with `manage.py add_ca`"])
    roots = (bytes(issuer.trust_anchor_der),)
    facts = verify_issued(issued.certificate_der, issued.chain_der, expectation, now=now, trusted_roots=roots)
    return Verified(issued.certificate_der, _chain_pem(issued.chain_der), facts)


def _longest_life(order: Order) -> timedelta | None:
    """Return the longest validity that is accepted; None for an end date under no maximum.

    CAs back-date by some minutes, which does not shorten what was ordered.
    """
    days = [days for days in (order.validity_days, order.longest_days) if days is not None]
    return timedelta(days=min(days)) + MOST_BACKDATING if days else None


@lru_cache(maxsize=64)
def _chain_pem(chain_der: tuple[bytes, ...]) -> str:
    """Return a chain as PEM; kept, because a CA sends the same one with every certificate."""
    return "".join(pem_of(der) for der in chain_der)
