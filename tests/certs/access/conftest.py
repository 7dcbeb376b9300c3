"""Persons, a team and the events since a test began, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from audit.models import AuditEvent
from certs.models import Domain, Team
from tests.certs.access.matrix import things

__all__ = ["things"]

PASSWORD = "correct horse battery"


@pytest.fixture
def ann() -> Any:
    return get_user_model().objects.create_superuser("ann", "ann@example.com", PASSWORD)


@pytest.fixture
def signed_in(ann: Any) -> Client:
    """A browser in which Ann is signed in."""
    client = Client()
    client.force_login(ann)
    return client


@pytest.fixture
def team(ann: Any) -> Team:
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    team.members.add(ann)
    return team


@pytest.fixture
def new() -> Any:
    """Events since the test began to act: call it for (event, actor, data) of each."""
    start = [0]

    def events() -> list[tuple[str, str, dict[str, Any]]]:
        rows = AuditEvent.objects.filter(id__gt=start[0]).order_by("id")
        found = [(row.event, row.actor_name, row.data) for row in rows]
        start[0] = max([start[0], *rows.values_list("id", flat=True)])
        return found

    return events
