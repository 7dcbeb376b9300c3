"""The only writers of the audit log. An event is written in the transaction of the change that it tells of, or neither is."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.batches import Query, Rows, ask, ids_of, ids_query, insert_together
from audit.events import Actor, Event, EventRefused, EventType, Value, canonical_bytes, check_event, encode_data
from audit.gathering import Group, gathering

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
        if gathering.goes_on():
            gathering.events += events
        elif events:
            _write(events)
    except BaseException:
        transaction.set_rollback(True)
        raise


@contextmanager
def together() -> Iterator[None]:
    """Write all events recorded and all model rows inserted within at once, at the end: a message or two in place of two each.

    Until then the rows are not there for anybody to read, and an IntegrityError that they cause is raised at the end. The open
    transaction must be the one that the changes share. An exception leaves nothing but a roll-back.
    """
    if not connection.in_atomic_block:
        raise NoTransaction("audit.log.together() needs an open transaction, the one of the changes that its events tell of.")
    if gathering.at_depth is not None:
        yield
        return
    gathering.begin()
    try:
        yield
        if gathering.events or gathering.groups:
            _write(gathering.events, gathering.groups)
    except BaseException:
        transaction.set_rollback(True)
        raise
    finally:
        gathering.end()


def unsealed_macs(content: bytes) -> list[bytes]:
    """HMAC-SHA256 of an event's canonical bytes under SECRET_KEY, then under each of SECRET_KEY_FALLBACKS."""
    return [hmac.digest(key, content, "sha256") for key in _mac_keys()]


def _mac_keys() -> list[bytes]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hashlib.sha256(b"audit.unsealed:" + str(secret).encode()).digest() for secret in secrets]


def _write(events: Sequence[Event], groups: Sequence[Group] = ()) -> None:
    """The rows that were held back, then the events: their numbers and all ids in one message, everything else in another."""
    numbers, ids, given = _take_numbers(Counter(event.subject for event in events), groups)
    for group, taken in zip(groups, given, strict=True):
        group.give_ids(taken)
    rows: list[tuple[Any, ...]] = []
    macs: list[tuple[int, bytes]] = []
    mac_key = _mac_keys()[0]
    for event_id, event in zip(ids, events, strict=True):
        numbers[event.subject] += 1
        seq = numbers[event.subject]
        row = (event_id, str(event.event), event.subject, seq, event.actor.kind, event.actor.name, event.at.astimezone(UTC))
        data = encode_data(event.data)
        rows.append((*row, data))
        content = canonical_bytes(event_id=event_id, subject_seq=seq, event=event, data=data)
        macs.append((event_id, hmac.digest(mac_key, content, "sha256")))
    held = [group.content() for group in groups]
    insert_together([*held, Rows("audit_event", EVENT_COLUMNS, rows), Rows("audit_unsealed", "event_id, mac", macs)])


def _take_numbers(counts: Mapping[str, int], groups: Sequence[Group]) -> tuple[dict[str, int], list[int], list[list[int]]]:
    """The last number of each subject before ours, an id for each event, and ids for each group of rows that lacks them.

    Subjects are sorted, so that two batches lock them in the same order and cannot wait for each other. Ids are taken after
    the subjects' rows are locked: within one subject, ids rise in the order of subject_seq.
    """
    wanted = Counter({"audit_event": sum(counts.values())} if counts else {})
    for group in groups:
        wanted[group.table] += group.missing
    tables = [table for table, count in wanted.items() if count]
    queries = [_numbers_query(counts)] if counts else []
    answers = ask(*queries, *([ids_query(*((table, wanted[table]) for table in tables))] if tables else []))
    ids = dict(zip(tables, map(iter, ids_of(answers[-1], len(tables))), strict=True)) if tables else {}
    events = list(islice(ids["audit_event"], sum(counts.values()))) if counts else []
    numbers = {subject: last_seq - counts[subject] for subject, last_seq in answers[0]} if counts else {}
    return numbers, events, [list(islice(ids[group.table], group.missing)) if group.missing else [] for group in groups]


def _numbers_query(counts: Mapping[str, int]) -> Query:
    pairs = sorted(counts.items())
    if connection.vendor == "postgresql":
        source = "SELECT * FROM unnest(%s::text[], %s::bigint[])"
        parameters: list[Any] = [[subject for subject, _ in pairs], [count for _, count in pairs]]
    else:
        # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
        source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s) WHERE true"
        parameters = [json.dumps(pairs)]
    sql = (
        f"INSERT INTO audit_subject (subject, last_seq) {source} ON CONFLICT (subject) "
        "DO UPDATE SET last_seq = audit_subject.last_seq + excluded.last_seq RETURNING subject, last_seq"
    )
    return sql, parameters
