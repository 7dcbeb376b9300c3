"""What is about to expire: renewed by itself, in batches by deadline; whoever must do something is told, once (PROTOCOLS 6).

A certificate is due on its alert date, 30 days before its end or a third of its life; at once when its CA is distrusted. One whose
renewal needs an approval that it does not inherit is asked for half as long again before the end: 45 days, or half of its life.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q

from audit.clock import database_now
from audit.log import Actor
from certs.access.permissions import Authority
from certs.errors import Conflict
from certs.models import Approval, Certificate, CertificateRequest, Issuer
from certs.notifications.alerts import raise_alert
from certs.renewal.expiry_mail import alert_what_is_left, tell_approvers, tell_failed, tell_owners
from certs.renewal.plan import RELATED, RenewalPlan, Verdict, plan_renewals
from certs.renewal.renew import DEAD, Renewal, begin_renewals, living_renewals
from certs.terms import RequestState as S
from certs.terms import RevocationReason
from certs.workflow.revocation import begin_telling, request_revocation
from certs.workflow.succession import SCHEDULE_DOOR
from keys.interruptions import INTERRUPTIONS

log = logging.getLogger(__name__)

CHUNK = 100
SCHEDULE = Actor("system", "renewal schedule")
APPROVAL_LEAD = 1.5  # times the time between alert date and end: 45 days where the alert comes 30 days ahead


@dataclass(slots=True)
class Checked:
    """What one run did. `asking`: renewals that wait for an approval; `needs_csr`: what only the owner can go on with."""

    checked: int = 0
    renewed: list[Renewal] = field(default_factory=list)
    asking: list[Renewal] = field(default_factory=list)
    refused: list[RenewalPlan] = field(default_factory=list)
    needs_csr: list[RenewalPlan] = field(default_factory=list)
    superseded_revoked: int = 0

    def answer(self) -> dict[str, Any]:
        """As `check_expiry --json` prints it, with the certificates that there are by now."""
        requests = CertificateRequest.objects.in_bulk([renewal.request.pk for renewal in self.renewed])
        following = dict(Certificate.objects.filter(request__in=requests).values_list("request_id", "cert_id"))
        asked = [_told(plan, "csr") for plan in self.needs_csr]
        asked += [_told(one.plan, "approval") | {"audit_reference": one.request.public_id} for one in self.asking]
        return {
            "success": True,
            "checked": self.checked,
            "renewed": [_renewed(one, requests[one.request.pk], following.get(one.request.pk)) for one in self.renewed],
            "refused": [_told(plan, "") for plan in self.refused],
            "asked": asked,
            "superseded_revoked": self.superseded_revoked,
        }


def _renewed(renewal: Renewal, request: CertificateRequest, renewed_by: str | None) -> dict[str, Any]:
    return {
        "cert_id": renewal.plan.certificate.cert_id,
        "audit_reference": request.public_id,
        "state": request.state,
        "renewed_by": renewed_by,
        "key": "kept" if request.key_reused else "new",
        "notes": list(renewal.plan.notes),
    }


def _told(plan: RenewalPlan, wanted: str) -> dict[str, Any]:
    told = {"cert_id": plan.certificate.cert_id, "reason": plan.reason, "suggestion": plan.advice, "policy_version": plan.policy_version}
    return told | ({"for": wanted} if wanted else {})


def check_expiry(*, begin: bool = True) -> Checked:
    """Renew what is due. Running it again, or twice at once, renews nothing twice and tells nobody twice."""
    done = Checked()
    now = database_now()
    for certificates in _batches(now):
        done.checked += len(certificates)
        _check_apart(certificates, done, now=now, begin=begin)
    done.superseded_revoked = retire_superseded(now=now)
    alert_what_is_left(now=now)
    return done


def _check_apart(certificates: Sequence[Certificate], done: Checked, *, now: datetime, begin: bool) -> None:
    """Check a page together; or, when that fails, each certificate alone, so that one bad
    certificate stops neither the others nor the run. It is logged and alerted.
    """
    try:
        _check(certificates, done, now=now, begin=begin)
    except INTERRUPTIONS:
        raise
    except Exception as exc:
        if len(certificates) > 1:
            for certificate in certificates:
                _check_apart([certificate], done, now=now, begin=begin)
            return
        (certificate,) = certificates
        if isinstance(exc, Conflict):  # revoked, or its key blocked, since it was read: nothing is due
            return
        if isinstance(exc, IntegrityError) and living_renewals([certificate.pk]):  # another caller was first
            return
        log.exception("%s could not be renewed", certificate.cert_id)
        _alert_failed(certificate, exc, now=now)


@transaction.atomic
def _alert_failed(certificate: Certificate, exc: Exception, *, now: datetime) -> None:
    """The error's text may quote anything, so only its type is told."""
    raise_alert(
        kind="renewal_failed",
        cause=f"certificate:{certificate.cert_id}",
        message=f"{certificate.cert_id} ({certificate.common_name}) could not be renewed: "
        f"{type(exc).__name__}. It expires on {certificate.not_after:%d %b %Y} UTC.",
        next_step=f"The log has the traceback. Renew it by hand: `manage.py renew {certificate.cert_id}`. The next run tries again.",
        now=now,
    )


