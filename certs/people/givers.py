"""Which role a refusal needs, and the people who can give it: for pages that signed-in persons read."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Q

from audit.log import Actor
from certs.access.permissions import Authority, Permission, holders_of
from certs.access.roles import BACKEND, MOST_NAMED, OF_EARLIER_RELEASES, ROLES
from certs.people.members import roles_to_give

_MOST_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Givers:
    """`roles`: names of the roles, any of which is enough. `people`: names of those who can give one."""

    roles: tuple[str, ...]
    people: tuple[str, ...]


def givers_of(permission: str) -> Givers:
    """Return the roles that hold a permission, and who can give one of them; a few of them.

    Nobody who could not give it is named: an officer gives no role that may do more than an officer.
    """
    users = get_user_model().objects
    administrators = users.with_perm("auth.change_user", backend=BACKEND).filter(is_staff=True)
    managers = holders_of(Permission.MANAGE_PEOPLE)
    among = Q(pk__in=administrators.values("pk")) | Q(pk__in=managers.values("pk"))
    app, _, codename = permission.partition(".")
    held = Q(permissions__content_type__app_label=app, permissions__codename=codename)
    groups = list(Group.objects.filter(held, name__in=ROLES.keys() - OF_EARLIER_RELEASES).distinct().order_by("name"))
    names = []
    for user in users.filter(among).order_by("username")[:_MOST_LOOKED_AT]:
        authority = Authority(Actor("user", user.get_username()), user)
        given = {role.pk for role in roles_to_give(authority)}
        if any(role.pk in given for role in groups):
            names.append(str(user.get_full_name() or user.get_username()))
        if len(names) == MOST_NAMED:
            break
    return Givers(tuple(role.name for role in groups), tuple(names))
