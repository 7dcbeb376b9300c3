"""Pages of audit events, newest first: each source read through its own index, however long the log is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.models import AuditEvent
from certs.evidence.subjects import Source
from db.sql import among_texts, fetch, text_list, time_parameter

PAGE = 50
Place = tuple[datetime, int]  # of an event in the order of time: equal times are ordered by the id
_PART = 1000  # events of an export read at once
_MOST_SELECTS = 200  # of one statement; SQLite takes 500


@dataclass(frozen=True, slots=True)
class Period:
    """From and until when, the end excluded; None for no limit."""

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page, newest first. `older` and `newer` are the numbers of the events to continue from, 0 where there are none."""

    events: list[AuditEvent]
    older: int = 0
    newer: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events: those of any of the sources, of some types, in a period. `sources` None: of the whole log."""

    sources: tuple[Source, ...] | None = None
    types: tuple[EventType, ...] = ()
    period: Period = Period()


def page_of(selection: Selection, *, before: int = 0, after: int = 0, size: int = PAGE) -> EventPage:
    """Return the newest events of the selection that are older than `before`, or the oldest that are newer than `after`."""
    if after:
        found = _ids(selection, _moment_of(after), size + 1, newer=True)
        more = len(found) > size
        found = found[:size][::-1]
        return EventPage(_shown(selection, _loaded(found)), found[-1] if found else 0, found[0] if more else 0)
    found = _ids(selection, _moment_of(before), size + 1)
    older = found[size - 1] if len(found) > size else 0
    found = found[:size]
    return EventPage(_shown(selection, _loaded(found)), older, found[0] if before and found else 0)


def all_of(selection: Selection) -> Iterator[AuditEvent]:
    """Yield every event of the selection, newest first, one part at a time in memory."""
    place: Place | None = None
    while part := _loaded(_ids(selection, place, _PART)):
        yield from _shown(selection, part)
        place = (part[-1].at, part[-1].pk)


def _shown(selection: Selection, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """Return the events without those that name teams and none of the sources' own; a few of a page at most."""
    if selection.sources is None or not any(source.team for source in selection.sources):
        return list(events)
    return [one for one in events if "teams" not in one.data or _is_of_a_source(one, selection.sources)]


def _is_of_a_source(event: AuditEvent, sources: Sequence[Source]) -> bool:
    mine = [source for source in sources if event.subject in source.subjects]
    return not mine or any(not source.team or source.team in event.data["teams"] for source in mine)


def _moment_of(number: int) -> Place | None:
    """Return the place of an event in the order of time; None where there is no such event, so that the list begins anew."""
    at = AuditEvent.objects.filter(pk=number).values_list("at", flat=True).first() if number else None
    return None if at is None else (at, number)


def _loaded(ids: Sequence[int]) -> list[AuditEvent]:
    found = AuditEvent.objects.select_related("leaf").in_bulk(list(ids))
    return [found[pk] for pk in ids]


def _ids(selection: Selection, place: Place | None, size: int, *, newer: bool = False) -> list[int]:
    statement = statement_of(selection, place, size, newer=newer)
    return [] if statement is None else [row[0] for row in fetch(*statement)]


def statement_of(selection: Selection, place: Place | None, size: int, *, newer: bool = False) -> tuple[str, list[Any]] | None:
    """Return the SQL for the ids of a page in the order of (time, id), from a place on; None where nothing can be found.

    One SELECT for each source and, where no subject narrows it, for each type: each of them is the
    head of one index. A condition over several of them may read the whole log.
    """
    wheres = _wheres(selection)
    if not wheres:
        return None
    order = "ORDER BY at, id" if newer else "ORDER BY at DESC, id DESC"
    limits, values = _limits(selection.period, place, newer=newer)
    parts: list[str] = []
    parameters: list[Any] = []
    for condition, own in wheres:
        part = f"SELECT id, at FROM audit_event WHERE {' AND '.join([condition, *limits])} {order} LIMIT %s"  # noqa: S608 - constants
        parts.append(f"SELECT id, at FROM ({part}) part{len(parts)}")  # noqa: S608
        parameters += [*own, *values, size]
    union = " UNION ".join(parts)  # not ALL: an event can belong to two sources
    return f"SELECT id FROM ({union}) found {order} LIMIT %s", [*parameters, size]  # noqa: S608


def _wheres(selection: Selection) -> list[tuple[str, list[Any]]]:
    if selection.sources is None:
        if not selection.types:
            return [("true", [])]
        return [("event = %s", [str(one)]) for one in selection.types]
    wheres: list[tuple[str, list[Any]]] = []
    for source in selection.sources:
        types = tuple(set(source.events) & set(selection.types)) if source.events and selection.types else source.events or selection.types
        if (source.events or selection.types) and not types:
            continue
        if source.actor and types and len(selection.sources) * len(types) <= _MOST_SELECTS:
            wheres += [("actor_name = %s AND event = %s", [source.actor, str(one)]) for one in types]
            continue
        condition, parameters = _where(source)
        if types:
            condition, parameters = f"{condition} AND {among_texts('event')}", [*parameters, text_list(map(str, types))]
        wheres.append((condition, parameters))
    return wheres


def _where(source: Source) -> tuple[str, list[Any]]:
    if source.number:
        return "id = %s", [source.number]
    if source.actor:
        return "actor_name = %s", [source.actor]
    return among_texts("subject"), [text_list(source.subjects)]


def _limits(period: Period, place: Place | None, *, newer: bool) -> tuple[list[str], list[Any]]:
    limits: list[str] = []
    values: list[Any] = []
    if period.start is not None:
        limits.append("at >= %s")
        values.append(time_parameter(period.start))
    if period.end is not None:
        limits.append("at < %s")
        values.append(time_parameter(period.end))
    if place is not None:
        at, pk = time_parameter(place[0]), place[1]
        limits.append("at >= %s AND (at > %s OR id > %s)" if newer else "at <= %s AND (at < %s OR id < %s)")
        values += [at, at, pk]
    return limits, values
