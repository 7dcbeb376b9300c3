"""How many batches may be with one remote CA at once: a CA that hangs takes no more workers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from certs.ca.registry import is_remote
from certs.enums import RequestState as S
from certs.models import Attempt, CertificateRequest, Issuer

MOST_TOGETHER = 100  # requests that waited for a place and go on in one batch


def without_place(issuers: Iterable[Issuer], *, now: datetime) -> set[int]:
    """Return ids of those CAs with which as many batches are as may be (PKI_CA_PARALLEL). Needs an open
    transaction and locks the remote CAs' rows, so that two callers cannot take the last place.

    A batch counts until its attempts are closed, or their lease is over because its worker died.
    """
    full = set()
    for issuer in sorted(issuers, key=lambda one: one.pk):
        if not is_remote(issuer.alias):
            continue
        list(Issuer.objects.select_for_update(no_key=True).filter(pk=issuer.pk).values_list("pk"))
        running = Attempt.objects.filter(step="submit", closed_at__isnull=True, lease_until__gt=now, request__issuer=issuer)
        if running.order_by().values("opened_at").distinct().count() >= settings.PKI_CA_PARALLEL:
            full.add(issuer.pk)
    return full


def reason(issuer: Issuer) -> str:
    """Return why a request waits that found no place."""
    return f"Waits for its turn at {issuer.name}: {settings.PKI_CA_PARALLEL} batches are with that CA, and it has not answered them yet."


def waiting_for_place(issuer: Issuer) -> list[tuple[int, bool]]:
    """Return the oldest requests that found no place at this CA: (id, whether it is a line of a bulk order)."""
    rows = CertificateRequest.objects.filter(issuer=issuer, state=S.CSR_CREATED, held_since__isnull=True, error=reason(issuer))
    found = rows.order_by("state_changed_at", "pk").values_list("pk", "bulk_item")[:MOST_TOGETHER]
    return [(pk, item is not None) for pk, item in found]
