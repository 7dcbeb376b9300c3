"""A person's own account: time zone, sessions, password."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from certs.access.sessions import SIGNED_IN_AT, end_sessions
from certs.errors import InputRefused
from certs.models import PersonSettings, SignedInSession
from db.clock import database_now, machine_now

USED_WITHIN = timedelta(minutes=10)
_USED_AT = "used_at"
_AREAS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
# The first that is in the browser's own words decides: most browsers also name others that they are like.
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"), ("curl", "curl"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@cache
def time_zones() -> tuple[str, ...]:
    """Return the names of the time zones that a person may choose."""
    return ("UTC", *sorted(name for name in available_timezones() if name.partition("/")[0] in _AREAS))


def zone_of(user: Any) -> tzinfo:
    """Return the time zone of a person; UTC for a person who chose none, and for nobody."""
    if user is None or user.pk is None:
        return UTC
    name = PersonSettings.objects.filter(user=user.pk).values_list("time_zone", flat=True).first()
    return ZoneInfo(name) if name in time_zones() and name != "UTC" else UTC


def choose_zone(user: Any, name: str) -> None:
    """Keep the time zone of a person. Raises InputRefused for one that does not exist."""
    if name not in time_zones():
        raise InputRefused("There is no such time zone.", field="time_zone", next_step="Choose one of the list, such as Europe/Zurich.")
    PersonSettings.objects.update_or_create(user=user, defaults={"time_zone": "" if name == "UTC" else name})


def connect_session_ends() -> None:
    """Forget a session when its person signs out. For `AppConfig.ready()`."""
    user_logged_out.connect(_end, dispatch_uid="certs.access.account")


def note_session(request: HttpRequest, user: Any, *, address: str) -> None:
    """Write down that the session of the request is signed in, also when its key has changed."""
    if not request.session.session_key:
        request.session.save()
    row = {"user": user, "began_at": database_now(), "address": address[:64], "browser": browser_of(request.headers.get("User-Agent", ""))}
    SignedInSession.objects.update_or_create(key=request.session.session_key, defaults=row)


def note_use(request: HttpRequest) -> None:
    """Write down that the session is in use. Costs a statement once in USED_WITHIN, nothing in between."""
    now = machine_now()  # asking the database each time would cost more than the note
    noted = request.session.get(_USED_AT, "")
    if noted and now - datetime.fromisoformat(noted) < USED_WITHIN:
        return
    request.session[_USED_AT] = now.isoformat()
    SignedInSession.objects.filter(key=request.session.session_key or "").update(last_used_at=now)


def _end(request: HttpRequest, **_signal: Any) -> None:
    SignedInSession.objects.filter(key=request.session.session_key or "").delete()


def sessions_of(user: Any) -> QuerySet[SignedInSession]:
    """Return the sessions of a person that can still be used, newest first."""
    living = Session.objects.filter(expire_date__gt=database_now()).values("session_key")
    return SignedInSession.objects.filter(user=user.pk, key__in=living).order_by("-began_at")


@transaction.atomic
def end_session(user: Any, pk: int) -> bool:
    """End one session of the person. Returns whether there was one."""
    row = SignedInSession.objects.filter(user=user.pk, pk=pk).first()
    if row is None:
        return False
    Session.objects.filter(session_key=row.key).delete()
    row.delete()
    return True


@transaction.atomic
def end_other_sessions(request: HttpRequest) -> None:
    """End every session of the person but that of the request, those that were never written down too."""
    others = SignedInSession.objects.filter(user=request.user.pk).exclude(key=request.session.session_key or "")
    Session.objects.filter(session_key__in=list(others.values_list("key", flat=True))).delete()
    others.delete()
    end_sessions(request.user)
    request.session[SIGNED_IN_AT] = database_now().isoformat()


def browser_of(text: str) -> str:
    """Return a browser and its system in two or three words, from its User-Agent."""
    browser = next((name for word, name in _BROWSERS if re.search(rf"{word}[A-Za-z]*/", text)), "")
    system = next((name for word, name in _SYSTEMS if word in text), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "An unknown program"


def of_ended_sessions() -> QuerySet[SignedInSession]:
    """Return what was written down about sessions that are gone."""
    return SignedInSession.objects.exclude(key__in=Session.objects.values("session_key"))
