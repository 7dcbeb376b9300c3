"""`manage.py publish_crl`: publish the next CRL of one own CA, or of all own issuing CAs, now."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.db.models import Q

from audit.files import write_whole
from audit.log import Actor
from certs.ca.lifetime import has_ended
from certs.errors import PortalError
from certs.management.portal_command import PortalCommand
from certs.models import CRL, CRLPoint, Issuer
from certs.status.crl import CRLWithheld, points_of, publish_crl
from certs.status.crl.serve import published_crl
from certs.status.publishing import own_issuing_cas
from db.clock import database_now
from keys.errors import KeyBackendError

ACTOR = Actor("command", "publish_crl")


class Command(PortalCommand):
    help = (
        "Publish a new CRL at once. Needs the CA's key. A root's CRL (--issuer ROOT) needs the root's key, which is kept offline otherwise."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--issuer",
            default="",
            help="name or slug of an own CA (default: all issuing CAs)",
        )
        parser.add_argument(
            "--shard",
            type=int,
            default=0,
            help="with --output: write this shard instead of the complete CRL",
        )
        parser.add_argument(
            "--output",
            default="",
            metavar="FILE",
            help="also write the CRL in DER: the complete one, or that of --shard",
        )

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        issuers = self._issuers(options["issuer"])
        if options["shard"] and not options["output"]:
            raise CommandError("--shard goes with --output: every shard is published anyway.", returncode=2)
        if options["output"]:
            self._check_output(issuers, options["shard"])
        # Each CA and each CRL alone: the others are published although one cannot be.
        made: list[CRL] = []
        errors: list[dict[str, str]] = []
        for issuer in issuers:
            for point in points_of(issuer):
                try:
                    made.append(_publish(point))
                except (CRLWithheld, KeyBackendError, PortalError) as exc:
                    errors.append({"crl": str(point), "error": str(exc), "next_step": _next_step(exc)})
        answer: dict[str, Any] = {"success": not errors, "crls": [_told(crl) for crl in made]}
        if errors:
            answer |= {"error": errors[0]["error"], "next_step": errors[0]["next_step"], "errors": errors}
        elif options["output"]:
            answer |= self._write(Path(options["output"]), issuers[0], options["shard"])
        return answer

    def _issuers(self, name: str) -> list[Issuer]:
        if name:
            known = Issuer.objects.select_related("key").filter(key__isnull=False)
            issuer = known.filter(Q(name=name) | Q(slug=name)).first()
            if issuer is None:
                raise CommandError(f"There is no own CA named {name}.", returncode=2)
            return [issuer]
        now = database_now()
        issuers = [issuer for issuer in own_issuing_cas() if not has_ended(issuer, now=now)]
        if not issuers:
            raise CommandError("There is no own CA yet; run `manage.py bootstrap` first.", returncode=1)
        return issuers

    def _check_output(self, issuers: list[Issuer], shard: int) -> None:
        """Refuse before anything is published where FILE would hold less than its reader expects."""
        if len(issuers) > 1:
            names = ", ".join(issuer.name for issuer in issuers)
            raise CommandError(
                f"A file holds the CRL of one CA, and there are several ({names}). Name one: --issuer.",
                returncode=2,
            )
        if not 0 <= shard <= issuers[0].crl_shard:
            last = issuers[0].crl_shard
            raise CommandError(
                f"{issuers[0].name} has no CRL shard {shard}; its last one is {last}.",
                returncode=2,
            )

    def _write(self, path: Path, issuer: Issuer, shard: int) -> dict[str, Any]:
        crl = published_crl(issuer.slug, shard)
        assert crl is not None  # it was published just now
        write_whole(path, crl.pieces())
        scope = f"shard {shard} only" if shard else "every certificate of this CA"
        return {"output": str(path), "output_covers": scope}


def _publish(point: CRLPoint) -> CRL:
    """Publish, and return the newest CRL: another builder may have published a later one."""
    root = not point.issuer.alias
    validity = timedelta(days=settings.PKI_ROOT_CRL_VALID_DAYS) if root else None
    crl = publish_crl(point, actor=ACTOR, validity=validity)
    point.refresh_from_db()
    newest = crl or point.published
    assert newest is not None  # either this builder or a later one has published
    return newest


def _next_step(exc: Exception) -> str:
    if isinstance(exc, CRLWithheld):
        return "The last CRL stays public. Find what changed those rows."
    return getattr(exc, "next_step", "") or "Bring the CA's key online and run the command again."


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
