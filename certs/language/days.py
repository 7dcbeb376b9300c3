"""Dates in digits (2027-01-31, 31.1.2027), read the same way in sentences, tables and forms. Pure."""

from __future__ import annotations

import re
from datetime import date

from certs.errors import InputRefused

WAYS = "Write days such as 90, a span such as 3 months, or an end date such as 2027-01-31."
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})", re.ASCII)
_TIME_OF_DAY = re.compile(r"[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(Z|[+-]\d{2}:\d{2})?$", re.ASCII)
_IN_UTC = (None, "Z", "+00:00", "-00:00")
_MONTHS, _LAST_HOUR, _LAST_MINUTE = 12, 23, 59


def without_time(text: str) -> str:
    """Return the text without a time of day at its end: a certificate ends with its day.

    Raises InputRefused for a time that no clock shows, and for one in another zone than UTC: its day
    may be another one there, and a certificate would end later than was asked.
    """
    found = _TIME_OF_DAY.search(text)
    if found is None:
        return text
    hour, minute, second, zone = found.groups()
    ways = "Write the last day alone (UTC), such as 2027-01-31: a certificate ends with its day."
    if int(hour) > _LAST_HOUR or int(minute) > _LAST_MINUTE or int(second or 0) > _LAST_MINUTE:
        raise validity_refused(f"There is no such time as in {text!r}.", ways)
    if zone not in _IN_UTC:
        raise validity_refused(f"The time in {text!r} is in another zone than UTC.", ways)
    return text[: found.start()]


def day_in_digits(text: str) -> date | None:
    """Return the date that the text is; None where it is no date in digits.

    Raises InputRefused for a date that does not exist, and for an ambiguous one such as 1/2/2027.
    """
    first = _YEAR_FIRST.fullmatch(text)
    if first:
        return _existing(text, int(first[1]), int(first[3]), int(first[4]))
    last = _YEAR_LAST.fullmatch(text)
    if last is None:
        return None
    one, separator, other, year = int(last[1]), last[2], int(last[3]), int(last[4])
    if len(last[4]) != len("2027"):
        message = f"The year of {text!r} has two digits."
        raise validity_refused(message, "Write the date as 2027-01-31.")
    if other > _MONTHS:
        return _existing(text, year, one, other)
    # Countries that write points put the day first. With slashes and hyphens the order depends on the country.
    if separator != "." and one <= _MONTHS and one != other:
        both = f"Write {year}-{other:02}-{one:02} or {year}-{one:02}-{other:02}."
        raise validity_refused(f"{text!r} may be two days.", both)
    return _existing(text, year, other, one)


def validity_refused(message: str, next_step: str = WAYS) -> InputRefused:
    """Return the refusal of a validity, with what would pass."""
    return InputRefused(message, field="validity_days", next_step=next_step)


def _existing(text: str, year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        message = f"There is no such day as {text}."
        raise validity_refused(message, "Write the date as 2027-01-31.") from error
