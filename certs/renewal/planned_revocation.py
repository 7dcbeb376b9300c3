"""Replace with a new key, then revoke: the replacement is requested now, the revocation is kept as a plan.

For a key that may be in other hands while its service must go on. The plan is a row; the sweeper
carries it out once the replacement is issued, and at a deadline of at most a day whatever became of
the replacement (CA/Browser Forum BR 4.9.1.1 allows 24 hours). A crash of any process delays it by
one period of the sweeper.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.permissions import Authority, Permission, holds
from certs.alone import Alone
from certs.enums import AlertKind, RevocationReason
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused, NotFound
from certs.models import Certificate, CertificateRequest, PlannedRevocation
from certs.notifications.alerts import close_alerts, raise_alert
from certs.renewal.plan import KeyOption
from certs.renewal.renew import living_renewals, renew, renew_with_csr
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.lineage import newest_of
from certs.revocation.revoke import on_same_key, revoke
from db.clock import database_now

log = logging.getLogger(__name__)

HOURS = (1, 4, 24)  # until the deadline
CHUNK = 100
Outcome = PlannedRevocation.Outcome


def to_replace(certificate: Certificate) -> Certificate | None:
    """Return the certificate that a replacement would renew: the last of the lineage, if it is on the same key.

    None where a renewal with another key has replaced it already, so that nothing needs to be replaced.
    """
    newest = newest_of(certificate)
    return newest if newest.spki_sha256 == certificate.spki_sha256 else None


def replace_then_revoke(
    certificate: Certificate,
    *,
    authority: Authority,
    channel: str,
    hours: int,
    when_issued: bool,
    csr: bytes = b"",
    comment: str = "",
    invalidity_date: datetime | None = None,
    spared: Collection[str] = (),
    proven: bool = False,
) -> PlannedRevocation:
    """Request a replacement with a new key, and plan the revocation as keyCompromise.

    `csr`: with the new key, where the key is on the owner's server; else the portal makes the key.
    `when_issued`: revoke as soon as the replacement is issued, not only at the deadline.
    Effects: those of `renew`; the plan and `certificate:revocation_planned` in one transaction.
    Raises what `renew` raises; Conflict where the certificate is revoked or planned to be.
    """
    authority.check_may_act(certificate)
    if hours not in HOURS:
        raise InputRefused(
            "This is no deadline that can be chosen.",
            field="hours",
            next_step=f"Choose {', '.join(map(str, HOURS))} hours.",
        )
    # Before the transaction: the refusal would roll back its own record.
    refuse_secrets(comment, actor=authority.actor, team=certificate.team.slug, field="comment")
    renewed = to_replace(certificate)
    if renewed is None:
        raise Conflict(
            f"{certificate.cert_id} has been replaced with a new key already.",
            field="cert_id",
            next_step="Revoke it now.",
        )
    # 1. The replacement first, in its own transaction. A crash after it leaves a renewal with a new key,
    #    which was wanted anyway, and the same call again finds it. A plan is never without a replacement.
    replacement = _replacement(renewed, csr, authority=authority, channel=channel)
    # 2. The plan. The certificate's row is locked, so that two callers agree on one plan.
    with transaction.atomic():
        row = Certificate.objects.select_for_update().get(pk=certificate.pk)
        if row.status != Certificate.Status.GOOD:
            raise Conflict(
                f"{row.cert_id} is revoked already.",
                field="cert_id",
                next_step=f"Its replacement is on its way: {replacement.public_id}.",
            )
        existing = open_plan(row)
        if existing is not None:
            return existing
        now = database_now()
        plan = PlannedRevocation.objects.create(
            certificate=row,
            replacement=replacement,
            reason=RevocationReason.KEY_COMPROMISE,
            requester=authority.user,
            requested_by=authority.actor.name[:150],
            requested_at=now,
            when_issued=when_issued,
            deadline=now + timedelta(hours=hours),
            spared=sorted(spared),
            invalidity_date=invalidity_date,
            comment=comment,
            proven=proven,
        )
        _note(EventType.CERTIFICATE_REVOCATION_PLANNED, plan, authority.actor, now)
    return plan


def _replacement(certificate: Certificate, csr: bytes, *, authority: Authority, channel: str) -> CertificateRequest:
    """Return the renewal with another key, begun where there is none."""
    existing = living_renewals([certificate.pk]).get(certificate.pk)
    if existing is not None and not existing.key_reused:
        return existing
    if csr:
        return renew_with_csr(certificate, csr, authority=authority, channel=channel).request
    return renew(certificate, authority=authority, channel=channel, key_option=KeyOption.NEW).request


def open_plan(certificate: Certificate) -> PlannedRevocation | None:
    """Return the plan that has not ended, if there is one."""
    rows = PlannedRevocation.objects.filter(certificate=certificate, ended_at__isnull=True)
    return rows.select_related("replacement").first()


@transaction.atomic
def withdraw(certificate: Certificate, *, authority: Authority) -> PlannedRevocation:
    """End the plan without a revocation. The replacement goes on: it has a key of its own.

    Raises NotFound where there is none, NotPermitted.
    """
    authority.check_may_act(certificate)
    plan = PlannedRevocation.objects.select_for_update().filter(certificate=certificate, ended_at__isnull=True).first()
    if plan is None:
        raise NotFound(f"No revocation of {certificate.cert_id} is planned.", field="cert_id")
    now = database_now()
    plan.ended_at, plan.outcome = now, Outcome.WITHDRAWN
    plan.save(update_fields=["ended_at", "outcome"])
    _note(EventType.CERTIFICATE_REVOCATION_WITHDRAWN, plan, authority.actor, now)
    return plan


def due_plans(now: datetime) -> QuerySet[PlannedRevocation]:
    """Return the open plans whose moment has come."""
    issued = Q(when_issued=True, replacement__state=S.COMPLETED)
    return PlannedRevocation.objects.filter(Q(deadline__lte=now) | issued, ended_at__isnull=True)


def revoke_replaced() -> int:
    """Carry out the plans whose moment has come. Returns how many. Safe to run twice at once.

    Each alone: one that fails is logged and alerted, tried again by the next run, and keeps none of
    the others.
    """
    done = 0
    ids = due_plans(database_now()).order_by("deadline", "pk").values_list("pk", flat=True)[:CHUNK]
    for pk in list(ids):
        with Alone() as outcome:
            done += _carry_out(pk)
        if outcome.error is not None:
            log.error("planned revocation %d failed", pk, exc_info=outcome.error)
            _alert(pk, outcome.error)
    return done


@transaction.atomic
def _carry_out(pk: int) -> bool:
    """Carry out one plan. The row is locked first: a plan that was withdrawn in the meantime does nothing."""
    plans = PlannedRevocation.objects.select_for_update(of=("self",), skip_locked=True)
    plan = plans.select_related("certificate__team", "certificate__key", "requester").filter(pk=pk, ended_at__isnull=True).first()
    if plan is None:
        return False
    now, certificate, authority = database_now(), plan.certificate, _authority(plan)
    # What is on the key now, not when it was planned: a certificate that was issued on it since is revoked too.
    on_key = {one.cert_id for one in on_same_key(certificate, authority=authority, now=now)}
    revoke(
        certificate,
        reason=RevocationReason(plan.reason),
        authority=authority,
        comment=plan.comment,
        invalidity_date=plan.invalidity_date,
        only=on_key - set(plan.spared),
        proven=plan.proven,
    )
    plan.ended_at, plan.outcome = now, Outcome.REVOKED
    plan.save(update_fields=["ended_at", "outcome"])
    close_alerts(kind=AlertKind.PLANNED_REVOCATION_FAILED, cause=f"certificate:{certificate.cert_id}", now=now)
    return True


def _authority(plan: PlannedRevocation) -> Authority:
    """Return the portal, for the certificate's team alone; as wide as an officer where the requester is one now.

    Only an officer's word blocks a key that the portal never had, and a requester who
    left in the meantime does not stop a revocation that was ordered for a theft.
    """
    actor = Actor("system", f"plan of {plan.requested_by}"[:150])
    by_officer = plan.requester is not None and holds(plan.requester, Permission.DECIDE_KEYS)
    return Authority(actor, team=None if by_officer else plan.certificate.team)


def _note(event: EventType, plan: PlannedRevocation, actor: Actor, now: datetime) -> None:
    data: dict[str, Value] = {
        "cert_id": plan.certificate.cert_id,
        "reason": plan.reason,
        "replacement": plan.replacement.public_id,
        "deadline": plan.deadline.isoformat(),
        "when_issued": plan.when_issued,
    }
    record(event, subject=f"certificate:{plan.certificate.cert_id}", actor=actor, at=now, data=data)


@transaction.atomic
def _alert(pk: int, exc: Exception) -> None:
    """Alert operators to a plan that failed. The error's text may quote anything, so only its type is named."""
    plan = PlannedRevocation.objects.select_related("certificate").get(pk=pk)
    raise_alert(
        kind=AlertKind.PLANNED_REVOCATION_FAILED,
        cause=f"certificate:{plan.certificate.cert_id}",
        message=f"The planned revocation of {plan.certificate.cert_id} failed: {type(exc).__name__}. It is tried again.",
        next_step=f"Revoke the certificate by hand: `manage.py revoke {plan.certificate.cert_id} --reason {plan.reason}`.",
        now=database_now(),
    )
