"""The time zone in which a person reads times."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from certs.errors import InputRefused
from certs.models import PersonSettings
from db.sql import fetch

_AREAS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
_CHOSEN = "SELECT time_zone FROM certs_personsettings WHERE user_id = %s"  # prepared: every page with a time asks


@cache
def time_zones() -> tuple[str, ...]:
    """Return the names of the time zones that a person may choose."""
    return ("UTC", *sorted(name for name in available_timezones() if name.partition("/")[0] in _AREAS))


def zone_of(user: Any) -> tzinfo:
    """Return the time zone of a person; UTC for a person who chose none, and for nobody."""
    if user is None or user.pk is None:
        return UTC
    found = fetch(_CHOSEN, [user.pk])
    name = found[0][0] if found else ""
    return ZoneInfo(name) if name in time_zones() and name != "UTC" else UTC


def choose_zone(user: Any, name: str) -> None:
    """Keep the time zone of a person. Raises InputRefused for one that does not exist."""
    if name not in time_zones():
        raise InputRefused("There is no such time zone.", field="time_zone", next_step="Choose one of the list, such as Europe/Zurich.")
    PersonSettings.objects.update_or_create(user=user, defaults={"time_zone": "" if name == "UTC" else name})
