"""A request that nobody decides lapses: its approvers are reminded twice before, and it ends once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import UnitOfWork, record
from certs.access.permissions import Authority
from certs.access.rates import Limit, use
from certs.enums import RequestState as S
from certs.errors import Conflict
from certs.models import ApprovalLimit, CertificateRequest
from certs.notifications.outcomes import remind_approvers
from certs.notifications.wording import minute
from certs.requests.states import WORKER, Move, transition_many
from db.clock import database_now
from policy.rules.approval_terms import ApprovalTerms

# in one run; the next one follows in five seconds
CHUNK = 200
LAST_REMINDER = timedelta(days=1)
REMIND_AGAIN = timedelta(hours=12)
LAPSED = "Request it again, and tell the approvers that it is waiting; the form keeps nothing of the old request."


def limits_for(requests: Sequence[CertificateRequest], terms: ApprovalTerms, *, now: datetime) -> list[ApprovalLimit]:
    """Return the rows of the limits of requests that begin to wait for an approval now."""
    limit = timedelta(days=terms.time_limit_days or settings.PKI_APPROVAL_DAYS)
    # Of lines of a bulk order nobody is reminded one by one.
    return [
        ApprovalLimit(request=one, lapses_at=now + limit, remind_at=now + limit / 2 if one.bulk_item_id is None else None)
        for one in requests
    ]


def lapses_at(request: CertificateRequest) -> datetime | None:
    """Return when the request lapses; None for one that waits without a limit."""
    return ApprovalLimit.objects.filter(pk=request.pk).values_list("lapses_at", flat=True).first()


def lapsed(requests: Sequence[CertificateRequest], *, now: datetime) -> dict[int, Conflict]:
    """Return by request the refusal of those whose limit is reached, also where the sweeper has not ended them yet."""
    by_id = {request.pk: request for request in requests}
    limits = ApprovalLimit.objects.filter(pk__in=by_id, lapses_at__lte=now).values_list("pk", "lapses_at")
    return {
        pk: Conflict(
            f"{by_id[pk].public_id} lapsed on {minute(until)}: nobody had decided it by then.",
            next_step="The requester can request it again.",
        )
        for pk, until in limits
    }


def let_lapse() -> int:
    """End the requests whose limit is reached. Returns how many ended.

    Effects, for each in a transaction of its own: `rejected` with `request:lapsed`, mails to the
    requester and the approvers, and its limit is gone. Safe to run twice at once.
    """
    due = ApprovalLimit.objects.filter(lapses_at__lte=database_now()).order_by("lapses_at")
    return sum(_lapse(pk) for pk in due.values_list("pk", flat=True)[:CHUNK])


def _lapse(pk: int) -> bool:
    with UnitOfWork() as work:
        now = database_now()
        rows = CertificateRequest.objects.select_for_update(of=("self",)).select_related("team", "requester")
        request = rows.get(pk=pk)
        limit = ApprovalLimit.objects.filter(pk=pk, lapses_at__lte=now).first()
        if limit is None:  # another sweeper was here
            return False
        since = request.state_changed_at
        limit.delete()
        if request.state != S.AWAITING_APPROVAL:  # it was decided in time
            return False
        why = f"No approver decided between {minute(since)} and {minute(limit.lapses_at)}, so the request lapsed."
        data = {"waited_since": since.isoformat(), "digest": request.digest}
        move = Move(request, (S.REJECTED,), ((EventType.REQUEST_LAPSED, data),), {"error": why, "suggestion": LAPSED})
        return bool(transition_many(work, [move], source=S.AWAITING_APPROVAL, actor=WORKER, now=now))


def remind_due() -> int:
    """Remind the approvers of requests that have waited for half of their time, and again a day before the end.

    Returns how many requests the mails are about.
    """
    due = ApprovalLimit.objects.filter(remind_at__lte=database_now()).order_by("remind_at")
    return sum(_remind(pk) for pk in due.values_list("pk", flat=True)[:CHUNK])


@transaction.atomic
def _remind(pk: int) -> bool:
    now = database_now()
    limit = ApprovalLimit.objects.select_for_update().filter(pk=pk, remind_at__lte=now).first()
    if limit is None:
        return False
    last = limit.lapses_at - LAST_REMINDER
    # A worker that was away for long sends one mail, not two.
    limit.remind_at = last if last > now else None
    limit.save(update_fields=["remind_at"])
    request = CertificateRequest.objects.select_related("team", "requester").get(pk=pk)
    if request.state != S.AWAITING_APPROVAL:
        return False
    remind_approvers(request, lapses_at=limit.lapses_at, by="", now=now)
    return True


def remind(request: CertificateRequest, *, authority: Authority) -> None:
    """Remind the approvers because a member of the team asks for it: at most twice a day.

    Effects, in one transaction: a mail to each approver, `request:reminded`. Raises NotFound,
    NotPermitted; Conflict for a request that does not wait; TooMany.
    """
    authority.check_may_act(request)
    limit = Limit("approval-reminder", f"request:{request.pk}", 1, REMIND_AGAIN)
    with transaction.atomic():
        row = CertificateRequest.objects.select_for_update(of=("self",)).select_related("team", "requester").get(pk=request.pk)
        authority.check_may_act(row)
        if row.state != S.AWAITING_APPROVAL:
            raise Conflict(f"{row.public_id} does not wait for approval any more.", next_step="Open its page: it has moved on.")
        use([limit], message="The approvers were reminded a short time ago.")
        now = database_now()
        record(EventType.REQUEST_REMINDED, subject=row.subject, actor=authority.actor, at=now)
        remind_approvers(row, lapses_at=lapses_at(row), by=authority.actor.name, now=now)
