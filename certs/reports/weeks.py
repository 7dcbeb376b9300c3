"""ISO 8601 weeks in UTC: Monday 00:00 to the next Monday 00:00."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from certs.errors import InputRefused

# The weeks before are counted too, and the calendar of Python begins with the year 1.
_FIRST_YEAR = 1990
_SPELLING = re.compile(r"([0-9]{4})-?[Ww]([0-9]{2})")


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """A week by the date of its Monday."""

    monday: date

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return the week that the moment is in."""
        day = moment.astimezone(UTC).date()
        return cls(day - timedelta(days=day.weekday()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026-W48`. Raises InputRefused (field `week`)."""
        found = _SPELLING.fullmatch(text.strip())
        try:
            if found and int(found[1]) >= _FIRST_YEAR:
                return cls(date.fromisocalendar(int(found[1]), int(found[2]), 1))
        except ValueError:
            pass
        raise InputRefused(
            f"{text[:20]!r} is no week of ISO 8601.",
            field="week",
            next_step="Write the year and the number of the week, such as 2026-W48.",
        )

    def __str__(self) -> str:
        year, number, _ = self.monday.isocalendar()
        return f"{year}-W{number:02}"

    @property
    def start(self) -> datetime:
        """Return the first moment of the week."""
        return datetime.combine(self.monday, time(), UTC)

    @property
    def end(self) -> datetime:
        """Return the first moment after the week."""
        return self.start + timedelta(days=7)

    @property
    def sunday(self) -> date:
        """Return the last day of the week."""
        return self.monday + timedelta(days=6)

    def plus(self, weeks: int) -> Week:
        """Return the week so many weeks later, or earlier."""
        return Week(self.monday + timedelta(weeks=weeks))


def month_end(moment: datetime) -> datetime:
    """Return the first moment after the calendar month (UTC) that `moment` is in."""
    day = moment.astimezone(UTC).date().replace(day=1)
    following = (day + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time(), UTC)
