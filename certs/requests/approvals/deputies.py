"""An approver who is away names a deputy, who gets the approver's mails about approvals until a date.

A deputy is an approver already: naming one gives no right, and nobody stands in for a requester.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q

from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Permission, holders_of, holds
from certs.errors import InputRefused, NotPermitted
from certs.models import Deputy
from certs.notifications.audience import to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import minute
from db.clock import database_now
from policy.persons import is_same_person

MOST_DAYS = 92


def possible_deputies(user: Any) -> list[Any]:
    """Return the other approvers, by name."""
    return list(holders_of(Permission.DECIDE_REQUESTS).exclude(pk=user.pk).order_by("username"))


def deputy_of(user: Any) -> Deputy | None:
    """Return who stands in for the account now."""
    found: Deputy | None = Deputy.objects.at(database_now()).filter(approver=user).select_related("deputy").first()
    return found


def stands_in_for(user: Any) -> list[Deputy]:
    """Return for whom the account stands in now."""
    return list(Deputy.objects.at(database_now()).filter(deputy=user).select_related("approver").order_by("until"))


def name_deputy(user: Any, *, username: str, until: str) -> Deputy:
    """Name a deputy until the end of a day (UTC); a deputy named before ends.

    Effects, in one transaction: the rows, `deputy:named`, `deputy:ended`, a mail to the deputy.
    Raises NotPermitted for who is no approver; InputRefused, which names the field.
    """
    deputy: Any = get_user_model().objects.filter(username=username).first()
    _check_are_approvers(user, deputy)
    now = database_now()
    end = _end(until, now)
    if is_same_person(user, deputy):
        raise InputRefused("This account is yours.", field="deputy", next_step="Choose another person.")
    with transaction.atomic():
        # Two forms at once are kept one after the other, and so is the removal of either person's access.
        accounts = get_user_model().objects.select_for_update().filter(pk__in=(user.pk, deputy.pk))
        list(accounts.order_by("pk").values_list("pk"))
        _check_are_approvers(user, deputy)
        _end_present(user, now, _actor(user))
        row = Deputy.objects.create(approver=user, deputy=deputy, named_at=now, until=end)
        data = {"deputy": deputy.get_username(), "until": end.isoformat()}
        record(EventType.DEPUTY_NAMED, subject=_subject(user), actor=_actor(user), at=now, data=data)
        notify(
            Topic.APPROVAL,
            key=f"deputy:{row.pk}",
            audience=to_user(deputy),
            subject=f"You stand in for {user.get_full_name() or user.get_username()} until {minute(end)}",
            template="deputy",
            context={"approver": user, "until": end},
            now=now,
            reply_to=user.email,
        )
    return row


def _check_are_approvers(user: Any, deputy: Any) -> None:
    if not holds(user, Permission.DECIDE_REQUESTS):
        raise NotPermitted("Only approvers name a deputy.", next_step="Ask a member of the security team.")
    if deputy is None or not holds(deputy, Permission.DECIDE_REQUESTS):
        raise InputRefused("This account is no approver.", field="deputy", next_step="Choose one of the approvers in the list.")


@transaction.atomic
def end_deputy(user: Any) -> bool:
    """End the account's deputy now. Returns whether there was one. Effects: `deputy:ended`."""
    get_user_model().objects.select_for_update().get(pk=user.pk)
    return _end_present(user, database_now(), _actor(user))


def deputies_of(person: Any) -> list[Deputy]:
    """Return who stands in for the person now, and for whom the person stands in."""
    rows = Deputy.objects.at(database_now()).filter(Q(approver=person) | Q(deputy=person))
    return list(rows.select_related("approver", "deputy").order_by("pk"))


def end_deputies_of(person: Any, *, actor: Actor, now: datetime) -> int:
    """End the deputies of a person, and the person as deputy of others. Returns how many. Needs an open transaction."""
    return sum(_end_present(row.approver, now, actor) for row in deputies_of(person))


def _end_present(user: Any, now: datetime, actor: Actor) -> bool:
    ended = False
    for row in Deputy.objects.filter(approver=user, ended_at__isnull=True).select_related("deputy"):
        was_in_force = row.until > now
        row.ended_at = now
        row.save(update_fields=["ended_at"])
        if was_in_force:
            data = {"deputy": row.deputy.get_username()}
            record(EventType.DEPUTY_ENDED, subject=_subject(user), actor=actor, at=now, data=data)
            ended = True
    return ended


def _end(until: str, now: datetime) -> datetime:
    try:
        day = date.fromisoformat(until.strip())
    except ValueError as exc:
        raise InputRefused("This is no day.", field="until", next_step="Write the last day as 2026-12-24.") from exc
    end = datetime.combine(day, time(23, 59, 59), now.tzinfo)
    if not now < end <= now + timedelta(days=MOST_DAYS):
        raise InputRefused(
            "The last day is today or later, and at most three months away.", field="until", next_step="Choose a day in that time."
        )
    return end


def _subject(user: Any) -> str:
    return f"user:{user.pk}"


def _actor(user: Any) -> Actor:
    return Actor("user", user.get_username())
