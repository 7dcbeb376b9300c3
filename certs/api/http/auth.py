"""Bearer tokens at the API: authenticated by one query at every call; what a token is called is remembered for seconds."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer

from audit.log import Actor
from certs.access.api_tokens import good_token, note_use, tokens_replaced_by
from certs.access.permissions import Authority
from certs.errors import NotPermitted
from certs.models import ApiToken
from certs.requests.submit import Requester

REMEMBER_SECONDS = 5.0
_MOST_KNOWN = 10_000
_known: dict[tuple[int, int], tuple[float, ApiToken]] = {}


class TokenAuth(HttpBearer):
    """Authenticates; what the token may do is checked by each operation with `requester_for`."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        pk = good_token(token)
        return None if pk is None else _row(pk, token)


def _row(pk: int, token: str) -> ApiToken:
    """The token's row with its user's and team's names, which may be some seconds old. Never a right."""
    key = (pk, hash(token))  # the number alone may be another token's after a restore
    remembered = _known.get(key)
    if remembered and remembered[0] > time.monotonic():
        return remembered[1]
    row = ApiToken.objects.select_related("user", "team").get(pk=pk)
    row.team.remembered_domains = row.team.domain_names()
    note_use(row)
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    _known[key] = (time.monotonic() + REMEMBER_SECONDS, row)
    return row


def actor_of(request: Any) -> Actor:
    """The token as it appears in the audit log: its user and its first characters."""
    token: ApiToken = request.auth
    return Actor("token", f"{token.user.get_username()}:{token.prefix}")


def authority_of(request: Any) -> Authority:
    """The token's user within the token's team."""
    token: ApiToken = request.auth
    return Authority(actor_of(request), token.user, token.team, tuple(token.profiles))


def idempotency_scope(token: ApiToken) -> str:
    """Whose idempotency keys the token's are: its own."""
    return f"token:{token.pk}"


def scopes_of_replaced_tokens(token: ApiToken) -> list[str]:
    """Return the idempotency scopes of the ended tokens that this one stands in for."""
    return [idempotency_scope(old) for old in tokens_replaced_by(token)]


def require_scope(token: ApiToken, scope: str) -> None:
    if scope not in token.scopes:
        raise NotPermitted(f"This token lacks the scope {scope}.", next_step="Make a token with that scope in the portal.")


def requester_for(request: Any, scope: str, *, idempotency_key: str = "") -> Requester:
    """Who the token acts for. Raises NotPermitted when it lacks the scope."""
    token: ApiToken = request.auth
    require_scope(token, scope)
    return Requester(
        actor=actor_of(request),
        team=token.team,
        channel="api",
        user=token.user,
        idempotency_scope=idempotency_scope(token) if idempotency_key else "",
        profiles=tuple(token.profiles),
        idempotency_key=idempotency_key,
    )
