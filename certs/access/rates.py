"""Limits on how often something may be done, counted in the database so that every process counts together.

(Guessing passwords has limits of its own, which count places and reveal nothing: `login_limits`.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from certs.errors import TooMany
from certs.models import RateCounter
from db.clock import database_now


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` in a window, which begins with its first use. `whose`: what it counts by, such as `team:web`."""

    what: str
    whose: str
    most: int
    window: timedelta

    @property
    def key(self) -> str:
        """Return the name of its row."""
        return f"{self.what}:{self.whose}"[:200]


@transaction.atomic
def use(limits: Sequence[Limit], *, message: str) -> None:
    """Count one use against each limit, or raise TooMany and count against none.

    Rows are locked in the order of their keys, so two callers can neither pass a limit together nor
    wait for each other. In an outer transaction the locks stay until its end.
    """
    now = database_now()
    for limit in sorted(limits, key=lambda one: one.key):
        row = _locked(limit, now)
        if row.used >= limit.most:
            seconds = max(1, math.ceil((row.ends_at - now).total_seconds()))
            raise TooMany(message, retry_after=seconds)
        row.used += 1
        row.save(update_fields=["used", "ends_at"])


def forget_old(now: datetime) -> int:
    """Delete the counters whose window has ended. Returns how many."""
    return RateCounter.objects.filter(ends_at__lt=now).delete()[0]


def _locked(limit: Limit, now: datetime) -> RateCounter:
    """Return the row of the present window, locked; a window that ended begins anew."""
    fresh = RateCounter(key=limit.key, ends_at=now + limit.window)
    # Insert or lock in one statement: the update changes nothing.
    RateCounter.objects.bulk_create([fresh], update_conflicts=True, unique_fields=["key"], update_fields=["key"])
    row = RateCounter.objects.select_for_update().get(key=limit.key)
    if row.ends_at <= now:
        row.used, row.ends_at = 0, now + limit.window
    return row
