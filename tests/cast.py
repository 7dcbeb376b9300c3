"""The small cast of the tests: a fixed set of persons in two teams, with roles as facts of now.

| name | team | may |
|---|---|---|
| requester, colleague | web | what members of a team may |
| leaver | web | the same, until a test lets the leaver leave |
| outsider | other | nothing with what belongs to web |
| nobody | none | nothing |
| approver, officer, auditor, operator | none | what their role says |
| veteran | none | what the group of earlier releases, `security-team`, allows |
| root | none | everything: a superuser |

`portal` of `tests.portal.fixtures` has three of them under names that people sign in with: alice is
a requester, bob an outsider, carol a veteran.

Nobody here has a password that works, unless a test gives one: hashing costs more than the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from audit.log import Actor
from certs.access.permissions import Authority
from certs.models import Domain, Team
from certs.requests.submit import Requester
from tests.harness.plugin.remembered import remembered

MEMBERS = ("requester", "colleague", "leaver")
ROLES = {
    "approver": "approver",
    "officer": "security officer",
    "auditor": "auditor",
    "operator": "operator",
    "veteran": "security-team",
}


def person(name: str, *roles: str, email: str = "", team: Team | None = None, password: str | None = None) -> Any:
    """Return a new account in the groups `roles` and in `team`. Without `email` nobody knows which person it is."""
    user = get_user_model().objects.create_user(name, email, password)
    user.groups.add(*(Group.objects.get(name=role) for role in roles))
    if team is not None:
        team.members.add(user)
    return user


@dataclass(frozen=True, slots=True)
class Cast:
    """The persons by name, and their two teams. The leaver's account is active; tests decide how the leaver leaves."""

    web: Team
    other: Team
    people: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.people[name]

    def requester(self, name: str, team: Team | None = None, *, channel: str = "portal") -> Requester:
        return Requester(Actor("user", name), team or self.web, channel, user=self.people[name])

    def authority(self, name: str, team: Team | None = None) -> Authority:
        return Authority(Actor("user", name), self.people[name], team)


def make_cast(web: Team) -> Cast:
    """Make everybody, and the team `other` with the domain other.test. `web`: the team of most of them."""
    remembered(f"cast of {web.pk}", lambda: _make(web))
    names = (*MEMBERS, "outsider", "nobody", *ROLES, "root")
    people = {user.get_username(): user for user in get_user_model().objects.filter(username__in=names)}
    return Cast(web, Team.objects.get(slug="other"), people)


def _make(web: Team) -> None:
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    Domain.objects.create(name="other.test", team=other)
    teams = dict.fromkeys(MEMBERS, web) | {"outsider": other}
    for name in (*MEMBERS, "outsider", "nobody", *ROLES):
        person(name, *([ROLES[name]] if name in ROLES else []), email=f"{name}@example.org", team=teams.get(name))
    get_user_model().objects.create_superuser("root", "root@example.org")


@pytest.fixture
def cast(twin_portal: Requester) -> Cast:
    """Everybody, in the portal on twins: web owns example.com."""
    return make_cast(twin_portal.team)
