"""Distrust an own issuing CA: its key is in the wrong hands, or the CA is given up permanently.

Relying parties learn of it from the CRL of the root that certified the CA (RFC 5280 3.3), and from OCSP, which reports every
certificate of the CA as revoked for as long as the last responder is valid (RFC 6960 2.7). No CRL and no responder is made for the
CA from then on: somebody else could sign the opposite with its key. Its certificates are due for renewal at once.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from django.db import transaction

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, record
from certs.enums import RevocationReason
from certs.errors import Conflict
from certs.models import Certificate, IssuanceIntent, Issuer
from certs.requests.exposure.key_blocks import alert_block
from db.clock import database_now
from keys.public_keys import block_public_key
from keys.spec import spki_sha256

# Reasons for the certificate of a CA (RFC 5280 5.3.1): no hold; keyCompromise is for certificates of subscribers.
REASONS = (
    RevocationReason.CA_COMPROMISE,
    RevocationReason.CESSATION_OF_OPERATION,
    RevocationReason.SUPERSEDED,
    RevocationReason.AFFILIATION_CHANGED,
    RevocationReason.PRIVILEGE_WITHDRAWN,
)


@transaction.atomic
def distrust(issuer: Issuer, *, reason: RevocationReason, actor: Actor) -> IssuanceIntent:
    """Distrust an own issuing CA, permanently. Returns the entry in the ledger of its root, from which the root's CRL is made.

    The same call again returns the same entry. Effects, in one transaction: state of the issuer, entry of the ledger,
    `issuer:state_changed`; for cACompromise its key is blocked. Raises Conflict for what is no own issuing CA, or is
    distrusted for another reason already.
    """
    # 1. Lock the issuer. Each preparation of a signature shares this lock: what it has committed is in the ledger by now, and
    #    nothing is prepared for this CA after the commit here.
    row = Issuer.objects.select_for_update(of=("self",)).select_related("parent", "key").get(pk=issuer.pk)
    if row.parent is None or row.key is None or row.certificate_der is None:
        raise Conflict(
            f"{row.name} is not an own issuing CA, so no root of ours can revoke it.",
            next_step="A root cannot be revoked: remove it from the trust stores. For a CA elsewhere ask its operator.",
        )
    now = database_now()
    # 2. The CA's certificate in the ledger of its root, from which the root's CRL is made.
    entry = _entry(row, row.parent, now)
    if row.state == Issuer.State.DISTRUSTED and entry.revoked_at is not None:
        if entry.revocation_reason != reason:
            raise Conflict(
                f"{row.name} is distrusted already, as {entry.revocation_reason}.", next_step="That is final; nothing is to be done."
            )
        return entry
    # 3. From the commit on OCSP reports every certificate of the CA as revoked, also one that is signed late.
    before, row.state = row.state, Issuer.State.DISTRUSTED
    attribute(row, actor)
    row.save(update_fields=["state"])
    entry.revoked_at, entry.revocation_reason = now, str(reason)
    entry.save(update_fields=["revoked_at", "revocation_reason"])
    data = {"from": before, "to": row.state, "reason": str(reason), "serial_number": entry.serial_number}
    record(EventType.ISSUER_STATE_CHANGED, subject=f"issuer:{row.slug}", actor=actor, at=now, data=data)
    # 4. Block a key that somebody else has. Not by `block_key`, which spares the keys of CAs because anybody could stop a CA
    #    with it: here an operator gives the CA up.
    if reason is RevocationReason.CA_COMPROMISE:
        blocked = f"the key of {row.name} is compromised"
        if block_public_key(entry.spki_sha256, team="", reason=blocked, now=now, actor=actor):
            alert_block(entry.spki_sha256, team="", reason=blocked, now=now, actor=actor)
    return entry


def living_certificates(issuer: Issuer) -> int:
    """Return how many certificates of the CA are still valid and not revoked."""
    good = Certificate.objects.filter(issuer=issuer, status=Certificate.Status.GOOD, not_after__gt=database_now())
    return good.count()


def _entry(issuer: Issuer, root: Issuer, now: datetime) -> IssuanceIntent:
    """Return the entry of the CA's certificate in the ledger of its root, made when it is first needed."""
    certificate = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    entry, _ = IssuanceIntent.objects.get_or_create(
        issuer=root,
        serial_number=f"{certificate.serial_number:x}",
        defaults={
            "order_ref": f"ca:{issuer.slug}",
            "state": IssuanceIntent.State.SIGNED,
            "profile": "issuing-ca",
            "policy_version": "-",
            "spki_sha256": spki_sha256(certificate.public_key()),
            "tbs": certificate.tbs_certificate_bytes,
            "signature_algorithm": b"",
            "certificate_der": bytes(issuer.certificate_der or b""),
            "created_at": now,
            "signed_at": issuer.created_at,
            "not_after": certificate.not_valid_after_utc,
        },
    )
    return entry
