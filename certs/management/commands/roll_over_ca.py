"""`manage.py roll_over_ca`: a new issuing CA takes over from an old one; the old one goes on signing CRLs and OCSP responders only."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from audit.log import Actor
from certs.authorities.own import checked_name, take_over
from certs.ca.local.setup import next_name
from certs.management.portal_command import PortalCommand
from certs.models import Issuer
from keys.spec import KeySpec

ACTOR = Actor("command", "roll_over_ca")


class Command(PortalCommand):
    help = "Make a new issuing CA beneath the same root and have it take over. Needs the root's key, for this one signature."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("old", nargs="?", default="", help="the CA to take over from (default: the one that issues for PKI_DEFAULT_CA)")
        parser.add_argument("--name", default="", help="name of the new CA (default: the old one's with -G2, -G3 and so on)")
        parser.add_argument("--dry-run", action="store_true", help="print what would be done and change nothing")
        parser.add_argument("--key", default="", choices=["", *KeySpec], help="key of the new CA (default: as the old one's)")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        old = self._old(options["old"] or settings.PKI_DEFAULT_CA)
        assert old.key is not None
        spec = KeySpec(options["key"] or old.key.spec)
        name = checked_name(options["name"]) if options["name"] else next_name(old.name)
        if options["dry_run"]:
            root = old.parent.name if old.parent else None
            return {"success": True, "dry_run": True, "old": old.name, "new": name, "key": spec, "root": root}
        tell = (lambda _line: None) if options["json"] else self.stdout.write
        new = take_over(old, name=name, spec=spec, actor=ACTOR, tell=tell)
        old.refresh_from_db()
        return {"success": True, "issuer": new.name, "slug": new.slug, "took_over_from": old.name, "its_state": old.state}

    def _old(self, name: str) -> Issuer:
        old = Issuer.objects.select_related("key", "successor", "parent").filter(name=name, key__isnull=False).first()
        if old is None:
            raise CommandError(f"There is no own CA named {name}.", returncode=2)
        while old.successor is not None:
            old = old.successor
        return old
