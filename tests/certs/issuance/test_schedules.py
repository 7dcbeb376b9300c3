"""Every way in which a crash, a stall, a lost or late answer and an interference can fall between the beats.

The real step functions run on twins of CA and key backend. After each schedule the books must balance; a schedule that
fails prints itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
from django.db import transaction

from audit.log import Actor
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable, advance
from certs.models import Attempt, CertificateRequest
from certs.requests.approvals import approval
from certs.requests.representation import is_settled
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.public_keys import mark_compromised
from tests.certs import steps
from tests.certs.books import assert_balanced
from tests.certs.lanes import Lane, conduct, dismiss
from tests.twins.ca import Fault, TwinCAClient

CHAIN = (steps.check_policy, steps.ensure_keys, steps.create_csrs, steps.submit_to_ca, steps.record_inventory)
WAYS = ("chain", "at once")  # as Celery's tasks, and as a process that has every login: neighbouring phases share a transaction
BOUNDARIES = 9  # three in each of the key, csr and submit steps
ROUNDS = 6


@dataclass(frozen=True)
class Schedule:
    """Worker A stops at its boundary `a` and crashes or stalls (with its lease running or over); then perhaps the owner
    cancels or the key is reported compromised; worker B takes over and may crash at `b`; then everything is let run.
    """

    faults: tuple[Fault, ...]
    a: int
    how: str  # crash | stall, lease runs | stall, lease over
    between: str  # nothing | cancel | compromise
    b: int | None


def schedules() -> Iterator[Schedule]:
    hows = ("crash", "stall, lease runs", "stall, lease over")
    stops: list[int | None] = [None, *range(BOUNDARIES)]
    for faults in ((), (Fault.ANSWER_LOST,), (Fault.ANSWER_LATE,), (Fault.DOWN,), (Fault.ANSWER_LOST, Fault.ANSWER_LATE)):
        for a, how, b in itertools.product(range(BOUNDARIES), hows, stops):
            yield Schedule(faults, a, how, "nothing", b)
    for fault, a, how, between in itertools.product(
        (None, Fault.ANSWER_LOST, Fault.ANSWER_LATE), range(BOUNDARIES), hows, ("cancel", "compromise")
    ):
        yield Schedule((fault,) if fault else (), a, how, between, None)
    for a, how, between in itertools.product(range(BOUNDARIES), hows, ("nothing", "cancel")):
        yield Schedule((Fault.CUT,), a, how, between, None)


ALL = list(schedules())
# Those that differ only in where worker B stops, in the order of its boundaries.
GROUPS = [list(group) for _, group in itertools.groupby(ALL, key=lambda one: replace(one, b=None))]
PARTS = 8


def walk(ids: list[int], way: str = "chain") -> None:
    """What cannot be done now is left for the next round."""
    for step in CHAIN if way == "chain" else (partial(advance, until=S.COMPLETED),):
        try:
            step(ids)
        except Unavailable:
            continue


def let_leases_end() -> None:
    now = database_now()
    Attempt.objects.filter(closed_at__isnull=True).update(lease_until=now)


def interfere(request: CertificateRequest, what: str) -> None:
    request.refresh_from_db()
    if what == "cancel" and request.state not in (S.ISSUED, S.COMPLETED):
        approval.cancel(request, authority=Authority(Actor("user", "owner")))
    if what == "compromise" and request.spki_sha256:
        with transaction.atomic():
            mark_compromised(request.spki_sha256, "reported", now=database_now(), actor=Actor("user", "owner"))


def run(schedule: Schedule, way: str, requester: Requester, spec: CertificateSpec, lanes: tuple[Lane, Lane], ca: TwinCAClient) -> bool:
    """Return whether worker B came to its stop. Where it was done before, all later stops are this very schedule again."""
    first, second = lanes
    (request,) = submit_many([spec], requester=requester)
    ids = [request.pk]
    ca.faults = list(schedule.faults)
    where = first.start(lambda: walk(ids, way))
    for _ in range(schedule.a):
        where = first.go_on() if where else None
    if schedule.how == "crash" and first.at:
        first.crash()
    interfere(request, schedule.between)
    if schedule.how != "stall, lease runs":
        let_leases_end()
    where = second.start(lambda: walk(ids, way))
    for _ in range(schedule.b if schedule.b is not None else 0):
        where = second.go_on() if where else None
    stopped = schedule.b is None or second.at is not None
    if schedule.b is not None and second.at:
        second.crash()
    second.finish()
    first.finish()  # the stalled worker wakes up and goes on as if nothing had been
    ca.faults = []
    for _ in range(ROUNDS):
        request.refresh_from_db()
        if not is_settled(request):
            let_leases_end()
            walk(ids, way)
        cleared = recovery.settle_unclaimed() + recovery.clear_after_the_end() + recovery.revoke_quarantined()
        if not cleared and is_settled(request):
            break
    assert is_settled(request), f"stands at {request.state}"
    assert_balanced(request, ca)
    return stopped


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.django_db(transaction=True)
def test_schedule_leaves_balanced_books(
    part: int, way: str, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: Callable[..., CertificateSpec]
) -> None:
    conduct()
    lanes = (Lane("worker A"), Lane("worker B"))
    numbers = itertools.count()
    try:
        for group in GROUPS[part::PARTS]:
            for schedule in group:
                spec = make_spec(f"s{part}-{next(numbers)}.example.com")
                try:
                    stopped = run(schedule, way, twin_portal, spec, lanes, twin_ca)
                except BaseException as exc:
                    raise AssertionError(f"this schedule fails: {schedule}: {exc!r}") from exc
                if not stopped:
                    break
    finally:
        for lane in lanes:
            lane.close()
        dismiss()


def test_schedules_are_many() -> None:
    assert len(ALL) == len(set(ALL)) == 5 * BOUNDARIES * 3 * (BOUNDARIES + 1) + 3 * BOUNDARIES * 3 * 2 + BOUNDARIES * 3 * 2
