"""Revoking as people ask for it: one certificate, or for a compromised key every certificate on it.

A key is blocked for ever by a security officer, by the portal's own commands, by whoever signs a challenge with it, or where its
private key never was anywhere but in the portal's backend, so that nobody else can have a right to it. An owner's bare word about
a key that was brought revokes that team's certificates and opens a case: a CSR can be copied, and nobody may have another team's
key refused (PROTOCOLS 5).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from django.db import transaction

from audit.events import EventType
from audit.log import record
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.errors import InputRefused
from certs.inventory import sharing_key
from certs.models import Certificate, Revocation
from certs.notifications.alerts import raise_alert
from certs.requests.exposure.key_blocks import block_key
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.revocation.key_destruction import order_destruction
from certs.revocation.request import begin_telling, request_revocation
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from keys.lifecycle import blocked_keys
from keys.models import Key
from keys.spec import blocked_names

COMPROMISE = RevocationReason.KEY_COMPROMISE
# They say something about a CA or an attribute authority (RFC 5280 5.3.1), not about one certificate.
CA_REASONS = (RevocationReason.CA_COMPROMISE, RevocationReason.AA_COMPROMISE)


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did. `left`: certificates on the same key that it did not touch; `key_blocked`: whether the key is
    refused from now on; `case_opened`: whether an officer was asked to decide that; `destroying`: whether its key is on the way
    to be destroyed, and else, where that was wanted, why not.
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
    """The other certificates on its key that this actor may revoke and that a compromise concerns: those not expired and not
    yet revoked for it. Found over the whole inventory.
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
    """Revoke a certificate; for keyCompromise also the others on its key. `only` names (by cert_id) which of those: None for
    all of them, empty for none. `proven`: the caller has checked a signature by the key (certs.revocation.key_proof).
    Raises NotFound, NotPermitted, Conflict, InputRefused; CSRRefused for a comment that holds a secret.

    The public key's row is locked before the certificates', as everywhere.
    """
    authority.check_may_act(certificate)
    if reason in CA_REASONS and not authority.is_officer:
        raise InputRefused(
            f"Only the security team revokes a certificate as {reason}, which says that an authority is not trusted any more.",
            field="reason",
            next_step="If somebody else may have the private key, use keyCompromise.",
        )
    # before the transaction: the refusal would roll back its own record
    refuse_secrets(comment, actor=authority.actor, team=certificate.team.slug, field="comment")
    with transaction.atomic():
        now = database_now()
        if invalidity_date is not None:
            if invalidity_date > now + CLOCK_TOLERANCE:
                raise InputRefused(
                    "The date since when it is not to be trusted lies in the future.", field="revocation_date", next_step="Use now."
                )
            invalidity_date = min(invalidity_date, now)
        blocked = case = False
        others: Sequence[Certificate] = ()
        if reason is COMPROMISE:
            blocked, case = _block_or_ask(certificate, authority=authority, proven=proven, now=now)
            others = on_same_key(certificate, authority=authority, now=now)
        chosen = [one for one in others if only is None or one.cert_id in only]
        taken = {one.pk for one in chosen}
        revocations = {
            one.pk: request_revocation(
                one, reason=reason, authority=authority, invalidity_date=invalidity_date, comment=comment, begin=False
            )
            for one in sorted([certificate, *chosen], key=lambda one: one.pk)
        }
        if begin:
            transaction.on_commit(begin_telling)
        left = tuple(one for one in others if one.pk not in taken)
        refusal = order_destruction(certificate, authority=authority, now=now) if destroy_key else ""
        destroying = destroy_key and not refusal
        return Revoked(certificate, revocations[certificate.pk], tuple(chosen), left, blocked, case, destroying, refusal)


def _block_or_ask(certificate: Certificate, *, authority: Authority, proven: bool, now: datetime) -> tuple[bool, bool]:
    """(the key is blocked, a case was opened)"""
    spki, team = certificate.spki_sha256, certificate.team.slug
    if authority.may_decide_keys or proven or certificate.key_id is not None:
        how = ", proved by a signature" if proven else ""
        reason = f"{certificate.cert_id} revoked as keyCompromise{how}"
        names = blocked_names(_public_key(certificate))
        blocked = [block_key(name, team=team, reason=reason, now=now, actor=authority.actor) for name in sorted(names)]
        return all(blocked), False
    if spki in blocked_keys({spki}):
        return True, False
    raise_alert(
        kind="key_claimed",
        cause=f"key:{spki}",
        message=f"Team {certificate.team.name} says that its own key, that of {certificate.cert_id}, is compromised.",
        next_step=f"Their certificates on it are revoked. If it is true, revoke {certificate.cert_id} as keyCompromise yourself: "
        "that refuses the key for ever.",
        now=now,
    )
    data = {"spki_sha256": spki, "cert_id": certificate.cert_id}
    record(EventType.KEY_COMPROMISE_CLAIMED, subject=f"public_key:{spki}", actor=authority.actor, at=now, data=data)
    return False, True


def _public_key(certificate: Certificate) -> PublicKeyTypes:
    return x509.load_der_x509_certificate(bytes(certificate.body.der)).public_key()


def revoked_answer(done: Revoked) -> dict[str, Any]:
    """One JSON answer, the same at every door."""
    certificate = Certificate.objects.select_related("key").get(pk=done.certificate.pk)
    revocation = Revocation.objects.get(pk=done.revocation.pk)
    told: dict[str, Any] = {
        "success": True,
        "cert_id": certificate.cert_id,
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "status": certificate.status,
        "reason": revocation.reason,
        "revoked_at": revocation.requested_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "confirmed": revocation.confirmed_at is not None,
    }
    if revocation.last_error:
        told["waiting_for_ca"] = revocation.last_error
    if revocation.reason == COMPROMISE:
        told |= {
            "key_blocked": done.key_blocked,
            "case_opened": done.case_opened,
            "also_revoked": [one.cert_id for one in done.also],
            "left_on_same_key": [one.cert_id for one in done.left],
        }
    if done.destroying or done.not_destroyed_because:
        told |= _destruction(certificate, done)
    return told


def _destruction(certificate: Certificate, done: Revoked) -> dict[str, Any]:
    if not done.destroying or certificate.key is None:
        return {"key_destroyed": False, "key_not_destroyed_because": done.not_destroyed_because}
    destroyed = certificate.key.state == Key.State.DESTROYED
    receipt = {"key": certificate.key.locator, "backend": certificate.key.backend, "audit_subject": f"key:{certificate.key.pk}"}
    return {"key_destroyed": destroyed, "receipt": receipt} | ({} if destroyed else {"key_destruction": "under way"})
