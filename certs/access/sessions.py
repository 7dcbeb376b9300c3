"""Sessions end with the account: a user who is deactivated and activated again signs in anew."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_save
from django.http import HttpRequest

from certs.models import SessionsEnded
from db.clock import database_now

SIGNED_IN_AT = "signed_in_at"  # moved when the other sessions end
SHOWED_AT = "showed_at"  # when the person showed a password or another factor
RECENT = timedelta(minutes=5)


def connect_signals() -> None:
    """Connect the receivers. For `AppConfig.ready()`."""
    user_logged_in.connect(_note_sign_in, dispatch_uid="certs.access.sessions")
    post_save.connect(_end_with_the_account, sender=get_user_model(), dispatch_uid="certs.access.sessions")


def end_sessions(user: Any) -> None:
    """End every session of the user that has begun until now."""
    SessionsEnded.objects.update_or_create(user=user, defaults={"at": database_now()})


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


def signed_in_recently(request: HttpRequest) -> bool:
    """Return whether the session began within RECENT, so that nobody is asked twice in a row."""
    showed = request.session.get(SHOWED_AT, "")
    return bool(showed) and database_now() - datetime.fromisoformat(showed) < RECENT


def _end_with_the_account(instance: Any, *, raw: bool = False, **_signal: Any) -> None:
    if not raw and not instance.is_active:
        end_sessions(instance)
