"""`manage.py reconcile_ca`: certificates at a CA that nobody here knows, or that it revoked without us. Exit code 1 when there are any."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser

from audit.log import Actor
from certs.management.portal_command import PortalCommand
from certs.reconciliation.ca import revoke_unknown, settle_unknown
from certs.reconciliation.each_ca import reconcile_every_ca
from certs.x509.certificate.serial import parse_serial

ACTOR = Actor("command", "reconcile_ca")


class Command(PortalCommand):
    help = "Compare what each CA issued and revoked with the inventory. What is unknown is an alarm; what it revoked is revoked here too."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--settle", default="", metavar="SERIAL", help="an unknown certificate whose origin has been found out")
        which.add_argument(
            "--revoke", default="", metavar="SERIAL", help="an unknown certificate that is to be revoked at its CA, and settled"
        )
        parser.add_argument("--because", default="", metavar="TEXT", help="with either: what it was, and what was done")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        named = options["settle"] or options["revoke"]
        if bool(named) != bool(options["because"]):
            raise CommandError("--settle or --revoke, and --because, go together.", returncode=2)
        if named:
            serial = f"{parse_serial(named):x}"
            act, word = (revoke_unknown, "revoked") if options["revoke"] else (settle_unknown, "settled")
            act(serial, options["because"], actor=ACTOR)
            return {"success": True, word: serial}
        result = reconcile_every_ca()
        quiet = not any(one["found"] or one["revoked"] or one.get("error") for one in result)
        return {"success": quiet, "cas": result}
