"""Rows of the ledger back into the bytes that were hashed when they were written, the same on both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from audit.events import Actor, ActorKind, Event, EventType, canonical_bytes, encode_data
from audit.models import AuditEvent
from db.backend import keeps_text_as_written

# With the table's alias `e`, in the order that `content_of` takes.
CONTENT = "e.id, e.event, e.subject, e.subject_seq, e.actor_kind, e.actor_name, e.at, e.data"
CONTENT_WIDTH = 8


def content_of(row: Sequence[Any]) -> bytes | None:
    """Return the canonical bytes of a row of `CONTENT` columns; None when a column cannot even be read, as after a clumsy change.

    SQLite keeps JSON as the text that was written. It must be the canonical text byte for byte:
    blanks and an earlier duplicate key would say something else to another reader. PostgreSQL's
    jsonb keeps neither.
    """
    event_id, event, subject, subject_seq, kind, name, at, data = row
    try:
        decoded = json.loads(data)
        if keeps_text_as_written() and data != encode_data(decoded):
            return None
        event = Event(cast("EventType", event), subject, Actor(cast("ActorKind", kind), name), _moment(at), decoded)
        return canonical_bytes(event_id=event_id, subject_seq=subject_seq, event=event)
    except (ValueError, TypeError):
        return None


def leaf_of(event: AuditEvent) -> bytes:
    """Return the leaf of an event: the bytes that its leaf hash is of."""
    content = Event(
        cast("EventType", event.event),
        event.subject,
        Actor(cast("ActorKind", event.actor_kind), event.actor_name),
        event.at,
        event.data,
    )
    return canonical_bytes(event_id=event.pk, subject_seq=event.subject_seq, event=content)


def as_bytes(value: bytes | memoryview) -> bytes:
    """Return a binary column: bytes from one driver, a memoryview from the other."""
    return bytes(value)


def _moment(value: datetime | str) -> datetime:
    """Return a datetime column in a statement of our own: aware from PostgreSQL, text or naive from SQLite, which is UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
