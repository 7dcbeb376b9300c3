"""`manage.py reconcile_ca`: is there a certificate at a CA that nobody here knows? Exit code 1 when there is, or a CA cannot be asked."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser

from audit.log import Actor
from certs.management.portal_command import PortalCommand
from certs.models import Issuer
from certs.workflow.reconciling import reconcile_ca, settle_unknown
from certs.x509.serial import parse_serial


class Command(PortalCommand):
    help = "List what each CA has issued and compare it with the inventory. What is unknown becomes a row and an alarm."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--settle", default="", metavar="SERIAL", help="an unknown certificate whose origin has been found out")
        parser.add_argument("--because", default="", metavar="TEXT", help="with --settle: what it was, and what was done")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if bool(options["settle"]) != bool(options["because"]):
            raise CommandError("--settle and --because go together.", returncode=2)
        if options["settle"]:
            serial = f"{parse_serial(options['settle']):x}"
            settle_unknown(serial, options["because"], actor=Actor("command", "reconcile_ca"))
            return {"success": True, "settled": serial}
        told = [reconcile_ca(issuer) for issuer in Issuer.objects.exclude(alias="").order_by("pk")]
        return {"success": not any(one["found"] or one.get("error") for one in told), "cas": told}
