"""One way to write a moment on pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.template import Context, Template

from certs.notifications.wording import days_left
from certs.templatetags.when import relative

NOW = datetime(2026, 11, 28, 14, 2, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        ({"seconds": 0}, "in less than a minute"),
        ({"seconds": 59}, "in less than a minute"),
        ({"seconds": -59}, "just now"),
        ({"seconds": 60}, "in 1 minute"),
        ({"seconds": -61}, "1 minute ago"),
        ({"minutes": 59, "seconds": 59}, "in 59 minutes"),
        ({"hours": 1}, "in 1 hour"),
        ({"hours": -47}, "47 hours ago"),
        ({"hours": 48}, "in 2 days"),
        ({"days": 28, "hours": 9}, "in 28 days"),
        ({"days": 89, "hours": 23, "minutes": 59}, "in 90 days"),  # a minute after a certificate of 90 days was signed
        ({"days": -400}, "400 days ago"),
        ({"days": 729}, "in 729 days"),
        ({"days": 3653}, "in 10 years"),
    ],
)
def test_a_distance_is_written_in_the_unit_that_says_most(distance: dict[str, float], text: str) -> None:
    assert relative(NOW + timedelta(**distance), NOW) == text


def test_days_are_those_that_mails_count() -> None:
    for hours in range(48, 2000, 7):
        for moment in (NOW + timedelta(hours=hours), NOW - timedelta(hours=hours)):
            assert relative(moment, NOW) == days_left(moment, NOW)


def shown(tag: str, moment: datetime | None, **more: object) -> str:
    return Template("{% load when %}{% " + tag + " %}").render(Context({"moment": moment, "now": NOW, **more}))


def test_a_moment_is_written_in_the_readers_zone_with_utc_in_the_title() -> None:
    berlin = {"reader_zone": lambda: ZoneInfo("Europe/Berlin")}
    text = shown("when moment", NOW + timedelta(days=28), **berlin)
    assert ">26 Dec 2026 15:02 CET</time>" in text
    assert 'title="2026-12-26 14:02:07 UTC"' in text
    assert "(in 28 days)" in text
    assert 'datetime="2026-12-26T14:02:07+00:00"' in text


def test_without_a_reader_as_in_mails_a_moment_is_utc() -> None:
    assert ">28 Nov 2026 14:02 UTC</time>" in shown("at moment", NOW)
    assert ">28 Nov 2026</time>" in shown('at moment "day"', NOW)
    assert ">28 Nov 2026 14:02:07 UTC</time>" in shown('at moment "second"', NOW)


def test_a_day_is_the_readers_day() -> None:
    late = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert ">1 Jan 2027</time>" in shown('at moment "day"', late, reader_zone=lambda: ZoneInfo("Asia/Tokyo"))


def test_no_moment_is_nothing() -> None:
    assert shown("when moment", None) == shown("at moment", None) == ""


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("tag", ["when moment", "at moment", 'at moment "day"', 'when moment "second"', "clock moment moment"])
def test_end_that_is_none_is_said_in_every_zone(tag: str, zone: str) -> None:
    """RFC 5280 4.1.2.5: 99991231235959Z is no well-defined end, as roots have it. East of UTC it would be in the year 10000."""
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    text = shown(tag, never, reader_zone=lambda: ZoneInfo(zone))
    assert ">no end</time>" in text
    assert 'title="9999-12-31 23:59:59 UTC"' in text
    assert "in 7" not in text
