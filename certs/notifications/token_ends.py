"""Notices that an API token ends: to its user, 14 and 3 days before."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from certs.models import ApiToken, OutgoingMail
from certs.notifications.audience import to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import days_left
from db.clock import database_now

STAGES = (14, 3)  # days before the end
MOST_AT_ONCE = 500


def notify_ending() -> int:
    """Notify the users of tokens that end soon. Returns the number of mails.

    A token that lived for less than a stage from the beginning has no mail of that stage, and
    neither has one whose end was brought forward by its own replacement.
    """
    now = database_now()
    soon = ApiToken.objects.filter(revoked_at=None, expires_at__gt=now, expires_at__lte=now + timedelta(days=max(STAGES)))
    soon = soon.filter(user__is_active=True).select_related("user", "team").order_by("expires_at", "pk")
    due = {_key(token, now): token for token in soon[:MOST_AT_ONCE] if _stage(token, now) is not None}
    known = set(OutgoingMail.objects.filter(dedup_key__in=due).values_list("dedup_key", flat=True))
    return sum(_notify(key, token, now) for key, token in due.items() if key not in known)


def _stage(token: ApiToken, now: datetime) -> int | None:
    stage = min((days for days in STAGES if token.expires_at - now <= timedelta(days=days)), default=None)
    if stage is None or token.expires_at - token.created_at <= timedelta(days=stage) or _is_replaced(token):
        return None
    return stage


def _is_replaced(token: ApiToken) -> bool:
    """Whether a token of the same name and team took over from it: there is nothing left to do."""
    later = ApiToken.objects.filter(user=token.user_id, team=token.team_id, name=token.name, pk__gt=token.pk)
    return later.filter(revoked_at=None, expires_at__gt=token.expires_at).exists()


def _key(token: ApiToken, now: datetime) -> str:
    return f"token:ends:{token.pk}:{_stage(token, now)}"


@transaction.atomic
def _notify(key: str, token: ApiToken, now: datetime) -> int:
    return notify(
        Topic.TOKENS,
        key=key,
        audience=to_user(token.user),
        subject=f"API token {token.name} ends {days_left(token.expires_at, now)}",
        template="token_ends",
        context={"token": token, "now": now},
        now=now,
    )
