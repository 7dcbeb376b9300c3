"""Validities in a sentence: "90 days" and "2 weeks" are numbers of days; "3 months", "1 year" and dates give an end date. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from certs.errors import InputRefused, NotUnderstood
from certs.language.words import Word
from certs.spec import LONGEST_DAYS, Validity, check_end_date

EXAMPLE = "Issue certificate for api.example.com valid for 90 days"
_LONGEST_MONTHS = 1_200
_LEAP_CYCLE = 8  # years: the most that lie between two 29 Februaries


def validity_of(word: Word, today: date | None) -> tuple[Validity, str]:
    """Return the validity of a SPAN or DATE token, and a note where it was computed.

    `today`: the day of the request in UTC, from which an end date is computed once. Raises
    NotUnderstood for a validity below one day, an end date in the past, and more than a century.
    """
    if word.kind == "DATE":
        return _until(word, today)
    number, unit = int(str(word.value).split()[0]), str(word.value).split()[1]
    if number < 1:
        raise NotUnderstood("The validity must be at least one day", position=word.at, example=EXAMPLE)
    if unit in ("month", "year"):
        return _months_from(today, number * 12 if unit == "year" else number, word)
    days = number * 7 if unit == "week" else number
    if days > LONGEST_DAYS:
        raise _too_long(word)
    return Validity(days), f"{word.text} = {days} days" if unit == "week" else ""


def _months_from(today: date | None, months: int, word: Word) -> tuple[Validity, str]:
    if today is None:
        raise NotUnderstood("Months and years are not possible here: give the validity in days", position=word.at, example=EXAMPLE)
    if months > _LONGEST_MONTHS:
        raise _too_long(word)
    end = _add_months(today, months)
    if (end - today).days > LONGEST_DAYS:
        raise _too_long(word)
    return Validity(None, end), f"{word.text} = until {_counted(end, today)}"


def _until(word: Word, today: date | None) -> tuple[Validity, str]:
    if today is None:
        raise NotUnderstood("An end date is not possible here: give the validity in days", position=word.at, example=EXAMPLE)
    end = word.value if isinstance(word.value, date) else _next(str(word.value), today)
    try:
        check_end_date(end, today=today)
    except InputRefused as refused:
        raise NotUnderstood(refused.message.removesuffix("."), position=word.at, example=EXAMPLE) from refused
    said = "" if isinstance(word.value, date) else f"{word.text} = "
    return Validity(None, end), f"{said}until {_counted(end, today)}"


def _counted(end: date, today: date) -> str:
    return f"{end.isoformat()}, {(end - today).days} days from today, to the end of that day (UTC)"


def _next(month_and_day: str, today: date) -> date:
    """Return the next such day after today. Its month has that day in some year: the token was made of it."""
    month, day = map(int, month_and_day.split("-"))
    years = (year for year in range(today.year, today.year + _LEAP_CYCLE + 1) if day <= monthrange(year, month)[1])
    return next(end for end in (date(year, month, day) for year in years) if end > today)


def _add_months(start: date, months: int) -> date:
    """The same day of a later month, or that month's last day where it is shorter."""
    index = start.month - 1 + months
    year, month = start.year + index // 12, index % 12 + 1
    return date(year, month, min(start.day, monthrange(year, month)[1]))


def _too_long(word: Word) -> NotUnderstood:
    return NotUnderstood(f"A validity of {word.text} is longer than {LONGEST_DAYS} days", position=word.at, example=EXAMPLE)
