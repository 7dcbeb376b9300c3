"""An order under way: chunks in turn, exactly one certificate a line, paused, cancelled, tried again, and done once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoAssertNumQueries

from audit.log import UnitOfWork
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.ending import finish
from certs.bulk.line_pages import hidden_lines
from certs.bulk.progress import Tally, counts, progress
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.errors import Conflict
from certs.issuance import recovery
from certs.models import BulkChunk, BulkOrder, Certificate, CertificateRequest, Domain, OutgoingMail, Team
from certs.requests import waiting
from certs.requests.approvals.approval import cancel
from certs.requests.states import fail_many
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import Key
from tests.cast import person
from tests.certs import steps
from tests.certs.bulk.orders import begin, drafted, work_off, work_off_all
from tests.twins.ca import TwinCAClient

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def small_chunks(settings: Any) -> None:
    settings.PKI_BULK_CHUNK, settings.PKI_BULK_IN_FLIGHT = 3, 2


def running(specs: list[CertificateSpec], requester: Requester, **more: Any) -> BulkOrder:
    return submit_order(drafted(specs, requester), authority=Authority(requester.actor), **more)


def names(make_spec: MakeSpec, count: int, prefix: str = "n") -> list[CertificateSpec]:
    return [make_spec(f"{prefix}{number}.example.com") for number in range(count)]


def begin_all() -> None:
    """All that has a place in the queue, up to its requests."""
    dispatch.dispatch()
    for chunk in BulkChunk.objects.filter(state="queued"):
        begin(chunk.pk)


def test_every_line_gets_exactly_one_certificate_and_the_order_is_done_once(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 10), twin_portal)
    assert [(c.first, c.last) for c in order.chunks.order_by("first")] == [(1, 3), (4, 6), (7, 9), (10, 10)]
    work_off_all()
    order.refresh_from_db()
    assert (order.state, Certificate.objects.count(), counts(order).issued) == ("done", 10, 10)
    assert CertificateRequest.objects.values("bulk_item").distinct().count() == 10
    assert list(AuditEvent.objects.filter(subject=order.subject).order_by("subject_seq").values_list("event", flat=True)) == [
        "bulk:submitted",
        "bulk:completed",
    ]
    assert finish(order.pk) is False


def test_a_refused_line_fails_alone(twin_portal: Requester, make_spec: MakeSpec) -> None:
    specs = names(make_spec, 4)
    specs[1] = make_spec("weak.example.com", key="rsa-2048")
    order = running(specs, twin_portal, with_refused=True)
    work_off_all()
    order.refresh_from_db()
    tally = counts(order)
    assert (order.state, tally.issued, tally.refused) == ("done", 3, 1)
    assert CertificateRequest.objects.get(state=S.REJECTED).suggestion == "Use RSA key size ≥ 3072 bits"


def test_only_a_few_chunks_are_in_the_queue(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 12), twin_portal)
    assert (dispatch.dispatch(), dispatch.dispatch()) == (2, 0)
    assert order.chunks.filter(state="waiting").count() == 2
    assert work_off(order.chunks.filter(state="queued").order_by("first")[0])
    assert order.chunks.filter(state="queued").count() == 2  # its place was taken by the next one


def test_teams_take_turns(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    Domain.objects.create(name="other.test", team=other)
    first = running(names(make_spec, 12), twin_portal)
    second = running([make_spec(f"{n}.other.test") for n in "abcdef"], Requester(twin_portal.actor, other, "portal"))
    settings.PKI_BULK_PER_CA = 3
    dispatch.dispatch()
    taken = Counter(BulkChunk.objects.filter(state="queued").values_list("order", flat=True))
    assert (taken[first.pk], taken[second.pk]) == (2, 1)
    work_off(first.chunks.filter(state="queued")[0])
    taken = Counter(BulkChunk.objects.filter(state="queued").values_list("order", flat=True))
    assert (taken[first.pk], taken[second.pk]) == (1, 2)


def test_submitting_twice_at_once_is_one_order(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted(names(make_spec, 4), twin_portal)

    def click() -> None:
        try:
            submit_order(order, authority=Authority(twin_portal.actor))
        finally:
            connections.close_all()

    clicks = [threading.Thread(target=click) for _ in range(3)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join(30)
    assert (BulkChunk.objects.count(), AuditEvent.objects.filter(event="bulk:submitted").count()) == (2, 1)
    work_off_all()
    assert Certificate.objects.count() == 4


def test_a_chunk_begun_twice_makes_each_request_once(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 3), twin_portal)
    dispatch.dispatch()
    chunk = order.chunks.get()
    first = begin(chunk.pk)
    assert begin(chunk.pk) == first
    assert CertificateRequest.objects.count() == 3


def test_pausing_begins_nothing_new_and_going_on_finishes(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 12), twin_portal)
    begin_all()
    pause(order, authority=Authority(twin_portal.actor))
    for chunk in order.chunks.filter(state="queued"):
        work_off(chunk)
    order.refresh_from_db()
    assert (counts(order).issued, counts(order).waiting, order.state) == (6, 6, "paused")
    assert "paused" in progress(order, now=database_now()).waits_for
    with pytest.raises(Conflict):
        pause(order, authority=Authority(twin_portal.actor))
    go_on(order, authority=Authority(twin_portal.actor))
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued) == ("done", 12)


def test_cancelling_leaves_what_was_not_begun(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 12), twin_portal)
    begin_all()
    cancel_rest(order, authority=Authority(twin_portal.actor))
    work_off_all()
    order.refresh_from_db()
    tally = counts(order)
    assert (order.state, tally.issued, tally.cancelled, order.finished_at is not None) == ("cancelled", 6, 6, True)
    assert Certificate.objects.count() == 6


def test_ca_that_is_away_holds_the_order_which_goes_on_by_itself(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    order = running(names(make_spec, 12), twin_portal)
    dispatch.dispatch()
    twin_ca.reachable = False
    for chunk in order.chunks.filter(state="queued"):
        work_off(chunk)
    waiting.hold_for_ca(list(CertificateRequest.objects.values_list("pk", flat=True)), "connection refused")
    calls = twin_ca.book.calls
    assert (dispatch.dispatch(), dispatch.sweep_chunks(), twin_ca.book.calls) == (0, 0, calls)  # nothing more is sent towards it
    seen = progress(order, now=database_now())
    assert seen.tally.held == 6
    assert "CA unavailable" in seen.waits_for
    twin_ca.reachable = True
    assert recovery.release_for_answering_cas() == 6
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued) == ("done", 12)


def test_a_part_that_the_ca_does_not_take_stops_the_rest_of_its_batch(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, settings: Any
) -> None:
    settings.PKI_BULK_CHUNK = 100
    order = running(names(make_spec, 40), twin_portal)
    twin_ca.reachable = False
    dispatch.dispatch()
    work_off(order.chunks.get())
    assert twin_ca.book.calls <= 1  # not once for each part of 16


def test_failed_lines_are_tried_again_from_where_they_stopped(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 3), twin_portal)
    dispatch.dispatch()
    chunk = order.chunks.get()
    unlucky = list(CertificateRequest.objects.filter(pk__in=begin(chunk.pk)[:2]))
    with UnitOfWork() as work:
        fail_many(work, [(request, "worker_lost", "lost") for request in unlucky], source=S.APPROVED, now=database_now())
    work_off(chunk)
    order.refresh_from_db()
    assert (order.state, counts(order).issued, counts(order).failed) == ("done", 1, 2)
    assert retry_failed(order, authority=Authority(twin_portal.actor)) == 2
    with pytest.raises(Conflict, match="already"):
        retry_failed(order, authority=Authority(twin_portal.actor))
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued, counts(order).failed) == ("done", 3, 0)
    with pytest.raises(Conflict, match="No line"):
        retry_failed(order, authority=Authority(twin_portal.actor))


def test_lines_of_an_ended_order_are_counted_again_only_when_a_failed_one_went_on(
    twin_portal: Requester, make_spec: MakeSpec, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Its page counted 50,000 lines each time."""
    order = running(names(make_spec, 4), twin_portal)
    work_off_all()
    order.refresh_from_db()
    with django_assert_num_queries(0):
        ended = counts(order)
    assert ended == counts(BulkOrder(pk=order.pk, state=order.state, total=order.total))
    failed = failed_order(twin_portal, make_spec, 2)
    failed.refresh_from_db()
    with django_assert_num_queries(1):  # of the failed ones alone
        assert counts(failed) == Tally(total=2, failed=2)
    cancel(CertificateRequest.objects.filter(state="failed")[0], authority=Authority(twin_portal.actor))
    assert (counts(failed).failed, counts(failed).cancelled) == (1, 1)  # of a failed one more may come


