"""Requests to join a team: a person asks, and the team's leads or an officer answer."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q

from audit.changes import attribute
from audit.events import EventType, recordable
from audit.log import record
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority, Permission, holders_of, is_member, leads_of
from certs.access.rates import Limit, use
from certs.errors import Conflict, InputRefused, NotFound
from certs.models import JoinRequest, Team
from certs.notifications.audience import Audience, operators, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.exposure.refused_secrets import refuse_secrets
from db.clock import database_now

DAY = timedelta(days=1)
MOST_A_DAY = 10  # requests of one person
MOST_TEXT = 300


def teams_to_ask(user: Any) -> list[Team]:
    """Return the teams that the person is not in, by name."""
    return list(Team.objects.exclude(members=user.pk).order_by("name"))


def open_requests_for(authority: Authority) -> Any:
    """Return the open requests that the actor may answer, the oldest first: for the inbox and the team's page."""
    rows = JoinRequest.objects.open()
    if authority.manages_people:
        return rows.exclude(person=authority.user)
    if authority.team is not None or authority.user is None:
        return rows.none()
    return rows.filter(team__leads=authority.user, team__members=authority.user).exclude(person=authority.user)


def waiting_for(user: Any, held: AbstractSet[Permission]) -> Any:
    """Return the open requests that wait for this person, the oldest first: of teams that the person leads.

    For those who manage people also of teams that nobody leads. They may answer the others too.
    `held`: the permissions that the person holds, read once for the page.
    """
    rows = JoinRequest.objects.open().exclude(person=user)
    leads_it = Team.leads.through.objects.filter(team=OuterRef("team"), user=user.pk)
    belongs = Team.members.through.objects.filter(team=OuterRef("team"), user=user.pk)
    mine = Q(Exists(leads_it)) & Q(Exists(belongs))
    if Permission.MANAGE_PEOPLE in held:
        led = Team.leads.through.objects.filter(team=OuterRef("team"), user__is_active=True)
        mine |= ~Q(Exists(led))
    return rows.filter(mine)


def own_requests(user: Any) -> Any:
    """Return the person's own open requests, the oldest first."""
    return JoinRequest.objects.open().filter(person=user)


def ask_to_join(slug: str, *, why: str, authority: Authority) -> JoinRequest:
    """Ask the team of that slug to take the actor in.

    Effects: the row, `join:requested` and a mail to those who may answer, in one transaction.
    Raises InputRefused, Conflict for a member or a second open request, TooMany.
    """
    user, team = authority.user, Team.objects.filter(slug=slug).first()
    if team is None:
        raise InputRefused("Choose a team.", field="team", next_step="Choose one of the list.")
    text = " ".join(why.split())
    refuse_secrets(text, actor=authority.actor, team=team.slug, field="why")
    if not text or len(text) > MOST_TEXT or not text.isprintable():
        raise InputRefused(
            f"Say in 1 to {MOST_TEXT} characters why you belong to {team.name}.",
            field="why",
            next_step="For example: I run the servers of the web shop.",
        )
    if is_member(user, team):
        raise Conflict(f"You are in team {team.name} already.", field="team")
    now = database_now()
    try:
        with transaction.atomic():
            use([Limit("join", f"user:{user.pk}", MOST_A_DAY, DAY)], message="You have asked many teams today.")
            row = JoinRequest.objects.create(person=user, team=team, why=text, asked_at=now)
            data = {"person": user.get_username(), "team": team.slug, "why": recordable(text, most=MOST_TEXT)}
            record(EventType.JOIN_REQUESTED, subject=f"join:{row.pk}", actor=authority.actor, at=now, data=data)
            _tell(
                row,
                deciders_of(team),
                subject=f"{_name(user)} asks to join team {team.name}",
                lines=[f"Account: {user.get_username()}", f"Reason: {text}"],
                advice="Answer on the page of the team's people. The person gets your decision by mail.",
            )
    except IntegrityError:
        raise Conflict(
            f"You have asked team {team.name} already.",
            field="team",
            next_step="You are mailed when it answers.",
        ) from None
    return row


def deciders_of(team: Team) -> Audience:
    """Return those who lead the team; the officers where nobody does; else the operators."""
    audience = Audience()
    for lead in leads_of(team):
        audience |= to_user(lead)
    if not audience:
        for officer in holders_of(Permission.MANAGE_PEOPLE):
            audience |= to_user(officer)
    return audience or operators()


