"""Writing and forging events in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from audit.log import Actor, Event, EventType, Value, record_many
from tests.harness.plugin.append_only import triggers_out_of_force

ANN = Actor("user", "ann")
AT = datetime(2027, 1, 31, 8, 0, 0, 123000, tzinfo=UTC)


def event(subject: str = "req-1", kind: EventType = EventType.REQUEST_SUBMITTED, /, **data: Value) -> Event:
    return Event(kind, subject, ANN, AT, data)


def write(*subjects: str) -> None:
    """One event for each subject named, in that order, in one transaction."""
    with transaction.atomic():
        record_many([event(subject, number=number) for number, subject in enumerate(subjects)])


def execute(statement: str, params: list[Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or [])


def forge(*statements: str) -> None:
    """What a database superuser can do: put the triggers out of force, change rows, put them back."""
    with triggers_out_of_force(connection):
        for statement in statements:
            execute(statement)
