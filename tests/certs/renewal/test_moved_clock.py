"""Weeks and years of runs with a clock that is moved: who is renewed, how often, in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from certs.issuance.advance import Unavailable
from certs.issuance.recovery import release_for_answering_cas
from certs.models import Certificate, CertificateRequest
from certs.renewal import expiry
from certs.renewal.budget import EVERY
from certs.renewal.due import unrenewed
from certs.requests import waiting as holding
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.certs import steps
from tests.certs.life import issued, walk
from tests.twins.ca import TwinCAClient
from tests.twins.clock import MovedClock, moved_clock, tomorrow_at

pytestmark = pytest.mark.django_db(transaction=True)  # the clock is PostgreSQL's
MakeSpec = Callable[..., CertificateSpec]
LIVES = (1, 2, 7, 47, 90, 397)
NIGHT = timedelta(hours=2)


@pytest.fixture
def clock(db: None) -> Iterator[MovedClock]:
    with moved_clock(tomorrow_at(9)) as clock:
        yield clock


def estate(make_spec: MakeSpec, requester: Requester, lives: tuple[int, ...] = LIVES) -> None:
    for days in lives:
        issued(make_spec(f"life-{days}.example.com", days=days), requester)


def work_off(done: expiry.Checked) -> None:
    if done.renewed:
        walk([renewal.request.pk for renewal in done.renewed])


def next_run(now: datetime) -> datetime:
    """The next run in which there is something to do, and every night's: the runs between do nothing."""
    midnight = now.replace(hour=0, minute=0, second=0)
    night = midnight + NIGHT if now < midnight + NIGHT else midnight + NIGHT + timedelta(days=1)
    due = unrenewed(now).order_by("alert_at").values_list("alert_at", flat=True).first()
    if due is None:
        return night
    quarters = -((midnight - max(due, now + timedelta(seconds=1))) // EVERY)  # rounded up
    return min(night, midnight + EVERY * quarters)


def run_until(end: datetime, clock: MovedClock) -> None:
    while (moment := next_run(clock.now)) < end:
        clock.move_to(moment)
        at_night = (moment.hour, moment.minute) == (2, 0)
        work_off(expiry.check_expiry(begin=False) if at_night else expiry.renew_due(begin=False))


def lineages() -> dict[str, list[Certificate]]:
    found: dict[str, list[Certificate]] = {}
    for certificate in Certificate.objects.order_by("pk"):
        found.setdefault(certificate.common_name, []).append(certificate)
    return found


def check_periods(end: datetime) -> None:
    """Each certificate is renewed once, after its alert date and before its end; the last one is alive."""
    for name, certificates in lineages().items():
        assert certificates[-1].not_after > end, name
        for before, after in pairwise(certificates):
            assert after.renewed_from_id == before.pk
            assert before.alert_at is not None
            assert before.alert_at <= after.issued_at <= before.alert_at + EVERY, name
    requests = CertificateRequest.objects.filter(renewed_from__isnull=False).values_list("renewed_from", flat=True)
    assert len(requests) == len(set(requests))


def test_every_life_is_renewed_once_a_period_for_weeks(twin_portal: Requester, make_spec: MakeSpec, clock: MovedClock) -> None:
    """D5: a 1-day and a 2-day certificate under the nightly run were never renewed, or lost."""
    estate(make_spec, twin_portal)
    end = clock.now + timedelta(days=35)
    run_until(end, clock)
    check_periods(end)
    counts = {name: len(certificates) for name, certificates in lineages().items()}
    assert counts["life-1.example.com"] >= 35 * 24 // 17
    assert counts["life-397.example.com"] == 1


@pytest.mark.long_fault
@pytest.mark.timeout(1200)
def test_every_life_is_renewed_once_a_period_for_more_than_a_year(twin_portal: Requester, make_spec: MakeSpec, clock: MovedClock) -> None:
    estate(make_spec, twin_portal)
    end = clock.now + timedelta(days=400)
    run_until(end, clock)
    check_periods(end)
    assert len(lineages()["life-397.example.com"]) == 2


@pytest.mark.parametrize("outage", [timedelta(hours=1), timedelta(days=3), timedelta(days=21)], ids=str)
def test_after_an_outage_of_the_portal_everything_is_renewed_nearest_end_first(
    outage: timedelta, twin_portal: Requester, make_spec: MakeSpec, clock: MovedClock
) -> None:
    estate(make_spec, twin_portal, (7, 47, 90, 91, 92, 93))
    run_until(clock.now + timedelta(days=58), clock)  # the 90-day ones are due from day 60 on
    clock.move(outage)
    begun = Certificate.objects.count()
    done = expiry.renew_due(begin=False)
    ends = [renewal.plan.certificate.not_after for renewal in done.renewed]
    assert ends == sorted(ends)
    work_off(done)
    assert Certificate.objects.count() == begun + len(ends)
    assert not unrenewed(clock.now).filter(alert_at__lte=clock.now).exists()
    # Also what ended while the portal was off: its servers still wait for a new one.
    assert [name for name, certificates in lineages().items() if certificates[-1].not_after < clock.now] == []
    if outage < timedelta(days=2):
        assert not Certificate.objects.filter(not_after__lt=clock.now, renewals=None).exists()


@pytest.mark.parametrize("outage", [timedelta(hours=1), timedelta(days=3), timedelta(days=21)], ids=str)
def test_outage_of_the_ca_collects_one_runs_budget_and_then_goes_on_by_deadline(
    outage: timedelta, twin_portal: Requester, make_spec: MakeSpec, clock: MovedClock, twin_ca: TwinCAClient, settings: Any
) -> None:
    settings.PKI_RENEW_BUDGET = 1  # 15 in a run
    for number in range(40):
        issued(make_spec(f"n{number:02}.example.com", days=90), twin_portal)
        clock.move(timedelta(minutes=7))
    clock.move(timedelta(days=61))
    twin_ca.reachable = False
    back = clock.now + outage
    for _ in range(4):  # the hour in which a budget is collected
        work_off_or_hold(expiry.renew_due(begin=False))
        clock.move(EVERY)
    while clock.now < back:  # the runs of each night stand for all of a day
        work_off_or_hold(expiry.check_expiry(begin=False))
        work_off_or_hold(expiry.renew_due(begin=False))
        clock.move(min(timedelta(days=1), back - clock.now))
    waiting = CertificateRequest.objects.filter(renewed_from__isnull=False)
    assert waiting.count() == 15
    twin_ca.reachable = True
    for _ in range(4):
        release_for_answering_cas()
        walk(list(waiting.filter(state="csr_created", held_since=None).order_by("pk").values_list("pk", flat=True)))
        work_off(expiry.renew_due(begin=False))
        clock.move(EVERY)
    renewals = Certificate.objects.filter(renewed_from__isnull=False).order_by("pk")
    issued_in_order = list(renewals.values_list("common_name", flat=True))
    assert issued_in_order == sorted(issued_in_order)
    assert len(issued_in_order) == 40
    assert not Certificate.objects.filter(not_after__lt=clock.now, renewals=None).exists()


def test_short_lives_that_end_in_an_outage_are_renewed_after_it_by_deadline_within_the_budget(
    twin_portal: Requester, make_spec: MakeSpec, clock: MovedClock, settings: Any
) -> None:
    settings.PKI_RENEW_BUDGET = 1  # 15 in a run
    for number in range(20):
        issued(make_spec(f"n{number:02}.example.com", days=7), twin_portal)
        clock.move(timedelta(minutes=7))
    clock.move(timedelta(days=21))
    for expected in (15, 5, 0):
        done = expiry.renew_due(begin=False)
        assert len(done.renewed) == expected
        work_off(done)
        clock.move(EVERY)
    renewals = Certificate.objects.filter(renewed_from__isnull=False).order_by("pk")
    assert list(renewals.values_list("common_name", flat=True)) == [f"n{number:02}.example.com" for number in range(20)]
    assert not renewals.filter(not_after__lt=clock.now).exists()


def work_off_or_hold(done: expiry.Checked) -> None:
    ids = [renewal.request.pk for renewal in done.renewed]
    if not ids:
        return
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    with pytest.raises(Unavailable) as error:
        steps.submit_to_ca(ids)
    holding.hold_for_ca(error.value.ids, error.value.message)
