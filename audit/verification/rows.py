"""Comparisons between the tables of the ledger that need no tree.

Numbers have no gaps, each event is sealed or waits to be, and those that wait are what the portal wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connection

from audit.log import unsealed_macs
from audit.transparency.canonical import CONTENT, as_bytes, content_of
from audit.verification.findings import Findings
from db.backend import keeps_text_as_written

BATCH = 2000
# Each list of finds is cut off: one is enough to distrust the log.
_SOME = 20

_NOWHERE = (
    "SELECT e.id, e.subject FROM audit_event e WHERE NOT EXISTS (SELECT 1 FROM audit_unsealed u WHERE u.event_id = e.id) "
    "AND NOT EXISTS (SELECT 1 FROM audit_sealed_leaf l WHERE l.event_id = e.id) ORDER BY e.id LIMIT %s"
)
_TWICE = (
    "SELECT u.event_id, COALESCE(e.subject, '') FROM audit_unsealed u JOIN audit_sealed_leaf l ON l.event_id = u.event_id "
    "LEFT JOIN audit_event e ON e.id = u.event_id ORDER BY u.event_id LIMIT %s"
)
_NUMBERS = (
    "SELECT e.subject, COUNT(*), MIN(e.subject_seq), MAX(e.subject_seq), s.last_seq FROM audit_event e "
    "LEFT JOIN audit_subject s ON s.subject = e.subject GROUP BY e.subject, s.last_seq "
    "HAVING MIN(e.subject_seq) <> 1 OR MAX(e.subject_seq) <> COUNT(*) OR s.last_seq IS NULL OR s.last_seq <> MAX(e.subject_seq) "
    "ORDER BY MIN(e.id) LIMIT %s"
)
_SUBJECTS_WITHOUT_EVENTS = (
    "SELECT s.subject, s.last_seq FROM audit_subject s WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.subject = s.subject) "
    "ORDER BY s.subject LIMIT %s"
)
# SQLite keeps a time as the text that was written. Another spelling of the same moment would read the same here and sort or
# compare otherwise elsewhere. (PostgreSQL keeps a number.)
_DIGITS = "[0-9]" * 2
_SECONDS = f"{_DIGITS}{_DIGITS}-{_DIGITS}-{_DIGITS} {_DIGITS}:{_DIGITS}:{_DIGITS}"
_SPELLED_OTHERWISE = (
    "SELECT id, subject FROM audit_event WHERE typeof(at) <> 'text' OR "  # noqa: S608 - constants
    f"NOT (at GLOB '{_SECONDS}' OR (at GLOB '{_SECONDS}.{'[0-9]' * 6}' AND at NOT GLOB '*.000000')) ORDER BY id LIMIT %s"
)
_FIRST_OUT_OF_STEP = (
    "SELECT id, subject_seq, place FROM (SELECT id, subject_seq, ROW_NUMBER() OVER (ORDER BY subject_seq) AS place "
    "FROM audit_event WHERE subject = %s) numbered WHERE subject_seq <> place ORDER BY subject_seq LIMIT 1"
)


def examine(findings: Findings) -> None:
    """Add what is wrong to `findings`."""
    _waiting(findings)
    for event_id, subject in _all(_NOWHERE, [_SOME]):
        findings.add(
            "The event is neither sealed nor waiting to be: it was inserted behind the portal's back.", event_id=event_id, subject=subject
        )
    for event_id, subject in _all(_TWICE, [_SOME]):
        findings.add("The event is sealed and yet waits to be sealed: the waiting list was altered.", event_id=event_id, subject=subject)
    for event_id, subject in _all(_SPELLED_OTHERWISE, [_SOME]) if keeps_text_as_written() else []:
        findings.add("The time of the event is not spelled as the portal writes it: it was changed.", event_id=event_id, subject=subject)
    for subject, _, _, highest, last_seq in _all(_NUMBERS, [_SOME]):
        _numbers(findings, subject, highest, last_seq)
    for subject, last_seq in _all(_SUBJECTS_WITHOUT_EVENTS, [_SOME]):
        findings.add(f"All {last_seq} events of the subject are gone, its counter is still there.", subject=subject)


def _numbers(findings: Findings, subject: str, highest: int, last_seq: int | None) -> None:
    """Name the first gap of a subject. An event that was deleted before it was sealed shows nowhere else."""
    for event_id, seq, place in _all(_FIRST_OUT_OF_STEP, [subject]):
        missing = (
            f"event {place} of the subject is missing" if seq > place else f"number {seq} of the subject is taken twice or is not positive"
        )
        findings.add(
            f"The events of a subject have no gaps, but {missing}; the next one there is number {seq}.", event_id=event_id, subject=subject
        )
        return
    if last_seq is None:
        findings.add("The subject has events but no counter: its row in audit_subject was removed.", subject=subject)
    elif last_seq > highest:
        findings.add(f"Events {highest + 1} to {last_seq} of the subject are missing (or its counter was raised).", subject=subject)
    else:
        findings.add(f"The counter of the subject is {last_seq}, its events go up to {highest}: the counter was changed.", subject=subject)


def _waiting(findings: Findings) -> None:
    for event_id, mac, *columns in _waiting_rows():
        if columns[0] is None:
            findings.add("The event was removed before it was sealed; its place on the waiting list is left.", event_id=event_id)
            continue
        content = content_of(columns)
        if content is None or as_bytes(mac) not in unsealed_macs(content):
            findings.add(
                "The event waits to be sealed and is not what the portal wrote: it was changed or inserted (or SECRET_KEY was, without "
                "SECRET_KEY_FALLBACKS).",
                event_id=event_id,
                subject=str(columns[2]),
            )


def _waiting_rows() -> Iterator[tuple[Any, ...]]:
    after: int | None = None
    while True:
        where, params = ("", [BATCH]) if after is None else ("WHERE u.event_id > %s", [after, BATCH])
        rows = _all(
            f"SELECT u.event_id, u.mac, {CONTENT} FROM audit_unsealed u LEFT JOIN audit_event e ON e.id = u.event_id "  # noqa: S608
            f"{where} ORDER BY u.event_id LIMIT %s",
            params,
        )
        yield from rows
        if len(rows) < BATCH:
            return
        after = rows[-1][0]


def _all(statement: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
