"""The portal's named permissions, and the one statement that says which of them an account holds now."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Q

from db.sql import fetch

_BACKEND = "django.contrib.auth.backends.ModelBackend"


class Permission(models.TextChoices):
    """Each permission with its Django name (app label and codename). The roles that hold them: `certs.access.roles`."""

    SEE_EVERY_TEAM = "certs.see_every_team", "Can see the requests, orders and certificates of every team"
    ACT_FOR_EVERY_TEAM = "certs.act_for_every_team", "Can renew, revoke, release, cancel and resume for every team"
    DECIDE_REQUESTS = "certs.decide_requests", "Can approve and reject requests of other persons"
    DECIDE_KEYS = "certs.decide_keys", "Can block public keys and undo a block"
    REVOKE_TOKENS = "certs.revoke_tokens", "Can revoke the API tokens of every user"
    OPERATE = "certs.operate", "Can close alerts, and pause and resume the work of every team"
    MANAGE_PEOPLE = "certs.manage_people", "Can manage teams, their domains and people, and give the roles it holds"
    MANAGE_CAS = "certs.manage_cas", "Can add CAs, roll them over, and have the certificates of one re-issued by another"
    PUBLISH_POLICIES = "policy.publish_policyversion", "Can publish the policy versions that another person drafted"


class PortalRights(models.Model):
    """Carries the permissions that belong to no table. No table is made, and Django's own four are not added."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [(one.value.partition(".")[2], one.label) for one in Permission if one.value.startswith("certs.")]


def holders_of(permission: Permission) -> models.QuerySet[Any]:
    """Active accounts that hold the permission: directly, through a group, or as superusers."""
    return get_user_model().objects.with_perm(permission.value, backend=_BACKEND)


_HELD = """
WITH account AS (SELECT id, is_superuser FROM {users} WHERE id = %s AND is_active)
SELECT '*' FROM account WHERE is_superuser
UNION ALL
SELECT c.app_label || '.' || p.codename FROM auth_permission p
JOIN django_content_type c ON c.id = p.content_type_id
WHERE p.codename IN ({codenames}) AND p.id IN (
  SELECT x.permission_id FROM {direct} x JOIN account a ON a.id = x.user_id
  UNION ALL
  SELECT y.permission_id FROM auth_group_permissions y
  JOIN {groups} g ON g.group_id = y.group_id JOIN account a ON a.id = g.user_id)
"""
_EVERY = "*"  # what the statement says of a superuser


@cache
def _held_sql() -> str:
    """Return the statement, with the tables of the account model."""
    account = get_user_model()
    return _HELD.format(
        users=account._meta.db_table,
        direct=account.user_permissions.through._meta.db_table,
        groups=account.groups.through._meta.db_table,
        codenames=", ".join(f"'{one.value.partition('.')[2]}'" for one in Permission),
    )


def holds(user: Any, permission: Permission) -> bool:
    """Return whether the account is active and holds the permission now.

    Asks the database each time. `User.has_perm` keeps what it read on the user object, and a user object can be older than
    the last change of groups.
    """
    return permission in held_by(user)


def held_by(user: Any) -> frozenset[Permission]:
    """Return every permission that the account holds now, in one prepared statement.

    A page that shows what a person can reach asks once. A decision asks at the moment at which it counts.
    """
    if user.pk is None:
        return frozenset()
    held = {name for (name,) in fetch(_held_sql(), [user.pk])}
    return frozenset(one for one in Permission if one.value in held or _EVERY in held)


def teams_seen_by(user: Any) -> frozenset[int] | None:
    """Ids of the teams whose requests and certificates the user may see now; None for every team."""
    if holds(user, Permission.SEE_EVERY_TEAM):
        return None
    return frozenset(team for (team,) in fetch(_teams_sql(), [user.pk])) if user.pk is not None else frozenset()


@cache
def _teams_sql() -> str:
    users = get_user_model()._meta.db_table
    return f"SELECT m.team_id FROM certs_team_members m JOIN {users} u ON u.id = m.user_id WHERE u.id = %s AND u.is_active"  # noqa: S608 - a table


def team_seen_by(user: Any) -> Q:
    """Condition on rows with a `team`: it is one that the user may see now."""
    teams = teams_seen_by(user)
    return Q() if teams is None else Q(team__in=teams)
