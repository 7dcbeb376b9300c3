"""The only writers of the audit log. An event is written in the transaction of the change that it tells of, or neither is."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.batches import Rows, insert_together, reserve_ids
from audit.events import Actor, Event, EventRefused, EventType, Value, canonical_bytes, check_event, encode_data

__all__ = ["Actor", "Event", "EventRefused", "EventType", "NoTransaction", "Value", "record", "record_many", "together", "unsealed_macs"]

EVENT_COLUMNS = "id, event, subject, subject_seq, actor_kind, actor_name, at, data"


class NoTransaction(RuntimeError):
    """An event was recorded outside a transaction, so that it could exist without the change it tells of."""


def record(event: EventType, *, subject: str, actor: Actor, at: datetime, data: Mapping[str, Value] | None = None) -> None:
    """Record one event. Rules and errors are those of `record_many`."""
    record_many([Event(event, subject, actor, at, data or {})])


def record_many(events: Sequence[Event]) -> None:
    """Record events, in order, in the open transaction. `at` should come from `audit.clock.database_now()`.

    Raises `NoTransaction` outside `transaction.atomic()`, `EventRefused` for an event that must not be stored, and the database's own
    errors. After any of them the surrounding transaction can only roll back, even if a caller swallows the exception: no change
    of state is committed without its event.
    """
    if not connection.in_atomic_block:
        raise NoTransaction("audit.log.record() needs an open transaction. Wrap the change and its event in transaction.atomic().")
    try:
        for event in events:
            check_event(event)
        if _gathering.at_depth == _depth():
            _gathering.events += events
        elif events:
            _write(events)
    except BaseException:
        transaction.set_rollback(True)
        raise


@contextmanager
def together() -> Iterator[None]:
    """Write all events recorded within at once, at the end: two statements in place of two for each call of `record_many`.

    The open transaction must be the one that the changes share; within a savepoint events are written at once, for it may be
    rolled back alone. An exception leaves nothing but a roll-back.
    """
    if not connection.in_atomic_block:
        raise NoTransaction("audit.log.together() needs an open transaction, the one of the changes that its events tell of.")
    if _gathering.at_depth is not None:
        yield
        return
    _gathering.at_depth, _gathering.events = _depth(), []
    try:
        yield
        if _gathering.events:
            _write(_gathering.events)
    except BaseException:
        transaction.set_rollback(True)
        raise
    finally:
        _gathering.at_depth, _gathering.events = None, []


class _Gathering(threading.local):
    """Of one thread, as its connection is: how deep in savepoints its events are gathered, and the events."""

    def __init__(self) -> None:
        self.at_depth: int | None = None
        self.events: list[Event] = []


_gathering = _Gathering()


def _depth() -> int:
    return len(connection.savepoint_ids)


def unsealed_macs(content: bytes) -> list[bytes]:
    """HMAC-SHA256 of an event's canonical bytes under SECRET_KEY, then under each of SECRET_KEY_FALLBACKS."""
    return [hmac.digest(key, content, "sha256") for key in _mac_keys()]


def _mac_keys() -> list[bytes]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hashlib.sha256(b"audit.unsealed:" + str(secret).encode()).digest() for secret in secrets]


def _write(events: Sequence[Event]) -> None:
    # The subjects' rows are locked before ids are taken: within one subject, ids rise in the order of subject_seq.
    numbers, ids = _take_numbers(Counter(event.subject for event in events))
    rows: list[tuple[Any, ...]] = []
    macs: list[tuple[int, bytes]] = []
    mac_key = _mac_keys()[0]
    for event_id, event in zip(ids, events, strict=True):
        numbers[event.subject] += 1
        seq = numbers[event.subject]
        row = (event_id, str(event.event), event.subject, seq, event.actor.kind, event.actor.name, event.at.astimezone(UTC))
        rows.append((*row, encode_data(event.data)))
        macs.append((event_id, hmac.digest(mac_key, canonical_bytes(event_id=event_id, subject_seq=seq, event=event), "sha256")))
    insert_together([Rows("audit_event", EVENT_COLUMNS, rows), Rows("audit_unsealed", "event_id, mac", macs)])


def _take_numbers(counts: Mapping[str, int]) -> tuple[dict[str, int], list[int]]:
    """The last number of each subject before ours, and an id for each event.

    Subjects are sorted, so that two batches lock them in the same order and cannot wait for each other.
    """
    pairs = sorted(counts.items())
    wanted = sum(counts.values())
    alone = len(pairs) == 1  # then one round trip brings both, for RETURNING is computed once the row is locked
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            source = "SELECT * FROM unnest(%s::text[], %s::bigint[])"
            ids = "ARRAY(SELECT nextval(pg_get_serial_sequence('audit_event', 'id')) FROM generate_series(1, %s))" if alone else "NULL"
            parameters: list[Any] = [[subject for subject, _ in pairs], [count for _, count in pairs], *([wanted] if alone else [])]
        else:
            # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
            source, ids = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s) WHERE true", "NULL"
            parameters = [json.dumps(pairs)]
        cursor.execute(
            f"INSERT INTO audit_subject (subject, last_seq) {source} ON CONFLICT (subject) "
            f"DO UPDATE SET last_seq = audit_subject.last_seq + excluded.last_seq RETURNING subject, last_seq, {ids}",
            parameters,
        )
        taken = cursor.fetchall()
    numbers = {subject: last_seq - counts[subject] for subject, last_seq, _ in taken}
    return numbers, sorted(taken[0][2]) if taken[0][2] else reserve_ids("audit_event", wanted)
