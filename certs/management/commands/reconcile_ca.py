"""`manage.py reconcile_ca`: is there a certificate at a CA that nobody here knows? Exit code 1 when there is, or a CA cannot be asked."""

from __future__ import annotations

from typing import Any

from certs.management.portal_command import PortalCommand
from certs.models import Issuer
from certs.workflow.reconciling import reconcile_ca


class Command(PortalCommand):
    help = "List what each CA has issued and compare it with the inventory. What is unknown becomes a row and an alarm."

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        told = [reconcile_ca(issuer) for issuer in Issuer.objects.exclude(alias="").order_by("pk")]
        return {"success": not any(one["found"] or one.get("error") for one in told), "cas": told}
