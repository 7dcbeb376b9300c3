"""`manage.py resume`: go on with a request that was held or failed, from where it stopped."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from certs.management.portal_command import PortalCommand, begin_working
from certs.requests.representation import answer, wait
from certs.requests.waiting import resume


class Command(PortalCommand):
    help = "Resume a held or failed request by its resume id, without a second key or CSR."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("resume_id", metavar="RESUME_ID")
        parser.add_argument("--as", dest="as_user", metavar="USER", help="act for this user (default: the command itself)")
        self.add_wait(parser, default=120)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        begin_working()
        row = resume(options["resume_id"], authority=self.authority(options))
        return answer(wait(row, seconds=options["wait"]))
