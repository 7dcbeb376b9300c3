"""`{% when moment %}`: one way to write a moment on pages, in the reader's time zone.

The context's `reader_zone` (`certs.views.account.account.reader`) returns the zone; without it, as in mails, UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from django import template
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# What a certificate without a well-defined end has as its end (RFC 5280 4.1.2.5), as roots of private CAs do.
NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
# From so many seconds on, the unit in which a distance is written.
_UNITS = ((63_072_000, 31_557_600, "year"), (172_800, 86_400, "day"), (3600, 3600, "hour"), (0, 60, "minute"))
_FORMS = {
    "": "{day} {0:%b %Y} {0:%H:%M} {0:%Z}",
    "day": "{day} {0:%b %Y}",
    "second": "{day} {0:%b %Y} {0:%H:%M:%S} {0:%Z}",
    "clock": "{0:%H:%M:%S} {0:%Z}",
    "clock of day": "{day} {0:%b} {0:%H:%M} {0:%Z}",
}


@register.simple_tag(takes_context=True)
def when(context: dict[str, Any], moment: datetime | None, form: str = "") -> SafeString | str:
    """Write a moment with the distance from now: "28 Nov 2026 15:02 CET, in 28 days". UTC is in the title.

    `form`: `day` without the time, `second` with seconds. Nothing for no moment.
    """
    if not moment:
        return ""
    if moment == NO_END:
        return at(context, moment, form)
    now = context.get("now") or timezone.now()
    return format_html('{} <span class="quiet text-nowrap">({})</span>', at(context, moment, form), relative(moment, now))


@register.simple_tag(takes_context=True)
def at(context: dict[str, Any], moment: datetime | None, form: str = "") -> SafeString | str:
    """Write a moment without its distance, for tables of what happened."""
    if not moment:
        return ""
    reader_zone: Callable[[], tzinfo] = context.get("reader_zone") or timezone.get_default_timezone
    local = _in_zone(moment, reader_zone())
    text = "no end" if moment == NO_END else _FORMS[form].format(local, day=local.day)
    exact = f"{moment.astimezone(timezone.get_default_timezone()):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(timespec="seconds"), exact, text)


@register.simple_tag(takes_context=True)
def clock(context: dict[str, Any], moment: datetime, first: datetime) -> SafeString | str:
    """Write the time of one of several steps: "15:02:11 CET", with its day where that is another one than the first step's."""
    reader_zone: Callable[[], tzinfo] = context.get("reader_zone") or timezone.get_default_timezone
    zone = reader_zone()
    same_day = _in_zone(moment, zone).date() == _in_zone(first, zone).date()
    return at(context, moment, "clock" if same_day else "clock of day")


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return the moment in a zone; as it is where the zone's calendar has it beyond the year 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


@register.filter
def size(number: int) -> str:
    """Return a number of bytes as people write it: "64 KB", where Django writes "64.0 KB"."""
    return filesizeformat(number).replace(".0\xa0", "\xa0")


def relative(moment: datetime, now: datetime) -> str:
    """Return the distance in whole years from two on, days, hours below two days, or minutes below an hour: "in 28 days".

    Days are those of the calendar in UTC, as mails count them: a certificate of 90 days ends in 90 days.
    """
    seconds = (moment - now).total_seconds()
    number, unit = next((int(abs(seconds) // size), name) for least, size, name in _UNITS if abs(seconds) >= least)
    if unit == "day":
        number = abs((moment.astimezone(UTC).date() - now.astimezone(UTC).date()).days)
    if number == 0:
        return "in less than a minute" if seconds >= 0 else "just now"
    distance = f"{number} {unit}{'' if number == 1 else 's'}"
    return f"in {distance}" if seconds >= 0 else f"{distance} ago"
