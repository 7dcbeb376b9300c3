"""What the comparisons share: their result, pages in one snapshot each, and the events of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, QuerySet

from audit.changes import subject_of
from audit.models import AuditEvent
from certs.reconciliation.records.explained import Logged
from db.sql import one_moment

PAGE = 1000
MOST = 100  # then it is plain, and the list stays readable


@dataclass(frozen=True, slots=True)
class Unexplained:
    """One state without its event, or one event without its state."""

    kind: str
    name: str
    problem: str


@dataclass(slots=True)
class Comparison:
    """What was compared, by kind, and the first problems."""

    compared: Counter[str] = field(default_factory=Counter)
    problems: list[Unexplained] = field(default_factory=list)
    total: int = 0

    def add(self, kind: str, name: str, problem: str) -> None:
        self.total += 1
        if len(self.problems) < MOST:
            self.problems.append(Unexplained(kind, name, problem))

    def expect(self, kind: str, name: str, what: str, *, stored: Any, logged: Any) -> None:
        """Add a problem unless what is stored is what the log says."""
        if stored != logged:
            self.add(kind, name, but(what, stored, logged))


def but(what: str, stored: Any, logged: Any) -> str:
    """Return the sentence of a difference."""
    return f"{what} is {_shown(stored)}, but the log says {_shown(logged, 'no event')}"


def _shown(value: Any, nothing: str = "none") -> str:
    return f"({nothing})" if value is None or value == "" else str(value)


def pages(rows: QuerySet[Any], compare: Callable[[list[Any]], None]) -> None:
    """Give the rows to `compare` page by page, in the order of their keys.

    Without `select_related` for what must be there: its join would leave out a row that points at
    nothing, which is the very row to be named.
    """
    last: Any = None
    while True:
        with one_moment():
            after = rows if last is None else rows.filter(pk__gt=last)
            page = list(after.order_by("pk")[:PAGE])
            if page:
                compare(page)
        if len(page) < PAGE:
            return
        last = page[-1].pk


def events_of(subjects: Iterable[str], types: Sequence[str]) -> dict[str, list[Logged]]:
    """Return the events of these types by subject, each in their order.

    Fields that were made unreadable count as missing, so that the rows beside them are compared.
    """
    found: dict[str, list[Logged]] = {subject: [] for subject in sorted(set(subjects))}
    rows = AuditEvent.objects.filter(subject__in=list(found), event__in=types)
    rows = rows.order_by("subject", "subject_seq")
    columns = ("subject", "event", "data", "actor_name", "at", "pk")
    for subject, event, data, actor, at, pk in rows.values_list(*columns):
        found[subject].append(Logged(event, data if isinstance(data, dict) else {}, actor, at, pk))
    return found


def rows_named(model: type[Model], keys: Iterable[Any]) -> dict[Any, Any]:
    """Return the rows with these keys, by key."""
    return QuerySet(model).in_bulk({key for key in keys if key is not None})


def names_over_time(rows: Iterable[Any], field_name: str, events: Sequence[str]) -> dict[Any, set[str]]:
    """Return by key of recorded rows what a field of each is, and was according to the events of its changes.

    An event names a person as that person was called then.
    """
    given = list(rows)
    logged = events_of([subject_of(row) for row in given], events)
    found: dict[Any, set[str]] = {}
    for row in given:
        names = {str(getattr(row, field_name))}
        for one in logged[subject_of(row)]:
            value = one.data.get(field_name)
            names.update(map(str, value) if isinstance(value, list) else () if value is None else (str(value),))
        found[row.pk] = names
    return found


def accounts_over_time(rows: Iterable[Any]) -> dict[Any, set[str]]:
    """Return by key of accounts the names that each has and had."""
    return names_over_time(rows, "username", ("user:created", "user:changed"))
