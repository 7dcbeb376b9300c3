"""`manage.py publish_crl`: make and publish the next CRL now, of one CA or of all own issuing CAs; a root's when it is named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.db.models import Q

from audit.log import Actor
from certs.crl import CRLWithheld, points_of, publish_crl
from certs.crl.serving import published_crl
from certs.errors import Conflict
from certs.management.portal_command import PortalCommand
from certs.models import CRL, Issuer
from certs.workflow.publishing import own_issuing_cas

ACTOR = Actor("command", "publish_crl")


class Command(PortalCommand):
    help = "Publish a new CRL at once. Needs the CA's key; a root's CRL (--issuer ROOT) needs the root's, which is kept offline otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--issuer", default="", help="name or slug of an own CA (default: all issuing ones)")
        parser.add_argument("--output", default="", metavar="FILE", help="also write the CRL in DER; of --issuer, or of PKI_DEFAULT_CA")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        issuers = [self._named(options["issuer"])] if options["issuer"] else own_issuing_cas()
        if not issuers:
            raise CommandError("There is no own CA yet; run `manage.py bootstrap` first.", returncode=1)
        made = [_told(crl) for issuer in issuers for crl in _publish(issuer)]
        answer: dict[str, Any] = {"success": True, "crls": made}
        if options["output"]:
            answer["output"] = self._write(Path(options["output"]), options["issuer"] or settings.PKI_DEFAULT_CA)
        return answer

    def _named(self, name: str) -> Issuer:
        issuer = Issuer.objects.select_related("key").filter(Q(name=name) | Q(slug=name), key__isnull=False).first()
        if issuer is None:
            raise CommandError(f"There is no own CA named {name}.", returncode=2)
        return issuer

    def _write(self, path: Path, name: str) -> str:
        issuer = self._named(name)
        crl = published_crl(issuer.slug, issuer.crl_shard)
        assert crl is not None  # it was published just now
        with path.open("wb") as file:
            file.writelines(crl.pieces())
        return str(path)


def _publish(issuer: Issuer) -> list[CRL]:
    """Raises Conflict when what was built must not be published."""
    validity = None if issuer.alias else timedelta(days=settings.PKI_ROOT_CRL_VALID_DAYS)
    made = []
    for point in points_of(issuer):
        try:
            crl = publish_crl(point, actor=ACTOR, validity=validity)
        except CRLWithheld as exc:
            raise Conflict(str(exc), next_step="The last CRL stays public. Find what changed those rows.") from exc
        point.refresh_from_db()
        newest = crl or point.published  # another builder published a later one meanwhile
        if newest is not None:
            made.append(newest)
    return made


def _told(crl: CRL) -> dict[str, Any]:
    return {
        "issuer": crl.point.issuer.name,
        "shard": crl.point.shard,
        "number": crl.number,
        "entries": crl.count,
        "this_update": crl.this_update.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "next_update": crl.next_update.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "bytes": crl.length,
    }
