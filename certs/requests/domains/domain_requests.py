"""A team asks for a domain; a security officer, who is another person, grants or refuses it.

A domain is power over names: what follows is in the audit log twice, as the decision of a person
(`domain:granted`) and as the change of the row (`domain:created`, `domain:changed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Permission, holds
from certs.access.rates import Limit, use
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Domain, DomainRequest, Team, new_public_id
from certs.models.people.permission import teams_seen_by
from certs.notifications.audience import officers_besides, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.approvals.deciders import Right, rights_as_second_person
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.submit import Requester
from certs.x509.dns_names import owning_domain
from certs.x509.domains import normalise_domain
from db.clock import database_now
from policy.persons import lock_account

MOST_WHY = 500
# Each asks several people by mail.
MOST_A_DAY = 20


def ask_for_domain(domain: str, *, why: str, requester: Requester) -> DomainRequest:
    """Ask for a domain for the requester's team. The same again returns the request that waits.

    Effects, in one transaction: the row, `domain:requested`, a mail to the security officers.
    Raises NotPermitted for who is no member of the team, InputRefused for what is no domain, a
    missing reason, or a domain that the team has; CSRRefused for a secret in the reason; TooMany.
    """
    requester.check()
    user: Any = requester.user
    name = normalise_domain(domain, private_suffixes=settings.PKI_PRIVATE_SUFFIXES, field="domain")
    reason = _text(why, field="why", missing="Say why the team needs the domain.")
    refuse_secrets(reason, actor=requester.actor, team=requester.team.slug, field="why", channel=requester.channel)
    owned = owner_of(name)
    if owned is not None and owned.team_id == requester.team.pk:
        raise InputRefused(
            f"{name} belongs to team {requester.team.name} already (domain {owned.name}).",
            field="domain",
            next_step="Request the certificate; no new domain is needed.",
        )
    waiting = DomainRequest.objects.waiting().filter(domain=name, team=requester.team).first()
    if waiting is not None:
        return waiting
    limit = Limit("domain-request", f"user:{user.pk}", MOST_A_DAY, timedelta(days=1))
    use([limit], message="You have asked for many domains today.")
    try:
        return _write(name, reason, requester)
    except IntegrityError:  # another member of the team asked at the same time
        return DomainRequest.objects.waiting().get(domain=name, team=requester.team)


@transaction.atomic
def _write(name: str, why: str, requester: Requester) -> DomainRequest:
    now = database_now()
    row = DomainRequest.objects.create(
        public_id=new_public_id("domain", now),
        domain=name,
        team=requester.team,
        requester=requester.user,
        why=why,
        requested_at=now,
    )
    data = {"domain": name, "team": requester.team.slug}
    record(EventType.DOMAIN_REQUESTED, subject=row.subject, actor=requester.actor, at=now, data=data)
    notify(
        Topic.APPROVAL,
        key=row.subject,
        audience=officers_besides(requester.user),
        subject=f"Grant or refuse: {name} for team {requester.team.name}",
        template="domain_request",
        context={"row": row, "owner": owner_of(name)},
        now=now,
        reply_to=str(getattr(requester.user, "email", "")),
    )
    return row


def owner_of(name: str) -> Domain | None:
    """Return the domain, at or above the name, to which the name belongs now."""
    labels = name.split(".")
    above = [".".join(labels[n:]) for n in range(len(labels))]
    rows = {row.name: row for row in Domain.objects.filter(name__in=above).select_related("team")}
    found = owning_domain(name, rows)
    return rows[found] if found is not None else None


def owners_told(names: Sequence[str], user: Any) -> tuple[tuple[str, Team], ...]:
    """Return names with the team to which each belongs now, as far as the account may know it.

    Whoever sees every team learns all, a member of the owning team that one, and nobody else
    anything (decision 23). At most three queries, and none without names.
    """
    if not names:
        return ()
    seen = teams_seen_by(user)
    above = {name: [name.split(".", cut)[cut] for cut in range(name.count(".") + 1)] for name in names}
    found = Domain.objects.filter(name__in={one for labels in above.values() for one in labels}).select_related("team")
    rows = {row.name: row.team for row in found}
    owners = [(name, rows[owned]) for name in names if (owned := owning_domain(name.removeprefix("*."), rows)) is not None]
    return tuple((name, team) for name, team in owners if seen is None or team.pk in seen)


def rights_to_decide(user: Any, rows: Sequence[DomainRequest]) -> dict[int, Right]:
    """Return by id whether the account may decide each request now: an officer, and another person than who asked."""
    if not rows:
        return {}
    if not holds(user, Permission.ACT_FOR_EVERY_TEAM):
        step = "Ask a member of the security team."
        refusal = NotPermitted("Only security officers decide which team has a domain.", next_step=step)
        return {row.pk: Right(refusal) for row in rows}
    own = "Nobody grants a domain that the same person asked for."
    rights = rights_as_second_person(user, {row.requester_id for row in rows}, own=own)
    return {row.pk: rights[row.requester_id] for row in rows}


def grant_domain(row: DomainRequest, *, user: Any, owner: str, comment: str = "") -> DomainRequest:
    """Give the domain to the team that asked for it.

    `owner`: the slug of the team to which the names belonged on the page that was shown, empty for
    none; another owner now raises Conflict. Effects, in one transaction: the domain, with the
    events and mails of every change of a domain, `domain:granted`, a mail to who asked.
    Raises NotPermitted, Conflict, InputRefused.
    """
    text = _comment(row, user, comment)
    with transaction.atomic():
        locked, alone = _locked(row, user)
        before = owner_of(locked.domain)
        if (before.team.slug if before is not None else "") != owner:
            raise Conflict(
                f"The owner of {locked.domain} has changed since this page was shown.",
                next_step="Open the page again and decide on what it shows.",
            )
        _give(locked, user)
        return _decided(locked, DomainRequest.State.GRANTED, user=user, comment=text, alone=alone)


def refuse_domain(row: DomainRequest, *, user: Any, comment: str) -> DomainRequest:
    """Refuse the domain; the comment is the reason that the requester reads.

    Effects, in one transaction: the row, `domain:refused`, a mail to who asked. Raises
    NotPermitted, Conflict, InputRefused without a reason.
    """
    _text(comment, field="comment", missing="A refusal needs a reason.")
    text = _comment(row, user, comment)
    with transaction.atomic():
        locked, alone = _locked(row, user)
        return _decided(locked, DomainRequest.State.REFUSED, user=user, comment=text, alone=alone)


@transaction.atomic
def withdraw_domain_request(row: DomainRequest, *, requester: Requester) -> DomainRequest:
    """Take the question back, by any member of the team. Effects: the row, `domain:withdrawn`.

    Raises NotPermitted, Conflict.
    """
    requester.check()
    locked = DomainRequest.objects.select_for_update(of=("self",)).select_related("team", "requester").get(pk=row.pk)
    if locked.team_id != requester.team.pk:
        raise NotPermitted("Only members of the team take this back.", next_step=f"Ask team {locked.team.name}.")
    _check_waits(locked)
    _write_state(locked, DomainRequest.State.WITHDRAWN, user=requester.user, comment="", also={})
    return locked


def _comment(row: DomainRequest, user: Any, comment: str) -> str:
    if refusal := rights_to_decide(user, [row])[row.pk].refusal:
        raise refusal
    text = " ".join(comment.split())[:MOST_WHY]
    # before the transaction: the refusal would roll back its own record
    actor = Actor("user", user.get_username())
    refuse_secrets(text, actor=actor, team=row.team.slug, field="comment", channel="portal")
    return text


def _locked(row: DomainRequest, user: Any) -> tuple[DomainRequest, bool]:
    """Lock the request, with all that ask for the same domain: two teams cannot be given it at once.

    No other domain is given away in the meantime, as the one above it whose owner the page showed.
    Returns it, and whether one person decides alone.
    """
    one_change_at_a_time()
    rows = DomainRequest.objects.select_for_update(of=("self",)).select_related("team", "requester")
    same = {one.pk: one for one in rows.filter(Q(pk=row.pk) | Q(domain=row.domain, state="waiting")).order_by("pk")}
    locked = same[row.pk]
    lock_account(user)
    right = rights_to_decide(user, [locked])[locked.pk]
    if right.refusal is not None:
        raise right.refusal
    _check_waits(locked)
    return locked, right.alone


def _check_waits(row: DomainRequest) -> None:
    if row.state != DomainRequest.State.WAITING:
        raise Conflict(f"The request for {row.domain} is {row.state} already.", next_step="Nothing is left to decide there.")


def _give(row: DomainRequest, user: Any) -> None:
    """Write the domain, locked against another change of its owner."""
    domain = Domain.objects.select_for_update().filter(name=row.domain).first() or Domain(name=row.domain)
    domain.team = row.team
    attribute(domain, Actor("user", user.get_username()))
    try:
        with transaction.atomic():
            domain.save()
    except IntegrityError as exc:  # the admin gave it to a team in this moment
        raise Conflict(f"{row.domain} was given to a team just now.", next_step="Open the page again.") from exc
    except ValidationError as exc:
        raise InputRefused(" ".join(exc.messages), field="domain", next_step="Refuse it with that reason.") from exc


def _decided(row: DomainRequest, state: DomainRequest.State, *, user: Any, comment: str, alone: bool) -> DomainRequest:
    _write_state(row, state, user=user, comment=comment, also={"single_officer": True} if alone else {})
    granted = state is DomainRequest.State.GRANTED
    notify(
        Topic.DECISION,
        key=f"{row.subject}:decided",
        audience=to_user(row.requester),
        subject=f"{'Yours' if granted else 'Refused'}: the domain {row.domain}",
        template="domain_decided",
        context={"row": row, "granted": granted, "by": user.get_username()},
        now=database_now(),
    )
    return row


_EVENTS = {
    DomainRequest.State.GRANTED: EventType.DOMAIN_GRANTED,
    DomainRequest.State.REFUSED: EventType.DOMAIN_REFUSED,
    DomainRequest.State.WITHDRAWN: EventType.DOMAIN_WITHDRAWN,
}


def _write_state(row: DomainRequest, state: DomainRequest.State, *, user: Any, comment: str, also: dict[str, Value]) -> None:
    row.state, row.decided_by, row.decided_at, row.comment = state, user, database_now(), comment
    row.save()
    data: dict[str, Value] = {"domain": row.domain, "team": row.team.slug, **also}
    if comment:
        data["comment"] = comment[:200]
    record(_EVENTS[state], subject=row.subject, actor=Actor("user", user.get_username()), at=row.decided_at, data=data)


def _text(text: str, *, field: str, missing: str) -> str:
    found = " ".join(text.split())
    if not found:
        raise InputRefused(missing, field=field, next_step="A sentence is enough; the other side reads it.")
    if len(found) > MOST_WHY:
        raise InputRefused(f"This text has {len(found)} characters, more than {MOST_WHY}.", field=field, next_step="Shorten it.")
    return found
