"""What ends when a person leaves a team, is deactivated, or gets another password: the person's API tokens.

These receivers see every change that goes through Django's ORM objects. Changes that pass them (`QuerySet.update`, SQL)
are found when such a token is presented, and by the sweeper.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.db.models.signals import m2m_changed, post_save

from audit.changes import actor_of, attribute
from certs.access.api_tokens import PASSWORD, SYSTEM, end_orphaned_tokens, end_tokens
from certs.models import ApiToken, Team

_RIGHTS = {"is_active", "is_superuser"}


def connect_receivers() -> None:
    """Connect the receivers; called once, when all models are loaded."""
    uid = "certs.access.leaving"
    m2m_changed.connect(after_members_changed, sender=Team.members.through, dispatch_uid=uid)
    post_save.connect(after_account_saved, sender=get_user_model(), dispatch_uid=uid)


def after_members_changed(instance: Any, action: str, pk_set: Collection[int] | None, **_signal: Any) -> None:
    """A receiver of `m2m_changed` for `Team.members`, from either side."""
    if action not in ("post_remove", "post_clear"):
        return
    _drop_leads(instance, pk_set)
    here = Q(team=instance.pk) if isinstance(instance, Team) else Q(user=instance.pk)
    if pk_set is not None:
        here &= Q(user__in=pk_set) if isinstance(instance, Team) else Q(team__in=pk_set)
    end_orphaned_tokens(here)


def _drop_leads(instance: Any, pk_set: Collection[int] | None) -> None:
    """Who is no member does not lead, and does not lead again when the person comes back."""
    links = Team.leads.through.objects
    if isinstance(instance, Team):
        gone = links.filter(team=instance.pk) if pk_set is None else links.filter(team=instance.pk, user__in=pk_set)
        pairs = [(instance, link.user_id) for link in gone]
    else:
        gone = links.filter(user=instance.pk) if pk_set is None else links.filter(user=instance.pk, team__in=pk_set)
        pairs = [(link.team, instance.pk) for link in gone.select_related("team")]
    for team, user in pairs:
        attribute(team, actor_of(instance))
        team.leads.remove(user)


def after_account_saved(instance: Any, update_fields: Collection[str] | None, **_signal: Any) -> None:
    """A receiver of `post_save` for accounts. A sign-in, which saves `last_login` alone, costs nothing."""
    if update_fields is None or _RIGHTS & set(update_fields):
        end_orphaned_tokens(Q(user=instance.pk))


class EndTokensOfOldPassword:
    """A password validator that accepts every password. Django calls it when a new password is in force.

    A person who knew the old password may have made tokens with it. A stronger hash of the same password, which Django
    stores at a sign-in, is no new password and ends nothing.
    """

    def validate(self, password: str, user: Any = None) -> None:
        """Accept."""

    def get_help_text(self) -> str:
        return "A new password ends your API tokens."

    def password_changed(self, password: str, user: Any = None) -> None:
        if user is not None and user.pk is not None:
            end_tokens(ApiToken.objects.filter(user=user.pk), because=PASSWORD, actor=SYSTEM)
