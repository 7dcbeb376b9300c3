"""Validity by days and by end date: what the calendar says, and when the certificate ends."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.ca.base import Order
from certs.errors import InputRefused
from certs.language.grammar import parse_validity
from certs.spec import LONGEST_DAYS, Validity, check_days, check_end_date, end_of_day
from tests.certs.language.examples import DEFAULTS

BACKDATE = timedelta(minutes=5)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone
near_midnight = st.builds(
    lambda day, seconds: datetime.combine(day, datetime.min.time(), UTC) + timedelta(seconds=seconds),
    st.dates(date(2026, 1, 1), date(2060, 1, 1)),
    st.integers(-600, 600),
)
waits = st.one_of(st.timedeltas(timedelta(0), timedelta(minutes=10)), st.timedeltas(timedelta(0), timedelta(days=400)))


def order(validity: Validity, *, longest: int | None) -> Order:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    return Order("req-1", b"", b"", "", "a", ("a",), (), "tls-server", validity.days, "v1", now, "", validity.not_after, longest)


@given(st.one_of(moments, near_midnight), st.integers(1, 120), waits, st.integers(1, 825))
def test_months_end_with_the_calendar_day_whenever_they_are_signed(asked: datetime, months: int, wait: timedelta, longest: int) -> None:
    """D1, D2: the day is computed from the time of the request; waiting and back-dating do not move it."""
    validity, _ = parse_validity(f"{months} months", replace(DEFAULTS, today=asked.date()))
    end = validity.not_after
    assert end is not None
    assert validity.days is None
    assert (end.year * 12 + end.month) - (asked.year * 12 + asked.month) == months
    assert end.day == min(asked.day, monthrange(end.year, end.month)[1])
    signed = asked + wait
    last = order(validity, longest=longest).last_second(signed_at=signed, not_before=signed - BACKDATE)
    assert last <= end_of_day(end)
    assert last - (signed - BACKDATE) + timedelta(seconds=1) <= timedelta(days=longest)
    if validity.days_left(signed) < longest:  # no maximum is reached: valid through the last second of the named day
        assert last == end_of_day(end)


@given(st.one_of(moments, near_midnight), st.integers(1, 825), st.integers(1, 825))
def test_days_count_from_signing_and_stay_within_the_policy(signed: datetime, days: int, longest: int) -> None:
    """Back-dating does not shorten a number of days, and the whole period stays within the maximum."""
    not_before = (signed - BACKDATE).replace(microsecond=0)
    last = order(Validity(days), longest=longest).last_second(signed_at=signed, not_before=not_before)
    assert last - not_before + timedelta(seconds=1) <= timedelta(days=longest)
    if days < longest:
        assert last == (signed + timedelta(days=days)).replace(microsecond=0)


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("2026-12-29T23:59:59", 2),
        ("2026-12-30T00:00:01", 1),
        ("2026-12-31T00:00:01", 1),  # its own day has begun, and most of it is left
        ("2026-12-31T22:30:00", 1),
        ("2026-12-31T23:30:00", 0),
        ("2027-01-01T00:00:00", -1),
    ],
)
def test_days_left_until_an_end_date(at: str, left: int) -> None:
    assert Validity(None, date(2026, 12, 31)).days_left(datetime.fromisoformat(at).replace(tzinfo=UTC)) == left


@pytest.mark.parametrize(
    ("today", "text", "end"),
    [
        (date(2027, 1, 31), "1 month", date(2027, 2, 28)),
        (date(2028, 1, 31), "1 month", date(2028, 2, 29)),
        (date(2028, 2, 29), "1 year", date(2029, 2, 28)),
        (date(2028, 2, 29), "4 years", date(2032, 2, 29)),
        (date(2026, 11, 29), "until 31 January", date(2027, 1, 31)),
        (date(2026, 11, 29), "until January 31", date(2027, 1, 31)),
        (date(2026, 11, 29), "until 29 November", date(2027, 11, 29)),
        (date(2026, 11, 29), "until 29 February", date(2028, 2, 29)),
        (date(2096, 3, 1), "until 29 February", date(2104, 2, 29)),  # 2100 is no leap year
    ],
)
def test_end_dates_of_the_calendar(today: date, text: str, end: date) -> None:
    validity, _ = parse_validity(text, replace(DEFAULTS, today=today))
    assert validity == Validity(None, end)


@pytest.mark.parametrize("day", [date(2026, 11, 29), date(2026, 11, 28), date(2127, 1, 1)])
def test_an_end_date_lies_in_the_future_and_within_a_century(day: date) -> None:
    with pytest.raises(InputRefused) as caught:
        check_end_date(day, today=date(2026, 11, 29))
    assert caught.value.field == "not_after"
    assert caught.value.next_step


@pytest.mark.parametrize("days", [-1, 0, LONGEST_DAYS + 1, 10**17])
def test_number_of_days_that_no_calendar_holds_is_refused(days: int) -> None:
    with pytest.raises(InputRefused) as refused:
        check_days(days)
    assert (refused.value.field, bool(refused.value.next_step)) == ("validity_days", True)


def test_number_of_days_up_to_a_century_is_taken() -> None:
    assert [check_days(days) for days in (1, 90, LONGEST_DAYS)] == [1, 90, LONGEST_DAYS]
