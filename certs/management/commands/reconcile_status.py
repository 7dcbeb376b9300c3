"""`manage.py reconcile_status`: do CRL, OCSP and inventory say the same of every certificate? Exit code 1 with the differences."""

from __future__ import annotations

from typing import Any

from audit.log import Actor
from certs.management.portal_command import PortalCommand
from certs.reconciliation.status import reconcile_status


class Command(PortalCommand):
    help = "Compare CRL, OCSP and inventory for every unexpired certificate of the own CAs. Needs a process that may answer OCSP."

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        found = reconcile_status(actor=Actor("command", "reconcile_status"))
        return {
            "success": not any(books.count for books in found),
            "issuers": [
                {"issuer": books.issuer, "compared": books.compared, "differences": books.count, "first": books.differences}
                for books in found
            ],
        }
