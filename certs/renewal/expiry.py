"""The expiry check: renew what is due, notify the people without whom a certificate is not renewed.

Two schedules share the work. `check_expiry` looks once a night at everything near its end, requests
approvals, sends reminders and keeps the alerts. `renew_due` begins every quarter of an hour what is
due and blocked by nothing: lives of a day are renewed in time, and so is what a run left over
because the budget of its CA was spent or the machine was off.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from audit.log import Actor
from certs.access.permissions import Authority
from certs.alone import Alone
from certs.enums import AlertKind, Channel, RevocationReason
from certs.enums import RequestState as S
from certs.errors import Conflict
from certs.inventory.states import state_of
from certs.models import Approval, Certificate, CertificateRequest, Issuer, RequestCSR, Team
from certs.models.certificate import RenewalBlocked
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.wording import day, name_of
from certs.renewal.budget import Budget, budget_of_run
from certs.renewal.due import (
    Candidate,
    candidate_of,
    crowds,
    issuers_to_replace,
    lately_ended,
    near_end,
    pages_of,
    unblocked,
    unrenewed,
    waits_for_slot,
)
from certs.renewal.expiry_alerts import keep_expiry_alerts
from certs.renewal.expiry_mail import note_approvals, note_failures, note_obstacles, write_mails
from certs.renewal.plan import RenewalPlan, Verdict, plan_renewals
from certs.renewal.reminders import remind
from certs.renewal.renew import Renewal, begin_renewals, living_renewals
from certs.renewal.replacement import replaced_among
from certs.revocation.request import request_revocation, start_delivery
from db.clock import database_now
from db.rows import by_key, select
from keys.models import Key
from policy.engine import Outcome

log = logging.getLogger(__name__)

CHUNK = 500
LISTED = 1000  # in the result of a run
RUN_SECONDS = 200.0  # below CELERY_TASK_SOFT_TIME_LIMIT; the next run goes on where this one ended
ONE_NIGHT = timedelta(days=1)
LONGEST_PAUSE = timedelta(days=1)  # between two tries of a renewal that fails
SCHEDULE = Actor("system", "renewal schedule")


@dataclass(slots=True)
class Checked:
    """What one run did.

    `asking`: renewals that wait for an approval; `needs_csr`: those for which only the owner can make a CSR;
    `left`: due, and left to the next run because the budget of its CA was spent. The lists hold
    the first LISTED of each, so that memory stays flat; `counts` has the totals by their names.
    """

    checked: int = 0
    left: int = 0
    renewed: list[Renewal] = field(default_factory=list)
    asking: list[Renewal] = field(default_factory=list)
    refused: list[RenewalPlan] = field(default_factory=list)
    needs_csr: list[RenewalPlan] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    superseded_revoked: int = 0
    reminders: int = 0  # mails written

    def add(self, **more: Sequence[Any]) -> None:
        """Count what a chunk did, and keep it as long as fewer than LISTED are kept."""
        for name, items in more.items():
            self.counts[name] += len(items)
            kept = getattr(self, name)
            kept += items[: LISTED - len(kept)]

    def result(self) -> dict[str, Any]:
        """Return what `check_expiry --json` prints, with the new certificates that exist by now."""
        requests = CertificateRequest.objects.in_bulk([renewal.request.pk for renewal in self.renewed])
        following = dict(Certificate.objects.filter(request__in=requests).values_list("request_id", "cert_id"))
        waiting = [_listed(plan, "csr") for plan in self.needs_csr]
        waiting += [_listed(one.plan, "approval") | {"audit_reference": one.request.public_id} for one in self.asking]
        return {
            "success": True,
            "checked": self.checked,
            "renewed": [_renewed(one, requests[one.request.pk], following.get(one.request.pk)) for one in self.renewed],
            "refused": [_listed(plan, "") for plan in self.refused],
            "asked": waiting,
            "totals": {
                "renewed": self.counts["renewed"],
                "refused": self.counts["refused"],
                "asked": self.counts["asking"] + self.counts["needs_csr"],
            },
            "left_for_next_run": self.left,
            "superseded_revoked": self.superseded_revoked,
            "reminders": self.reminders,
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


def _listed(plan: RenewalPlan, wanted: str) -> dict[str, Any]:
    listed = {"cert_id": plan.certificate.cert_id, "reason": plan.reason, "suggestion": plan.advice, "policy_version": plan.policy_version}
    return listed | ({"for": wanted} if wanted else {})


def check_expiry(*, begin: bool = True) -> Checked:
    """Renew what is due, request approvals ahead, notify. Return what was done.

    A second run, also at the same time, renews nothing twice and notifies no person twice. Effects:
    requests with their chains, mails, alerts, `renewal_blocked` of certificates, audit events.
    """
    # 1. How much this run may begin at each CA, and which days have so many certificates that they are spread.
    done, now = Checked(), database_now()
    budget, crowded = budget_of_run(), crowds(now)

    def is_wanted(one: Candidate) -> bool:
        return one.is_near(now) and not (one.is_due(now) and waits_for_slot(one, crowded, now=now))

    # 2. Renew and request approvals, those that have ended first: their servers are without a valid certificate now.
    note_switched_off(now=now)
    for candidates in chunks_of((lately_ended(now), unrenewed(now)), is_wanted):
        _check_candidates(candidates, done, budget, now=now, begin=begin)
    # 3. Alerts, mails and reminders, about what the renewals above have come to.
    for name, part in NIGHTLY:
        _alone(name, part, done, now=now)
    return done


def renew_due(*, begin: bool = True) -> Checked:
    """Begin the renewals that are due and need no person. Return what was done.

    Stops when the budget of every CA is spent: what is left costs nothing until the next run.
    """
    done, now = Checked(), database_now()
    budget, crowded = budget_of_run(), crowds(now)

    def is_wanted(one: Candidate) -> bool:
        due = one.is_due(now) and not waits_for_slot(one, crowded, now=now)
        return due and budget.has_room(one.issuer_id)

    for candidates in chunks_of((lately_ended(now), unblocked(now)), is_wanted):
        if budget.is_spent():
            break
        last = last_renewals([one.pk for one in candidates])
        fresh = [one for one in candidates if not _pauses(one, last.get(one.pk), now)]
        _check_candidates(fresh, done, budget, now=now, begin=begin)
    _alone("notices", _notify, done, now=now)
    return done


def _unreplaced(certificates: Sequence[Certificate], now: datetime) -> list[Certificate]:
    """Return the certificates without those that have ended and whose owner has requested a new one for the same names."""
    ended = [one for one in certificates if one.not_after <= now]
    replaced = replaced_among(ended) if ended else set()
    return [one for one in certificates if one.pk not in replaced]


def chunks_of(rows: Sequence[QuerySet[Certificate]], is_wanted: Callable[[Candidate], bool]) -> Iterator[list[Candidate]]:
    """Yield the wanted candidates in chunks, nearest end first, until the run's time is over."""
    until = time.monotonic() + RUN_SECONDS
    waiting: list[Candidate] = []
    for page in chain.from_iterable(map(pages_of, rows)):
        for one in page:
            if is_wanted(one):
                waiting.append(one)
            if len(waiting) == CHUNK:
                yield waiting
                waiting = []
                # Rows of a chunk refer to each other. Found in the middle of the next chunk, those in
                # use then would count as old, and a run would grow by a megabyte a thousand.
                gc.collect(0)
            if time.monotonic() > until:
                log.warning("the run ended after %d s; the next one goes on", RUN_SECONDS)
                return
    if waiting:
        yield waiting


