"""`manage.py roll_over_ca`: a new issuing CA takes over from an old one; the old one goes on signing CRLs and OCSP responders only."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from audit.log import Actor
from certs.ca.local.ocsp_responder import ensure_responder
from certs.ca.local.setup import succeed
from certs.management.portal_command import PortalCommand
from certs.models import Issuer
from certs.status.crl import points_of
from certs.status.publishing import refresh_point, retire_predecessors
from keys.spec import KeySpec

ACTOR = Actor("command", "roll_over_ca")


class Command(PortalCommand):
    help = "Make a new issuing CA beneath the same root and have it take over. Needs the root's key, for this one signature."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("old", nargs="?", default="", help="the CA to take over from (default: the one that issues for PKI_DEFAULT_CA)")
        parser.add_argument("--name", default="", help="name of the new CA (default: the old one's with -G2, -G3 and so on)")
        parser.add_argument("--key", default="", choices=["", *KeySpec], help="key of the new CA (default: as the old one's)")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        old = self._old(options["old"] or settings.PKI_DEFAULT_CA)
        assert old.key is not None
        spec = KeySpec(options["key"] or old.key.spec)
        tell = (lambda _line: None) if options["json"] else self.stdout.write
        new = succeed(old, name=options["name"] or _next_name(old.name), spec=spec, actor=ACTOR, tell=tell)
        ensure_responder(new, actor=ACTOR)
        for point in points_of(new):
            refresh_point(point, actor=ACTOR)
        retire_predecessors()
        old.refresh_from_db()
        return {"success": True, "issuer": new.name, "slug": new.slug, "took_over_from": old.name, "its_state": old.state}

    def _old(self, name: str) -> Issuer:
        old = Issuer.objects.select_related("key", "successor").filter(name=name, key__isnull=False).first()
        if old is None:
            raise CommandError(f"There is no own CA named {name}.", returncode=2)
        while old.successor is not None:
            old = old.successor
        return old


def _next_name(name: str) -> str:
    """Internal-CA-Prod, Internal-CA-Prod-G2, Internal-CA-Prod-G3."""
    match = re.fullmatch(r"(.*)-G([0-9]+)", name)
    return f"{match[1]}-G{int(match[2]) + 1}" if match else f"{name}-G2"