def accept(row: JoinRequest, *, authority: Authority) -> JoinRequest:
    """Take the person into the team.

    Effects, in one transaction: membership with its event and mails, the row, `join:decided`.
    Raises NotFound, NotPermitted, Conflict for one that was answered already.
    """
    with transaction.atomic():
        row = _locked(row.pk, authority)
        attribute(row.team, authority.actor)
        row.team.members.add(row.person)
        _decide(row, JoinRequest.Outcome.ACCEPTED, "", authority)
        _tell(
            row,
            to_user(row.person),
            subject=f"You are in team {row.team.name} now",
            lines=[],
            advice="You can request certificates for the team's names.",
        )
    return row


def decline(row: JoinRequest, *, answer: str, authority: Authority) -> JoinRequest:
    """Decline; `answer` is what the person is told. Raises as `accept`, and InputRefused without an answer."""
    text = " ".join(answer.split())
    refuse_secrets(text, actor=authority.actor, team=row.team.slug, field="answer")
    if not text or len(text) > MOST_TEXT or not text.isprintable():
        raise InputRefused(
            f"Say in 1 to {MOST_TEXT} characters why not.",
            field="answer",
            next_step="For example: Ask team Platform, which runs these servers.",
        )
    with transaction.atomic():
        row = _locked(row.pk, authority)
        _decide(row, JoinRequest.Outcome.DECLINED, text, authority)
        _tell(
            row,
            to_user(row.person),
            subject=f"Team {row.team.name} has not taken you in",
            lines=[f"Answer: {text}"],
            advice="Ask another team, or answer the person who declined.",
        )
    return row


def withdraw(row: JoinRequest, *, authority: Authority) -> None:
    """Take back one's own request. Raises NotFound for another person's, Conflict for one that was answered."""
    with transaction.atomic():
        found = JoinRequest.objects.select_for_update(of=("self",)).select_related("team", "person").filter(pk=row.pk).first()
        if found is None or authority.user is None or found.person_id != authority.user.pk:
            raise NotFound("There is no such request.")
        _check_open(found)
        _decide(found, JoinRequest.Outcome.WITHDRAWN, "", authority)


def close_requests_of(person: Any, *, authority: Authority) -> int:
    """Close the open requests of a person whose access is removed. Returns how many. Needs an open transaction."""
    rows = list(JoinRequest.objects.select_for_update(of=("self",)).filter(person=person, decided_at=None).select_related("team", "person"))
    for row in rows:
        _decide(row, JoinRequest.Outcome.DECLINED, "The access of the person was removed.", authority)
    return len(rows)


def _locked(pk: int, authority: Authority) -> JoinRequest:
    """Return the open request, locked, after the right to answer it was checked behind the lock."""
    one_change_at_a_time()
    row: JoinRequest | None = JoinRequest.objects.select_for_update(of=("self",)).select_related("team", "person").filter(pk=pk).first()
    if row is None:
        raise NotFound("There is no such request.")
    authority.check_may_manage(row.team)
    if authority.user is not None and row.person_id == authority.user.pk:
        raise Conflict("Nobody answers a request of their own.", next_step="Ask another lead of the team or an officer.")
    _check_open(row)
    if not row.person.is_active:
        raise Conflict(f"The account {row.person} is not active any more.")
    return row


def _check_open(row: JoinRequest) -> None:
    if row.decided_at is not None:
        raise Conflict(f"This request was answered already: {row.get_outcome_display()}.")


def _decide(row: JoinRequest, outcome: JoinRequest.Outcome, answer: str, authority: Authority) -> None:
    now = database_now()
    row.decided_at, row.decided_by, row.outcome, row.answer = now, authority.user, outcome, answer
    row.save(update_fields=["decided_at", "decided_by", "outcome", "answer"])
    data = {
        "person": row.person.get_username(),
        "team": row.team.slug,
        "outcome": str(outcome),
        "answer": recordable(answer, most=MOST_TEXT),
    }
    record(EventType.JOIN_DECIDED, subject=f"join:{row.pk}", actor=authority.actor, at=now, data=data)


def _tell(row: JoinRequest, audience: Audience, *, subject: str, lines: list[str], advice: str) -> None:
    now = database_now()
    notify(
        Topic.JOINING,
        key=f"join:{row.pk}:{row.outcome or 'asked'}",
        audience=audience,
        subject=subject,
        template="people",
        context={
            "what": subject,
            "lines": lines,
            "advice": advice,
            "path": f"/teams/{row.team.slug}/people/" if not row.outcome else "/",
            "label": f"People of {row.team.name}" if not row.outcome else "Open the portal",
            "by": str(row.decided_by or row.person),
            "at": now,
        },
        now=now,
    )


def _name(user: Any) -> str:
    return str(user.get_full_name() or user.get_username())
