"""Lines of a bulk order that wait for an approval, as one thing to decide: what an approver looks at before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings

from certs.enums import RequestState as S
from certs.models import BulkOrder, Certificate, CertificateRequest
from certs.requests.approvals.approval import refusals
from certs.requests.approvals.confirmation import digest_of_lines
from certs.requests.approvals.deciders import rights_over
from certs.requests.approvals.granted import approvers_needed
from certs.requests.approvals.panel import REASONS
from certs.requests.approvals.risks import Difference, Mark, differences, last_of_each, marks_of_all
from policy.publishing import version_in_force

MOST = 200  # lines of one decision: as many as a person can look at
UNMARKED = "none"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Line:
    """A line that would be decided, with what is unusual about it."""

    request: CertificateRequest
    source: str
    marks: tuple[Mark, ...]
    last: Certificate | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A line that this account cannot approve now, and why."""

    request: CertificateRequest
    source: str
    why: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Group:
    """The lines with one kind of risk; those without any have the kind UNMARKED."""

    kind: str
    is_high: bool
    count: int
    names: tuple[str, ...]

    @property
    def more(self) -> int:
        """How many lines are not named."""
        return self.count - len(self.names)


@dataclass(frozen=True, slots=True)
class Together:
    """What one decision covers: `lines`, by `digest`. `waiting`: how many lines wait in all.

    `groups` are of all lines that were looked at, `only` is the group that was chosen, or "".
    """

    lines: tuple[Line, ...]
    left_out: tuple[LeftOut, ...]
    groups: tuple[Group, ...]
    only: str
    waiting: int
    digest: str
    needed: int
    is_confirmed: bool
    has_passkey: bool
    has_app: bool
    reasons: tuple[str, ...] = REASONS

    @property
    def requests(self) -> list[CertificateRequest]:
        """The requests that the decision is about."""
        return [line.request for line in self.lines]


def lines_together(order: BulkOrder, *, user: Any, only: str, now: datetime) -> Together:
    """Return the first MOST lines that wait, as the account may decide them. A fixed number of queries.

    `only`: a kind of risk, or UNMARKED, to decide about those lines alone; "" for all of them.
    """
    ruleset = version_in_force(settings.PKI_DEFAULT_POLICY, now).ruleset
    waiting = CertificateRequest.objects.visible_to(user).filter(bulk_item__order=order, state=S.AWAITING_APPROVAL)
    rows = list(waiting.select_related("team", "requester", "issuer", "bulk_item").order_by("pk")[: MOST + 1])
    count = len(rows) if len(rows) <= MOST else waiting.count()
    rows = rows[:MOST]
    rights = rights_over(user, rows)
    refused = refusals(rows, user=user, granted=True, terms=ruleset.approval, now=now)
    left_out = []
    for row in rows:
        refusal = rights[row.pk].refusal or refused.get(row.pk)
        if refusal is not None:
            left_out.append(LeftOut(row, _source(row), refusal.message, refusal.next_step))
    without = {one.request.pk for one in left_out}
    marks = marks_of_all(rows, usual_days=ruleset.defaults.validity_days, now=now)
    open_rows = [row for row in rows if row.pk not in without]
    chosen = [row for row in open_rows if not only or only in _kinds(marks[row.pk])]
    last = last_of_each(chosen)
    factors = set(Authenticator.objects.filter(user=user.pk).values_list("type", flat=True)) if ruleset.approval.confirmed else set()
    return Together(
        lines=tuple(
            Line(
                row,
                _source(row),
                marks[row.pk],
                last.get(row.pk),
                differences(row, last[row.pk]) if row.pk in last else (),
            )
            for row in chosen
        ),
        left_out=tuple(left_out),
        groups=_groups([(row, marks[row.pk]) for row in open_rows]),
        only=only,
        waiting=count,
        digest=digest_of_lines([row.digest for row in chosen]),
        needed=approvers_needed(ruleset.approval),
        is_confirmed=ruleset.approval.confirmed,
        has_passkey=Authenticator.Type.WEBAUTHN in factors,
        has_app=Authenticator.Type.TOTP in factors,
    )


def _source(row: CertificateRequest) -> str:
    return row.bulk_item.source if row.bulk_item is not None else ""


def _kinds(marks: Sequence[Mark]) -> list[str]:
    return [mark.kind for mark in marks] or [UNMARKED]


def _groups(rows: Sequence[tuple[CertificateRequest, Sequence[Mark]]]) -> tuple[Group, ...]:
    """Return the groups, the gravest first, then the largest. A line with two risks is in two of them."""
    names: dict[str, list[str]] = {}
    high = {mark.kind for _, marks in rows for mark in marks if mark.is_high}
    for row, marks in rows:
        for kind in dict.fromkeys(_kinds(marks)):
            names.setdefault(kind, []).append(next(iter(row.names), row.public_id))
    groups = [Group(kind, kind in high, len(found), tuple(found[:_SHOWN])) for kind, found in names.items()]
    return tuple(sorted(groups, key=lambda one: (not one.is_high, one.kind == UNMARKED, -one.count, one.kind)))
