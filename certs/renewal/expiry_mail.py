"""Notices of the expiry check: what cannot be renewed, what failed, what waits for an approval.

The check notes each obstacle in the transaction that found it, once for each certificate and cause.
At the end of the run `write_mails` composes one mail for each recipient and topic, however many
certificates it is about. A run that breaks off loses nothing: the next one writes its mails.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import transaction
from django.urls import reverse

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.enums import RequestState
from certs.errors import sentence
from certs.inventory.filters import CertificateFilter
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, CertificateRequest, RenewalNotice
from certs.notifications.audience import approvers_of, operators, owner_and_team, to_addresses
from certs.notifications.delivery.deliveries import queue_deliveries
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of, days_left, name_of, read_names, short_day, so_many
from certs.renewal.new_csr import csr_command
from certs.renewal.plan import RenewalPlan, Verdict
from certs.renewal.reminders import count_as_reminder, stage_of
from certs.renewal.renew import Renewal
from certs.renewal.replacement import newer_of

LINES = 50  # certificates that a mail lists; it counts the others
AT_ONCE = 1000  # certificates in one call for webhooks, so that memory stays flat
Kind = RenewalNotice.Kind


@transaction.atomic
def note_obstacles(plans: Sequence[RenewalPlan], *, actor: Actor, now: datetime) -> None:
    """Note certificates that cannot be renewed as they are, with the one thing that their owners can do.

    Once for each policy version that refuses the renewal, and once for a CSR that is needed.
    Effects: rows of RenewalNotice, `certificate:renewal_refused` events.
    """
    notices = {}
    for plan in plans:
        needs_csr = plan.verdict is Verdict.NEEDS_CSR
        notice = RenewalNotice(
            certificate=plan.certificate,
            kind=Kind.NEEDS_CSR if needs_csr else Kind.REFUSED,
            cause="" if needs_csr else plan.policy_version,
            reason=plan.reason,
            advice=plan.advice or "Ask the security team.",
            command=csr_command(plan) if needs_csr else "",
            noted_at=now,
        )
        notices[plan.certificate.pk] = notice
    fresh = {notice.certificate_id for notice in _insert(list(notices.values()))}
    record_many([_refused(plan, actor, now) for plan in plans if plan.certificate.pk in fresh])


@transaction.atomic
def note_failures(failed: Sequence[tuple[CertificateRequest, Certificate]], *, now: datetime) -> None:
    """Note why renewals failed, which are now tried again. Once for each cause of a certificate."""
    _insert(
        [
            RenewalNotice(
                certificate=certificate,
                request=request,
                kind=Kind.FAILED,
                cause=hashlib.sha256(request.error.encode()).hexdigest()[:16],
                reason=request.error,
                advice="Nothing now. The portal tries again; the page of the certificate shows the result.",
                noted_at=now,
            )
            for request, certificate in failed
        ]
    )


@transaction.atomic
def note_approvals(renewals: Sequence[Renewal], *, now: datetime) -> None:
    """Note renewals that wait for an approval, once each."""
    _insert(
        [
            RenewalNotice(
                certificate=renewal.plan.certificate,
                request=renewal.request,
                kind=Kind.APPROVAL,
                cause=renewal.request.public_id,
                reason=" ".join(sentence(text) for text in (renewal.plan.reason, *renewal.plan.notes)),
                advice="Approve or reject the renewal.",
                noted_at=now,
            )
            for renewal in renewals
        ]
    )


def _insert(notices: Sequence[RenewalNotice]) -> list[RenewalNotice]:
    """Insert those that are not known yet, and return them."""
    concerned = {one.certificate_id for one in notices}
    # Of two runs at once the second waits here for the first, and then reads what that has noted: else both would count a notice as
    # theirs, and record its event twice. In the order in which everything locks certificates.
    list(Certificate.objects.filter(pk__in=concerned).select_for_update(no_key=True).order_by("pk").values_list("pk"))
    rows = RenewalNotice.objects.filter(certificate__in=concerned)
    known = set(rows.values_list("certificate_id", "kind", "cause"))
    fresh = [one for one in notices if (one.certificate_id, one.kind, one.cause) not in known]
    # The constraint holds against whatever inserts without that lock.
    RenewalNotice.objects.bulk_create(fresh, batch_size=AT_ONCE, ignore_conflicts=True)
    return fresh


def _refused(plan: RenewalPlan, actor: Actor, now: datetime) -> Event:
    data = {"policy_version": plan.policy_version, "verdict": str(plan.verdict), "reason": plan.reason[:500]}
    return Event(EventType.CERTIFICATE_RENEWAL_REFUSED, f"certificate:{plan.certificate.cert_id}", actor, now, data)


@dataclass(slots=True)
class _Part:
    """What one recipient learns about one topic: counts all, holds the LINES nearest ends.

    `noted`: what counts as a reminder too, as certificate and stage.
    """

    lines: list[RenewalNotice] = field(default_factory=list)
    total: int = 0
    noted: list[tuple[int, int]] = field(default_factory=list)

    def add(self, notice: RenewalNotice, stage: int | None) -> None:
        self.total += 1
        if len(self.lines) < LINES:  # they come in the order of their ends
            self.lines.append(notice)
        if stage is not None and notice.kind in (Kind.NEEDS_CSR, Kind.REFUSED):
            self.noted.append((notice.certificate_id, stage))


@transaction.atomic
def write_mails(*, now: datetime) -> int:
    """Write one mail for each recipient and topic about what was noted since the last call.

    Returns the number of mails. A mail that a certificate cannot be renewed
    counts as the reminder of the stage that the certificate is at. Effects: mails, messages for
    webhooks, rows of ExpiryReminder.
    """
    batch = uuid.uuid4()
    # Two runs at once: the UPDATE of the second waits for the first, and then finds nothing.
    if not RenewalNotice.objects.filter(batch=None).update(batch=batch):
        return 0
    parts: dict[tuple[Topic, str], _Part] = {}
    known: dict[tuple[Any, ...], list[str]] = {}
    for notice in _noted(batch):
        certificate = notice.certificate
        topic = _topic(notice)
        person = notice.request.requester_id if notice.kind == Kind.APPROVAL and notice.request else None
        whose = (topic, notice.kind == Kind.FAILED, certificate.team_id, certificate.owner_id, person)
        if whose not in known:
            known[whose] = _recipients(notice)
        for recipient in known[whose]:
            parts.setdefault((topic, recipient), _Part()).add(notice, stage_of(certificate.not_after, now))
    _queue_for_webhooks(batch, now)
    return sum(_write(topic, recipient, part, batch, now) for (topic, recipient), part in sorted(parts.items()))


def _queue_for_webhooks(batch: uuid.UUID, now: datetime) -> None:
    concerned = (one.certificate for one in _noted(batch) if one.kind != Kind.APPROVAL)
    while certificates := list(islice(concerned, AT_ONCE)):
        summary = f"{so_many(len(certificates), 'certificate')} not renewed"
        key = f"{batch}:{certificates[0].pk}"
        queue_deliveries(Topic.RENEWAL_FAILED, key=key, certificates=certificates, subject=summary, now=now)


def _noted(batch: uuid.UUID) -> Iterator[RenewalNotice]:
    rows = RenewalNotice.objects.filter(batch=batch).order_by("certificate__not_after", "pk")
    return rows.select_related("certificate__team", "certificate__owner", "request").iterator(chunk_size=AT_ONCE)


def _topic(notice: RenewalNotice) -> Topic:
    return Topic.APPROVAL if notice.kind == Kind.APPROVAL else Topic.RENEWAL_FAILED


def _recipients(notice: RenewalNotice) -> list[str]:
    if notice.kind == Kind.APPROVAL and notice.request is not None:
        return approvers_of(notice.request).recipients(Topic.APPROVAL)
    audience = owner_and_team(notice.certificate)
    if notice.kind == Kind.FAILED:
        audience |= operators()
    return audience.recipients(Topic.RENEWAL_FAILED)


@dataclass(frozen=True, slots=True)
class Line:
    """One certificate of a mail, with its state and the one thing to do.

    `newer`: a later one for the same names, which was requested in place of a renewal.
    """

    notice: RenewalNotice
    state: CertificateState
    newer: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        return self.notice.certificate

    @property
    def name(self) -> str:
        return name_of(self.notice.certificate)

    @property
    def what(self) -> str:
        """Return what happened, as the rest of a sentence that begins with the name."""
        return {
            Kind.NEEDS_CSR: "needs a new CSR",
            Kind.REFUSED: "cannot be renewed as it is",
            Kind.FAILED: "was not renewed: the renewal failed",
        }.get(Kind(self.notice.kind), "waits for an approval")


def _write(topic: Topic, recipient: str, part: _Part, batch: uuid.UUID, now: datetime) -> int:
    count_as_reminder(part.noted, recipient, now=now)
    read_names([one.certificate for one in part.lines])
    states = states_of([one.certificate_id for one in part.lines], now)
    newer = newer_of([one.certificate for one in part.lines])
    lines = [Line(one, states[one.certificate_id], newer.get(one.certificate_id)) for one in part.lines]
    if topic is Topic.APPROVAL:
        subject, template = _approval_subject(lines, part.total), "renewal_approval"
        list_path = f"{reverse('requests')}?state={RequestState.AWAITING_APPROVAL}"
    else:
        subject, template = _subject(lines, part.total, now), "renewal_stopped"
        list_path = CertificateFilter(state=CertificateState.NEEDS_YOU.value).url()
    only = lines[0].notice.request if part.total == 1 else None
    return notify(
        topic,
        key=f"renewal:{batch}",
        audience=to_addresses([recipient]),  # choices were applied when the recipients were found
        subject=subject,
        template=template,
        context={
            "lines": lines,
            "total": part.total,
            "more": part.total - len(lines),
            "deadline": lines[0].certificate.not_after,
            "failed_only": _failed_only(lines),
            "commands": any(line.notice.command for line in lines),
            "list_path": list_path,
            "now": now,
        },
        now=now,
        reply_to=only.team.email if topic is Topic.APPROVAL and only is not None else "",
    )


def _failed_only(lines: Sequence[Line]) -> bool:
    return all(line.notice.kind == Kind.FAILED for line in lines)


def _approval_subject(lines: Sequence[Line], total: int) -> str:
    what = "renewal" if total == 1 else "renewals"
    return f"Approve by {short_day(lines[0].certificate.not_after)}: {what} of {_names(lines, total)}"


def _subject(lines: Sequence[Line], total: int, now: datetime) -> str:
    ends = lines[0].certificate.not_after
    names, when = _names(lines, total), days_left(ends, now)
    if _failed_only(lines):
        return f"Renewal failed: {names} ({'ends' if total == 1 else 'first ends'} {when})"
    what = lines[0].what if total == 1 else "cannot be renewed as they are"
    return f"Act by {short_day(ends)}: {names} {what} ({when})"


def _names(lines: Sequence[Line], total: int) -> str:
    return count_of([line.name for line in lines], total)
