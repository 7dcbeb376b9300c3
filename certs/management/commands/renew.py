"""`manage.py renew`: a new certificate in the place of one that there is, with the same content under the policy of today."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from certs.inventory import find_certificate
from certs.management.portal_command import PortalCommand, begin_working
from certs.renewal.plan import KeyOption
from certs.renewal.renew import Renewal, describe_plan, plan_renewal, renew, renewal_result
from certs.requests.representation import wait


class Command(PortalCommand):
    help = "Renew a certificate: renew cert-20250118143215-1a2b3c4d5e"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("certificate", metavar="CERT_ID", help="its id, or its serial number in any spelling")
        parser.add_argument("--as", dest="as_user", metavar="USER", help="act for this user (default: the command itself)")
        key = parser.add_mutually_exclusive_group()
        key.add_argument("--new-key", action="store_true", help="rotate the key (default: keep it where the policy allows)")
        key.add_argument("--keep-key", action="store_true", help="rather fail than make a new key")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        self.add_wait(parser, default=120)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        authority = self.authority(options)
        certificate, note = find_certificate(authority.visible(), options["certificate"])
        key_option = KeyOption.NEW if options["new_key"] else KeyOption.KEEP if options["keep_key"] else KeyOption.DEFAULT
        if options["dry_run"]:
            return {"success": True, "plan": [describe_plan(plan_renewal(certificate, authority=authority, key_option=key_option))]}
        begin_working()
        made = renew(certificate, authority=authority, channel="command", key_option=key_option)
        result = renewal_result(Renewal(wait(made.request, seconds=options["wait"]), made.plan, already=made.already))
        return result | ({"notes": [note, *result["notes"]]} if note else {})