def test_chunks_that_were_all_issued_are_not_counted_again_while_the_order_runs(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient
) -> None:
    """Its page counted 50,000 lines every two seconds."""
    order = running(names(make_spec, 8), twin_portal)
    dispatch.dispatch()
    first, second = order.chunks.filter(state="queued").order_by("first")
    work_off(first)
    twin_ca.refuses = ("ca_refused", "not this one")
    work_off(second)
    twin_ca.refuses = None
    assert list(order.chunks.order_by("first").values_list("issued", flat=True)) == [3, None, None]
    expected = Tally(total=8, issued=3, failed=3, waiting=2)
    assert counts(order) == expected
    earlier = order.created_at - timedelta(hours=1)
    BulkOrder.objects.filter(pk=order.pk).update(submitted_at=earlier)
    BulkChunk.objects.filter(pk=first.pk).update(done_at=earlier)  # longer ago than the rate looks back
    CertificateRequest.objects.filter(state="completed").update(state_changed_at=earlier)
    order.refresh_from_db()
    now = database_now()
    assert (progress(order, now=now).tally, progress(order, now=now).rate) == (expected, 0)
    retry_failed(order, authority=Authority(twin_portal.actor))
    assert counts(order) == expected  # they wait in a chunk that has requests
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order)) == ("done", Tally(total=8, issued=8))
    assert list(order.chunks.order_by("first").values_list("issued", flat=True)) == [3, 3, 2]


