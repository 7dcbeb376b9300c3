"""Examines the whole ledger and names the first bad row: what was changed, removed, slipped in or swapped behind the portal's back.

Reads in batches, in flat memory, and writes nothing. Every comparison is one statement, so that events recorded and sealed in the meantime
are no false alarm. What the result proves and what not: docs/audit.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from audit.events import Actor, EventType
from audit.log import record
from audit.models import AuditEvent, AuditUnsealed, SealedLeaf
from audit.sinks import get_sinks, notes_of
from audit.transparency.checkpoint import NoteRefused, Statement, Verifier, split_notes
from audit.transparency.signing_key import SealingKeyUnusable, get_verifier
from audit.triggers import missing_triggers
from audit.verification import evidence, rows
from audit.verification.findings import Findings
from audit.verification.tree import TreeExaminer
from db.clock import database_now

UNSEALED_ALARM = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Report:
    """What was examined and found. `alarms` are no proof of a change, but an operator should act on them."""

    events: int
    sealed: int
    unsealed: int
    checkpoint: int
    findings: Findings = field(repr=False)

    @property
    def success(self) -> bool:
        return not self.findings.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON of `verify_audit --json`."""
        first = self.findings.first()
        return {
            "success": self.success,
            "events": self.events,
            "sealed": self.sealed,
            "unsealed": self.unsealed,
            "checkpoint": self.checkpoint,
            "first_bad": None if first is None else {"event_id": first.event_id, "subject": first.subject, "problem": first.problem},
            "problems": [{"event_id": p.event_id, "subject": p.subject, "problem": p.problem} for p in self.findings.in_order()],
            "alarms": list(self.findings.alarms),
        }


def verify(*, now: datetime, checkpoints: Iterable[str] | None = None, verifier: Verifier | None = None) -> Report:
    """Examine every row. `checkpoints` are the lines of a file of signed notes kept outside, `verifier` the key that signed them.

    Without them every note of each sink is compared, under the key in audit.pub. With them nothing that the database, the sinks
    or audit.pub hold is trusted: the tree is computed from the events and must be the one of every note in the file.
    """
    # 1. The triggers: without them everything below may be true by chance only.
    findings = Findings()
    if missing := missing_triggers(connection):
        findings.add(f"Triggers are missing, off or altered, so the log could be changed: {', '.join(missing)}. `migrate` puts them back.")
    # 2. What was signed and kept outside, read before the database: the database may only be ahead of it.
    if checkpoints is None:
        outside, verifier = _from_sinks(findings)
    elif verifier is None:
        raise ValueError("Checkpoints from outside are worth nothing without the key that signed them.")
    else:
        outside = _from_file(checkpoints, verifier, findings)
    # 3. The tree, computed from the events; then what needs no tree: numbers without gaps, events that wait, what proofs are
    #    made of.
    examiner = TreeExaminer(findings, verifier, outside, now=now)
    examiner.run()
    rows.examine(findings)
    evidence.examine(findings, verifier)
    _sealer_alarm(now, findings)
    return Report(
        events=AuditEvent.objects.count(),
        sealed=SealedLeaf.objects.count(),
        unsealed=AuditUnsealed.objects.count(),
        checkpoint=examiner.newest_size,
        findings=findings,
    )


@transaction.atomic
def record_verified(report: Report, *, by: str) -> None:
    """Put a good result on record as an event `audit:verified`, in a transaction of its own."""
    record(
        EventType.AUDIT_VERIFIED,
        subject="audit:log",
        actor=Actor("command", by),
        at=database_now(),
        data={"events": report.events, "sealed": report.sealed, "checkpoint": report.checkpoint},
    )


def _from_sinks(findings: Findings) -> tuple[Iterator[Statement], Verifier | None]:
    """Return the notes of the sinks, up to what is the newest of each before the database is read: the database may only be ahead."""
    try:
        verifier = get_verifier()
    except SealingKeyUnusable as exc:
        if SealedLeaf.objects.exists():
            findings.add(f"Checkpoints cannot be checked: {exc}")
        return iter(()), None
    streams = [_rising(_opened(notes_of(sink), verifier, findings), findings) for sink in get_sinks()]
    return heapq.merge(*streams, key=_place), verifier


def _place(statement: Statement) -> tuple[int, int]:
    return statement.epoch, statement.size


def _from_file(lines: Iterable[str], verifier: Verifier, findings: Findings) -> Iterator[Statement]:
    """Yield every note of the file, in its order, which must rise. An empty file proves nothing and is a problem."""
    empty = True
    for statement in _rising(_opened(split_notes(lines), verifier, findings), findings):
        empty = False
        yield statement
    if empty:
        findings.add("The file holds no checkpoint signed by this key, so it proves nothing. Is it the right file, and the right key?")


def _rising(statements: Iterable[Statement], findings: Findings) -> Iterator[Statement]:
    """Pass on what rises; a smaller checkpoint after a larger one is a problem."""
    highest = (0, 0)
    for statement in statements:
        if _place(statement) < highest:
            findings.add(f"The file has the checkpoint of {statement.size} leaves (epoch {statement.epoch}) after a larger one.")
            continue
        highest = _place(statement)
        yield statement


def _opened(notes: Iterable[str], verifier: Verifier, findings: Findings) -> Iterator[Statement]:
    for note in notes:
        try:
            yield verifier.open(note)
        except NoteRefused as exc:
            findings.add(f"A checkpoint kept outside does not hold: {exc}")


def _sealer_alarm(now: datetime, findings: Findings) -> None:
    oldest = AuditUnsealed.objects.order_by("event_id").values_list("event__at", flat=True).first()
    if oldest is not None and now - oldest > UNSEALED_ALARM:
        findings.alarms.append(
            f"The oldest event that is not sealed is from {oldest:%Y-%m-%d %H:%M:%S} UTC, more than {UNSEALED_ALARM.seconds} s ago. "
            "Are worker and beat running? `manage.py seal_audit` seals now."
        )
