"""The roles as Django groups. `migrate` makes them and gives them their permissions.

A requester needs no permission: what requesters may do follows from the teams that they are members of.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as DjangoPermission
from django.db.models import Q

from certs.enums import Role
from certs.models.people.permission import Permission

P = Permission
BACKEND = "django.contrib.auth.backends.ModelBackend"
MOST_NAMED = 5
_VIEW, _EDIT = ("view",), ("add", "change", "view")
_ADMIN_APPS = ("certs", "policy", "keys", "audit")
_SCHEDULES = "django_celery_beat"
_APPROVER = frozenset({P.SEE_EVERY_TEAM, P.DECIDE_REQUESTS})
_OFFICER = frozenset(
    {
        *(P.SEE_EVERY_TEAM, P.ACT_FOR_EVERY_TEAM, P.DECIDE_KEYS, P.REVOKE_TOKENS),
        *(P.MANAGE_PEOPLE, P.MANAGE_CAS, P.PUBLISH_POLICIES),
    }
)
_OPERATOR = frozenset({P.SEE_EVERY_TEAM, P.OPERATE})
_AUDITOR = frozenset({P.SEE_EVERY_TEAM})

# By group name: the named permissions, and the verbs of Django's model permissions in the admin.
ROLES: dict[str, tuple[frozenset[Permission], tuple[str, ...]]] = {
    Role.REQUESTER: (frozenset(), ()),
    Role.APPROVER: (_APPROVER, _VIEW),
    Role.SECURITY_OFFICER: (_OFFICER, _EDIT),
    Role.AUDITOR: (_AUDITOR, _VIEW),
    Role.OPERATOR: (_OPERATOR, _VIEW),
    # The groups of earlier releases. Their members, and directories that fill them, keep what they had.
    Role.SECURITY_TEAM: (_APPROVER | _OFFICER | _OPERATOR, _EDIT),
    Role.AUDITORS: (_AUDITOR, _VIEW),
    Role.REQUESTERS: (frozenset(), ()),
}

# What each may do, in words for people.
_REQUESTER_WORDS = "Requests, renews and revokes certificates of the own teams."
_AUDITOR_WORDS = "Sees every team, its certificates and requests, and changes nothing."
ROLE_WORDS: dict[str, str] = {
    Role.REQUESTER: _REQUESTER_WORDS,
    Role.APPROVER: "Sees every team, and approves or rejects requests of other persons.",
    Role.SECURITY_OFFICER: "Sees every team; renews and revokes for it; blocks keys; publishes policies that another person drafted; "
    "manages teams, their names and people.",
    Role.AUDITOR: _AUDITOR_WORDS,
    Role.OPERATOR: "Sees every team; closes alerts, pauses and resumes work, and changes schedules.",
    Role.SECURITY_TEAM: "What approvers, security officers and operators may.",
    Role.AUDITORS: _AUDITOR_WORDS,
    Role.REQUESTERS: _REQUESTER_WORDS,
}

OF_EARLIER_RELEASES = frozenset({Role.SECURITY_TEAM, Role.AUDITORS, Role.REQUESTERS})


def ensure_roles(**_signal: Any) -> list[str]:
    """Make missing groups and give each role exactly its permissions. Returns the names of the groups made.

    Runs after each `migrate`, because that is when permissions of new models appear. Other groups are left alone: an
    installation composes its own from the same permissions. Writes through bulk operations, so that no audit event says
    that a person changed rights when a release did.
    """
    present = set(Group.objects.filter(name__in=ROLES).values_list("name", flat=True))
    missing = [name for name in ROLES if name not in present]
    Group.objects.bulk_create([Group(name=name) for name in missing], ignore_conflicts=True)
    link = Group.permissions.through.objects
    for group in Group.objects.filter(name__in=ROLES):
        wanted = set(_permissions_of(group.name))
        held = set(link.filter(group=group).values_list("permission_id", flat=True))
        link.filter(group=group, permission_id__in=held - wanted).delete()
        link.bulk_create(
            [Group.permissions.through(group_id=group.pk, permission_id=pk) for pk in sorted(wanted - held)],
            ignore_conflicts=True,
        )
    return missing


def people_who_give_roles() -> list[str]:
    """Return the names of active accounts that may change accounts and their groups; a few of them."""
    holders = get_user_model().objects.with_perm("auth.change_user", backend=BACKEND)
    staff = holders.filter(is_staff=True).order_by("username")[:MOST_NAMED]
    return [user.get_full_name() or user.get_username() for user in staff]


def _permissions_of(role: str) -> list[int]:
    named, verbs = ROLES[role]
    wanted = Q(pk__in=())
    for one in named:
        app, _, codename = one.value.partition(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    for verb in verbs:
        wanted |= Q(content_type__app_label__in=_ADMIN_APPS, codename__startswith=f"{verb}_")
    if verbs:
        wanted |= Q(content_type__app_label=_SCHEDULES, codename__startswith="view_")
    if P.OPERATE in named:
        # Schedules are changed, times of day and intervals also added. A schedule is not: it could name any task.
        wanted |= Q(content_type__app_label=_SCHEDULES, codename__startswith="change_")
        wanted |= Q(content_type__app_label=_SCHEDULES, codename__in=("add_intervalschedule", "add_crontabschedule"))
    return list(DjangoPermission.objects.filter(wanted).values_list("pk", flat=True))


def is_as_released(group: Group) -> bool:
    """Return whether the group is a role with exactly the permissions that `migrate` gives it."""
    if group.name not in ROLES:
        return False
    return set(group.permissions.values_list("pk", flat=True)) == set(_permissions_of(group.name))
