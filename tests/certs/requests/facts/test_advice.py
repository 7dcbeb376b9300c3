"""What people should know before they confirm, although nothing forbids it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries

from certs.models import Certificate, CertificateRequest
from certs.requests.facts.advice import NIGHTLY_IS_LATE_FOR, schedule_notes, shortened
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def nightly(db: None) -> None:
    """The nightly renewal alone is switched on."""
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    PeriodicTask.objects.all().delete()
    PeriodicTask.objects.create(name="nightly", task="certs.tasks.check_expiry", interval=every)
    PeriodicTask.objects.create(name="often", task="certs.tasks.renew_due", interval=every, enabled=False)


@pytest.mark.usefixtures("nightly")
def test_the_shortest_life_of_a_plan_decides_whether_the_nightly_renewal_is_too_late(make_spec: MakeSpec) -> None:
    short, long = make_spec(days=NIGHTLY_IS_LATE_FOR), make_spec(days=NIGHTLY_IS_LATE_FOR + 1)
    (note,) = schedule_notes([long, short])
    assert note.startswith(f"A certificate of {NIGHTLY_IS_LATE_FOR} days can end before it is renewed")
    assert f"at least {NIGHTLY_IS_LATE_FOR + 1} days" in note
    assert schedule_notes([make_spec(days=1)])[0].startswith("A certificate of 1 day can end")
    assert schedule_notes([long]) == schedule_notes([]) == []


@pytest.mark.usefixtures("nightly")
def test_no_note_where_the_frequent_renewal_runs_or_nothing_is_scheduled_at_all(make_spec: MakeSpec) -> None:
    PeriodicTask.objects.filter(name="often").update(enabled=True)
    assert schedule_notes([make_spec(days=1)]) == []
    PeriodicTask.objects.all().delete()
    assert schedule_notes([make_spec(days=1)]) == []


@pytest.mark.usefixtures("nightly")
def test_an_ordinary_life_costs_no_query(make_spec: MakeSpec, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        schedule_notes([make_spec(days=90)])


@pytest.mark.parametrize(("days", "notes"), [(89, 0), (90, 0), (91, 1), (300, 1)])
def test_an_answer_says_when_the_certificate_ends_a_day_or_more_before_the_requested_end(
    twin_portal: Requester, make_spec: MakeSpec, days: int, notes: int
) -> None:
    certificate = issued(make_spec(days=90), twin_portal)
    row = CertificateRequest.objects.get()
    row.validity_days = days
    assert len(shortened(certificate, row)) == notes


def test_an_end_date_is_compared_with_the_end_of_its_day(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(days=90), twin_portal)
    row = CertificateRequest.objects.get()
    row.validity_days, row.not_after = None, certificate.not_after.date()
    assert shortened(certificate, row) == []
    row.not_after += timedelta(days=2)
    (note,) = shortened(Certificate.objects.get(), row)
    assert f"not as requested ({row.validity.text})" in note
