"""ISO 8601 weeks, and the end of a calendar month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.errors import InputRefused
from certs.reports.weeks import Week, month_end


@pytest.mark.parametrize(
    ("text", "monday"),
    [("2026-W48", date(2026, 11, 23)), ("2026-w48", date(2026, 11, 23)), ("2026W53", date(2026, 12, 28)), ("2027-W01", date(2027, 1, 4))],
)
def test_a_week_is_read_as_people_write_it(text: str, monday: date) -> None:
    assert Week.parse(text).monday == monday


@pytest.mark.parametrize(
    "text", ["", "2026-48", "2026-W54", "2025-W53", "2026-W00", "w48", "2026-W481", "0001-W01", "1989-W52", "0000-W01", "২০২৬-W48"]
)
def test_what_is_no_week_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputRefused) as refused:
        Week.parse(text)
    assert refused.value.field == "week"
    assert "2026-W48" in refused.value.next_step


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_each_moment_is_in_exactly_one_week_which_reads_back(moment: datetime) -> None:
    week = Week.of(moment)
    assert week.start <= moment < week.end
    assert week.end - week.start == timedelta(days=7)
    assert Week.parse(str(week)) == week
    assert Week.of(week.end) == week.plus(1)


def test_a_month_ends_where_the_next_begins() -> None:
    assert month_end(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert month_end(datetime(2028, 2, 1, tzinfo=UTC)) == datetime(2028, 3, 1, tzinfo=UTC)
