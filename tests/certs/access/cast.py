"""A small fixed cast: one account for each role, and two teams."""

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

ROLES = {
    "approver": "approver",
    "officer": "security officer",
    "auditor": "auditor",
    "operator": "operator",
    "veteran": "security-team",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """`people` by name. requester, colleague and leaver are members of `web`, outsider is one of `other`.

    The leaver's account is active; tests decide how the leaver leaves.
    """

    web: Team
    other: Team
    people: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.people[name]

    def requester(self, name: str, team: Team | None = None) -> Requester:
        return Requester(Actor("user", name), team or self.web, "portal", user=self.people[name])

    def authority(self, name: str, team: Team | None = None) -> Authority:
        return Authority(Actor("user", name), self.people[name], team)


def make_cast(web: Team) -> Cast:
    users = get_user_model().objects
    names = ("requester", "colleague", "leaver", "outsider", "nobody", *ROLES)
    people = {name: users.create_user(name, f"{name}@example.org") for name in names}
    people["root"] = users.create_superuser("root", "root@example.org")
    for name, role in ROLES.items():
        people[name].groups.add(Group.objects.get(name=role))
    web.members.add(people["requester"], people["colleague"], people["leaver"])
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    other.members.add(people["outsider"])
    Domain.objects.create(name="other.test", team=other)
    return Cast(web, other, people)


@pytest.fixture
def cast(twin_portal: Requester) -> Cast:
    return make_cast(twin_portal.team)
