"""The comparison of every CA with the inventory, in which the failure of one CA never stops the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from certs.models import Issuer
from certs.reconciliation.ca import reconcile_ca
from certs.status.isolation import Failures


def reconcile_every_ca() -> list[dict[str, Any]]:
    """Return what was found at every CA, as `reconcile_each`."""
    return reconcile_each(Issuer.objects.exclude(alias="").order_by("pk"))


def reconcile_each(issuers: Iterable[Issuer]) -> list[dict[str, Any]]:
    """Return what was found at each of these CAs. A CA whose comparison fails has `error` and an alert of its own."""
    found = []
    for issuer in issuers:
        failures = Failures(issuer.name, f"reconcile:{issuer.name}", missing="the comparison with this CA")
        with failures.caught("comparison"):
            found.append(reconcile_ca(issuer))
        if failures.found:
            error = f"{issuer.name} could not be compared: {failures.found[0]}"
            found.append({"issuer": issuer.name, "listed": False, "found": [], "revoked": [], "error": error})
        failures.report()
    return found
