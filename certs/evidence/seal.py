"""How far the audit log is sealed, and who else keeps its checkpoints: for pages and proofs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from audit.models import AuditUnsealed, Checkpoint
from audit.sinks import sink_places
from audit.transparency.notes import newest_checkpoint

# The sealer runs every few seconds.
LATE = timedelta(seconds=60)
_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Seal:
    """The newest checkpoint, and what waits. `late`: the oldest waiting event is older than `LATE`."""

    checkpoint: Checkpoint | None
    waiting: int
    oldest: datetime | None
    places: tuple[str, ...]
    late: bool

    @property
    def counted_all(self) -> bool:
        """Whether `waiting` is all of them, and not only the most that are counted."""
        return self.waiting < _COUNTED


def seal_of(now: datetime) -> Seal:
    """Return the state of the seal."""
    oldest = AuditUnsealed.objects.order_by("event_id").values_list("event__at", flat=True).first()
    waiting = AuditUnsealed.objects.all()[:_COUNTED].count()
    late = oldest is not None and now - oldest > LATE
    return Seal(newest_checkpoint(), waiting, oldest, tuple(sink_places()), late)
