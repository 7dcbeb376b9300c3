"""`manage.py unblock_key`: a security officer takes a wrong block of a public key back."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from certs.management.portal_command import PortalCommand
from certs.revocation.unblock import unblock_key


class Command(PortalCommand):
    help = (
        "Unblock a public key that was blocked by mistake:"
        ' unblock_key cert-20250118143215-1a2b3c4d5e --reason "pasted by mistake" --as carol'
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("key", metavar="SPKI|CERT_ID", help="SHA-256 of its SPKI in hex, or a certificate on it")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why the block was wrong; audited")
        parser.add_argument("--as", dest="as_user", metavar="USER", required=True, help="the security officer")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        return unblock_key(options["key"], reason=options["reason"], authority=self.authority(options))
