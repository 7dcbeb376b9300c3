"""`manage.py register`: the register of certificates and the places of their keys, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser

from certs.inventory import CertificateFilter
from certs.inventory.register import register_csv, register_filter
from certs.management.portal_command import PortalCommand
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
        sought = CertificateFilter.from_query({"critical": "yes" if options["critical"] else "", "team": options["team"]})
        lines = register_csv(
            self.authority(options),
            register_filter(sought, past=options["past"]),
            now=database_now(),
        )
        rows = -1  # the heading is none
        try:
            with Path(options["output"]).open("w", encoding="utf-8", newline="") as file:
                for line in lines:
                    file.write(line)
                    rows += 1
        except OSError as exc:
            raise CommandError(f"{options['output']} cannot be written: {exc.strerror}.", returncode=1) from exc
        return {"success": True, "output": options["output"], "rows": rows}

    def show(self, answer: dict[str, Any]) -> None:
        self.stdout.write(f"{answer['rows']} rows written to {answer['output']}.")
