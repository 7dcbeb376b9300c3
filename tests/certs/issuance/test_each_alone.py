"""One failing part, mail or row of a scheduled task stops no other."""

from __future__ import annotations

from typing import Any

import pytest

from certs import tasks
from certs.bulk.drafting import draft
from certs.models import OperatorAlert
from certs.schedules import clean_up

pytestmark = pytest.mark.django_db(transaction=True)


def broken() -> int:
    raise LookupError("a bug")


@pytest.mark.parametrize(
    ("task", "module", "name", "cause"),
    [
        (tasks.sweep, tasks, "end_orphaned_tokens", "orphaned tokens"),
        (tasks.sweep_bulk, draft, "forget_broken_drafts", "broken drafts"),
        (tasks.clean_up, clean_up, "delete_expired_sessions", "expired sessions"),
    ],
)
def test_part_of_a_scheduled_task_that_fails_stops_no_other(
    task: Any, module: Any, name: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: requests stood still because of a token that could not be ended."""
    ran: list[str] = []

    def works(path: str) -> None:
        def work() -> int:
            ran.append(path)
            return 3

        monkeypatch.setattr(f"certs.tasks.{path}", work)

    works("recovery.restart_stalled")
    works("dispatch.sweep_chunks")
    for part in ("delete_old_attempts", "delete_old_mails", "delete_old_alerts"):
        monkeypatch.setattr(clean_up, part, lambda: 1)
    monkeypatch.setattr(module, name, broken)
    assert (task(), len(ran)) == ((3, 0) if task is tasks.clean_up else (3, 1))
    alert = OperatorAlert.objects.get(kind="sweep_failed", closed_at=None)
    assert cause in alert.message
