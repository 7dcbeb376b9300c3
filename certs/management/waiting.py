"""Waiting for a CA to hear of a revocation, for commands: the answer then says whether it is done or waits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.db.models import QuerySet

from certs.models import Certificate, Revocation
from keys.models import Key


def wait_for_ca(certificate_ids: Sequence[int], *, seconds: float) -> None:
    """Until each has been told once, with or without success, and no key of theirs waits to be destroyed; or the time is over."""
    deadline = time.monotonic() + seconds
    untold = Revocation.objects.filter(pk__in=certificate_ids, tries=0)
    destroying = Key.objects.filter(state=Key.State.DESTROYING, spki_sha256__in=_keys(certificate_ids))
    while time.monotonic() < deadline and (untold.exists() or destroying.exists()):
        time.sleep(0.02)


def _keys(certificate_ids: Sequence[int]) -> QuerySet[Certificate, str]:
    return Certificate.objects.filter(pk__in=certificate_ids).values_list("spki_sha256", flat=True)