def _check(certificates: Sequence[Certificate], done: Checked, *, now: datetime, begin: bool) -> None:
    last = _last_renewals(certificates)
    tell_failed([(last[c.pk], c) for c in certificates if c.pk in last and last[c.pk].state == S.FAILED], now=now)
    plans = plan_renewals([c for c in certificates if not _stopped_by_a_person(last.get(c.pk))], at=now)
    ready = [plan for plan in plans if plan.may_begin and _is_time(plan, now)]
    begun = [renewal for renewal in begin_renewals(ready, actor=SCHEDULE, door=SCHEDULE_DOOR, begin=begin) if not renewal.already]
    asking = [renewal for renewal in begun if renewal.plan.verdict is Verdict.NEEDS_APPROVAL]
    refused = [plan for plan in plans if plan.verdict is Verdict.REFUSED and _is_due(plan.certificate, now)]
    needs_csr = [plan for plan in plans if plan.verdict is Verdict.NEEDS_CSR and _is_due(plan.certificate, now)]
    tell_owners([*refused, *needs_csr], actor=SCHEDULE, now=now)
    tell_approvers(asking, now=now)
    done.renewed += [renewal for renewal in begun if renewal not in asking]
    done.asking += asking
    done.refused += refused
    done.needs_csr += needs_csr


def _batches(now: datetime) -> Iterator[list[Certificate]]:
    """Good certificates near their end that nothing follows yet, the most urgent first; keyset pages, so memory stays flat."""
    living = CertificateRequest.objects.filter(renewed_from=OuterRef("pk")).exclude(state__in=DEAD)
    horizon = now + timedelta(days=settings.PKI_RENEW_BEFORE_DAYS) * APPROVAL_LEAD
    near_or_worthless = Q(not_after__lte=horizon) | Q(issuer__in=Issuer.objects.filter(state=Issuer.State.DISTRUSTED))
    rows = Certificate.objects.filter(near_or_worthless, ~Exists(living), status=Certificate.Status.GOOD, not_after__gt=now)
    rows = rows.select_related(*RELATED).order_by("not_after", "pk")
    after: Certificate | None = None
    while True:
        page = list(rows.filter(_beyond(after))[:CHUNK] if after else rows[:CHUNK])
        if not page:
            return
        after = page[-1]
        near = [certificate for certificate in page if _approval_date(certificate) <= now]
        if near:
            yield near


def _beyond(last: Certificate) -> Q:
    return Q(not_after__gt=last.not_after) | Q(not_after=last.not_after, pk__gt=last.pk)


def _is_due(certificate: Certificate, now: datetime) -> bool:
    return certificate.alert_at is None or certificate.alert_at <= now or _is_worthless(certificate)


def _is_worthless(certificate: Certificate) -> bool:
    """Nobody is to rely on it any more, though it has not expired."""
    return certificate.issuer.state == Issuer.State.DISTRUSTED


def _approval_date(certificate: Certificate) -> datetime:
    if certificate.alert_at is None or _is_worthless(certificate):
        return certificate.not_before
    return certificate.not_after - (certificate.not_after - certificate.alert_at) * APPROVAL_LEAD


def _is_time(plan: RenewalPlan, now: datetime) -> bool:
    return plan.verdict is Verdict.NEEDS_APPROVAL or _is_due(plan.certificate, now)


def _last_renewals(certificates: Sequence[Certificate]) -> dict[int, CertificateRequest]:
    rows = CertificateRequest.objects.filter(renewed_from__in=[c.pk for c in certificates]).order_by("pk")
    return {row.renewed_from_id: row for row in rows if row.renewed_from_id is not None}


def _stopped_by_a_person(last: CertificateRequest | None) -> bool:
    """Somebody cancelled the last renewal (the portal itself says why when it cancels one), or refused its approval."""
    if last is None:
        return False
    if last.state == S.CANCELLED:
        return not last.error
    return last.state == S.REJECTED and Approval.objects.filter(request=last, granted=False).exists()


def retire_superseded(*, now: datetime) -> int:
    """Revoke as superseded what was renewed PKI_REVOKE_SUPERSEDED_AFTER_DAYS ago; 0 leaves it to expire."""
    days = settings.PKI_REVOKE_SUPERSEDED_AFTER_DAYS
    if not days:
        return 0
    rows = Certificate.objects.filter(
        status=Certificate.Status.GOOD,
        not_after__gt=now,
        renewals__status=Certificate.Status.GOOD,
        renewals__request__state=S.COMPLETED,
        renewals__issued_at__lte=now - timedelta(days=days),
    )
    count = 0
    for certificate in rows.order_by("pk")[:1000]:
        try:
            request_revocation(certificate, reason=RevocationReason.SUPERSEDED, authority=Authority(SCHEDULE), begin=False)
        except Conflict:  # somebody was faster, with another reason
            continue
        count += 1
    if count:
        transaction.on_commit(begin_telling)
    return count
