"""The only writers of the audit log. An event is written in the transaction of the change that it tells of, or neither is."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.events import Actor, Event, EventRefused, EventType, Value, canonical_bytes, check_event, encode_data

__all__ = ["Actor", "Event", "EventRefused", "EventType", "NoTransaction", "Value", "record", "record_many", "unsealed_macs"]

# Below this, one multi-row INSERT is as fast as starting a COPY.
COPY_FROM = 50
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
        if events:
            _write(events)
    except BaseException:
        transaction.set_rollback(True)
        raise


def unsealed_macs(content: bytes) -> list[bytes]:
    """HMAC-SHA256 of an event's canonical bytes under SECRET_KEY, then under each of SECRET_KEY_FALLBACKS."""
    return [hmac.digest(key, content, "sha256") for key in _mac_keys()]


def _mac_keys() -> list[bytes]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hashlib.sha256(b"audit.unsealed:" + str(secret).encode()).digest() for secret in secrets]


def _write(events: Sequence[Event]) -> None:
    # The subjects' rows are locked before ids are taken: within one subject, ids rise in the order of subject_seq.
    numbers = _subject_numbers(Counter(event.subject for event in events))
    rows: list[tuple[Any, ...]] = []
    macs: list[tuple[int, bytes]] = []
    mac_key = _mac_keys()[0]
    for event_id, event in zip(_reserve_ids(len(events)), events, strict=True):
        numbers[event.subject] += 1
        seq = numbers[event.subject]
        rows.append(
            (
                event_id,
                str(event.event),
                event.subject,
                seq,
                event.actor.kind,
                event.actor.name,
                event.at.astimezone(UTC),
                encode_data(event.data),
            )
        )
        macs.append((event_id, hmac.digest(mac_key, canonical_bytes(event_id=event_id, subject_seq=seq, event=event), "sha256")))
    insert_rows("audit_event", EVENT_COLUMNS, rows)
    insert_rows("audit_unsealed", "event_id, mac", macs)


def _subject_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """Take the next numbers of each subject in one statement; the answer is the last number before ours.

    Subjects are sorted, so that two batches lock them in the same order and cannot wait for each other.
    """
    pairs = sorted(counts.items())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            source = "SELECT * FROM unnest(%s::text[], %s::bigint[])"
            params: list[Any] = [[subject for subject, _ in pairs], [count for _, count in pairs]]
        else:
            # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
            source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s) WHERE true"
            params = [json.dumps(pairs)]
        cursor.execute(
            f"INSERT INTO audit_subject (subject, last_seq) {source} "
            "ON CONFLICT (subject) DO UPDATE SET last_seq = audit_subject.last_seq + excluded.last_seq RETURNING subject, last_seq",
            params,
        )
        return {subject: last_seq - counts[subject] for subject, last_seq in cursor.fetchall()}


def _reserve_ids(count: int) -> Iterable[int]:
    """Ids for `count` new events, rising. On SQLite the write lock is held already, so the sequence cannot move under us."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT nextval(pg_get_serial_sequence('audit_event', 'id')) FROM generate_series(1, %s)", [count])
            return sorted(row[0] for row in cursor.fetchall())
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit_event'")
        last = (cursor.fetchone() or (0,))[0]
        return range(last + 1, last + 1 + count)


def insert_rows(table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows by the database's fastest way: COPY on PostgreSQL for more than a few, else `executemany`."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and len(rows) > COPY_FROM:
            with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        marks = ", ".join(["%s"] * len(rows[0]))
        if connection.vendor == "sqlite":
            rows = [[_sqlite_value(value) for value in row] for row in rows]
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - constants of this package


def _sqlite_value(value: Any) -> Any:
    """Datetimes as Django's own DateTimeField stores them in SQLite: naive UTC text."""
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
