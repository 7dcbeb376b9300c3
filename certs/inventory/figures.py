"""How many certificates are in each state: counted by a schedule, read by `/metrics` and pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count

from certs.inventory.states import CertificateState, with_state
from certs.models import Certificate, StateFigure
from db.clock import database_now


def count_states() -> int:
    """Count the certificates of each state and keep the figures. Returns the number of all.

    One pass over the inventory; the states of one count belong together.
    """
    now = database_now()
    rows: Any = with_state(Certificate.objects.order_by(), now)  # types know no `state_now`
    grouped = rows.values("state_now")
    found: dict[str, int] = dict(grouped.annotate(number=Count("pk")).values_list("state_now", "number"))
    figures = [StateFigure(state=state.value, count=found.get(state.value, 0), counted_at=now) for state in CertificateState]
    with transaction.atomic():
        StateFigure.objects.bulk_create(
            figures,
            update_conflicts=True,
            unique_fields=["state"],
            update_fields=["count", "counted_at"],
        )
    return sum(found.values())


def state_figures() -> tuple[dict[CertificateState, int], datetime | None]:
    """Return the kept counts, and when they were counted; None before the first time."""
    rows = {row.state: row for row in StateFigure.objects.all()}
    counts = {state: rows[state.value].count for state in CertificateState if state.value in rows}
    return counts, min((row.counted_at for row in rows.values()), default=None)
