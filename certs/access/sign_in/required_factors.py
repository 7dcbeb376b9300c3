"""Whose role requires a second factor, who has none yet, and what others may do about it.

The rule counts now: a person who gets such a role, or loses the last factor, is led to the page that
adds one at the next page that the person opens.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from audit.changes import attribute
from certs.access.permissions import Authority, Permission
from certs.access.sessions import end_sessions
from certs.enums import ADMINISTRATOR
from certs.errors import InputRefused, NotPermitted
from certs.models import SecondFactorGrace
from db.clock import database_now

# A recovery code alone is no factor: it stands in for one that is lost.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
LONGEST_GRACE = timedelta(days=14)
MOST_REASON = 200


def _of_such_a_role() -> Q:
    names = settings.PKI_SECOND_FACTOR_ROLES
    of_role = Q(groups__name__in=names)
    return of_role | Q(is_superuser=True) if ADMINISTRATOR in names else of_role


def requires_second_factor(user: Any) -> bool:
    """Return whether the account has a role now that requires a second factor."""
    if not settings.PKI_SECOND_FACTOR_ROLES:
        return False
    return get_user_model().objects.filter(_of_such_a_role(), pk=user.pk).exists()


def must_add_factor_now(user: Any) -> bool:
    """Return whether the person may do nothing but add a second factor. One query."""
    if not settings.PKI_SECOND_FACTOR_ROLES:
        return False
    factors = Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTORS)
    grace = SecondFactorGrace.objects.filter(user=OuterRef("pk"), until__gt=database_now())
    people = get_user_model().objects.filter(_of_such_a_role(), ~Exists(factors), ~Exists(grace), pk=user.pk)
    return people.exists()


def grace_of(user: Any) -> datetime | None:
    """Return until when the person may work without the second factor that the role requires."""
    return SecondFactorGrace.objects.filter(user=user.pk, until__gt=database_now()).values_list("until", flat=True).first()


@transaction.atomic
def give_time(user: Any, *, until: datetime, reason: str, authority: Authority) -> SecondFactorGrace:
    """Let a person work without a second factor for some days. Operators may, for other persons.

    Effects: the row and its audit event, in one transaction. Raises NotPermitted and InputRefused.
    """
    _check_other_person(user, authority, Permission.OPERATE, "an operator")
    now, why = database_now(), " ".join(reason.split())
    if not now < until <= now + LONGEST_GRACE:
        raise InputRefused(
            f"The time may be at most {LONGEST_GRACE.days} days.",
            field="until",
            next_step="Name a moment in the next two weeks.",
        )
    if not 0 < len(why) <= MOST_REASON:
        raise InputRefused(
            f"The reason needs 1 to {MOST_REASON} characters.",
            field="reason",
            next_step="Say why the person has no second factor yet.",
        )
    row = SecondFactorGrace.objects.select_for_update().filter(user=user.pk).first() or SecondFactorGrace(user=user)
    row.until, row.reason, row.given_by = until, why, authority.actor.name
    attribute(row, authority.actor)
    row.save()
    return row


@transaction.atomic
def reset_second_factors(user: Any, *, authority: Authority) -> int:
    """Remove every second factor of another person who lost them. Security officers may.

    The person signs in with the password next, and is led to add a new factor where the role
    requires one. Effects: the rows go, each with its audit event; every session of the person ends.
    Returns the number of removed factors. Raises NotPermitted.
    """
    _check_other_person(user, authority, Permission.ACT_FOR_EVERY_TEAM, "a security officer")
    get_user_model().objects.select_for_update().get(pk=user.pk)
    rows = list(Authenticator.objects.filter(user=user.pk))
    for row in rows:
        attribute(row, authority.actor)
        row.delete()
    end_sessions(user)
    return sum(row.type in FACTORS for row in rows)


def _check_other_person(user: Any, authority: Authority, permission: Permission, who: str) -> None:
    if authority.user is not None and authority.user.pk == user.pk:
        raise NotPermitted(
            "Nobody does this for the own account.",
            next_step=f"Ask {who} who is another person.",
        )
    if not authority.holds(permission):
        raise NotPermitted("Your account may not do this.", next_step=f"Ask {who}.", permission=permission)
    # Who resets the factors of an administrator needs the password alone to be one.
    authority.check_may_change_account(user)
