"""Compare bulk orders that were submitted with their events: who submitted what, and its state."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from certs.models import BulkOrder
from certs.reconciliation.records.comparison import Comparison, accounts_over_time, events_of, rows_named
from certs.reconciliation.records.explained import Logged

State = BulkOrder.State
_AFTER = {
    "bulk:submitted": State.RUNNING,
    "bulk:paused": State.PAUSED,
    "bulk:resumed": State.RUNNING,
    "bulk:cancelled": State.CANCELLED,
    "bulk:completed": State.DONE,
    "bulk:retried": State.RUNNING,
}


def orders(page: list[BulkOrder], comparison: Comparison) -> None:
    """Add orders whose state, submitter or content no event explains."""
    logged = events_of([row.subject for row in page], tuple(_AFTER))
    people = rows_named(get_user_model(), [key for row in page for key in (row.submitter_id, row.requester_id)])
    names = accounts_over_time(people.values())
    for row in page:
        comparison.compared["bulk orders"] += 1
        events = logged[row.subject]
        submitted = next((e for e in events if e.event == "bulk:submitted"), None)
        if submitted is None:
            comparison.add("bulk order", row.public_id, "no event says that it was submitted")
            continue
        comparison.expect("bulk order", row.public_id, "state", stored=row.state, logged=order_state(events))
        comparison.expect(
            "bulk order", row.public_id, "content_sha256", stored=row.content_sha256, logged=submitted.data.get("content_sha256")
        )
        for account, name, did in (
            (row.submitter_id, submitted.actor, "submitted"),
            (row.requester_id, submitted.data.get("drafted_by"), "drafted"),
        ):
            if account is not None and not _is(name, names.get(account, set())):
                comparison.add("bulk order", row.public_id, f"the log says that {name} {did} it, and its row names another account")
        _owner_of_pause(row, events, comparison)


def _is(actor: Any, names: set[str]) -> bool:
    """Return whether an actor is an account of these names: itself, or one of its tokens (`name:prefix`)."""
    return str(actor) in names or str(actor).rpartition(":")[0] in names


def order_state(events: list[Logged]) -> str:
    """Return the state in which the events leave an order that was submitted."""
    state = ""
    for logged in events:
        event = logged.event
        after = _AFTER[event]
        if event == "bulk:completed" and state == State.CANCELLED:
            continue  # what was under way is finished; the order stays cancelled
        if event == "bulk:retried" and state != State.DONE:
            continue
        state = after
    return state


def _owner_of_pause(row: BulkOrder, events: list[Logged], comparison: Comparison) -> None:
    paused = [e for e in events if e.event == "bulk:paused"]
    if row.state == State.PAUSED and paused and "by_security_team" in paused[-1].data:
        logged = bool(paused[-1].data["by_security_team"])
        comparison.expect("bulk order", row.public_id, "paused_by_security_team", stored=row.paused_by_security_team, logged=logged)
