"""A person leaves a team, or loses all access: everything that this does, shown first and done in one transaction.

What is shown is what is done: the facts are read again behind the lock and compared. A request that
is under way is cancelled, because nobody would answer for its certificate; certificates get an owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum

from audit.changes import attribute
from audit.events import EventType, Value
from audit.log import record
from certs.access.api_tokens import end_tokens
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority, Permission, held_by, holders_of
from certs.access.sessions import sessions_of
from certs.enums import RequestState
from certs.errors import InputRefused, NotPermitted
from certs.inventory import active
from certs.models import (
    ApiToken,
    BulkOrder,
    Certificate,
    CertificateRequest,
    Deputy,
    DomainRequest,
    Invitation,
    JoinRequest,
    RequestDraft,
    SignedInSession,
    Team,
    TrustSubscription,
    Webhook,
)
from certs.notifications.webhooks import remove_webhook
from certs.people import preview
from certs.people.joining import close_requests_of
from certs.people.members import check_none_died_out, rights_held
from certs.requests.approvals.approval import cancel
from certs.requests.approvals.deputies import deputies_of, end_deputies_of
from certs.requests.owner_change import check_may_own, hand_over
from certs.requests.states import UNSIGNED
from db.clock import database_now

NAMED = 10
_TEAMS_NAMED = 3  # teams of whose certificates some are named; of more, none: only their numbers matter
_UNSUBMITTED = (BulkOrder.State.JUDGING, BulkOrder.State.DRAFT)
_Possessed = tuple[int, int, int]
_UNDER_WAY = (BulkOrder.State.RUNNING, BulkOrder.State.PAUSED)


@dataclass(frozen=True, slots=True)
class Owned:
    """Certificates in use of one team whose owner the person is."""

    team: Team
    count: int
    sum_of_ids: int
    names: tuple[str, ...]  # of the first, in the first teams

    @property
    def fact(self) -> str:
        """What tells these certificates from others, computed in the database: a person may own 100,000."""
        return f"{self.count:,} of {self.team.name} (sum {self.sum_of_ids})"

    @property
    def field(self) -> str:
        """The name of the choice of their next owner in a form."""
        return f"owner-{self.team.slug}"


@dataclass(frozen=True, slots=True)
class Departure:
    """What it does when a person leaves `teams`; with `account`, when the person loses all access."""

    person: Any
    teams: tuple[Team, ...]
    led: tuple[Team, ...]
    tokens: tuple[ApiToken, ...]
    owned: tuple[Owned, ...]
    requests: tuple[CertificateRequest, ...]
    orders: tuple[BulkOrder, ...]
    drafts: int
    domain_requests: int
    webhooks: tuple[Webhook, ...]
    # With the account only:
    account: bool = False
    sessions: tuple[SignedInSession, ...] = ()
    roles: tuple[str, ...] = ()
    invitations: tuple[Invitation, ...] = ()
    joins: tuple[JoinRequest, ...] = ()
    deputies: tuple[Deputy, ...] = ()
    dies_out: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What the sealed preview is about."""
        what = "account" if self.account else ",".join(str(team.pk) for team in self.teams)
        return f"departure:{self.person.pk}:{what}"

    @property
    def facts(self) -> dict[str, list[str]]:
        """What must be the same when it is done as when it was shown."""
        return {
            "teams": [f"{team.name}{' (lead)' if team in self.led else ''}" for team in self.teams],
            "roles": list(self.roles),
            "sessions": [f"{row.browser} since {row.began_at:%Y-%m-%d %H:%M:%S}" for row in self.sessions],
            "tokens": [f"{row.name} ({row.prefix}…)" for row in self.tokens],
            "certificates": [one.fact for one in self.owned],
            "requests": [row.public_id for row in self.requests],
            "bulk orders": [row.public_id for row in self.orders],
            "webhooks": [f"{row.name} of {row.team.slug}" for row in self.webhooks],
            "invitations": [row.address for row in self.invitations],
            "requests to join": [row.team.name for row in self.joins],
            "deputies": [f"{row.deputy} for {row.approver}" for row in self.deputies],
        }

    @property
    def sealed(self) -> str:
        """What the confirmation carries."""
        return preview.seal(self.subject, self.facts)


