"""API tokens: made, shown once and kept as a hash; which user a token acts for, and when it ends.

A token acts for one member of one team. It is good while it is neither revoked nor expired, its user's account is
active and belongs to the team. Every call reads all of that from the database; no right is cached.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import InternalError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from audit.changes import attribute, digest_of
from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Authority, Permission, is_member
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.language.secret_scan import find_secret
from certs.models import ApiToken, Team, token_sha256
from db.clock import database_now, now_in_sql
from db.sql import fetch_first
from db.tolerance import CLOCK_TOLERANCE
from policy.persons import lock_account

MOST_DAYS = 397  # as long as a certificate: both are replaced together
# What a token may do, in words: the first for a list, the second for the choice.
SCOPE_WORDS = {
    "certificates:issue": (
        "request and renew",
        "Request and renew certificates of the team, and change what is written about them.",
    ),
    "certificates:read": ("read", "Read and download certificates of the team, and follow its requests."),
    "certificates:revoke": (
        "revoke",
        "Revoke certificates of the team. Programs that use them fail then, so give it to few.",
    ),
}
SCOPES = tuple(SCOPE_WORDS)
LONGEST_OVERLAP = timedelta(days=30)  # of an old token and the one that replaces it
USED_TO_WITHIN = timedelta(minutes=10)  # `last_used_at` is written no more often
SYSTEM = Actor("system", "access")
LEFT = "Its user left the team or was deactivated."
PASSWORD = "The password of its user was changed."  # noqa: S105 - a reason

# One row by a unique index and two by primary keys, read at every call: the ORM would cost three times the query.
_GOOD = (
    "SELECT t.id FROM certs_apitoken t JOIN auth_user u ON u.id = t.user_id WHERE t.sha256 = %s "
    "AND t.revoked_at IS NULL AND t.expires_at > {now} AND u.is_active AND (u.is_superuser OR EXISTS "
    "(SELECT 1 FROM certs_team_members m WHERE m.team_id = t.team_id AND m.user_id = t.user_id))"
)


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

    `expires_at` defaults to the longest life. `name` has passed `refuse_secrets`, which reports a
    secret that a person typed by mistake; here it is only not kept.
    Effects: the row and `token:created`, in one transaction. Raises InputRefused for an unknown
    scope, a longer life, a name that holds a secret or that another good token of the user and team
    has, NotPermitted for a user outside the team.
    """
    with transaction.atomic():
        lock_account(user)  # of two forms at once the second one finds the token of the first
        _check_name_is_free(user, team, name)
        return _insert(user=user, team=team, name=name, scopes=scopes, profiles=profiles, expires_at=expires_at, actor=actor)


def _check_name_is_free(user: Any, team: Team, name: str) -> None:
    """Raise InputRefused for a name by which the user could not tell two tokens apart."""
    good = ApiToken.objects.filter(user=user.pk, team=team, revoked_at__isnull=True, expires_at__gt=database_now())
    if good.filter(name__iexact=name).exists():
        raise InputRefused(
            f"There is a token of this name for team {team.name} already.",
            field="name",
            next_step="Choose another name. To give the program a new token, replace the one that it has.",
        )