def read_rows(candidates: Sequence[Candidate]) -> list[Certificate]:
    """Return their rows with what a plan needs, in the same order."""
    # By prepared statements, one for each table: the ORM takes twice as long to write a join and to
    # build its rows. Teams, CAs and people are few, and each is built once instead of once a row.
    rows = by_key(select(Certificate, id=[one.pk for one in candidates]))
    found = rows.values()
    requests = by_key(select(CertificateRequest, id={row.request_id for row in found}))
    # What a plan reads of a CSR is that of an external one.
    csrs = by_key(select(RequestCSR, request={one.pk for one in requests.values() if one.csr_brought}))
    keys = by_key(select(Key, id={row.key_id for row in found if row.key_id is not None}))
    teams = Team.objects.in_bulk({row.team_id for row in found})
    issuers = Issuer.objects.in_bulk({row.issuer_id for row in found})
    people = get_user_model().objects.in_bulk({row.requester_id for row in found if row.requester_id is not None})
    for row in found:
        row.team, row.issuer, row.request = teams[row.team_id], issuers[row.issuer_id], requests[row.request_id]
        if row.request_id in csrs:
            row.request.csr = csrs[row.request_id]
        row.key = keys[row.key_id] if row.key_id is not None else None
        row.requester = people[row.requester_id] if row.requester_id is not None else None
    return [rows[one.pk] for one in candidates]


def _pauses(one: Candidate, last: CertificateRequest | None, now: datetime) -> bool:
    """Return whether its renewal failed so recently that it is not tried again yet.

    The pause is an eighth of the window, a day at most: a renewal that fails for a lasting reason
    is tried some times and does not run in a circle.
    """
    if last is None or last.state != S.FAILED:
        return False
    return now - last.created_at < min(one.window / 8, LONGEST_PAUSE)


