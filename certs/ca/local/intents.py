"""What the own CA is about to sign for each order: put together and linted before anything is written down or signed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509

from certs.alone import Alone
from certs.ca.base import Order, Refused
from certs.ca.lifetime import loaded, too_short
from certs.ca.urls import certificate_url, crl_url, ocsp_url
from certs.models import IssuanceIntent, Issuer
from certs.x509.certificate.lint import lint
from certs.x509.certificate.profiles import profile_named
from certs.x509.certificate.serial import new_serial
from certs.x509.certificate.template import Addresses, Subject, splice_tbs
from db.tolerance import CLOCK_TOLERANCE

log = logging.getLogger(__name__)


def prepare_intents(issuer: Issuer, orders: Sequence[Order], now: datetime) -> tuple[dict[str, Refused], dict[str, IssuanceIntent]]:
    """Return the refused orders with what is wrong, and an intent for each of the others, by reference. Nothing is written."""
    # Once for the batch: nothing of it depends on the order, and the issuer's certificate is decoded once.
    signing = _signing(issuer, now)
    refused: dict[str, Refused] = {}
    fresh: dict[str, IssuanceIntent] = {}
    for order in orders:
        # An order of which no certificate can be made is refused alone; the others of its batch are signed.
        with Alone() as tried:
            outcome = _prepare(signing, order)
            if isinstance(outcome, Refused):
                refused[order.order_ref] = outcome
            else:
                fresh[order.order_ref] = outcome
        if tried.error is not None:
            log.error("no certificate can be made for %s", order.order_ref, exc_info=tried.error)
            reason = f"no certificate can be made of it ({type(tried.error).__name__})"
            refused[order.order_ref] = Refused(order.order_ref, "lint", reason)
    return refused, fresh


class _Signing(NamedTuple):
    """What is the same for all orders of a batch."""

    issuer: Issuer
    der: bytes
    certificate: x509.Certificate
    addresses: Addresses
    now: datetime
    not_before: datetime
    latest: datetime  # no certificate may be valid after it


def _signing(issuer: Issuer, now: datetime) -> _Signing:
    der = bytes(issuer.certificate_der or b"")
    certificate = loaded(der)
    addresses = Addresses(crl_url(issuer.slug, issuer.crl_shard), ocsp_url(issuer.slug), certificate_url(issuer.slug))
    not_before = max(now - CLOCK_TOLERANCE, certificate.not_valid_before_utc).replace(microsecond=0)
    return _Signing(issuer, der, certificate, addresses, now, not_before, certificate.not_valid_after_utc)


def _prepare(signing: _Signing, order: Order) -> Refused | IssuanceIntent:
    # 1. The end: what was ordered, but not after the CA's own end (RFC 5280 6.1), and not so early that it is of no use.
    asked_end = order.last_second(signed_at=signing.now, not_before=signing.not_before)
    if problem := too_short(signing.issuer, asked_end=asked_end, now=signing.now):
        return Refused(order.order_ref, "issuer_ending", problem)
    not_after = min(asked_end, signing.latest)
    # 2. The bytes that will be signed, complete, under a serial number that nobody can predict.
    serial = new_serial()
    unsigned = splice_tbs(
        profile=profile_named(order.profile),
        issuer_der=signing.der,
        subject=Subject(order.spki_der, order.common_name, order.dns_names, order.ip_addresses, order.organization),
        serial=serial,
        not_before=signing.not_before,
        not_after=not_after,
        addresses=signing.addresses,
    )
    intent = IssuanceIntent(
        issuer=signing.issuer,
        order_ref=order.order_ref,
        serial_number=f"{serial:x}",
        profile=order.profile,
        policy_version=order.policy_version,
        spki_sha256=order.spki_sha256,
        tbs=unsigned.tbs,
        signature_algorithm=unsigned.signature_algorithm_der,
        created_at=signing.now,
        crl_shard=signing.issuer.crl_shard,
        not_after=not_after,
    )
    # 3. Lint them before anything is written: what is signed is valid, whatever is wrong with it.
    problems = lint(unsigned, issuer=signing.certificate)
    return Refused(order.order_ref, "lint", "; ".join(problems)) if problems else intent
