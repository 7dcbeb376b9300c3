"""What a page or an export of the audit log is asked for, as its address writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from certs.access.permissions import Authority, Permission
from certs.errors import InputRefused
from certs.evidence.events import Period, Selection
from certs.evidence.kinds import EventKind, types_of
from certs.evidence.meaning import LONGEST, Meaning, meaning_of


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """A search: the text, the kinds of events, and the days, the last one included."""

    text: str = ""
    kinds: tuple[EventKind, ...] = ()
    first: date | None = None
    last: date | None = None

    @classmethod
    def from_query(cls, values: Mapping[str, Any], kinds: Sequence[str]) -> AuditQuery:
        """Read the fields of an address. Raises InputRefused with the name of the field."""
        unknown = [one for one in kinds if one not in EventKind.values]
        if unknown:
            raise InputRefused(
                f"There is no kind of events called {unknown[0][:40]}.",
                field="kind",
                next_step=f"Kinds are {', '.join(EventKind.values)}.",
            )
        first, last = _day(values, "from"), _day(values, "to")
        if first and last and last < first:
            raise InputRefused("The last day lies before the first.", field="to", next_step="Exchange the two days.")
        chosen = tuple(one for one in EventKind if one.value in kinds)
        return cls(str(values.get("q", "")).strip()[:LONGEST], chosen, first, last)

    def to_query(self) -> list[tuple[str, str]]:
        """Return the fields as an address has them."""
        fields = [("q", self.text)] if self.text else []
        fields += [("kind", one.value) for one in self.kinds]
        fields += [("from", self.first.isoformat())] if self.first else []
        return [*fields, *([("to", self.last.isoformat())] if self.last else [])]

    def period(self, zone: tzinfo) -> Period:
        """Return the days as moments, in the time zone of the reader."""
        end = None if self.last is None else _midnight(self.last + timedelta(days=1), zone)
        return Period(None if self.first is None else _midnight(self.first, zone), end)

    def selection(self, authority: Authority, zone: tzinfo) -> tuple[Selection, Meaning]:
        """Return the events that the actor may see of it, and what the text means.

        Without a text: the whole log for those who see every team, nothing for others.
        """
        meaning = meaning_of(self.text, authority)
        whole = not meaning.text and authority.holds(Permission.SEE_EVERY_TEAM)
        sources = None if whole else meaning.sources
        return Selection(sources, types_of(self.kinds), self.period(zone)), meaning


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _day(values: Mapping[str, Any], field: str) -> date | None:
    text = str(values.get(field, "")).strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as exc:
        raise InputRefused(f"{text[:40]} is not a day.", field=field, next_step="Write it as 2027-01-31.") from exc
    if not 2000 <= day.year <= 9000:
        raise InputRefused(f"{day} is outside what the log can hold.", field=field, next_step="Write it as 2027-01-31.")
    return day
