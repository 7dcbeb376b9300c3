"""API tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.access.api_tokens import MOST_DAYS, end_tokens
from certs.access.membership import is_member
from certs.access.permissions import Authority, Permission
from certs.errors import InputRefused, NotFound, NotPermitted
from certs.models import ApiToken, Team, token_sha256
from certs.requests.refused_secrets import refuse_secrets

CLOCK_TOLERANCE = timedelta(minutes=5)  # the caller added the days to a clock of its own
SCOPES = ("certificates:issue", "certificates:read", "certificates:revoke")


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
    """Make a token for one user and team. Returns the row and the secret, which exists nowhere else.

    `expires_at` defaults to the longest life. Raises InputRefused for a scope that does not exist or a longer life,
    CSRRefused for a name that holds a secret, NotPermitted when the user does not belong to the team.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InputRefused(
            f"Unknown scope {', '.join(unknown) or '(none)'}.", field="scopes", next_step=f"Choose from {', '.join(SCOPES)}."
        )
    if not is_member(user, team):
        raise NotPermitted(f"{user} is not a member of team {team.slug}.", field="team")
    refuse_secrets(name, actor=actor, team=team.slug, field="name")
    secret = f"pkip_{secrets.token_urlsafe(32)}"
    now = database_now()
    latest = now + timedelta(days=MOST_DAYS)
    if expires_at is not None and not now < expires_at <= latest + CLOCK_TOLERANCE:
        raise InputRefused(f"A token lives 1 to {MOST_DAYS} days.", field="days", next_step="For example 90.")
    with transaction.atomic():
        token = ApiToken.objects.create(
            name=name,
            prefix=secret[:10],
            sha256=token_sha256(secret),
            user=user,
            team=team,
            scopes=list(scopes),
            profiles=list(profiles),
            created_at=now,
            expires_at=expires_at or latest,
        )
        data = {
            "name": name,
            "prefix": token.prefix,
            "user": user.get_username(),
            "team": team.slug,
            "scopes": list(scopes),
            "profiles": list(profiles),
        }
        record(EventType.TOKEN_CREATED, subject=f"token:{token.pk}", actor=actor, at=now, data=data)
    return token, secret


def revoke_token(token: ApiToken, *, authority: Authority) -> None:
    """End a token. From the commit on no call is authenticated with it.

    Raises NotFound unless it is the actor's own, or the actor may revoke every user's tokens.
    """
    own = authority.user is not None and authority.user.pk == token.user_id
    if not own and not authority.holds(Permission.REVOKE_TOKENS):
        raise NotFound("There is no such token.")
    because = f"{authority.actor.name} revoked it."
    end_tokens(ApiToken.objects.filter(pk=token.pk), because=because, actor=authority.actor)
