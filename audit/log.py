"""The only writers of the audit log. An event is written in the transaction of the change that it tells of, or neither is."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.events import Actor, Event, EventRefused, EventType, Value, canonical_bytes, check_event, encode_data
from audit.unit_of_work import NOTHING, Afterwards, Foreseen, Group, gathering
from db.backend import on_postgresql
from db.sql import Query, Rows, among_texts, ask, ids_of, ids_query, insert_together, text_list

__all__ = [
    "Actor",
    "Event",
    "EventRefused",
    "EventType",
    "NoTransaction",
    "Value",
    "one_transaction",
    "record",
    "record_many",
    "subjects_query",
    "together",
    "unsealed_macs",
]

EVENT_COLUMNS = "id, event, subject, subject_seq, actor_kind, actor_name, at, data"


class NoTransaction(RuntimeError):
    """An event was recorded outside a transaction, so that it could exist without the change it tells of."""


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
        if gathering.goes_on():
            gathering.events += events
        elif events:
            _write(events)
            gathering.forget(event.subject for event in events)
    except BaseException:
        transaction.set_rollback(True)
        raise


@contextmanager
def one_transaction() -> Iterator[None]:
    """`transaction.atomic()` and `together()`; what was held back and the end of the transaction share a message."""
    with transaction.atomic(), together(commit=True):
        yield


@contextmanager
def together(*, commit: bool = False) -> Iterator[None]:
    """Write all events recorded and all model rows inserted within at once, at the end: a message or two in place of two each.

    Until then the rows are not there for anybody to read, and an IntegrityError that they cause is raised at the end. The open
    transaction must be the one that the changes share. An exception leaves nothing but a roll-back. `commit` is for `one_transaction`.
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
            _write(
                gathering.events,
                gathering.groups,
                foreseen=gathering.foreseen,
                commit=commit and len(connection.atomic_blocks) == 1,
                afterwards=gathering.afterwards,
            )
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


def subjects_query(subjects: Iterable[str]) -> Query:
    """For `ask`: the last numbers of subjects, which nobody else can raise until the open transaction ends. What it answers, and ids
    that are asked for after it in the same message, may go to `gathering.foresee`.
    """
    lock = " FOR UPDATE" if on_postgresql() else ""
    among = among_texts("subject")
    return f"SELECT subject, last_seq FROM audit_subject WHERE {among} ORDER BY subject{lock}", [text_list(sorted(subjects))]  # noqa: S608


def _write(
    events: Sequence[Event],
    groups: Sequence[Group] = (),
    *,
    foreseen: Foreseen = NOTHING,
    commit: bool = False,
    afterwards: Sequence[Afterwards] = (),
) -> None:
    """The rows that were held back, then the events: their numbers and all ids in one message, everything else in another."""
    counts = Counter(event.subject for event in events)
    known = {subject: foreseen.numbers[subject] for subject in counts if subject in foreseen.numbers}
    others = {subject: count for subject, count in counts.items() if subject not in known}
    numbers, ids, given = _take_numbers(others, len(events), groups, foreseen)
    numbers |= known
    for group, taken in zip(groups, given, strict=True):
        group.give_ids(taken)
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
    counted = [_numbers_query({subject: numbers[subject] for subject in known}, found="excluded.last_seq")] if known else []
    held = [group.content() for group in groups]
    written = [Rows("audit_event", EVENT_COLUMNS, rows), Rows("audit_unsealed", "event_id, mac", macs)]
    asked = [query for one in afterwards for query in one.queries]
    found = insert_together([*counted, *held, *written], commit=commit, afterwards=asked)
    if found is not None:
        answers = iter(found)
        for one in afterwards:
            one.told(list(islice(answers, len(one.queries))))


def _take_numbers(
    counts: Mapping[str, int], events: int, groups: Sequence[Group], foreseen: Foreseen
) -> tuple[dict[str, int], list[int], list[list[int]]]:
    """The last number of each subject before ours, an id for each event, and ids for each group of rows that lacks them.

    Subjects are sorted, so that two batches lock them in the same order and cannot wait for each other. Ids are taken after
    the subjects' rows are locked: within one subject, ids rise in the order of subject_seq.
    """
    wanted = Counter({"audit_event": events})
    for group in groups:
        wanted[group.table] += group.missing
    ids = {table: list(foreseen.ids.get(table, ())[:count]) for table, count in wanted.items()}
    if counts:  # their events' ids must be younger than their locks
        ids["audit_event"] = []
    missing = [(table, count - len(ids[table])) for table, count in wanted.items() if count > len(ids[table])]
    queries = [_raised_query(counts)] if counts else []
    answers = ask(*queries, *([ids_query(*missing)] if missing else []))
    if missing:
        for (table, _), more in zip(missing, ids_of(answers[-1], len(missing)), strict=True):
            ids[table] += more
    numbers = {subject: last_seq - counts[subject] for subject, last_seq in answers[0]} if counts else {}
    left = {table: iter(taken) for table, taken in ids.items()}
    return numbers, list(islice(left["audit_event"], events)), [list(islice(left[group.table], group.missing)) for group in groups]


def _raised_query(counts: Mapping[str, int]) -> Query:
    sql, parameters = _numbers_query(counts, found="audit_subject.last_seq + excluded.last_seq")
    return f"{sql} RETURNING subject, last_seq", parameters


def _numbers_query(numbers: Mapping[str, int], *, found: str) -> Query:
    """The subjects' numbers; `found` says, in SQL, what becomes of one that has a number already."""
    if on_postgresql():
        source = "SELECT n->>0, CAST(n->>1 AS bigint) FROM jsonb_array_elements(CAST(%s AS jsonb)) n"
    else:
        # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
        source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s) WHERE true"
    sql = f"INSERT INTO audit_subject (subject, last_seq) {source} ON CONFLICT (subject) DO UPDATE SET last_seq = {found}"
    return sql, [json.dumps(sorted(numbers.items()))]
