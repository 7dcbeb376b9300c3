"""Sessions: which ones a person has, noted with browser and address, and how they end.

They end with the account: a user who is deactivated and activated again signs in anew.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.http import HttpRequest

from certs.models import SessionsEnded, SignedInSession
from db.clock import database_now, machine_now

SIGNED_IN_AT = "signed_in_at"  # moved when the other sessions end
SHOWED_AT = "showed_at"  # when the person showed a password or another factor
RECENT = timedelta(minutes=5)
USED_WITHIN = timedelta(minutes=10)
_USED_AT = "used_at"
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


def connect_signals() -> None:
    """Connect the receivers. For `AppConfig.ready()`."""
    user_logged_in.connect(_note_sign_in, dispatch_uid="certs.access.sessions")
    user_logged_out.connect(_forget, dispatch_uid="certs.access.sessions")
    authenticator_added.connect(_end_those_without_the_factor, dispatch_uid="certs.access.sessions")
    post_save.connect(_end_with_the_account, sender=get_user_model(), dispatch_uid="certs.access.sessions")


def end_sessions(user: Any) -> datetime:
    """End every session of the user that has begun until now. Returns that moment."""
    now = database_now()
    SessionsEnded.objects.update_or_create(user=user, defaults={"at": now})
    return now


def end_sessions_begun_until(user: Any, moment: datetime) -> None:
    """End every session of the user that has begun until the moment, and no later one.

    What ended at a later moment stays ended.
    """
    row, made = SessionsEnded.objects.get_or_create(user=user, defaults={"at": moment})
    if not made:
        SessionsEnded.objects.filter(pk=row.pk, at__lt=moment).update(at=moment)


def user_of_session(request: HttpRequest, user: Any) -> Any:
    """Return the session's user, or an anonymous one when the session has ended; an ended session is deleted.

    `user` is what Django reads from the session: nobody for a deactivated account. Its session is
    deleted too, so that it does not come back with the account.
    """
    if not user.is_authenticated:
        if SESSION_KEY in request.session:
            request.session.flush()
        return user
    ended = SessionsEnded.objects.filter(user=user).values_list("at", flat=True).first()
    if ended is None:
        return user
    began = request.session.get(SIGNED_IN_AT, "")
    if began and datetime.fromisoformat(began) > ended:
        return user
    request.session.flush()
    return AnonymousUser()


def _note_sign_in(request: HttpRequest, **_signal: Any) -> None:
    request.session.set_expiry(None)  # a form kept for a person who was signed out had a short one
    now = database_now().isoformat()
    request.session[SIGNED_IN_AT] = request.session[SHOWED_AT] = now


def _forget(request: HttpRequest, **_signal: Any) -> None:
    SignedInSession.objects.filter(key=request.session.session_key or "").delete()


def _end_those_without_the_factor(request: HttpRequest, authenticator: Authenticator, **_signal: Any) -> None:
    """A session that began before the factor was there has never shown one: somebody may have known the password."""
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        end_other_sessions(request)


def signed_in_recently(request: HttpRequest) -> bool:
    """Return whether the session began within RECENT, so that nobody is asked twice in a row."""
    showed = request.session.get(SHOWED_AT, "")
    return bool(showed) and database_now() - datetime.fromisoformat(showed) < RECENT


def _end_with_the_account(instance: Any, *, raw: bool = False, **_signal: Any) -> None:
    if not raw and not instance.is_active:
        end_sessions(instance)


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
    # Later than the end, also where the clock has not gone on since (SQLite counts milliseconds).
    request.session[SIGNED_IN_AT] = (end_sessions(request.user) + timedelta(microseconds=1)).isoformat()


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
