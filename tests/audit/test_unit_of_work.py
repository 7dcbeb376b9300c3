"""A change and the events that tell of it are written together at the end of a unit of work, or neither is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.events import Event, EventRefused
from audit.log import EventType, UnitOfWork, record
from audit.models import AuditEvent, AuditSubject
from tests.audit.ledger import ANN, AT

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


def said(subject: str, number: int = 0) -> Event:
    return Event(EventType.REQUEST_SUBMITTED, subject, ANN, AT, {"n": number})


def test_rows_and_events_are_written_at_the_end_before_on_commit() -> None:
    seen: list[int] = []
    with UnitOfWork() as work:
        work.insert([Group(name="t-a")])
        work.record([said("req-1")])
        transaction.on_commit(lambda: seen.append(AuditEvent.objects.count()))
        assert (groups(), AuditEvent.objects.count()) == (0, 0)
    assert (seen, groups()) == ([1], 1)


@pytest.mark.parametrize("count", [1, 3, 60])
def test_events_of_a_subject_are_numbered_in_their_order(count: int) -> None:
    with UnitOfWork() as work:
        for number in range(count):
            work.record([said("req-1", number), said("req-2", number)])
    with UnitOfWork() as work:
        work.record([said("req-1", count)])
    rows = list(AuditEvent.objects.filter(subject="req-1").order_by("id").values_list("subject_seq", "data__n"))
    assert rows == [(number + 1, number) for number in range(count + 1)]
    assert dict(AuditSubject.objects.values_list("subject", "last_seq")) == {"req-1": count + 1, "req-2": count}


def test_event_that_is_recorded_at_once_is_counted() -> None:
    with UnitOfWork() as work:
        work.record([said("req-1")])
        record(EventType.REQUEST_SUBMITTED, subject="req-1", actor=ANN, at=AT)
        assert AuditEvent.objects.get().subject_seq == 1
    assert sorted(AuditEvent.objects.values_list("subject_seq", flat=True)) == [1, 2]


def groups() -> int:
    """How many of these tests there are: migrations make the roles."""
    return Group.objects.filter(name__startswith="t-").count()


def unit(*, event: Event, name: str) -> None:
    with UnitOfWork() as work:
        work.insert([Group(name=name)])
        work.record([event])


def test_event_that_must_not_be_stored_leaves_no_change() -> None:
    with pytest.raises(EventRefused):
        unit(event=said("req-1")._replace(data={"ratio": 0.5}), name="t-a")  # type: ignore[dict-item]
    assert groups() == 0


def test_change_that_cannot_be_stored_leaves_no_event() -> None:
    Group.objects.create(name="t-a")
    with pytest.raises(IntegrityError):
        unit(event=said("req-1"), name="t-a")
    ours = AuditEvent.objects.filter(subject="req-1")
    assert (ours.count(), connection.in_atomic_block) == (0, False)
    unit(event=said("req-1"), name="t-b")  # and the connection is good for the next one
    assert ours.get().subject_seq == 1


def test_within_another_transaction_nothing_is_committed() -> None:
    with transaction.atomic():
        unit(event=said("req-1"), name="t-a")
        assert AuditEvent.objects.count() == 1
        transaction.set_rollback(True)
    assert (AuditEvent.objects.count(), groups()) == (0, 0)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite answers without a round trip")
def test_what_a_small_unit_writes_goes_in_one_round_trip() -> None:
    with UnitOfWork() as work:
        work.record([said("warm-up")])
    with CaptureQueriesContext(connection) as queries, UnitOfWork() as work:
        work.insert([Group(name="t-a"), Group(name="t-b")])
        work.record([said("req-1"), said("req-1")])
    writes = [query["sql"] for query in queries if 'INTO "auth_group"' in query["sql"]]
    assert len(writes) == 1
    assert "INSERT INTO audit_event" in writes[0].replace('"', "")
    assert "audit_unsealed" in writes[0]
