"""Which beat leads: the one that renews its lease in the database, by the database's clock.

A beat that was killed, stopped or cut off from the database renews nothing, and another takes over
within `LEASE`. The lease only keeps two beats from doing the same work. That each period is sent
once is decided for each job by `due.send_due`, so a beat that wakes up late can do no harm.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta

from django.db.models import Case, F, Q, Value, When

from certs.models import BeatLease
from db.clock import database_now

LEASE = timedelta(seconds=5)
RENEW_WHEN_LEFT = timedelta(seconds=3)
ONLY_ROW = 1


def lead(holder: str) -> bool:
    """Take or renew the lease. Returns whether `holder` leads now; one conditional UPDATE decides."""
    now = database_now()
    lease = BeatLease.objects.filter(pk=ONLY_ROW).first()
    if lease is None:
        host = f"{socket.gethostname()[:100]}:{os.getpid()}"
        new = BeatLease(pk=ONLY_ROW, holder=holder, host=host, since=now, until=now + LEASE)
        BeatLease.objects.bulk_create([new], ignore_conflicts=True)
        return BeatLease.objects.filter(pk=ONLY_ROW, holder=holder).exists()
    if lease.holder == holder and RENEW_WHEN_LEFT < lease.until - now <= LEASE:
        return True
    # A lease that ends later than any beat could have made it comes from a clock that was wrong.
    free = Q(holder=holder) | Q(until__lte=now) | Q(until__gt=now + LEASE)
    since = Case(When(holder=holder, then=F("since")), default=Value(now))
    host = f"{socket.gethostname()[:100]}:{os.getpid()}"
    rows = BeatLease.objects.filter(free, pk=ONLY_ROW)
    return bool(rows.update(holder=holder, host=host, since=since, until=now + LEASE))


def resign(holder: str) -> None:
    """End the lease of a beat that stops in good order, so that another takes over at once."""
    BeatLease.objects.filter(pk=ONLY_ROW, holder=holder).update(until=database_now())