def test_teams_of_the_lines_of_an_order_are_found_each_once(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted(names(make_spec, 7), twin_portal)
    others = [Team.objects.create(slug=f"other-{number}", name=f"Other {number}") for number in range(2)]
    for number, team in ((2, others[0]), (4, others[1]), (5, others[1])):
        order.items.filter(number=number).update(team=team)
    assert order.teams_of_lines() == {twin_portal.team.pk, *(team.pk for team in others)}
    assert hidden_lines(order, frozenset({twin_portal.team.pk})) == 3
    assert hidden_lines(order, frozenset(order.teams_of_lines())) == hidden_lines(order, None) == 0
    assert BulkOrder(pk=0).teams_of_lines() == frozenset()


def failed_order(requester: Requester, make_spec: MakeSpec, count: int) -> BulkOrder:
    """Each of its lines failed with its key made."""
    order = running(names(make_spec, count), requester)
    dispatch.dispatch()
    while queued := list(order.chunks.filter(state="queued")):
        for chunk in queued:
            begun = CertificateRequest.objects.filter(pk__in=begin(chunk.pk))
            steps.ensure_keys([row.pk for row in begun])
            with UnitOfWork() as work:
                fail_many(work, [(row, "worker_lost", "lost") for row in begun.all()], source=S.KEY_READY, now=database_now())
            dispatch.end_chunk(chunk.pk)
    order.refresh_from_db()
    assert (order.state, counts(order).failed) == ("done", count)
    return order


def test_what_is_tried_again_takes_its_turn_like_all_else(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = failed_order(twin_portal, make_spec, 12)
    keys = Key.objects.count()
    assert retry_failed(order, authority=Authority(twin_portal.actor)) == 12
    assert (dispatch.dispatch(), dispatch.dispatch()) == (2, 0)
    begun = order.chunks.filter(state="queued").order_by("first")[0]
    assert begin(begun.pk) == begin(begun.pk)
    assert Counter(CertificateRequest.objects.values_list("state", flat=True)) == {"key_ready": 3, "failed": 9}
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued, Key.objects.count()) == ("done", 12, keys)
    assert AuditEvent.objects.filter(event="bulk:retried").count() == 1


def test_what_waits_to_be_tried_again_can_be_paused_and_left(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = failed_order(twin_portal, make_spec, 9)
    retry_failed(order, authority=Authority(twin_portal.actor))
    dispatch.dispatch()
    pause(order, authority=Authority(twin_portal.actor))
    assert set(order.chunks.values_list("state", flat=True)) == {"waiting"}
    go_on(order, authority=Authority(twin_portal.actor))
    dispatch.dispatch()
    work_off(order.chunks.filter(state="queued").order_by("first")[0])
    cancel_rest(order, authority=Authority(twin_portal.actor))
    work_off_all()
    dispatch.dispatch_or_finish()
    order.refresh_from_db()
    assert (order.state, counts(order).issued, counts(order).failed, order.finished_at is not None) == ("cancelled", 3, 6, True)
    assert retry_failed(order, authority=Authority(twin_portal.actor)) == 6
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued, order.finished_at is not None) == ("cancelled", 9, True)


def test_a_chunk_in_the_queue_whose_lines_failed_comes_round_again(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 3), twin_portal)
    dispatch.dispatch()
    chunk = order.chunks.get()
    unlucky = CertificateRequest.objects.get(pk=begin(chunk.pk)[0])
    with UnitOfWork() as work:
        fail_many(work, [(unlucky, "worker_lost", "lost")], source=S.APPROVED, now=database_now())
    assert retry_failed(order, authority=Authority(twin_portal.actor)) == 1  # while the two others are under way
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued) == ("done", 3)


