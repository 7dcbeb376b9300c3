"""What is written back is what was made, on both databases; and where that cannot be, it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from audit.models import AuditEvent
from certs.models import Domain, Team
from tests.cast import person
from tests.harness.plugin.remembered import remembered

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


class Turns:
    """Tests that begin with the same, one after another: each is rolled back."""

    def __init__(self) -> None:
        self.made, self.name = 0, str(uuid4())

    def _make(self) -> None:
        self.made += 1
        team = Team.objects.create(slug="shop", name="Shop")
        person("ann", "auditor", team=team)
        Domain.objects.create(name="shop.example", team=team)
        Group.objects.filter(name="approver").update(name="changed")

    def turn(self, before: Callable[[], object] = lambda: None) -> list[Any]:
        with transaction.atomic():
            before()
            remembered(self.name, self._make)
            found = [[*model.objects.order_by("pk").values_list()] for model in (Team, Domain, Group, AuditEvent, Team.members.through)]
            transaction.set_rollback(True)
        return found


@pytest.fixture
def turns() -> Turns:
    return Turns()


def test_third_time_and_later_the_rows_are_those_of_the_second(turns: Turns) -> None:
    turns.turn()
    second = turns.turn()
    assert all(second)
    assert (turns.turn(), turns.turn(), turns.made) == (second, second, 2)


def test_rows_of_others_stay_whatever_their_ids(turns: Turns) -> None:
    """SQLite gives an id of a rolled-back row again."""
    turns.turn()
    turns.turn()
    teams, *_ = turns.turn(lambda: Team.objects.create(slug="first", name="First"))
    assert {row[1] for row in teams} == {"first", "shop"}


def test_it_is_made_anew_where_what_it_changed_is_not_as_it_was(turns: Turns) -> None:
    turns.turn()
    turns.turn()
    _, _, groups, *_ = turns.turn(lambda: Group.objects.filter(name="approver").update(name="other"))
    assert turns.made == 3
    assert "other" in {row[1] for row in groups}
