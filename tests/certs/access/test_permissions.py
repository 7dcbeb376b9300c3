"""Roles, named permissions and membership, as facts of now."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.core.management import call_command

from audit.log import Actor
from certs.access.permissions import Authority, Permission, holders_of, holds, is_member, is_officer, teams_of
from certs.access.roles import ROLES, ensure_roles
from certs.models import Certificate, teams_seen_by
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
P = Permission

HELD = {
    "requester": set[P](),
    "outsider": set[P](),
    "nobody": set[P](),
    "approver": {P.SEE_EVERY_TEAM, P.DECIDE_REQUESTS},
    "officer": {
        *(P.SEE_EVERY_TEAM, P.ACT_FOR_EVERY_TEAM, P.DECIDE_KEYS, P.REVOKE_TOKENS),
        *(P.MANAGE_PEOPLE, P.MANAGE_CAS, P.PUBLISH_POLICIES),
    },
    "auditor": {P.SEE_EVERY_TEAM},
    "operator": {P.SEE_EVERY_TEAM, P.OPERATE},
    "veteran": set(P),
    "root": set(P),
}


def test_each_role_holds_exactly_its_permissions(cast: Cast) -> None:
    assert {name: {one for one in P if holds(cast[name], one)} for name in HELD} == HELD


def test_every_permission_has_a_holder_besides_administrators() -> None:
    assert set().union(*(named for named, _ in ROLES.values())) == set(P)


def test_a_right_taken_away_is_gone_for_a_user_object_read_before(cast: Cast) -> None:
    """A long-lived process keeps user objects; their cached permissions must not count."""
    officer: Any = get_user_model().objects.get(username="officer")
    assert officer.has_perm(P.ACT_FOR_EVERY_TEAM)  # fills the cache on the object
    officer.groups.clear()
    assert officer.has_perm(P.ACT_FOR_EVERY_TEAM)
    assert not is_officer(officer)


@pytest.mark.parametrize("name", ["officer", "root", "requester"])
def test_an_inactive_account_holds_nothing_and_belongs_nowhere(cast: Cast, name: str) -> None:
    get_user_model().objects.filter(username=name).update(is_active=False)
    user = cast[name]  # read while the account was active
    assert user.is_active
    assert not any(holds(user, one) for one in P)
    assert not is_member(user, cast.web)
    assert teams_of(user) == []
    assert teams_seen_by(user) == frozenset()


def test_nobody_who_is_signed_in_holds_nothing() -> None:
    assert not any(holds(AnonymousUser(), one) for one in P)
    assert not Certificate.objects.visible_to(AnonymousUser()).exists()


def test_membership_is_read_each_time(cast: Cast) -> None:
    requester = cast["requester"]
    assert is_member(requester, cast.web)
    assert not is_member(requester, cast.other)
    cast.web.members.remove(requester)
    assert not is_member(requester, cast.web)
    assert is_member(cast["root"], cast.other)


def test_a_token_never_carries_a_role_of_its_user(cast: Cast) -> None:
    authority = cast.authority("officer", cast.web)
    assert not any(authority.holds(one) for one in P)
    assert not authority.belongs_to(cast.web)


def test_the_portals_own_commands_hold_every_permission() -> None:
    assert all(Authority(Actor("command", "test")).holds(one) for one in P)


def test_approvers_are_found_by_permission_not_by_group_name(cast: Cast) -> None:
    assert set(holders_of(P.DECIDE_REQUESTS)) == {cast["approver"], cast["veteran"], cast["root"]}


def test_a_role_that_was_emptied_or_deleted_is_whole_again_after_migrate(cast: Cast) -> None:
    Group.objects.get(name="auditor").delete()
    Group.objects.get(name="approver").permissions.clear()
    own = Group.objects.create(name="our own composition")
    ensure_roles()
    assert holds(cast["approver"], P.DECIDE_REQUESTS)
    assert Group.objects.get(name="auditor").permissions.filter(codename="see_every_team").exists()
    assert not own.permissions.exists()


@pytest.mark.django_db(transaction=True)
def test_migrate_makes_the_roles(transactional_db: None) -> None:
    Group.objects.all().delete()
    call_command("migrate", verbosity=0, interactive=False)
    assert set(Group.objects.values_list("name", flat=True)) == set(ROLES)
