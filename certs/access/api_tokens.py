"""API tokens as credentials: who a bearer token stands for now, and when it ends.

A token stands for one member of one team. It is good while it is neither revoked nor expired, its user's account is
active and belongs to the team. All of that is asked of the database at every call; nothing about rights is remembered.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from audit.batches import ask
from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from audit.vendor import dialect
from certs.models import ApiToken, Team, token_sha256

MOST_DAYS = 397  # as long as a certificate: whoever renews one renews the other
SYSTEM = Actor("system", "access")
LEFT = "Its user left the team or was deactivated."
PASSWORD = "The password of its user was changed."  # noqa: S105 - a reason

_CLOCK = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"}
# One row by a unique index, and two by primary keys: asked at every call, and the ORM costs three times the answer.
_GOOD = (
    "SELECT t.id FROM certs_apitoken t JOIN auth_user u ON u.id = t.user_id WHERE t.sha256 = %s "
    "AND t.revoked_at IS NULL AND t.expires_at > {now} AND u.is_active AND (u.is_superuser OR EXISTS "
    "(SELECT 1 FROM certs_team_members m WHERE m.team_id = t.team_id AND m.user_id = t.user_id))"
)


def good_token(secret: str) -> int | None:
    """Return the id of the token if it is good now, else None.

    A token whose user has left is ended here (one update, one audit event) in case nothing else has seen the user leave:
    it must not be good again when the user comes back.
    """
    digest = token_sha256(secret)
    rows = ask((_GOOD.format(now=_CLOCK[dialect()]), [digest]))[0]
    if rows:
        return int(rows[0][0])
    end_orphaned_tokens(Q(sha256=digest))
    return None


def end_orphaned_tokens(among: Q | None = None) -> int:
    """End the tokens, among those of a condition or all, whose user's account is inactive or has left the team.

    Returns how many. Writes the rows and one `token:revoked` event each, in one transaction.
    """
    member = Team.members.through.objects.filter(team=OuterRef("team"), user=OuterRef("user"))
    stays = Q(user__is_active=True) & (Q(user__is_superuser=True) | Exists(member))
    return end_tokens(ApiToken.objects.filter(among or Q()).exclude(stays), because=LEFT, actor=SYSTEM)


@transaction.atomic
def end_tokens(tokens: QuerySet[ApiToken], *, because: str, actor: Actor) -> int:
    """Revoke the living ones of these tokens. Returns how many.

    Writes the rows and one `token:revoked` event each. `because` is shown to the user beside the token.
    """
    ids = list(tokens.filter(revoked_at__isnull=True).values_list("pk", flat=True))
    if not ids:
        return 0
    now = database_now()
    living = ApiToken.objects.select_for_update().filter(pk__in=ids, revoked_at__isnull=True).order_by("pk")
    rows = list(living)
    for row in rows:
        row.revoked_at, row.ended_because = now, because
        row.save(update_fields=["revoked_at", "ended_because"])
        data = {"prefix": row.prefix, "because": because}
        record(EventType.TOKEN_REVOKED, subject=f"token:{row.pk}", actor=actor, at=now, data=data)
    return len(rows)


def tokens_replaced_by(token: ApiToken) -> QuerySet[ApiToken]:
    """Return the ended tokens of the same user and team: the machine that has this one used them before.

    Tokens that are still good belong to other machines of the same user.
    """
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=database_now())
    return ApiToken.objects.filter(ended, user=token.user_id, team=token.team_id).exclude(pk=token.pk)
