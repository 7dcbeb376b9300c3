"""How long is "3 months"? Spans and end dates -> whole days, counted on the calendar from today. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from certs.errors import NotUnderstood
from certs.intake.words import Word

EXAMPLE = "Issue certificate for api.example.com valid for 90 days"
_LONGEST_DAYS = 36_500
_LONGEST_MONTHS = 1_200


def days_of(word: Word, today: date | None) -> tuple[int, str]:
    """Days of a SPAN or DATE token, and a note where counting was needed. Raises NotUnderstood for none, past or beyond a century."""
    if isinstance(word.value, date):
        return _until(word, word.value, today)
    number, unit = str(word.value).split()
    if int(number) < 1:
        raise NotUnderstood("The validity must be at least one day", position=word.at, example=EXAMPLE)
    days, note = _counted(int(number), unit, word, today)
    if days > _LONGEST_DAYS:
        raise _too_long(word)
    return days, note


def _counted(number: int, unit: str, word: Word, today: date | None) -> tuple[int, str]:
    if unit == "day":
        return number, ""
    if unit == "week":
        return number * 7, f"{word.text} = {number * 7} days"
    months = number * 12 if unit == "year" else number
    if months > _LONGEST_MONTHS:
        raise _too_long(word)
    if today is None:
        days = number * (365 if unit == "year" else 30)
        return days, f"{word.text} = {days} days (365 days a year, 30 a month)"
    end = _add_months(today, months)
    return (end - today).days, f"{word.text} = {(end - today).days} days, until {end.isoformat()}"


def _until(word: Word, end: date, today: date | None) -> tuple[int, str]:
    if today is None:
        raise NotUnderstood("An end date is not possible here: give the validity in days", position=word.at, example=EXAMPLE)
    days = (end - today).days
    if days < 1:
        raise NotUnderstood(f"{end.isoformat()} is not in the future", position=word.at, example=EXAMPLE)
    if days > _LONGEST_DAYS:
        raise _too_long(word)
    return days, f"until {end.isoformat()} = {days} days"


def _add_months(start: date, months: int) -> date:
    """The same day of a later month, or that month's last day where it is shorter."""
    index = start.month - 1 + months
    year, month = start.year + index // 12, index % 12 + 1
    return date(year, month, min(start.day, monthrange(year, month)[1]))


def _too_long(word: Word) -> NotUnderstood:
    return NotUnderstood(f"A validity of {word.text} is longer than {_LONGEST_DAYS} days", position=word.at, example=EXAMPLE)
