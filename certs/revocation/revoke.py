"""Revoke one certificate, or for a compromised key every certificate on it.

A key is blocked permanently by a security officer, by the portal's own commands, by a signature of
that key over a challenge, or where the private key never left the portal's backend, so that nobody
else can have a right to it. The statement of an owner about an external key revokes the
certificates of that team and opens a case: a CSR can be copied, and no team may have the key of
another team blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from django.db import transaction

from audit.events import EventType
from audit.log import record
from certs.access.permissions import Authority
from certs.enums import AlertKind, RevocationReason
from certs.errors import InputRefused
from certs.inventory import sharing_key
from certs.inventory.states import CertificateState
from certs.models import Certificate, Revocation
from certs.notifications.alerts import key_cause, raise_alert
from certs.requests.exposure.key_blocks import block_key
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.revocation.key_destruction import order_destruction
from certs.revocation.request import request_revocation, start_delivery
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from keys.models import Key
from keys.public_keys import blocked_keys
from keys.spec import blocked_names

COMPROMISE = RevocationReason.KEY_COMPROMISE
# Reasons about a CA or an attribute authority (RFC 5280 5.3.1), not about one certificate.
CA_REASONS = (RevocationReason.CA_COMPROMISE, RevocationReason.AA_COMPROMISE)


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did.

    `also`, `left`: the other certificates on the same key that were, and were not, revoked.
    `key_blocked`: the key is refused from now on. `case_opened`: an officer decides about the key.
    `destroying`: the key will be destroyed; `not_destroyed_because`: why not, where that was requested.
    """

    certificate: Certificate
    revocation: Revocation
    also: tuple[Certificate, ...] = ()
    left: tuple[Certificate, ...] = ()
    key_blocked: bool = False
    case_opened: bool = False
    destroying: bool = False
    not_destroyed_because: str = ""


def on_same_key(certificate: Certificate, *, authority: Authority, now: datetime) -> list[Certificate]:
    """Return the other certificates on its key that a compromise concerns and that the actor may revoke.

    Those in the whole inventory that have not expired and are not revoked as keyCompromise yet.
    """
    rows = sharing_key(certificate).filter(not_after__gt=now).exclude(revocation__reason=COMPROMISE, revocation__released_at__isnull=True)
    teams = authority.acts_for()
    return list((rows if teams is None else rows.filter(team__in=teams)).select_related("revocation"))


def revoke(
    certificate: Certificate,
    *,
    reason: RevocationReason,
    authority: Authority,
    comment: str = "",
    invalidity_date: datetime | None = None,
    only: Collection[str] | None = None,
    destroy_key: bool = False,
    proven: bool = False,
    begin: bool = True,
) -> Revoked:
    """Revoke a certificate; for keyCompromise also the others on its key.

    `only` names those others by cert_id: None for all of them, empty for none. `proven`: the caller
    has verified a signature by the key (`certs.revocation.key_proof`). With `begin` the delivery to
    the CA starts at the commit.

    Effects, in one transaction: those of `request_revocation` for each certificate; for
    keyCompromise a blocked key or an open case; with `destroy_key` the order to destroy the key.

    Raises NotFound, NotPermitted, Conflict, InputRefused; CSRRefused for a comment that holds a secret.
    """
    # 1. Rights, reason and comment, before the transaction: the refusal of a secret has a record, which a rollback would remove.
    authority.check_may_act(certificate)
    if reason in CA_REASONS and not authority.is_officer:
        raise InputRefused(
            f"Only the security team revokes a certificate as {reason}, which means that an authority is no longer trusted.",
            field="reason",
            next_step="If somebody else may have the private key, use keyCompromise.",
        )
    refuse_secrets(comment, actor=authority.actor, team=certificate.team.slug, field="comment")
    with transaction.atomic():
        now = database_now()
        # 2. The invalidityDate (RFC 5280 5.3.2) is never of the future. A requester whose clock is a little ahead, such as another
        #    portal, is not refused: the date becomes now.
        if invalidity_date is not None:
            if invalidity_date > now + CLOCK_TOLERANCE:
                raise InputRefused(
                    "The date since when the certificate is not to be trusted lies in the future.",
                    field="revocation_date",
                    next_step="Use now.",
                )
            invalidity_date = min(invalidity_date, now)
        # 3. The key. A block comes before the search for its certificates: one that is being recorded at this moment shares the
        #    lock on the key's row, so either the search finds it, or it is revoked as it is recorded. The order of locks (public
        #    key, certificate) is the same everywhere.
        blocked = case = False
        others: Sequence[Certificate] = ()
        if reason is COMPROMISE:
            blocked, case = _block_or_open_case(certificate, authority=authority, proven=proven, now=now)
            others = on_same_key(certificate, authority=authority, now=now)
        # 4. The certificates, in the order of their ids: two such revocations at once cannot deadlock. Delivery starts once for
        #    all of them.
        chosen = [one for one in others if only is None or one.cert_id in only]
        revocations = {
            one.pk: request_revocation(
                one, reason=reason, authority=authority, invalidity_date=invalidity_date, comment=comment, begin=False
            )
            for one in sorted([certificate, *chosen], key=lambda one: one.pk)
        }
        if begin:
            transaction.on_commit(start_delivery)
        # 5. The key's destruction, last: which certificates it still serves is known only now.
        refusal = order_destruction(certificate, authority=authority, now=now) if destroy_key else ""
        return Revoked(
            certificate,
            revocations[certificate.pk],
            also=tuple(chosen),
            left=tuple(one for one in others if one.pk not in revocations),
            key_blocked=blocked,
            case_opened=case,
            destroying=destroy_key and not refusal,
            not_destroyed_because=refusal,
        )


