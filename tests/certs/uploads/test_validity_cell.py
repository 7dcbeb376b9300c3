"""A validity alone in a cell or a form's field: one reading, whatever table it stands in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date, datetime

import pytest

from certs.errors import InputRefused
from certs.spec import Validity
from certs.uploads.formats.validity_cell import read_validity
from certs.uploads.line import Line
from tests.certs.language.examples import DEFAULTS
from tests.certs.uploads.examples import read, workbook

JANUARY = date(2027, 1, 31)
READ = {
    "90": Validity(90),
    " 090 ": Validity(90),
    "90.0": Validity(90),
    "90,0": Validity(90),
    "90.00 days": Validity(90),
    "90 Days": Validity(90),
    "90\u00a0days": Validity(90),
    "2 weeks": Validity(14),
    "2027-01-31": Validity(None, JANUARY),
    "2027/1/31": Validity(None, JANUARY),
    "2027-01-31 00:00:00": Validity(None, JANUARY),
    "2027-01-31T00:00:00Z": Validity(None, JANUARY),
    "31/01/2027": Validity(None, JANUARY),
    "31.01.2027": Validity(None, JANUARY),
    "1.2.2027": Validity(None, date(2027, 2, 1)),
    "31-1-2027": Validity(None, JANUARY),
    "01/31/2027": Validity(None, JANUARY),
    "02/02/2027": Validity(None, date(2027, 2, 2)),
    "31-Jan-2027": Validity(None, JANUARY),
    "31 January 2027": Validity(None, JANUARY),
    "until 31 January": Validity(None, JANUARY),
    "valid until 2027-01-31": Validity(None, JANUARY),
    "3 months": Validity(None, date(2027, 2, 24)),
}
REFUSED = {
    "01/02/2027": "'01/02/2027' may be two days.",
    "31/01/27": "The year of '31/01/27' has two digits.",
    "31/02/2027": "There is no such day as 31/02/2027.",
    "13/13/2027": "There is no such day as 13/13/2027.",
    "2027-02-30": "There is no such day as 2027-02-30.",
    "2026-01-31": "The end date 2026-01-31 is not in the future.",
    "2027-01-31T99:99": "There is no such time as in '2027-01-31T99:99'.",
    "2027-01-31 24:00": "There is no such time as in '2027-01-31 24:00'.",
    "2027-02-01T00:30:00+14:00": "The time in '2027-02-01T00:30:00+14:00' is in another zone than UTC.",
    "90.5": "'90.5' is not a whole number of days.",
    "1.000": "'1.000' may be 1 or 1000 days.",
    "-5": "The validity must be at least one day, not '-5'.",
    "0": "The validity must be at least one day, not '0'.",
    "46418": "'46418' is more than 36500 days.",
    "9" * 400: f"'{'9' * 40}' is more than 36500 days.",
    "soon": "'soon' is not a validity.",
    "api.example.com": "'api.example.com' is not a validity.",
    "90 days, RSA 2048": "'90 days, RSA 2048' is not a validity.",
    "2000 months": "A validity of 2000 months is longer than 36500 days.",
    "TRUE": "'TRUE' is not a validity.",
    "{1..9}": "'{1..9}' is not a validity.",
}


@pytest.mark.parametrize(("text", "validity"), READ.items())
def test_a_validity_is_read(text: str, validity: Validity) -> None:
    """D4."""
    assert read_validity(text, DEFAULTS)[0] == validity


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_is_no_validity_is_refused_as_one(text: str, message: str) -> None:
    """D4: the message speaks of the validity and of what would pass, never of names."""
    with pytest.raises(InputRefused) as caught:
        read_validity(text, DEFAULTS)
    assert (caught.value.message, caught.value.field) == (message, "validity_days")
    assert caught.value.next_step


def lines(rows: Sequence[tuple[object, str]]) -> tuple[list[Line], list[Line]]:
    """The same validities by workbook (as values) and by CSV (as text)."""
    text = io.StringIO()
    csv.writer(text).writerows([("name", "validity"), *(("api", text) for _, text in rows)])
    table = workbook(("name", "validity"), *(("api", value) for value, _ in rows))
    return list(read(table)), list(read(text.getvalue().encode()))


def test_csv_and_xlsx_agree_on_every_validity() -> None:
    """D4."""
    xlsx, by_csv = lines([(text, text) for text in (*READ, *REFUSED)])
    assert [(line.spec, line.problem) for line in xlsx] == [(line.spec, line.problem) for line in by_csv]
    assert [line.spec is not None for line in xlsx] == [True] * len(READ) + [False] * len(REFUSED)
    assert all(line.problem.startswith("validity_days: ") or line.field == "validity_days" for line in xlsx if line.problem)


def test_numbers_and_dates_of_a_workbook_mean_what_their_text_means() -> None:
    """D4."""
    values: list[tuple[object, str]] = [
        (90, "90"),
        (90.0, "90.0"),
        (90.5, "90.5"),
        (-5, "-5"),
        (datetime(2027, 1, 31), "2027-01-31"),  # noqa: DTZ001 - cells have no zone
        (JANUARY, "2027-01-31"),
        (datetime(2027, 1, 31, 13), "2027-01-31 13:00:00"),  # noqa: DTZ001
        (46418, "46418"),
        (True, "True"),
    ]
    xlsx, by_csv = lines(values)
    assert [(line.spec, line.problem) for line in xlsx] == [(line.spec, line.problem) for line in by_csv]