def walk_standing() -> None:
    from tests.certs.issuance.test_schedules import walk  # noqa: PLC0415 - a room of its own

    walk(list(CertificateRequest.objects.exclude(state=S.COMPLETED).values_list("pk", flat=True)))


def test_lost_messages_are_made_up_for(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    settings.PKI_SWEEP_AFTER_SECONDS = 0
    order = running(names(make_spec, 6), twin_portal)
    dispatch.dispatch()  # published into nothing: no worker runs here
    for chunk in order.chunks.filter(state="queued"):
        begin(chunk.pk)  # and here the worker died
    walk_standing()
    assert dispatch.sweep_chunks() == 2
    order.refresh_from_db()
    assert (order.state, counts(order).issued) == ("done", 6)


def test_a_line_cancelled_alone_does_not_keep_the_order_open(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = running(names(make_spec, 3), twin_portal)
    dispatch.dispatch()
    chunk = order.chunks.get()
    first = begin(chunk.pk)[0]
    cancel(CertificateRequest.objects.get(pk=first), authority=Authority(twin_portal.actor))
    work_off(chunk)
    order.refresh_from_db()
    assert (order.state, counts(order).cancelled, counts(order).issued) == ("done", 1, 2)


def test_requester_is_told_when_the_order_has_ended(twin_portal: Requester, make_spec: MakeSpec) -> None:
    user = person("alice", email="alice@example.com", team=twin_portal.team)
    running(names(make_spec, 2), Requester(twin_portal.actor, twin_portal.team, "portal", user=user))
    work_off_all()
    mail = OutgoingMail.objects.get(dedup_key__startswith="bulk:")
    assert (mail.recipient, "2 of 2 certificates issued" in mail.subject) == ("alice@example.com", True)