def plan_removal(person: Any, *, authority: Authority) -> Departure:
    """Return what it does to remove all access of a person. Raises NotPermitted."""
    _check_may_remove(person, authority)
    return _with_account(person)


def plan_leaving(person: Any, team: Team, *, authority: Authority) -> Departure:
    """Return what it does when a person leaves a team: by a lead, an officer or the person. Raises NotPermitted."""
    _check_may_leave(person, team, authority)
    return _of_teams(person, (team,), now=database_now())


def remove_access(
    person: Any,
    *,
    shown: str,
    owners: Mapping[str, str],
    remove_webhooks: bool,
    authority: Authority,
) -> Departure:
    """Remove all access of a person, exactly as it was shown.

    `owners`: by `Owned.field`, the account name of the next owner; empty for the team.
    Effects, in one transaction: sessions and API tokens end, requests are cancelled, teams and roles
    are left, certificates get their owners, the account is switched off; an event for each, the
    event `user:access_removed` for all of it, and mails to the teams and owners.
    Raises NotPermitted, InputRefused, `preview.ChangedSince`, Conflict for the last who holds a right.
    """
    with transaction.atomic():
        one_change_at_a_time()
        _check_may_remove(person, authority)
        person = _lock(person)
        found = _with_account(person)
        preview.check_shown(shown, found.subject, found.facts)
        before, now = rights_held(), database_now()
        _leave(found, owners, remove_webhooks=remove_webhooks, authority=authority, now=now)
        _end_account(found, authority, now)
        check_none_died_out(before, person)
    return found


def leave_team(
    person: Any,
    team: Team,
    *,
    shown: str,
    owners: Mapping[str, str],
    remove_webhooks: bool,
    authority: Authority,
) -> Departure:
    """Take a person out of a team, exactly as it was shown. Effects and errors as `remove_access`, without the account."""
    with transaction.atomic():
        one_change_at_a_time()
        _check_may_leave(person, team, authority)
        person = _lock(person)
        found = _of_teams(person, (team,), now=database_now())
        preview.check_shown(shown, found.subject, found.facts)
        _leave(found, owners, remove_webhooks=remove_webhooks, authority=authority, now=database_now())
    return found


def _check_may_remove(person: Any, authority: Authority) -> None:
    authority.check_manages_people()
    if authority.user is not None and authority.user.pk == person.pk:
        raise NotPermitted("Nobody removes access of their own.", next_step="Ask another officer or administrator.")
    authority.check_may_change_account(person)


def _check_may_leave(person: Any, team: Team, authority: Authority) -> None:
    own = authority.user is not None and authority.user.pk == person.pk and authority.belongs_to(team)
    if not own:
        authority.check_may_manage(team)


def _of_teams(person: Any, teams: tuple[Team, ...], *, now: datetime, possessed: Sequence[_Possessed] | None = None) -> Departure:
    """What hangs on a person's membership in these teams. `possessed`: what the person owns, where it is known."""
    requests = CertificateRequest.objects.filter(_is_unsigned(), requester=person, team__in=teams, bulk_item=None)
    orders = BulkOrder.objects.filter(requester=person, team__in=teams, state__in=(*_UNDER_WAY, *_UNSUBMITTED))
    tokens = ApiToken.objects.filter(user=person, team__in=teams, revoked_at=None, expires_at__gt=now)
    hooks = Webhook.objects.filter(created_by=person, team__in=teams, removed_at=None).select_related("team")
    drafts = RequestDraft.objects.filter(owner=person, team__in=teams, request=None, expires_at__gt=now)
    return Departure(
        person=person,
        teams=teams,
        led=tuple(Team.objects.filter(leads=person, pk__in=[team.pk for team in teams])),
        tokens=tuple(tokens.select_related("team").order_by("pk")),
        owned=_owned(person, teams, _possessed(owned_by(person, teams, now)) if possessed is None else possessed, now),
        requests=tuple(requests.order_by("pk")),
        orders=tuple(orders.order_by("pk")),
        drafts=drafts.count(),
        domain_requests=DomainRequest.objects.waiting().filter(requester=person, team__in=teams).count(),
        webhooks=tuple(hooks.order_by("pk")),
    )