def _block_or_open_case(certificate: Certificate, *, authority: Authority, proven: bool, now: datetime) -> tuple[bool, bool]:
    """Block the key, or open a case for an officer. Returns whether the key is blocked, and whether a case was opened."""
    spki, team = certificate.spki_sha256, certificate.team.slug
    # A key of the portal's backend (`key_id`) was never anywhere else, so no other party can have a right to it.
    if authority.may_decide_keys or proven or certificate.key_id is not None:
        how = ", proved by a signature" if proven else ""
        reason = f"{certificate.cert_id} is being revoked as keyCompromise{how}"
        # All names of the key: an RSA key with another exponent has the same factors, so the block covers the modulus.
        names = blocked_names(x509.load_der_x509_certificate(bytes(certificate.body.der)).public_key())
        # In one order, so that two blocks of the same key cannot deadlock.
        blocked = [
            block_key(name, team=team, reason=reason, now=now, actor=authority.actor, revoking=certificate.pk) for name in sorted(names)
        ]
        return all(blocked), False
    if spki in blocked_keys({spki}):
        return True, False
    # An external key on the owner's statement alone: a CSR can be copied, so this could be another team's key.
    raise_alert(
        kind=AlertKind.KEY_CLAIMED,
        cause=key_cause(spki),
        message=f"Team {certificate.team.name} reports that its own key is compromised: that of {certificate.cert_id}"
        f" ({CertificateState.BEING_REVOKED.label}).",
        next_step=f"Their certificates on it are revoked. If it is true, revoke {certificate.cert_id} as keyCompromise yourself: "
        "that blocks the key permanently.",
        now=now,
    )
    data = {"spki_sha256": spki, "cert_id": certificate.cert_id}
    record(EventType.KEY_COMPROMISE_CLAIMED, subject=f"public_key:{spki}", actor=authority.actor, at=now, data=data)
    return False, True


def revocation_result(done: Revoked) -> dict[str, Any]:
    """Return the JSON result, the same on every channel."""
    # Read again: the caller's object is older than the revocation.
    certificate = Certificate.objects.select_related("key").get(pk=done.certificate.pk)
    revocation = Revocation.objects.get(pk=done.revocation.pk)
    result: dict[str, Any] = {
        "success": True,
        "cert_id": certificate.cert_id,
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "status": certificate.status,
        "reason": revocation.reason,
        "revoked_at": revocation.requested_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "confirmed": revocation.confirmed_at is not None,
    }
    if revocation.last_error:
        result["waiting_for_ca"] = revocation.last_error
    if revocation.reason == COMPROMISE:
        result |= {
            "key_blocked": done.key_blocked,
            "case_opened": done.case_opened,
            "also_revoked": [one.cert_id for one in done.also],
            "left_on_same_key": [one.cert_id for one in done.left],
        }
    if done.not_destroyed_because:
        result |= {"key_destroyed": False, "key_not_destroyed_because": done.not_destroyed_because}
    elif done.destroying and (key := certificate.key) is not None:
        destroyed = key.state == Key.State.DESTROYED
        receipt = {"key": key.locator, "backend": key.backend, "audit_subject": f"key:{key.pk}"}
        result |= {"key_destroyed": destroyed, "receipt": receipt} | ({} if destroyed else {"key_destruction": "under way"})
    return result