def _check_candidates(candidates: Sequence[Candidate], done: Checked, budget: Budget, *, now: datetime, begin: bool) -> None:
    """Check the certificates of a chunk. Only this call holds their rows, so that `chunks_of` finds them unused."""
    certificates = _unreplaced(read_rows(candidates), now)
    done.checked += len(certificates)
    _check_apart(certificates, done, budget, now=now, begin=begin)


def _check_apart(certificates: Sequence[Certificate], done: Checked, budget: Budget, *, now: datetime, begin: bool) -> None:
    """Check a page together; or, when that fails, each certificate alone, so that one bad
    certificate stops neither the others nor the run. It is logged and alerted.
    """
    with Alone() as outcome:
        _check(certificates, done, budget, now=now, begin=begin)
    error = outcome.error
    if error is None:
        return
    if len(certificates) > 1:
        for certificate in certificates:
            _check_apart([certificate], done, budget, now=now, begin=begin)
        return
    (certificate,) = certificates
    if isinstance(error, Conflict):  # revoked, or its key blocked, since it was read: nothing is due
        return
    if isinstance(error, IntegrityError) and living_renewals([certificate.pk]):  # another caller was first
        return
    log.error("%s could not be renewed", certificate.cert_id, exc_info=error)
    _alert_failed(certificate, error, now=now)


@transaction.atomic
def _alert_failed(certificate: Certificate, exc: Exception, *, now: datetime) -> None:
    """Alert operators to a renewal that failed in an unforeseen way. The error's text may quote anything, so only its type is named."""
    raise_alert(
        kind=AlertKind.RENEWAL_FAILED,
        cause=f"certificate:{certificate.cert_id}",
        message=f"{name_of(certificate)} could not be renewed: {type(exc).__name__}. {certificate.cert_id} "
        f"({state_of(certificate, now).label}) ends on {day(certificate.not_after)} UTC.",
        next_step=f"The log has the traceback. Renew it by hand: `manage.py renew {certificate.cert_id}`. The next run tries again.",
        now=now,
    )


def _check(certificates: Sequence[Certificate], done: Checked, budget: Budget, *, now: datetime, begin: bool) -> None:
    # 1. What the last renewals came to, which the people concerned are to know. Before the next ones
    #    begin: a failed request is cancelled then.
    last = last_renewals([c.pk for c in certificates])
    note_failures([(last[c.pk], c) for c in certificates if c.pk in last and last[c.pk].state == S.FAILED], now=now)
    # 2. Plan all but those whose last renewal a person stopped: the portal does not overrule that person.
    stopped = {c.pk: why for c in certificates if (why := stopped_by_a_person(last.get(c.pk)))}
    plans = plan_renewals([c for c in certificates if c.pk not in stopped], at=now)
    # 3. Begin what may begin, as far as the budget of its CA goes. An approval costs the CA nothing, and
    #    is requested before the certificate is due: people need days.
    worthless = issuers_to_replace()
    due = [plan for plan in plans if candidate_of(plan.certificate, worthless).is_due(now)]
    need_approval = [plan for plan in plans if plan.verdict is Verdict.NEEDS_APPROVAL]
    ready = [plan for plan in due if plan.verdict is Verdict.GO]
    affordable = [plan for plan in ready if budget.take(plan.issuer.pk)]
    done.left += len(ready) - len(affordable)
    # One transaction, which locks the certificates: of two runs at once the second one finds the first one's requests.
    renewals = begin_renewals([*affordable, *need_approval], actor=SCHEDULE, channel=Channel.SCHEDULE, begin=begin)
    begun = [renewal for renewal in renewals if not renewal.already]
    asking = [renewal for renewal in begun if renewal.plan.verdict is Verdict.NEEDS_APPROVAL]
    renewed = [renewal for renewal in begun if renewal.plan.verdict is not Verdict.NEEDS_APPROVAL]
    # 4. Note of what people are notified, and keep for lists and figures what needs a person.
    #    A night looks a day ahead: the next one would be late.
    soon = [plan for plan in plans if candidate_of(plan.certificate, worthless).is_due(now + ONE_NIGHT)]
    refused = [plan for plan in soon if plan.verdict is Verdict.REFUSED]
    needs_csr = [plan for plan in soon if plan.verdict is Verdict.NEEDS_CSR]
    note_obstacles([*refused, *needs_csr], actor=SCHEDULE, now=now)
    note_approvals(asking, now=now)
    note_blocked(certificates, {plan.certificate.pk: blocked_by(plan) for plan in plans} | stopped, last)
    done.add(renewed=renewed, asking=asking, refused=refused, needs_csr=needs_csr)


