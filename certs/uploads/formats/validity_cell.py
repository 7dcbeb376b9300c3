"""Read a validity from a cell of a table, a REST item or a field of a form. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from certs.errors import NotUnderstood, sentence
from certs.language.days import WAYS, day_in_digits, validity_refused, without_time
from certs.language.grammar import parse_validity
from certs.spec import LONGEST_DAYS, IntakeDefaults, Validity

_NUMBER = re.compile(r"([+-]?)(\d+)(?:([.,])(\d*))?(?:\s*days?)?", re.IGNORECASE | re.ASCII)
_MONTH_IN_LETTERS = re.compile(r"(\d{1,2})[-./\s]+([a-z]{3,9})[-./,\s]+(\d{4})", re.IGNORECASE | re.ASCII)
_THOUSAND = 3  # digits after a separator that may be one of thousands
_DIGITS = 6
_SPREADSHEET_NUMBERS = range(LONGEST_DAYS + 1, 110_000)  # of days since 1900, in this century


# A table repeats the same few validities many times.
@lru_cache(maxsize=1024)
def read_validity(text: str, defaults: IntakeDefaults) -> tuple[Validity, tuple[str, ...]]:
    """Return the validity and notes on how it was read. Raises InputRefused (field "validity_days") with what would be accepted."""
    clean = " ".join(text.split())  # no-break spaces too
    clean = without_time(clean)  # spreadsheets write one, mostly midnight; a certificate ends with its day
    number = _NUMBER.fullmatch(clean)
    if number:
        return _days(text, number), ()
    day = day_in_digits(clean)
    words = f"until {day.isoformat()}" if day else _MONTH_IN_LETTERS.sub(r"\1 \2 \3", clean)
    try:
        validity, notes = parse_validity(words, defaults)
    except NotUnderstood as refused:
        raise validity_refused(sentence(refused.message)) from refused
    read_as = (f"{text} is read as {day.isoformat()}",) if day and day.isoformat() != text else ()
    return validity, (*read_as, *notes)


def _days(text: str, number: re.Match[str]) -> Validity:
    sign, whole, _, fraction = number.groups()
    if len(whole) > _DIGITS or int(whole) in _SPREADSHEET_NUMBERS:
        raise validity_refused(
            f"{text[:40]!r} is more than {LONGEST_DAYS} days.",
            "If it was a date, give the column a date format. " + WAYS,
        )
    if len(fraction or "") == _THOUSAND:
        raise validity_refused(
            f"{text!r} may be {int(whole)} or {int(whole + (fraction or ''))} days.", "Write it without a separator, such as 1000."
        )
    if (fraction or "").strip("0"):
        raise validity_refused(f"{text[:40]!r} is not a whole number of days.")
    if sign == "-" or int(whole) < 1:
        raise validity_refused(f"The validity must be at least one day, not {text[:40]!r}.")
    if int(whole) > LONGEST_DAYS:
        raise validity_refused(f"{text[:40]!r} is more than {LONGEST_DAYS} days.")
    return Validity(int(whole))
