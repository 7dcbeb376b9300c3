"""A transaction that begins and ends within its messages, and statements that are planned once a connection."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg import DataError

from audit.log import EventType, one_transaction, record, together
from audit.models import AuditEvent, AuditSubject
from audit.unit_of_work import ask_afterwards, gathering, insert_later
from db import pipeline
from db.sql import Rows, among_texts, ask, ids_of, ids_query, insert_together, text_list
from tests.audit.ledger import ANN, AT

pytestmark = pytest.mark.both_databases
postgresql_only = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite needs no plans and no messages")


def say(subject: str) -> None:
    record(EventType.REQUEST_SUBMITTED, subject=subject, actor=ANN, at=AT)


def groups(*names: str) -> Rows:
    return Rows("auth_group", "name", [[name] for name in names])


@pytest.mark.django_db(transaction=True)
def test_what_was_held_back_is_committed_with_it() -> None:
    told: list[str] = []
    with one_transaction():
        insert_later(groups("a"))
        say("req-1")
        transaction.on_commit(lambda: told.append("committed"))
        assert not told
    assert told == ["committed"]
    assert not connection.in_atomic_block
    assert Group.objects.filter(name="a").exists()
    assert AuditEvent.objects.get().subject == "req-1"


def say_and_insert(rows: Rows) -> None:
    with one_transaction():
        say("req-1")
        insert_later(rows)


@pytest.mark.django_db(transaction=True)
def test_failure_at_the_end_leaves_nothing() -> None:
    Group.objects.create(name="a")
    with pytest.raises(IntegrityError):
        say_and_insert(groups("a"))
    ours = AuditEvent.objects.filter(subject="req-1")
    assert not ours.exists()
    with one_transaction():  # and the connection is good for the next one
        say("req-1")
    assert ours.get().subject_seq == 1


@pytest.mark.django_db(transaction=True)
def test_constraint_that_is_checked_at_the_commit_rolls_everything_back() -> None:
    with pytest.raises(IntegrityError):
        say_and_insert(Rows("auth_group_permissions", "group_id, permission_id", [[987654, 987654]]))
    assert not AuditEvent.objects.exists()
    assert not connection.in_atomic_block
    with one_transaction():
        say("req-1")
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_inside_another_transaction_it_commits_nothing() -> None:
    with transaction.atomic():
        say_and_insert(groups("a"))
        transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_foreseen_numbers_go_on_where_the_subject_stands() -> None:
    with one_transaction():
        gathering.foresee({"req-1": 0}, {"audit_event": []})
        say("req-1")
        say("req-1")
    with one_transaction():
        gathering.foresee({"req-1": 2}, {})
        say("req-1")
        say("req-2")
    assert list(AuditEvent.objects.filter(subject="req-1").order_by("id").values_list("subject_seq", flat=True)) == [1, 2, 3]
    assert dict(AuditSubject.objects.values_list("subject", "last_seq")) == {"req-1": 3, "req-2": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("foreseen", [0, 1, 2, 5])
def test_more_or_fewer_ids_than_were_foreseen(foreseen: int) -> None:
    with one_transaction():
        (rows,) = ask(ids_query(("audit_event", foreseen)))
        gathering.foresee({"req-1": 0}, {"audit_event": ids_of(rows)[0]})
        for _ in range(3):
            say("req-1")
    ids = list(AuditEvent.objects.order_by("subject_seq").values_list("id", flat=True))
    assert len(ids) == 3
    assert ids == sorted(ids)


@pytest.mark.django_db(transaction=True)
def test_event_written_at_once_within_a_savepoint_is_counted() -> None:
    with transaction.atomic(), together():
        gathering.foresee({"req-1": 0}, {})
        with transaction.atomic():
            say("req-1")
        say("req-1")
    assert sorted(AuditEvent.objects.values_list("subject_seq", flat=True)) == [1, 2]


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_transaction_is_two_messages() -> None:
    with one_transaction():
        say("warm-up")
    with CaptureQueriesContext(connection) as queries, one_transaction():
        say("req-1")
    sent = [query["sql"] for query in queries if query["sql"] not in ("BEGIN", "COMMIT")]  # which Django notes, though it sends none
    assert len(sent) == 2
    assert sent[0].startswith("BEGIN; ")
    assert sent[1].endswith("; COMMIT")


def asked(name: str) -> Any:
    return ask((f"SELECT name FROM auth_group WHERE {among_texts('name')}", [text_list([name])]))[0]


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_statement_is_planned_once_and_again_when_its_plan_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    insert_together([groups("a", "it's 100% \\ sure")])
    with CaptureQueriesContext(connection) as queries:
        assert [asked(name) for name in ("a", "b", "it's 100% \\ sure")] == [[("a",)], [], [("it's 100% \\ sure",)]]
    first, second, third = [query["sql"] for query in queries]
    assert first.startswith("SELECT")
    assert second.startswith("PREPARE")
    assert third.startswith("EXECUTE")
    now = time.monotonic()
    monkeypatch.setattr("db.pipeline.time.monotonic", lambda: now + pipeline.FIRST_SECONDS + 1)
    with CaptureQueriesContext(connection) as queries:
        assert asked("a") == [("a",)]
    assert queries[0]["sql"].startswith("DEALLOCATE")
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_seqscan")
        assert cursor.fetchone() == ("on",)


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_failed_message_does_not_spoil_the_plans_that_it_did_not_come_to() -> None:
    for _ in range(2):
        with pytest.raises(ProgrammingError):
            ask(("SELECT no_such_column FROM auth_group", []), ("SELECT name FROM auth_group WHERE id = %s", [1]))
    assert ask(("SELECT name FROM auth_group WHERE id = %s", [1])) == [[]]
    assert ask(("SELECT name FROM auth_group WHERE id = %s", [1])) == [[]]


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_parameter_that_cannot_be_written_does_not_spoil_them_either() -> None:
    good = ("SELECT name FROM auth_group WHERE id = %s AND name <> 'unsent'", [-1])
    ask(good)
    with pytest.raises(DataError, match="NUL"):  # the plan of the first was noted by then, and nothing was sent
        ask(good, ("SELECT name FROM auth_group WHERE name = %s", ["a\x00b"]))
    assert ask(good) == ask(good) == [[]]


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_behind_a_pooler_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            asked("only here")
    assert all(query["sql"].startswith("SELECT") for query in queries)


class TimeIsUp(Exception):
    pass


@postgresql_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("within_a_transaction", [False, True])
def test_message_that_nobody_waits_for_any_more_does_not_spoil_the_next(*, within_a_transaction: bool) -> None:
    def time_is_up(*_: Any) -> None:
        raise TimeIsUp

    def sleep() -> None:
        with transaction.atomic() if within_a_transaction else nullcontext():
            insert_together([groups("a")])
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            ask(("SELECT pg_sleep(%s)", [2]))

    with restored_alarm(time_is_up), pytest.raises(TimeIsUp):
        sleep()
    assert Group.objects.filter(name="a").exists() is not within_a_transaction
    assert asked("b") == []


@contextmanager
def restored_alarm(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_more_than_the_sockets_hold_goes_both_ways_at_once() -> None:
    long = "x" * 2_000_000
    answers = ask(*[("SELECT CAST(%s AS text), %s", [long, n]) for n in range(20)])
    assert [(row[0] == long, row[1]) for (row,) in answers] == [(True, str(n)) for n in range(20)]


@pytest.mark.django_db(transaction=True)
def test_what_is_asked_afterwards_is_answered_as_of_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    names: tuple[str, list[Any]] = ("SELECT name FROM auth_group WHERE length(name) = 1 ORDER BY name", [])
    with one_transaction():
        insert_later(groups("a"))
        say("req-1")
        found = ask_afterwards([names, names])
    with CaptureQueriesContext(connection) as queries:
        assert found.answers() == [[("a",)], [("a",)]]
        assert len(queries) == (0 if connection.vendor == "postgresql" else 2)
    Group.objects.create(name="b")
    assert found.answers() == [[("a",), ("b",)]] * 2  # once told, it is asked anew
    with one_transaction():
        say("req-2")
        old = ask_afterwards([names])
    Group.objects.create(name="c")
    monkeypatch.setattr("audit.unit_of_work.FRESH_SECONDS", 0.0)
    assert old.answers() == [[("a",), ("b",), ("c",)]]


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_asked_afterwards_does_not_undo_what_was_done() -> None:
    for n in range(3):  # planned or not
        with one_transaction():
            say(f"req-{n}")
            found = ask_afterwards([("SELECT 1", []), ("SELECT name FROM no_such_table", [])])
        assert AuditEvent.objects.count() == n + 1
        with pytest.raises(DatabaseError):
            found.answers()
    with one_transaction():
        say("req-3")
    assert AuditEvent.objects.count() == 4


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_lost_connection_is_told_and_opened_anew() -> None:
    assert asked("a") == []
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OperationalError):
        asked("a")
    assert asked("a") == []
