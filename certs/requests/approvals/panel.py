"""Everything that an approver looks at before a decision, in one object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings

from certs.models import Approval, ApprovalQuestion, Certificate, CertificateRequest
from certs.requests.approvals.deciders import rights_over
from certs.requests.approvals.granted import approvers_needed, grants_that_count, has_approved
from certs.requests.approvals.risks import (
    Cover,
    Difference,
    Mark,
    Record,
    covers_of,
    differences,
    last_of_the_names,
    marks_of,
    record_of,
)
from certs.requests.approvals.time_limit import lapses_at
from policy.publishing import version_in_force

# A click fills in the reason; it can be changed before it is sent.
REASONS = (
    "Name the hosts: a wildcard covers more than you need.",
    "Say what it is for, and request it again.",
    "This name is not yours: ask the team that runs it.",
)


@dataclass(frozen=True, slots=True)
class Panel:
    """The request as its approver sees it. `refusal` says why this account may not decide it."""

    refusal: str
    next_step: str
    is_own: bool
    has_approved: bool
    last: Certificate | None
    differences: tuple[Difference, ...]
    marks: tuple[Mark, ...]
    covers: tuple[Cover, ...]
    record: Record | None
    grants: tuple[Approval, ...]
    needed: int
    is_confirmed: bool
    has_passkey: bool
    has_app: bool
    lapses_at: datetime | None
    open_question: ApprovalQuestion | None
    reasons: tuple[str, ...] = REASONS

    @property
    def may_decide(self) -> bool:
        """Whether the account decides it now."""
        return not self.refusal and not self.has_approved


def panel_of(request: CertificateRequest, *, user: Any, now: datetime) -> Panel:
    """Return what an approver looks at. A fixed number of queries, whatever the request has."""
    right = rights_over(user, [request])[request.pk]
    ruleset = version_in_force(settings.PKI_DEFAULT_POLICY, now).ruleset
    factors = set(Authenticator.objects.filter(user=user.pk).values_list("type", flat=True)) if ruleset.approval.confirmed else set()
    last, grants = last_of_the_names(request), grants_that_count(request, ruleset.approval)
    return Panel(
        refusal=right.refusal.message if right.refusal else "",
        next_step=right.refusal.next_step if right.refusal else "",
        is_own=right.is_own,
        has_approved=has_approved(user, grants) if grants else False,
        last=last,
        differences=differences(request, last) if last is not None else (),
        marks=marks_of(request, usual_days=ruleset.defaults.validity_days, now=now),
        covers=covers_of(request, now=now),
        record=record_of(request),
        grants=tuple(grants),
        needed=approvers_needed(ruleset.approval),
        is_confirmed=ruleset.approval.confirmed,
        has_passkey=Authenticator.Type.WEBAUTHN in factors,
        has_app=Authenticator.Type.TOTP in factors,
        lapses_at=lapses_at(request),
        open_question=ApprovalQuestion.objects.filter(request=request, answered_at__isnull=True).first(),
    )
