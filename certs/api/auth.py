"""Bearer tokens at the API's door: looked up by hash, remembered for a few seconds in the process with their team's domains."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer

from audit.clock import database_now
from audit.log import Actor
from certs.errors import NotPermitted
from certs.models import ApiToken, token_sha256
from certs.workflow.issuance import Requester

REMEMBER_SECONDS = 5.0
_known: dict[str, tuple[float, ApiToken]] = {}


class TokenAuth(HttpBearer):
    """Authenticates; what the token may do is checked by each operation with `requester_for`."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        digest = token_sha256(token)
        remembered = _known.get(digest)
        if remembered and remembered[0] > time.monotonic():
            return remembered[1]
        row = ApiToken.objects.select_related("user", "team").filter(sha256=digest, revoked_at__isnull=True).first()
        if row is None or not row.user.is_active or (row.expires_at and row.expires_at <= database_now()):
            _known.pop(digest, None)
            return None
        row.team.remembered_domains = row.team.domain_names()
        if len(_known) > 10_000:
            _known.clear()
        _known[digest] = (time.monotonic() + REMEMBER_SECONDS, row)
        return row


def forget_tokens() -> None:
    """For tests, and after a revocation in this process."""
    _known.clear()


def actor_of(request: Any) -> Actor:
    """The token as it appears in the audit log: its user and its first characters."""
    token: ApiToken = request.auth
    return Actor("token", f"{token.user.get_username()}:{token.prefix}")


def require_scope(token: ApiToken, scope: str) -> None:
    if scope not in token.scopes:
        raise NotPermitted(f"This token lacks the scope {scope}.", next_step="Make a token with that scope in the portal.")


def requester_for(request: Any, scope: str, *, profile: str = "", idempotency_key: str = "") -> Requester:
    """Who the token acts for. Raises NotPermitted when it lacks the scope or may not use the profile."""
    token: ApiToken = request.auth
    require_scope(token, scope)
    if token.profiles and profile and profile not in token.profiles:
        raise NotPermitted(
            f"This token may not ask for the profile {profile}.", field="profile", next_step=f"It may use {', '.join(token.profiles)}."
        )
    return Requester(
        actor=actor_of(request),
        team=token.team,
        door="api",
        user=token.user,
        idempotency_scope=f"token:{token.pk}" if idempotency_key else "",
        idempotency_key=idempotency_key,
    )
