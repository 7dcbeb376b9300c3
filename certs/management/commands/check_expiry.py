"""`manage.py check_expiry`: renew what is due now, and notify those who must act. The schedule does the same every night."""

from __future__ import annotations

import time
from typing import Any

from django.core.management import CommandParser

from certs.management.portal_command import PortalCommand, begin_working
from certs.renewal.expiry import check_expiry
from certs.requests.representation import wait


class Command(PortalCommand):
    help = "Renew certificates that are due, revoke superseded ones after their overlap, and tell owners what cannot be renewed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        self.add_wait(parser, default=120)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        begin_working()
        done = check_expiry()
        deadline = time.monotonic() + options["wait"]
        for renewal in done.renewed:
            wait(renewal.request, seconds=max(0.0, deadline - time.monotonic()))
        return done.result()
