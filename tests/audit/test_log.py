"""The writers: with the change or not at all, numbers without gaps, both databases."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction

from audit.events import EventRefused
from audit.log import EventType, NoTransaction, record, record_many
from audit.models import AuditEvent, AuditSubject, AuditUnsealed
from db.clock import database_now
from tests.audit.ledger import ANN, AT, event, write

pytestmark = pytest.mark.both_databases


def numbers(subject: str) -> list[int]:
    return list(AuditEvent.objects.filter(subject=subject).order_by("id").values_list("subject_seq", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 50, 51, 1200])
def test_record_many_numbers_each_subject_without_gaps(count: int) -> None:
    write(*[f"req-{n % 7}" for n in range(count)])
    write("req-0", "req-0")
    assert numbers("req-0") == list(range(1, len(numbers("req-0")) + 1))
    assert AuditEvent.objects.count() == count + 2
    assert set(AuditUnsealed.objects.values_list("event_id", flat=True)) == set(AuditEvent.objects.values_list("id", flat=True))
    assert AuditSubject.objects.get(subject="req-0").last_seq == len(numbers("req-0"))


@pytest.mark.django_db
@pytest.mark.parametrize("copies", [1, 60])
def test_record_many_keeps_every_column(copies: int) -> None:
    data = {"text": 'tab\t"quote" \\ ü', "number": 10**25, "yes": True, "nothing": None, "names": ["a", "b"]}
    with transaction.atomic():
        record_many([event("cert-1", EventType.CERTIFICATE_ISSUED, **data)] * copies)  # type: ignore[arg-type]
    row = AuditEvent.objects.order_by("-id")[0]
    assert (row.event, row.subject, row.subject_seq) == ("certificate:issued", "cert-1", copies)
    assert (row.actor_kind, row.actor_name, row.at, row.data) == ("user", "ann", AT, data)


@pytest.mark.django_db(transaction=True)
def test_record_outside_a_transaction_is_refused() -> None:
    with pytest.raises(NoTransaction):
        record(EventType.KEY_GENERATED, subject="req-1", actor=ANN, at=AT)
    with pytest.raises(NoTransaction):
        record_many([])
    assert AuditEvent.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_refused_event_takes_the_change_with_it_even_when_swallowed() -> None:
    with transaction.atomic():
        write("req-before")
        with contextlib.suppress(EventRefused):
            record(EventType.KEY_GENERATED, subject="req-1", actor=ANN, at=AT, data={"password": "x"})
    assert AuditEvent.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_batch_with_one_bad_event_writes_none() -> None:
    with pytest.raises(EventRefused), transaction.atomic():
        record_many([event("req-1"), event("req-2", ratio=0.5)])  # type: ignore[arg-type]
    assert (AuditEvent.objects.count(), AuditSubject.objects.count(), AuditUnsealed.objects.count()) == (0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_rollback_leaves_no_gap_in_the_subject() -> None:
    write("req-1")
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the error must come after the writing
        record_many([event("req-1")] * 60)
        raise ZeroDivisionError
    write("req-1")
    assert numbers("req-1") == [1, 2]
    assert AuditSubject.objects.get().last_seq == 2


def in_threads(work: Callable[[int], None], count: int) -> list[BaseException]:
    """Run `work(0..count-1)` at once, each with its own connection; the errors."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            start.wait(timeout=20)
            work(number)
        except (DatabaseError, AssertionError, threading.BrokenBarrierError) as exc:
            errors.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return errors


@pytest.mark.django_db(transaction=True)
def test_two_threads_on_the_same_subjects_make_no_gap_no_double_and_no_deadlock() -> None:
    def work(number: int) -> None:
        order = ["req-a", "req-b", "req-c"] if number else ["req-c", "req-b", "req-a"]
        for _ in range(15):
            write(*order)

    assert in_threads(work, 2) == []
    for subject in ("req-a", "req-b", "req-c"):
        # Within a subject ids rise with the numbers, which the sealing order relies on.
        assert numbers(subject) == list(range(1, 31))


@pytest.mark.django_db
def test_rows_are_not_written_through_the_orm() -> None:
    write("req-1")
    row = AuditEvent.objects.get()
    with pytest.raises(TypeError, match="record"):
        row.save()
    with pytest.raises(TypeError, match="append-only"):
        row.delete()


@pytest.mark.django_db
def test_database_now_is_aware_and_moves_within_a_transaction() -> None:
    with transaction.atomic():
        first = database_now()
        while (second := database_now()) == first:
            pass
    assert first.utcoffset() is not None
    assert second > first
