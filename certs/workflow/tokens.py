"""API tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.access.membership import is_member
from certs.errors import InputRefused, NotPermitted
from certs.models import ApiToken, Team, token_sha256

SCOPES = ("certificates:issue", "certificates:read", "certificates:revoke")


@transaction.atomic
def create_token(
    *,
    user: Any,
    team: Team,
    name: str,
    scopes: Sequence[str],
    profiles: Sequence[str] = (),
    expires_at: datetime | None = None,
    actor: Actor,
) -> tuple[ApiToken, str]:
    """A token for one user and team. Answers the row and the secret, which exists nowhere else.

    Raises InputRefused for a scope that does not exist, NotPermitted when the user is not of the team.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InputRefused(
            f"Unknown scope {', '.join(unknown) or '(none)'}.", field="scopes", next_step=f"Choose from {', '.join(SCOPES)}."
        )
    if not is_member(user, team):
        raise NotPermitted(f"{user} is not a member of team {team.slug}.", field="team")
    secret = f"pkip_{secrets.token_urlsafe(32)}"
    now = database_now()
    token = ApiToken.objects.create(
        name=name,
        prefix=secret[:10],
        sha256=token_sha256(secret),
        user=user,
        team=team,
        scopes=list(scopes),
        profiles=list(profiles),
        created_at=now,
        expires_at=expires_at,
    )
    data = {"name": name, "prefix": token.prefix, "user": user.get_username(), "team": team.slug, "scopes": list(scopes)}
    record(EventType.TOKEN_CREATED, subject=f"token:{token.pk}", actor=actor, at=now, data=data)
    return token, secret


@transaction.atomic
def revoke_token(token: ApiToken, *, actor: Actor) -> None:
    """From now on the token opens nothing (at most a few seconds later where a process has it cached)."""
    now = database_now()
    if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=now):
        record(EventType.TOKEN_REVOKED, subject=f"token:{token.pk}", actor=actor, at=now, data={"prefix": token.prefix})
