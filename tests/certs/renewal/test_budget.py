"""How much a run begins at a CA, and how a crowd is spread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.models import Attempt, Certificate, CertificateRequest, Issuer
from certs.models.certificate import RenewalBlocked
from certs.renewal import budget, due, expiry
from certs.requests.approvals import approval
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.life import SYSTEM, brought, issued, new_policy, walk, years_later
from tests.portal.threads import in_thread, until_it_waits_for_a_lock
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def due_ones(make_spec: MakeSpec, requester: Requester, count: int) -> list[Certificate]:
    """Nearest end first."""
    return [years_later(issued(make_spec(f"n{number}.example.com"), requester), days_left=3 + number) for number in range(count)]


def test_a_run_begins_no_more_than_its_ca_is_to_do_until_the_next(
    twin_portal: Requester, make_spec: MakeSpec, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "EVERY", timedelta(minutes=1))
    settings.PKI_RENEW_BUDGET = 2
    certificates = due_ones(make_spec, twin_portal, 5)
    first = expiry.check_expiry(begin=False)
    assert [one.plan.certificate.pk for one in first.renewed] == [one.pk for one in certificates[:2]]
    assert (first.left, first.result()["left_for_next_run"]) == (3, 3)
    assert expiry.renew_due(begin=False).renewed == []  # the first two are not done yet
    walk([one.request.pk for one in first.renewed])
    second = expiry.renew_due(begin=False)
    assert [one.plan.certificate.pk for one in second.renewed] == [one.pk for one in certificates[2:4]]


def test_budget_is_half_of_the_rate_measured_from_the_cas_answers(twin_portal: Requester, make_spec: MakeSpec) -> None:
    issuer = Issuer.objects.get()
    assert budget.measured_rates() == {}  # too few answers to measure
    for number in range(budget.ENOUGH):
        issued(make_spec(f"n{number}.example.com"), twin_portal)
    Attempt.objects.filter(step="submit").update(opened_at=F("closed_at") - timedelta(seconds=3))
    assert budget.measured_rates() == {issuer.pk: pytest.approx(20, rel=0.01)}
    allowed = budget.budget_of_run()
    taken = 0
    while allowed.take(issuer.pk):
        taken += 1
    assert taken == 10 * 15
    assert allowed.is_spent()
    assert not allowed.has_room(issuer.pk)


def test_a_batch_counts_for_each_of_its_certificates(twin_portal: Requester, make_spec: MakeSpec) -> None:
    specs = [make_spec(f"n{number}.example.com") for number in range(budget.ENOUGH)]
    walk([request.pk for request in submit_many(specs, requester=twin_portal)])
    Attempt.objects.filter(step="submit").update(opened_at=F("closed_at") - timedelta(seconds=6))
    assert budget.measured_rates() == {Issuer.objects.get().pk: pytest.approx(10 * budget.ENOUGH, rel=0.01)}


def test_renewals_of_a_replaced_ca_count_against_the_one_that_has_taken_over(twin_portal: Requester) -> None:
    old = Issuer.objects.get()
    new = Issuer.objects.create(name="Twin-CA-2", slug="twin-ca-2", alias="Twin-CA", created_at=database_now())
    Issuer.objects.filter(pk=old.pk).update(successor=new, state="revocation_only")
    allowed = budget.budget_of_run()
    assert allowed.has_room(old.pk)
    while allowed.take(new.pk):
        pass
    assert not allowed.has_room(old.pk)


def test_a_crowd_of_one_day_is_spread_over_a_third_of_its_window(
    twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "CROWD", 3)
    crowd = [issued(make_spec(f"n{number}.example.com"), twin_portal) for number in range(12)]
    renewed: dict[int, set[int]] = {}
    for days_left in (29, 27, 25, 23, 20, 19):
        for certificate in crowd:
            years_later(certificate, days_left=days_left)
        done = expiry.check_expiry(begin=False)
        renewed[days_left] = {one.plan.certificate.pk for one in done.renewed}
    counts = [len(pks) for pks in renewed.values()]
    assert sum(counts) == len(crowd)
    assert max(counts) <= len(crowd) // 2
    assert not renewed[19]  # the last slot is 20 days before the end


def test_slots_of_neighbouring_ids_fill_a_third_of_the_window_evenly() -> None:
    now = database_now()
    end = now + timedelta(days=30)
    slots = [due.Candidate(pk, 1, now, end, is_worthless=False).slot() for pk in range(50_000)]
    days = [0] * 10
    for slot in slots:
        days[(slot - now).days] += 1
    assert max(days) < 5_500
    assert min(days) > 4_500


def test_few_certificates_of_one_day_are_not_spread(twin_portal: Requester, make_spec: MakeSpec) -> None:
    due_ones(make_spec, twin_portal, 4)
    assert len(expiry.renew_due(begin=False).renewed) == 4


def test_renewal_switched_off_by_a_person_is_skipped_and_marked(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """K9: three equal certificates ordered by mistake were renewed permanently."""
    off, on = due_ones(make_spec, twin_portal, 2)
    Certificate.objects.filter(pk=off.pk).update(renewal_off_reason="ordered by mistake")
    for _ in range(2):
        done = expiry.check_expiry(begin=False)
        assert off.pk not in {one.plan.certificate.pk for one in done.renewed}
    off.refresh_from_db()
    on.refresh_from_db()
    assert (off.renewal_blocked, on.renewal_blocked) == (RenewalBlocked.OFF, "")
    assert not CertificateRequest.objects.filter(renewed_from=off).exists()


def blocked_of(*certificates: Certificate) -> list[str]:
    rows = dict(Certificate.objects.values_list("pk", "renewal_blocked"))
    return [rows[one.pk] for one in certificates]


def test_what_the_policy_blocks_is_kept_and_cleared(twin_portal: Requester, make_spec: MakeSpec) -> None:
    made = years_later(issued(make_spec("made.example.com"), twin_portal), days_left=20)
    own = years_later(issued(brought("own.example.com"), twin_portal), days_left=20)
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    expiry.check_expiry(begin=False)
    assert blocked_of(made, own) == [RenewalBlocked.POLICY, RenewalBlocked.NEEDS_CSR]
    new_policy("v2.5")
    assert len(expiry.check_expiry(begin=False).renewed) == 2
    assert blocked_of(made, own) == ["", ""]


def test_a_ca_that_issues_no_more_is_not_called_a_refusal_of_the_policy(twin_portal: Requester, make_spec: MakeSpec) -> None:
    (certificate,) = due_ones(make_spec, twin_portal, 1)
    Issuer.objects.update(state="revocation_only")
    expiry.check_expiry(begin=False)
    assert blocked_of(certificate) == [RenewalBlocked.FAILED]


def test_renewal_that_failed_is_marked(twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient) -> None:
    (certificate,) = due_ones(make_spec, twin_portal, 1)
    twin_ca.refuses = ("ca_refused", "no")
    walk([one.request.pk for one in expiry.check_expiry(begin=False).renewed])
    expiry.check_expiry(begin=False)
    assert blocked_of(certificate) == [RenewalBlocked.FAILED]


def test_frequent_run_leaves_blocked_ones_and_those_that_failed_just_now(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient
) -> None:
    fails = years_later(issued(make_spec("fails.example.com", days=1), twin_portal), days_left=0)
    now = database_now()
    Certificate.objects.filter(pk=fails.pk).update(not_after=now + timedelta(hours=5), alert_at=now - timedelta(hours=3))
    twin_ca.refuses = ("ca_refused", "no")
    walk([one.request.pk for one in expiry.renew_due(begin=False).renewed])
    request = CertificateRequest.objects.get(renewed_from=fails)
    assert request.state == S.FAILED
    assert expiry.renew_due(begin=False).renewed == []
    CertificateRequest.objects.filter(pk=request.pk).update(created_at=now - timedelta(hours=1, minutes=1))
    assert len(expiry.renew_due(begin=False).renewed) == 1  # an eighth of its window later
    Certificate.objects.filter(pk=fails.pk).update(renewal_blocked=RenewalBlocked.POLICY)
    assert expiry.renew_due(begin=False).checked == 0


def test_renewal_that_a_person_cancelled_is_marked_as_off(twin_portal: Requester, make_spec: MakeSpec) -> None:
    (certificate,) = due_ones(make_spec, twin_portal, 1)
    (renewal,) = expiry.check_expiry(begin=False).renewed
    approval.cancel(renewal.request, authority=Authority(SYSTEM))
    expiry.check_expiry(begin=False)
    certificate.refresh_from_db()
    assert certificate.renewal_blocked == RenewalBlocked.OFF


def test_run_that_takes_too_long_ends_and_the_next_goes_on(
    twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "CHUNK", 1)
    monkeypatch.setattr(expiry, "RUN_SECONDS", 0.0)
    certificates = due_ones(make_spec, twin_portal, 2)
    renewed = [expiry.renew_due(begin=False).renewed for _ in range(2)]
    assert [[one.plan.certificate.pk for one in run] for run in renewed] == [[one.pk] for one in certificates]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_marks_of_a_run_lock_certificates_in_the_order_of_their_ids(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """By their values instead, a run and a handover of owners could wait for each other: a deadlock."""
    first, second = due_ones(make_spec, twin_portal, 2)
    blocked = {second.pk: RenewalBlocked.POLICY, first.pk: RenewalBlocked.FAILED}
    with transaction.atomic():
        Certificate.objects.select_for_update().get(pk=first.pk)
        run = in_thread(lambda: expiry.note_blocked([second, first], blocked, {}))
        until_it_waits_for_a_lock()
        Certificate.objects.select_for_update(nowait=True).get(pk=second.pk)
    run.join(20)
    assert dict(Certificate.objects.values_list("pk", "renewal_blocked")) == blocked
