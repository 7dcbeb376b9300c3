"""Events as JSON lines, one event a line, in the order of their ids, read in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator

from django.db.models import QuerySet

from audit.models import AuditEvent
from audit.transparency.canonical import as_bytes

BATCH = 2000


def export(events: QuerySet[AuditEvent]) -> Iterator[str]:
    """Yield a line for each of `events`, with the place in the tree of those that are sealed. Keyset pages keep memory flat."""
    after = 0
    while page := list(events.filter(id__gt=after).select_related("leaf").order_by("id")[:BATCH]):
        for event in page:
            yield json.dumps(as_dict(event), sort_keys=True) + "\n"
        after = page[-1].id


def as_dict(event: AuditEvent) -> dict[str, object]:
    """Return an event and its place in the tree as JSON has them; `leaf` is null until the event is sealed."""
    leaf = getattr(event, "leaf", None)
    return {
        "id": event.id,
        "event": event.event,
        "subject": event.subject,
        "subject_seq": event.subject_seq,
        "actor": {"kind": event.actor_kind, "name": event.actor_name},
        "at": event.at.isoformat(timespec="microseconds"),
        "data": event.data,
        "leaf": None if leaf is None else {"epoch": leaf.epoch, "index": leaf.leaf_index, "hash": as_bytes(leaf.leaf_hash).hex()},
    }