def blocked_by(plan: RenewalPlan) -> str:
    """Return what keeps a planned renewal from beginning without a person, "" where nothing does."""
    match plan.verdict:
        case Verdict.NEEDS_CSR:
            return RenewalBlocked.NEEDS_CSR
        case Verdict.NEEDS_APPROVAL:
            return RenewalBlocked.APPROVAL
        case Verdict.REFUSED if plan.decision is not None and plan.decision.outcome is Outcome.DENY:
            return RenewalBlocked.POLICY
        case Verdict.REFUSED:  # no CA that issues
            return RenewalBlocked.FAILED
    return ""


@transaction.atomic
def note_blocked(
    certificates: Sequence[Certificate],
    blocked: Mapping[int, str],
    last: Mapping[int, CertificateRequest],
) -> None:
    """Keep in each certificate's row why it is not renewed without a person; "" where it is."""
    by_value: dict[str, list[int]] = {}
    for certificate in certificates:
        failed = certificate.pk in last and last[certificate.pk].state == S.FAILED
        value = blocked.get(certificate.pk, "") or (RenewalBlocked.FAILED if failed else "")
        if value != certificate.renewal_blocked:
            by_value.setdefault(value, []).append(certificate.pk)
    # In the order in which everything locks certificates, whatever their values: else two could wait for each other.
    changed = Certificate.objects.filter(pk__in=[pk for ids in by_value.values() for pk in ids])
    list(changed.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    for value, ids in by_value.items():
        Certificate.objects.filter(pk__in=ids, renewal_off_reason="").update(renewal_blocked=value)


def note_switched_off(*, now: datetime) -> int:
    """Mark those near their end that a person switched off. Returns how many were marked now."""
    rows = near_end(now).exclude(renewal_off_reason="").exclude(renewal_blocked=RenewalBlocked.OFF)
    return rows.update(renewal_blocked=RenewalBlocked.OFF)


def last_renewals(ids: Sequence[int]) -> dict[int, CertificateRequest]:
    rows = select(CertificateRequest, renewed_from=ids)  # oldest first
    return {row.renewed_from_id: row for row in rows if row.renewed_from_id is not None}


def stopped_by_a_person(last: CertificateRequest | None) -> str:
    """Return why no renewal is begun after one that a person stopped, "" where none was.

    A person cancelled the last renewal (the portal records a reason when it cancels one), or
    refused its approval.
    """
    if last is None:
        return ""
    if last.state == S.CANCELLED and not last.error:
        return RenewalBlocked.OFF
    refused = last.state == S.REJECTED and Approval.objects.filter(request=last, granted=False).exists()
    return RenewalBlocked.APPROVAL if refused else ""


def retire_superseded(*, now: datetime) -> int:
    """Revoke as superseded what was renewed PKI_REVOKE_SUPERSEDED_AFTER_DAYS ago; 0 leaves it to expire."""
    days = settings.PKI_REVOKE_SUPERSEDED_AFTER_DAYS
    if not days:
        return 0
    # Only where the replacement is good and its request completed: else a service would lose its only valid certificate.
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
        except Conflict:  # revoked in the meantime, for another reason
            continue
        count += 1
    if count:
        transaction.on_commit(start_delivery)
    return count


def _alone(name: str, part: Callable[[Checked, datetime], None], done: Checked, *, now: datetime) -> None:
    """Run one part of the night. One that fails is logged and alerted, and stops no other."""
    cause = f"expiry:{name}"
    with Alone() as outcome:
        part(done, now)
    if outcome.error is None:
        close_alerts(kind=AlertKind.EXPIRY_CHECK_FAILED, cause=cause, now=now)
        return
    log.error("expiry check: %s failed", name, exc_info=outcome.error)
    with transaction.atomic():
        raise_alert(
            kind=AlertKind.EXPIRY_CHECK_FAILED,
            cause=cause,
            # The error's text may quote anything, so only its type is in the mail.
            message=f"The expiry check could not finish one of its parts ({name}): {type(outcome.error).__name__}.",
            next_step="The worker's log has the traceback. Run `manage.py check_expiry` when the cause is removed; "
            "else the next night tries again.",
            now=now,
        )


def _notify(_done: Checked, now: datetime) -> None:
    write_mails(now=now)


def _retire(done: Checked, now: datetime) -> None:
    done.superseded_revoked = retire_superseded(now=now)


def _alert(_done: Checked, now: datetime) -> None:
    keep_expiry_alerts(now=now)


def _remind(done: Checked, now: datetime) -> None:
    done.reminders = remind(now=now)


NIGHTLY: tuple[tuple[str, Callable[[Checked, datetime], None]], ...] = (
    ("superseded certificates", _retire),
    ("alerts", _alert),
    # Before the reminders: what was mailed about a certificate counts as one.
    ("notices", _notify),
    ("reminders", _remind),
)