def _insert(
    *,
    user: Any,
    team: Team,
    name: str,
    scopes: Sequence[str],
    profiles: Sequence[str],
    expires_at: datetime | None,
    actor: Actor,
) -> tuple[ApiToken, str]:
    """Do what `create_token` does, but for the name."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InputRefused(
            f"Unknown scope {', '.join(unknown) or '(none)'}.", field="scopes", next_step=f"Choose from {', '.join(SCOPES)}."
        )
    if not is_member(user, team):
        raise NotPermitted(f"{user} is not a member of team {team.slug}.", field="team")
    if find_secret(name):
        raise InputRefused(
            "The name of the token contains a secret; nothing of it was kept.",
            field="name",
            next_step="Name the token after what will use it.",
        )
    secret = f"pkip_{secrets.token_urlsafe(32)}"
    now = database_now()
    latest = now + timedelta(days=MOST_DAYS)
    # The caller added the days to a clock of its own.
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
        token = ApiToken.objects.select_related("user", "team").get(pk=token.pk)  # as it is stored: the digest is of that
        data = {
            "state_sha256": digest_of(token),
            "name": name,
            "prefix": token.prefix,
            "user": user.get_username(),
            "team": team.slug,
            "scopes": list(scopes),
            "profiles": list(profiles),
        }
        record(EventType.TOKEN_CREATED, subject=f"token:{token.pk}", actor=actor, at=now, data=data)
    return token, secret


@transaction.atomic
def rotate_token(token: ApiToken, *, overlap: timedelta, authority: Authority) -> tuple[ApiToken, str]:
    """Make a token that takes over from one: same name, team, scopes, profiles and length of life.

    The old one works for `overlap` longer, or until its own end, so that the program that uses it
    can be given the new one in between. Returns the new row and its secret.
    Effects: the new row and `token:created`; the old row's end and `token:changed`, or
    `token:revoked` without an overlap. Raises NotFound for a token of another person, Conflict for
    one that has ended, InputRefused for an overlap that is too long.
    """
    if authority.user is None or authority.user.pk != token.user_id:
        raise NotFound("There is no such token.")
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        days = LONGEST_OVERLAP.days
        raise InputRefused(f"The old token works for {days} days at most.", field="overlap", next_step="Choose from the list.")
    now = database_now()
    old = ApiToken.objects.select_for_update(of=("self",)).select_related("user", "team").get(pk=token.pk)
    if old.revoked_at is not None or old.expires_at <= now:
        raise Conflict(f"The token {old.name} has ended already.", next_step="Make a new token.")
    life = min(old.expires_at - old.created_at, timedelta(days=MOST_DAYS))
    new, secret = _insert(
        user=authority.user,
        team=old.team,
        name=old.name,
        scopes=old.scopes,
        profiles=old.profiles,
        expires_at=now + life,
        actor=authority.actor,
    )
    if overlap:
        old.expires_at = min(old.expires_at, now + overlap)
        attribute(old, authority.actor)
        old.save(update_fields=["expires_at"])
    else:
        because = f"{authority.actor.name} replaced it by {new.prefix}…"
        end_tokens(ApiToken.objects.filter(pk=old.pk), because=because, actor=authority.actor)
    return new, secret


def note_use(token: ApiToken) -> None:
    """Write down that a token is used, at most once in USED_TO_WITHIN.

    A database that takes no writes refuses it, and the call goes on: it is about the token's owner
    knowing, not about rights.
    """
    now = database_now()
    if token.last_used_at is not None and now - token.last_used_at < USED_TO_WITHIN:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_TO_WITHIN)
    with suppress(InternalError):  # read_only_sql_transaction
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    token.last_used_at = now


def good_token(secret: str) -> int | None:
    """Return the id of the token if it is good now, else None.

    A token whose user has left is ended here (one update, one audit event) in case nothing else has seen the user leave:
    it must not be good again when the user comes back.
    """
    digest = token_sha256(secret)
    rows = fetch_first(_GOOD.format(now=now_in_sql()), [digest])
    if rows:
        return int(rows[0][0])
    end_orphaned_tokens(Q(sha256=digest))
    return None


def revoke_token(token: ApiToken, *, authority: Authority) -> None:
    """End a token. From the commit on no call is authenticated with it.

    Raises NotFound unless it is the actor's own, or the actor may revoke every user's tokens.
    """
    own = authority.user is not None and authority.user.pk == token.user_id
    if not own and not authority.holds(Permission.REVOKE_TOKENS):
        raise NotFound("There is no such token.")
    because = f"{authority.actor.name} revoked it."
    end_tokens(ApiToken.objects.filter(pk=token.pk), because=because, actor=authority.actor)


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
        attribute(row, actor)
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
