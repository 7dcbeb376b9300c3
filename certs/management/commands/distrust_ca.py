"""`manage.py distrust_ca`: revoke an own issuing CA permanently on its root's CRL. Exit code 1 while that CRL does not list it."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser
from django.db.models import Q

from audit.log import Actor
from certs.authorities.own import say_so_in_root_crl
from certs.enums import RevocationReason
from certs.management.portal_command import PortalCommand
from certs.models import IssuanceIntent, Issuer
from certs.revocation.distrust import REASONS, distrust, living_certificates
from certs.status.crl.serve import published_crl

ACTOR = Actor("command", "distrust_ca")


class Command(PortalCommand):
    help = "Revoke an own issuing CA: its key is in the wrong hands, or it is given up. Final. The root's key is needed for the root's CRL."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("issuer", help="name or slug of an own issuing CA")
        parser.add_argument("--reason", required=True, choices=[str(reason) for reason in REASONS])
        parser.add_argument("--yes", action="store_true", help="do it; without this it is only said what would be done")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        name = options["issuer"]
        issuer = Issuer.objects.select_related("successor", "parent").filter(Q(name=name) | Q(slug=name), key__isnull=False).first()
        if issuer is None:
            raise CommandError(f"There is no own CA named {name}.", returncode=2)
        result: dict[str, Any] = {"issuer": issuer.name, "reason": options["reason"], "living_certificates": living_certificates(issuer)}
        result["successor"] = issuer.successor.name if issuer.successor else None
        result["next_steps"] = _next_steps(issuer, result["living_certificates"])
        if not options["yes"]:
            return {"success": False, "error": "Nothing was done: this is final. Say --yes to do it.", **result}
        entry = distrust(issuer, reason=RevocationReason(options["reason"]), actor=ACTOR)
        return {"serial_number": entry.serial_number, **result, **_say_so(entry)}


def _say_so(entry: IssuanceIntent) -> dict[str, Any]:
    """The root's CRL, if its key is here. Asked again, once it lists the CA nothing is made anew."""
    left = say_so_in_root_crl(entry, actor=ACTOR)
    if left is not None:
        return {
            "success": False,
            "error": f"It is distrusted here, but the CRL of {left.root.name} does not say so yet: {left.why}",
            "next_step": f"Bring the root's key online and run `manage.py publish_crl --issuer {left.root.slug}`.",
        }
    crl = published_crl(entry.issuer.slug, 0)
    return {"success": True, "root_crl": {"issuer": entry.issuer.name, "number": crl.number if crl else None}}


def _next_steps(issuer: Issuer, living: int) -> list[str]:
    steps = []
    if issuer.successor is None:
        steps.append(f'`manage.py roll_over_ca "{issuer.name}"`: until then requests for it are refused.')
    if living:
        steps.append("`manage.py check_expiry`, or wait for the night: its certificates are renewed by the CA that has taken over.")
    return steps