def _lock(person: Any) -> Any:
    """Return the account, locked: nothing can refer to it anew. Its open requests get no certificate in between."""
    list(CertificateRequest.objects.select_for_update(of=("self",)).filter(_is_unsigned(), requester=person).order_by("pk").only("pk"))
    return get_user_model().objects.select_for_update().get(pk=person.pk)


def _is_unsigned() -> Q:
    """Return the condition on requests that they are under way, in the two parts of which each has an index."""
    waiting = RequestState.AWAITING_APPROVAL
    return Q(state__in=[state for state in UNSIGNED if state != waiting]) | Q(state=waiting)


def _with_account(person: Any) -> Departure:
    """The same for every team of the person, and what hangs on the account itself."""
    # Also teams that the person left: tokens, requests and certificates may have stayed.
    now = database_now()
    member = set(Team.objects.filter(members=person).values_list("pk", flat=True))
    possessed = _possessed(active(Certificate.objects.filter(owner=person), now=now))
    teams = Team.objects.filter(pk__in=member | {team for team, _, _ in possessed}).order_by("name")
    found = _of_teams(person, tuple(teams), now=now, possessed=possessed)
    return Departure(
        person=person,
        teams=tuple(team for team in found.teams if team.pk in member),
        led=found.led,
        tokens=found.tokens,
        owned=found.owned,
        requests=found.requests,
        orders=found.orders,
        drafts=found.drafts,
        domain_requests=found.domain_requests,
        webhooks=found.webhooks,
        account=True,
        sessions=tuple(sessions_of(person)),
        roles=tuple(_roles(person)),
        invitations=tuple(Invitation.objects.filter(invited_by=person, accepted_at=None, withdrawn_at=None, expires_at__gt=now)),
        joins=tuple(JoinRequest.objects.filter(person=person, decided_at=None).select_related("team")),
        deputies=tuple(deputies_of(person)),
        dies_out=tuple(_dying_out(person)),
    )


def _roles(person: Any) -> list[str]:
    found = list(Group.objects.filter(user=person).order_by("name").values_list("name", flat=True))
    found += ["administrator (superuser)"] if person.is_superuser else []
    found += ["may open the administration"] if person.is_staff and not person.is_superuser else []
    found += [f"permission {one.name}" for one in person.user_permissions.order_by("pk")]
    return found


def _dying_out(person: Any) -> list[str]:
    """What nobody could do any more: allowed, and said."""
    words = {Permission.DECIDE_REQUESTS: "approve requests", Permission.PUBLISH_POLICIES: "publish policies", Permission.OPERATE: "operate"}
    held = held_by(person)
    return [text for one, text in words.items() if one in held and not holders_of(one).exclude(pk=person.pk).exists()]


def _possessed(rows: QuerySet[Certificate]) -> list[_Possessed]:
    """Return of each team of these certificates its id, their number and the sum of their ids, in one pass."""
    return list(rows.order_by().values_list("team").annotate(Count("pk"), Sum("pk")))


