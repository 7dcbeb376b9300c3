"""`manage.py add_ca`: take a CA of settings.CA_CLIENTS into use, and pin the root that its chains must end in."""

from __future__ import annotations

import hashlib
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.db import transaction
from django.utils.text import slugify

from audit.changes import digest_of
from audit.events import EventType
from audit.log import Actor, record
from certs.ca.base import CAUnreachable
from certs.ca.registry import get_ca_client
from certs.errors import InputRefused
from certs.management.portal_command import PortalCommand
from certs.models import Issuer
from db.clock import database_now


class Command(PortalCommand):
    help = "Add a CA that is configured in CA_CLIENTS. Its root is pinned: compare the fingerprint with what its operator says."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("alias", help="its name in CA_CLIENTS")
        parser.add_argument("--root-sha256", default="", help="refuse any root but the one with this fingerprint")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        alias = options["alias"]
        if alias not in settings.CA_CLIENTS:
            raise CommandError(f"CA_CLIENTS has no entry {alias} (it has: {', '.join(settings.CA_CLIENTS)}).", returncode=2)
        try:
            root = get_ca_client(alias).chain()[-1]
        except CAUnreachable as exc:
            raise InputRefused(
                f"{alias} cannot be reached: {exc}", next_step="Mend the connection and run this again; nothing was stored."
            ) from exc
        fingerprint = hashlib.sha256(root).hexdigest()
        wanted = options["root_sha256"].replace(":", "").lower()
        if wanted and wanted != fingerprint:
            raise InputRefused(
                f"The root of {alias} has the fingerprint {fingerprint}, not the one given.",
                next_step="Ask its operator; nothing was stored.",
            )
        issuer = self._store(alias, root)
        return {"success": True, "issuer": issuer.name, "root_sha256": fingerprint}

    @transaction.atomic
    def _store(self, alias: str, root: bytes) -> Issuer:
        now = database_now()
        issuer, made = Issuer.objects.get_or_create(
            name=alias, defaults={"slug": slugify(alias), "alias": alias, "trust_anchor_der": root, "created_at": now}
        )
        if not made and bytes(issuer.trust_anchor_der or b"") != root:
            raise InputRefused(
                f"{alias} is there already with another root.", next_step="A new root is a new CA: add it under another name."
            )
        if made:
            data = {"name": alias, "root_sha256": hashlib.sha256(root).hexdigest()}
            data["state_sha256"] = digest_of(Issuer.objects.get(pk=issuer.pk))
            record(EventType.ISSUER_CREATED, subject=f"issuer:{issuer.slug}", actor=Actor("command", "add_ca"), at=now, data=data)
        return issuer
