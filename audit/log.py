"""The only writers of the audit log. An event is written in the transaction of the change that it records, or neither is.

`record` and `record_many` write at once; a `UnitOfWork` writes rows and their events together at its end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.events import Actor, Event, EventRefused, EventType, Value, canonical_bytes, check_event, encode_data
from db import unit_of_work
from db.pipeline import Row, Statement
from db.rows import NewRows, number, write_new
from db.sql import counted_texts

__all__ = [
    "Actor",
    "Event",
    "EventRefused",
    "EventType",
    "NoTransaction",
    "UnitOfWork",
    "Value",
    "record",
    "record_many",
    "unsealed_macs",
]

EVENTS = "audit_event"
EVENT_COLUMNS = "id, event, subject, subject_seq, actor_kind, actor_name, at, data"


class NoTransaction(RuntimeError):
    """An event was recorded outside a transaction, so that it could exist without the change that it records."""


def record(event: EventType, *, subject: str, actor: Actor, at: datetime, data: Mapping[str, Value] | None = None) -> None:
    """Record one event. Rules and errors are those of `record_many`."""
    record_many([Event(event, subject, actor, at, data or {})])


def record_many(events: Sequence[Event]) -> None:
    """Record events, in order, in the open transaction. `at` should come from `db.clock.database_now()`.

    Raises `NoTransaction` outside `transaction.atomic()`, `EventRefused` for an event that must not be stored, and the database's own
    errors. After any of them the surrounding transaction can only roll back, even if a caller swallows the exception: no change
    of state is committed without its event.
    """
    if not connection.in_atomic_block:
        raise NoTransaction("audit.log.record() needs an open transaction. Wrap the change and its event in transaction.atomic().")
    try:
        for event in events:
            check_event(event)
        if events:
            (raised,), (ids,) = number([], first=[_raise_numbers(events)], also=[(EVENTS, len(events))])
            write_new(_numbered(events, raised, ids))
    except BaseException:
        # A caller that catches this error must not commit its change without the event.
        transaction.set_rollback(True)
        raise


class UnitOfWork(unit_of_work.UnitOfWork):
    """`db.unit_of_work.UnitOfWork` with audit events.

    A unit has no actor of its own: one may hold the submission of a person and the worker's moves.
    """

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []

    def record(self, events: Iterable[Event]) -> None:
        """Add events; within a subject their order is kept. Raises EventRefused for one that must not be stored."""
        for event in events:
            check_event(event)
            self._events.append(event)

    def write(self) -> None:
        """Write rows and events. Subjects are locked, and their numbers taken, last: nobody waits for them for long."""
        events, self._events = self._events, []
        if not events:
            self.number(())
            self.write_with(())
            return
        (raised,), (ids,) = self.number([_raise_numbers(events)], also=[(EVENTS, len(events))])
        self.write_with(_numbered(events, raised, ids))


def _raise_numbers(events: Sequence[Event]) -> Statement:
    """Return a statement that takes a number in its subject for each event, and locks the subjects' rows.

    Subjects are sorted, so that two batches lock them in the same order and cannot wait for each other. Ids are taken after
    the subjects' rows are locked: within one subject, ids rise in the order of subject_seq.
    """
    counts = Counter(event.subject for event in events)
    return _RAISE.format(source=counted_texts()), [json.dumps(sorted(counts.items()))]


def _numbered(events: Sequence[Event], raised: Sequence[Row], ids: Sequence[int]) -> list[NewRows]:
    """Return the rows of events, to be written in this transaction. `raised`: what `_raise_numbers` returned; `ids`: one for each event."""
    counts = Counter(event.subject for event in events)
    numbers = {subject: last - counts[subject] for subject, last in raised}
    # The MAC shows a change that is made before an event is sealed: a person who can write to the database has no SECRET_KEY.
    # The key is hashed in once, and this state is copied for each event.
    rows: list[tuple[Any, ...]] = []
    macs: list[tuple[int, bytes]] = []
    begun = hmac.new(_mac_keys()[0], digestmod="sha256")
    for event_id, event in zip(ids, events, strict=True):
        kind, subject, actor, at, content = event
        numbers[subject] = seq = numbers[subject] + 1
        data = encode_data(content)
        rows.append((event_id, kind.value, subject, seq, actor.kind, actor.name, at, data))
        mac = begun.copy()
        mac.update(canonical_bytes(event_id=event_id, subject_seq=seq, event=event, data=data))
        macs.append((event_id, mac.digest()))
    return [NewRows(EVENTS, EVENT_COLUMNS, rows), NewRows("audit_unsealed", "event_id, mac", macs)]


_RAISE = (
    "INSERT INTO audit_subject (subject, last_seq) {source} "
    "ON CONFLICT (subject) DO UPDATE SET last_seq = audit_subject.last_seq + excluded.last_seq RETURNING subject, last_seq"
)


def unsealed_macs(content: bytes) -> list[bytes]:
    """Return HMAC-SHA256 of an event's canonical bytes under SECRET_KEY, then under each of SECRET_KEY_FALLBACKS."""
    return [hmac.digest(key, content, "sha256") for key in _mac_keys()]


def _mac_keys() -> list[bytes]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hashlib.sha256(b"audit.unsealed:" + str(secret).encode()).digest() for secret in secrets]
