"""Delegated OCSP responders of own CAs: a fresh P-256 key and a certificate for a week, made anew every three days.

They are in the CA's ledger like every certificate: the intent is written before it is signed, and the reference names the
period, so that two workers at once make one responder.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, record
from certs.ca.local.client import LocalCAClient
from certs.ca.local.setup import ensure_key
from certs.models import IssuanceIntent, Issuer, ResponderCertificate
from certs.x509.certificate.ocsp_responder import LONGEST_LIFE, build_responder_tbs, lint_responder
from certs.x509.certificate.serial import new_serial
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from keys.models import Key
from keys.spec import KeySpec

RENEW_EVERY = timedelta(days=3)


def newest_responder(issuer: Issuer) -> ResponderCertificate | None:
    return ResponderCertificate.objects.select_related("key").filter(issuer=issuer).order_by("-not_after", "-pk").first()


def ensure_responder(issuer: Issuer, *, actor: Actor) -> ResponderCertificate:
    """Return the responder of this period, made if missing. Safe to run twice at once and again after a crash.

    Raises keys.errors.KeyBackendError, certs.ca.base.CAUnreachable, and Conflict where nothing may be signed.
    """
    # 1. The reference names the period, and the ledger signs a reference once: two workers at once make one responder.
    now = database_now()
    period = int(now.timestamp() // RENEW_EVERY.total_seconds())
    reference = f"ocsp-{period}-{issuer.slug}"
    made = ResponderCertificate.objects.select_related("key").filter(order_ref=reference).first()
    if made is not None:
        return made
    # 2. Its key, claimed for the period too: a crash after it leaves a key that the next call finds.
    name = f"OCSP {issuer.name}"
    backend, claim = settings.PKI_OCSP_KEY_BACKEND, f"ocsp:{period}:{issuer.slug}"
    key = ensure_key(claim, name, KeySpec.EC_P256, backend=backend, purpose=Key.Purpose.OCSP, actor=actor)

    def prepare(row: Issuer, certificate: x509.Certificate, at: datetime) -> tuple[IssuanceIntent, list[str]]:
        return _prepared(row, certificate, key, reference, name, now=at)

    # 3. Its certificate, through the ledger of the CA, and the row from which responses are signed.
    intent = LocalCAClient(issuer.alias, issuer=issuer.name).issue_internal(reference, prepare)
    return _recorded(issuer, key, intent, actor=actor)


def _prepared(
    issuer: Issuer, certificate: x509.Certificate, key: Key, reference: str, name: str, *, now: datetime
) -> tuple[IssuanceIntent, list[str]]:
    """Return the intent of the responder's certificate, and what the linter finds wrong with it."""
    # A week for a period of three days: a CA whose key is away for days does not lose its responder at once.
    not_before = max(now - CLOCK_TOLERANCE, certificate.not_valid_before_utc).replace(microsecond=0)
    not_after = min(not_before + LONGEST_LIFE - timedelta(seconds=1), certificate.not_valid_after_utc)
    serial, spki = new_serial(), bytes(key.spki_der or b"")
    unsigned = build_responder_tbs(
        issuer=certificate, spki_der=spki, common_name=name, serial=serial, not_before=not_before, not_after=not_after
    )
    intent = IssuanceIntent(
        issuer=issuer,
        order_ref=reference,
        serial_number=f"{serial:x}",
        profile="ocsp-responder",
        policy_version="-",
        spki_sha256=key.spki_sha256,
        tbs=unsigned.tbs,
        signature_algorithm=unsigned.signature_algorithm_der,
        created_at=now,
        crl_shard=issuer.crl_shard,
        not_after=not_after,
    )
    return intent, lint_responder(unsigned, issuer=certificate)


@transaction.atomic
def _recorded(issuer: Issuer, key: Key, intent: IssuanceIntent, *, actor: Actor) -> ResponderCertificate:
    """Record the responder, once: the row for which responses are signed, with its event."""
    der = bytes(intent.certificate_der or b"")
    certificate = x509.load_der_x509_certificate(der)
    made, first = ResponderCertificate.objects.select_related("key").get_or_create(
        order_ref=intent.order_ref,
        defaults={
            "issuer": issuer,
            "key": key,
            "serial_number": intent.serial_number,
            "certificate_der": der,
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
        },
    )
    if first:
        data = {"serial_number": made.serial_number, "not_after": made.not_after.isoformat(), "spki_sha256": key.spki_sha256}
        record(EventType.OCSP_RESPONDER_MADE, subject=f"issuer:{issuer.slug}", actor=actor, at=database_now(), data=data)
    return made
