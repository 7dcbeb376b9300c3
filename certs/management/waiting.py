"""Waiting for a CA to hear of a revocation, for commands: the answer then says whether it is done or waits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from certs.models import Revocation


def wait_for_ca(certificate_ids: Sequence[int], *, seconds: float) -> None:
    """Until each has been told once, with or without success, or the time is over. Reads the database only."""
    deadline = time.monotonic() + seconds
    untold = Revocation.objects.filter(pk__in=certificate_ids, tries=0)
    while time.monotonic() < deadline and untold.exists():
        time.sleep(0.02)
