"""Events of a selection as CSV or JSON lines, made while they are sent. Each export is itself an event."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo

from django.db import transaction

from audit.events import EventType, Value, encode_data, recordable
from audit.export import as_dict
from audit.log import record
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.errors import NotFound
from certs.evidence.events import all_of
from certs.evidence.query import AuditQuery
from certs.evidence.words import words_of
from certs.uploads.formats.cells import safe_cell
from db.clock import database_now

LOG = "audit:log"
COLUMNS = (
    *("number", "time", "event", "in_words", "subject", "number_of_subject"),
    *("actor_kind", "actor", "data", "epoch", "leaf", "leaf_hash"),
)


def export_events(form: str, query: AuditQuery, *, authority: Authority, zone: tzinfo) -> Iterator[str]:
    """Return the lines of an export, newest event first, and record who took it.

    Raises NotFound for a form that is none. The events are read while the lines are consumed.
    """
    if form not in WRITERS:
        raise NotFound("There is no such form of an export.")
    selection, _ = query.selection(authority, zone)
    data: dict[str, Value] = {"what": f"events as {form}"}
    data |= {"searched": recordable(query.text)} if query.text else {}
    data |= {"kinds": [one.value for one in query.kinds]} if query.kinds else {}
    data |= {"since": query.first.isoformat()} if query.first else {}
    data |= {"until": query.last.isoformat()} if query.last else {}
    with transaction.atomic():
        record(EventType.AUDIT_EXPORTED, subject=LOG, actor=authority.actor, at=database_now(), data=data)
    return WRITERS[form](all_of(selection))


class _Echo:
    """Returns each line to the writer that wrote it."""

    def write(self, line: str) -> str:
        return line


def _csv(events: Iterable[AuditEvent]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for event in events:
        yield writer.writerow([safe_cell(str(value)) for value in _row(event)])


def _row(event: AuditEvent) -> tuple[object, ...]:
    leaf = as_dict(event)["leaf"]
    place = (leaf["epoch"], leaf["index"], leaf["hash"]) if isinstance(leaf, dict) else ("", "", "")
    return (
        event.pk,
        event.at.isoformat(timespec="microseconds"),
        event.event,
        words_of(event),
        event.subject,
        event.subject_seq,
        event.actor_kind,
        event.actor_name,
        encode_data(event.data),
        *place,
    )


def _json_lines(events: Iterable[AuditEvent]) -> Iterator[str]:
    for event in events:
        yield json.dumps(as_dict(event) | {"in_words": words_of(event)}, sort_keys=True) + "\n"


WRITERS: dict[str, Callable[[Iterable[AuditEvent]], Iterator[str]]] = {"csv": _csv, "jsonl": _json_lines}
