"""A waiver is decided once, whoever decides at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from db.clock import database_now
from policy.errors import PolicyConflict
from policy.models import PolicyWaiver
from policy.publishing import rules_in_force
from policy.waivers.deciding import approve_waiver, end_waiver
from tests.cast import Cast
from tests.policy.waivers.requested import requested_waiver
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True)]
Act = Callable[[PolicyWaiver, Any], Any]


@pytest.fixture
def waiver(cast: Cast) -> PolicyWaiver:
    """A waiver that a third officer has requested."""
    return requested_waiver(cast["root"])


def approve(row: PolicyWaiver, user: Any) -> Any:
    return approve_waiver(row, user=user, now=database_now())


def end(row: PolicyWaiver, user: Any) -> Any:
    return end_waiver(row, reason="No.", user=user, now=database_now())


@pytest.mark.parametrize(
    ("first", "second", "refused", "counts"),
    [(approve, approve, True, True), (end, approve, True, False), (approve, end, False, False), (end, end, True, False)],
)
def test_waiver_is_decided_once(cast: Cast, waiver: PolicyWaiver, first: Act, second: Act, refused: bool, counts: bool) -> None:
    """One that was approved may still be ended; one that was ended never counts."""
    found: list[str] = []

    def decide() -> None:
        try:
            second(waiver, cast["veteran"])
        except PolicyConflict as exc:
            found.append(str(exc))

    with transaction.atomic():
        first(waiver, cast["officer"])
        thread = in_thread(decide)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert bool(found) == refused
    assert bool(rules_in_force("default", database_now())[1]) == counts
