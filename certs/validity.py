"""How long a certificate is asked for: a number of days counted from signing, or the last day named by a person. Pure.

An end date stays a date through every wait (approval, CA outage, bulk order, renewal); a number of days begins to count when the
certificate is signed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from certs.errors import InputRefused

LONGEST_DAYS = 36_500
# Between policy evaluation and the verification of the certificate lie queues and a CA: less than this could run out on the way.
_SHORTEST_REMAINDER = timedelta(hours=1)
_LAST_SECOND = time(23, 59, 59, tzinfo=UTC)


class Validity(NamedTuple):
    """Either `days` or `not_after`, the last day on which the certificate is valid; the other one is None."""

    days: int | None
    not_after: date | None = None

    @property
    def text(self) -> str:
        """As people read it: "90 days" or "until 31 Dec 2026"."""
        return f"{self.days} days" if self.not_after is None else f"until {self.not_after.day} {self.not_after:%b %Y}"

    @property
    def written(self) -> str:
        """As a table cell or a request sentence may hold it: "90 days" or "until 2026-12-31"."""
        return f"{self.days} days" if self.not_after is None else f"until {self.not_after.isoformat()}"

    def days_left(self, at: datetime) -> int:
        """Whole calendar days from the day of `at`; for an end date 1 on that day itself, and 0 or less once it is too late.

        The policy compares this number with its maximum.
        """
        if self.not_after is None:
            return self.days or 0
        if end_of_day(self.not_after) - at < _SHORTEST_REMAINDER:
            return min((self.not_after - at.date()).days, 0)
        return max((self.not_after - at.date()).days, 1)


def end_of_day(day: date) -> datetime:
    """The last second of a day in UTC: a certificate that ends there is valid through that day (RFC 5280 section 4.1.2.5)."""
    return datetime.combine(day, _LAST_SECOND)


def check_days(days: int) -> int:
    """Return the number of days if a certificate may be requested for that long. Raises InputRefused."""
    if not 1 <= days <= LONGEST_DAYS:
        raise InputRefused(
            f"A validity is 1 to {LONGEST_DAYS} days.",
            field="validity_days",
            next_step="Give fewer days, such as 90." if days > 0 else "Give days such as 90.",
        )
    return days


def check_end_date(day: date, *, today: date) -> date:
    """Return the end date if a certificate may be requested until then. Raises InputRefused for today, the past or more than a century."""
    if day <= today:
        raise InputRefused(
            f"The end date {day.isoformat()} is not in the future.",
            field="not_after",
            next_step=f"Give a day after {today.isoformat()} (UTC).",
        )
    if (day - today).days > LONGEST_DAYS:
        raise InputRefused(
            f"The end date {day.isoformat()} is more than {LONGEST_DAYS} days away.",
            field="not_after",
            next_step="Give an earlier day.",
        )
    return day
