"""Numbers in addresses and forms: what is none counts as 0, and no number is larger than its column."""

from __future__ import annotations

_ID_DIGITS = 18  # of a bigint
_LINE_DIGITS = 8


def id_of(text: object) -> int:
    """Return the number of a row; 0 for what is none."""
    return _number(text, _ID_DIGITS)


def number_of(text: object) -> int:
    """Return the number of a line, or of days or hours; 0 for what is none."""
    return _number(text, _LINE_DIGITS)


def _number(text: object, digits: int) -> int:
    # Bounded before it is read: int() refuses thousands of digits, and some of other scripts.
    written = str(text or "")
    return int(written) if written.isascii() and written.isdecimal() and len(written) <= digits else 0
