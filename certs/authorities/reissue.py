"""Use cases of a re-issue: plan, start, pause, resume, cancel. The renewal schedule does the work (`certs.renewal.expiry`).

Exactly once: a re-issue only says that the certificates of a CA are due at once, and which CA issues
instead. Each is renewed as every due certificate is, nearest end first, within the budget of the CA,
and the constraint `request_renewal_once` gives it one renewal, whatever worker is killed.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence

from celery import current_app
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from kombu.exceptions import OperationalError

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.permissions import Authority, Permission
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import Certificate, CertificateRequest, Issuer, Reissue, RenewalBlocked, new_public_id
from certs.renewal.due import DEAD
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import UNFINISHED, WORKER
from db.clock import database_now

log = logging.getLogger(__name__)
State = Reissue.State

FORECAST_TASK = "certs.tasks.forecast_reissue"
RENEW_TASK = "certs.tasks.renew_due"
MOST_REASON = 300


def check_may_manage(authority: Authority) -> None:
    """Raise NotPermitted for all but those who hold the permission to manage CAs now."""
    if not authority.holds(Permission.MANAGE_CAS):
        raise NotPermitted(
            "Only people who manage CAs may do this.",
            next_step="Ask a security officer.",
        )


def targets_for(issuer: Issuer) -> list[Issuer]:
    """Return the CAs that can issue instead of this one: those that issue, but for itself."""
    rows = Issuer.objects.filter(state=Issuer.State.ACTIVE, successor__isnull=True).exclude(alias="").exclude(pk=issuer.pk)
    return list(rows.order_by("name"))


def plan_reissue(issuer: Issuer, target: str, *, reason: str, authority: Authority) -> Reissue:
    """Plan the re-issue of every valid certificate of `issuer` by the CA of that slug; its forecast is begun.

    Effects, in one transaction: the row with `issuer:reissue_planned`; after the commit the task of
    the forecast. Raises NotPermitted, InputRefused, CSRRefused for a secret in the reason.
    """
    check_may_manage(authority)
    reason = reason.strip()
    refuse_secrets(reason, actor=authority.actor, team="", field="reason")
    if not reason or len(reason) > MOST_REASON:
        raise InputRefused(
            "Say in some words why.",
            field="reason",
            next_step=f"Up to {MOST_REASON} characters, such as: the CA was lost in the outage of 3 May.",
        )
    chosen = target_named(issuer, target)
    with transaction.atomic():
        now = database_now()
        reissue = Reissue.objects.create(
            public_id=new_public_id("reissue", now),
            issuer=issuer,
            target=chosen,
            reason=reason,
            planned_by=authority.actor.name[:150],
            created_at=now,
        )
        _record(reissue, EventType.ISSUER_REISSUE_PLANNED, authority.actor, {"target": chosen.name, "reason": reason})
        transaction.on_commit(lambda: publish(FORECAST_TASK, reissue.pk))
    return reissue


def target_named(issuer: Issuer, slug: str) -> Issuer:
    """Return the CA of that slug, which can issue instead of `issuer`. Raises InputRefused."""
    possible = targets_for(issuer)
    chosen = next((one for one in possible if one.slug == slug), None)
    if chosen is None:
        known = ", ".join(one.name for one in possible) or "none: add one, or roll this one over"
        raise InputRefused("Choose the CA that issues instead.", field="target", next_step=f"CAs that issue: {known}.")
    return chosen


def find_reissue(public_id: str) -> Reissue:
    """Raises NotFound."""
    found = Reissue.objects.select_related("issuer", "target").filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such re-issue.")
    return found


def forecast_again(reissue: Reissue, *, authority: Authority) -> None:
    """Compute the forecast anew. Raises NotPermitted, Conflict once it has started."""
    check_may_manage(authority)
    with transaction.atomic():
        row = _locked(reissue)
        _expect(row, (State.PLANNED,), "forecast")
        row.checked, row.forecast, row.forecast_at = 0, {}, None
        row.save(update_fields=["checked", "forecast", "forecast_at"])
        transaction.on_commit(lambda: publish(FORECAST_TASK, row.pk))


def start_reissue(reissue: Reissue, *, confirmation: str, authority: Authority) -> Reissue:
    """Start it: from now on the certificates of the CA are due at once.

    `confirmation`: the name of the CA, as typed. Effects, in one transaction: state, event; after the
    commit a run of the renewal schedule. Raises NotPermitted, InputRefused, Conflict.
    """
    check_may_manage(authority)
    if not hmac.compare_digest(confirmation.strip().encode(), reissue.issuer.name.encode()):
        raise InputRefused(
            f"Type the name {reissue.issuer.name} to start. Nothing was changed.",
            field="confirmation",
            next_step="Exactly as it is written there, capitals included.",
        )
    try:
        with transaction.atomic():
            row = _locked(reissue)
            check_may_manage(authority)
            _expect(row, (State.PLANNED,), "start")
            if row.forecast_at is None:
                raise Conflict("The forecast is not finished yet.", next_step="Look at it first, then start.")
            # Both CAs: of two that begin at once and would feed each other, the second one sees the first.
            issuers = Issuer.objects.select_for_update().filter(pk__in=(row.issuer_id, row.target_id)).order_by("pk")
            target = {issuer.pk: issuer for issuer in issuers}[row.target_id]
            if target.state != Issuer.State.ACTIVE:
                raise Conflict(f"{target.name} does not issue any more.", next_step="Plan the re-issue with another CA.")
            _refuse_circles(row)
            row.state, row.started_at = State.RUNNING, database_now()
            row.save(update_fields=["state", "started_at"])
            _record(row, EventType.ISSUER_REISSUE_STARTED, authority.actor, {"target": target.name, "certificates": _total(row)})
            transaction.on_commit(lambda: publish(RENEW_TASK))
    except IntegrityError as exc:  # reissue_under_way_once
        raise Conflict(
            f"The certificates of {reissue.issuer.name} are being re-issued already.",
            next_step="Look at the re-issue that runs, on the page of the CA.",
        ) from exc
    count_progress(row)
    return row


def _refuse_circles(row: Reissue) -> None:
    """Raise Conflict where another re-issue brings certificates to the CA that is given up, or takes them from the one that takes over.

    Two that feed each other would renew the same names without end.
    """
    others = Reissue.objects.select_related("issuer", "target").filter(state__in=Reissue.UNDER_WAY)
    other = others.filter(Q(issuer=row.target_id) | Q(target=row.issuer_id)).order_by("pk").first()
    if other is not None:
        raise Conflict(
            f"The certificates of {other.issuer.name} are being re-issued from {other.target.name}.",
            next_step=f"Give that re-issue up first ({other.public_id}), or choose another CA.",
        )


def pause_reissue(reissue: Reissue, *, authority: Authority) -> None:
    """Begin no further renewals; those under way go on. Also for operators. Raises NotPermitted, Conflict."""
    _move(reissue, (State.RUNNING,), State.PAUSED, EventType.ISSUER_REISSUE_PAUSED, authority)


def resume_reissue(reissue: Reissue, *, authority: Authority) -> None:
    """Go on. Raises NotPermitted, Conflict."""
    _move(reissue, (State.PAUSED,), State.RUNNING, EventType.ISSUER_REISSUE_RESUMED, authority)


def cancel_reissue(reissue: Reissue, *, authority: Authority) -> None:
    """Give it up. What was renewed stays renewed, and the rest is renewed at its usual time. Raises NotPermitted, Conflict."""
    check_may_manage(authority)
    _move(reissue, (State.PLANNED, *Reissue.UNDER_WAY), State.CANCELLED, EventType.ISSUER_REISSUE_CANCELLED, authority)


def _move(reissue: Reissue, source: Sequence[str], to: State, event: EventType, authority: Authority) -> None:
    if not authority.holds(Permission.OPERATE):
        check_may_manage(authority)
    with transaction.atomic():
        row = _locked(reissue)
        _expect(row, source, to.label)
        row.state = to
        row.ended_at = database_now() if to is State.CANCELLED else None
        row.save(update_fields=["state", "ended_at"])
        _record(row, event, authority.actor, {})
        if to is State.RUNNING:
            transaction.on_commit(lambda: publish(RENEW_TASK))


def unreplaced_of(issuer_id: int) -> QuerySet[Certificate]:
    """Return the valid certificates of a CA that have no renewal, neither finished nor under way."""
    living = CertificateRequest.objects.filter(renewed_from=OuterRef("pk")).exclude(state__in=DEAD)
    valid = Certificate.objects.filter(issuer=issuer_id, status=Certificate.Status.GOOD, not_after__gt=database_now())
    return valid.filter(~Exists(living))


def count_reissues() -> int:
    """Count how far each re-issue is that is under way, and end those that are done. Returns how many were counted."""
    rows = list(Reissue.objects.select_related("issuer").filter(state__in=Reissue.UNDER_WAY).order_by("pk"))
    for row in rows:
        count_progress(row)
    return len(rows)


def count_progress(reissue: Reissue) -> None:
    """Count once how far it is. Done is where nothing is left but what needs a person, and nothing is under way."""
    by_person = ~Q(renewal_off_reason="") | ~Q(renewal_blocked__in=("", RenewalBlocked.FAILED))
    left = unreplaced_of(reissue.issuer_id).aggregate(all=Count("pk"), person=Count("pk", filter=by_person))
    renewals = CertificateRequest.objects.filter(renewed_from__issuer=reissue.issuer_id, created_at__gte=reissue.started_at)
    states = dict(renewals.order_by().values_list("state").annotate(count=Count("pk")))
    under_way = sum(states.get(state, 0) for state in (*UNFINISHED, S.AWAITING_APPROVAL))
    with transaction.atomic():
        row, now = _locked(reissue), database_now()
        if row.state not in Reissue.UNDER_WAY:
            return
        row.left, row.need_person, row.begun = left["all"], left["person"], under_way
        row.issued, row.failed, row.counted_at = states.get(S.COMPLETED, 0), states.get(S.FAILED, 0), now
        if row.state == State.RUNNING and left["all"] == left["person"] and not under_way:
            row.state, row.ended_at = State.DONE, now
            _record(row, EventType.ISSUER_REISSUE_DONE, WORKER, {"issued": row.issued, "need_person": row.need_person})
        row.save()


def publish(task: str, *args: int) -> None:
    """Send a task; without a broker the schedule does the same later, and a forecast is asked for again."""
    try:
        current_app.signature(task, args=args).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %s waits: %s", task, exc)


def _locked(reissue: Reissue) -> Reissue:
    return Reissue.objects.select_for_update(of=("self",)).select_related("issuer", "target").get(pk=reissue.pk)


def _expect(row: Reissue, states: Sequence[str], wanted: str) -> None:
    if row.state not in states:
        raise Conflict(
            f"This re-issue is {row.get_state_display()}, so it cannot be {wanted} now. Nothing was changed.",
            next_step="Load its page again: it shows what can be done.",
        )


def _record(row: Reissue, event: EventType, actor: Actor, data: dict[str, Value]) -> None:
    subject = f"issuer:{row.issuer.slug}"
    record(event, subject=subject, actor=actor, at=database_now(), data={"reissue": row.public_id, **data})


def _total(row: Reissue) -> int:
    return int(row.forecast.get("total", 0))