def _owned(person: Any, teams: tuple[Team, ...], possessed: Sequence[_Possessed], now: datetime) -> tuple[Owned, ...]:
    # A person may own certificates of a hundred teams. Of a hundred columns those that a name comes from.
    columns = ("cert_id", "common_name", "request__dns_names", "request__ip_addresses")
    rows = active(Certificate.objects.filter(owner=person), now=now).order_by("not_after", "pk").select_related("request").only(*columns)
    named = {team.pk: team for team in teams}
    found = sorted(((named[pk], count, total) for pk, count, total in possessed), key=lambda one: one[0].name)
    few = len(found) <= _TEAMS_NAMED
    return tuple(
        Owned(team, count, total, tuple(row.first_name for row in rows.filter(team=team)[:NAMED]) if few else ())
        for team, count, total in found
    )


def owned_by(person: Any, teams: Collection[Team], now: datetime) -> QuerySet[Certificate]:
    """Return the certificates in use of these teams whose owner the person is, those that end first first."""
    return active(Certificate.objects.filter(owner=person, team__in=teams), now=now).order_by("not_after", "pk")


def _leave(
    found: Departure,
    owners: Mapping[str, str],
    *,
    remove_webhooks: bool,
    authority: Authority,
    now: datetime,
) -> None:
    person, actor = found.person, authority.actor
    # 1. Owners first, while everybody who may be one is a member.
    for one in found.owned:
        ids = list(owned_by(person, [one.team], now).values_list("pk", flat=True))
        hand_over(ids, before=person, owner=_next_owner(one, owners, person), actor=actor, now=now)
    # 2. Tokens end for this reason, not for the membership that they lose in step 4.
    pks = [token.pk for token in found.tokens]
    end_tokens(ApiToken.objects.filter(pk__in=pks), because=f"{actor.name} took {person} out of the team.", actor=actor)
    # 3. A consequence, so asked of nobody: whoever may remove the person need not be of each team.
    consequence = Authority(actor)
    for request in found.requests:
        cancel(request, authority=consequence)
    if remove_webhooks:
        for hook in found.webhooks:
            remove_webhook(hook, authority=consequence)
    # 4. The membership; a lead is a lead no more by that.
    for team in found.teams:
        attribute(team, actor)
        team.members.remove(person)


def _next_owner(one: Owned, owners: Mapping[str, str], person: Any) -> Any:
    name = owners.get(one.field, "")
    if not name:
        return None
    account = get_user_model().objects.filter(username=name, is_active=True).first()
    if account is None or account.pk == person.pk:
        raise InputRefused(
            f"{name[:150]} cannot own the certificates of {one.team.name}.",
            field=one.field,
            next_step="Choose one of the list.",
        )
    check_may_own(account, [one.team])
    return account


def _end_account(found: Departure, authority: Authority, now: datetime) -> None:
    person, actor = found.person, authority.actor
    # Tokens of teams that the person has left already have ended; this is for whatever passed the rules.
    end_tokens(ApiToken.objects.filter(user=person), because=f"{actor.name} removed the access of {person}.", actor=actor)
    attribute(person, actor)
    person.groups.remove(*person.groups.all())
    person.user_permissions.remove(*person.user_permissions.all())
    person.is_active = person.is_staff = person.is_superuser = False
    person.save(update_fields=["is_active", "is_staff", "is_superuser"])  # ends every session, see certs.access.sessions
    keys = list(SignedInSession.objects.filter(user=person).values_list("key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    SignedInSession.objects.filter(user=person).delete()
    for invitation in found.invitations:
        invitation.withdrawn_at = now
        attribute(invitation, actor)
        invitation.save(update_fields=["withdrawn_at"])
    close_requests_of(person, authority=authority)
    end_deputies_of(person, actor=actor, now=now)
    TrustSubscription.objects.filter(user=person).delete()
    ended = [f"{kind}: {len(items)}" for kind, items in found.facts.items() if items]
    data: dict[str, Value] = {"user": person.get_username(), "ended": ended}
    record(EventType.USER_ACCESS_REMOVED, subject=f"auth.user:{person.pk}", actor=actor, at=now, data=data)
