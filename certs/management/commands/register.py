"""`manage.py register`: the register of certificates and the places of their keys, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser

from audit.files import write_whole
from certs.inventory import CertificateFilter
from certs.inventory.register import register_csv, register_filter
from certs.management.portal_command import PortalCommand
from certs.models import Team
from db.clock import database_now


class Command(PortalCommand):
    help = "Write the register of certificates and the places of their keys as CSV (DORA RTS 2024/1774 Art. 7, PCI DSS 4.2.1.1)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--as", dest="as_user", metavar="USER", help="only what this user may see")
        parser.add_argument("--output", required=True, metavar="FILE", help="the CSV file to write")
        parser.add_argument("--past", action="store_true", help="with ended and revoked certificates")
        parser.add_argument("--critical", action="store_true", help="only those of critical functions")
        parser.add_argument("--team", default="", help="only those of the team with this slug")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["team"] and not Team.objects.filter(slug=options["team"]).exists():
            raise CommandError(f"There is no team {options['team']}.", returncode=2)
        sought = CertificateFilter.from_query({"critical": "yes" if options["critical"] else "", "team": options["team"]})
        lines = register_csv(
            self.authority(options),
            register_filter(sought, past=options["past"]),
            now=database_now(),
        )
        written = write_whole(Path(options["output"]), (line.encode() for line in lines))
        return {"success": True, "output": options["output"], "rows": written - 1}  # the heading is none

    def show(self, answer: dict[str, Any]) -> None:
        if not answer["success"]:
            super().show(answer)
            return
        self.stdout.write(f"{answer['rows']} rows written to {answer['output']}.")
