"""The unit of work of a change and the events that record it: both are written, or neither is."""

from __future__ import annotations

from collections.abc import Iterable

from audit.events import Event, check_event
from audit.log import EVENTS, numbered, raise_numbers
from db import unit_of_work


class UnitOfWork(unit_of_work.UnitOfWork):
    """`db.unit_of_work.UnitOfWork` with audit events.

    A unit has no actor of its own: one may hold the submission of a person and the worker's moves.
    """

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []

    def record(self, events: Iterable[Event]) -> None:
        """Add events; within a subject their order is kept. Raises EventRefused for one that must not be stored."""
        for event in events:
            check_event(event)
            self._events.append(event)

    def write(self) -> None:
        """Write rows and events. Subjects are locked, and their numbers taken, last: nobody waits for them for long."""
        events, self._events = self._events, []
        if not events:
            self.number(())
            self.write_with(())
            return
        (raised,), (ids,) = self.number([raise_numbers(events)], also=[(EVENTS, len(events))])
        self.write_with(numbered(events, raised, ids))
