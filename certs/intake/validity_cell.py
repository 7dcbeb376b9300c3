"""A validity alone in a cell of a table or a field of a form: one rule for CSV, XLSX, REST items and the portal's forms. Pure."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from certs.errors import InputRefused, NotUnderstood
from certs.intake.grammar import parse_validity
from certs.intake.spec import IntakeDefaults
from certs.validity import LONGEST_DAYS, Validity

_WAYS = "Write days such as 90, a span such as 3 months, or an end date such as 2027-01-31."
_NUMBER = re.compile(r"([+-]?)(\d+)(?:([.,])(\d*))?(?:\s*days?)?", re.IGNORECASE | re.ASCII)
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})", re.ASCII)
_MONTH_IN_LETTERS = re.compile(r"(\d{1,2})[-./\s]+([a-z]{3,9})[-./,\s]+(\d{4})", re.IGNORECASE | re.ASCII)
_TIME_OF_DAY = re.compile(r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?$")
_THOUSAND = 3  # digits after a separator that may be one of thousands
_DIGITS = 6
_MONTHS = 12
_SPREADSHEET_NUMBERS = range(LONGEST_DAYS + 1, 110_000)  # of days since 1900, in this century


# A table repeats the same few validities many times.
@lru_cache(maxsize=1024)
def read_validity(text: str, defaults: IntakeDefaults) -> tuple[Validity, tuple[str, ...]]:
    """Return the validity and the notes on how it was understood. Raises InputRefused (field "validity_days") with what would pass."""
    clean = " ".join(text.split())  # no-break spaces too
    clean = _TIME_OF_DAY.sub("", clean)  # spreadsheets write one, mostly midnight; a certificate ends with its day
    number = _NUMBER.fullmatch(clean)
    if number:
        return _days(text, number), ()
    day = _day(clean)
    words = f"until {day.isoformat()}" if day else _MONTH_IN_LETTERS.sub(r"\1 \2 \3", clean)
    try:
        validity, notes = parse_validity(words, defaults)
    except NotUnderstood as refused:
        raise _refused(f"{refused.message}.") from refused
    read_as = (f"{text} is read as {day.isoformat()}",) if day and day.isoformat() != text else ()
    return validity, (*read_as, *notes)


def _days(text: str, number: re.Match[str]) -> Validity:
    sign, whole, _, fraction = number.groups()
    if len(whole) > _DIGITS or int(whole) in _SPREADSHEET_NUMBERS:
        raise _refused(
            f"{text[:40]!r} is more than {LONGEST_DAYS} days.",
            "If it was a date, give the column a date format. " + _WAYS,
        )
    if len(fraction or "") == _THOUSAND:
        raise _refused(
            f"{text!r} may be {int(whole)} or {int(whole + (fraction or ''))} days.", "Write it without a separator, such as 1000."
        )
    if (fraction or "").strip("0"):
        raise _refused(f"{text[:40]!r} is not a whole number of days.")
    if sign == "-" or int(whole) < 1:
        raise _refused(f"The validity must be at least one day, not {text[:40]!r}.")
    if int(whole) > LONGEST_DAYS:
        raise _refused(f"{text[:40]!r} is more than {LONGEST_DAYS} days.")
    return Validity(int(whole))


def _day(text: str) -> date | None:
    """The day that is written in digits; None where none is. Raises InputRefused for one that may be two days, or does not exist."""
    first = _YEAR_FIRST.fullmatch(text)
    if first:
        return _existing(text, int(first[1]), int(first[3]), int(first[4]))
    last = _YEAR_LAST.fullmatch(text)
    if last is None:
        return None
    one, separator, other, year = int(last[1]), last[2], int(last[3]), int(last[4])
    if len(last[4]) != len("2027"):
        raise _refused(f"The year of {text!r} has two digits.", "Write the date as 2027-01-31.")
    if other > _MONTHS:
        return _existing(text, year, one, other)
    # With points the day comes first wherever they are used; with other signs it depends on the country.
    if separator != "." and one <= _MONTHS and one != other:
        raise _refused(f"{text!r} may be two days.", f"Write {year}-{other:02}-{one:02} or {year}-{one:02}-{other:02}.")
    return _existing(text, year, other, one)


def _existing(text: str, year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        raise _refused(f"There is no such day as {text}.", "Write the date as 2027-01-31.") from error


def _refused(message: str, next_step: str = _WAYS) -> InputRefused:
    return InputRefused(message, field="validity_days", next_step=next_step)
