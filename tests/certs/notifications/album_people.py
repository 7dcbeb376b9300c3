"""The people of the album of mails, and what its scenes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from audit.log import Actor
from certs.models import (
    CertificateRequest,
    DigestEntry,
    Team,
)
from certs.notifications.digests import announce, write_due_digests
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.life import walk
from tests.twins.ca import TwinCAClient

MakeSpec = Callable[..., CertificateSpec]
OPERATORS = "pki-operators@example.com"
CAROL = Actor("user", "carol")


@dataclass
class Cast:
    """Alice requests, Carol approves and decides about keys."""

    requester: Requester
    carol: Any
    make_spec: MakeSpec
    twin_ca: TwinCAClient

    @property
    def team(self) -> Team:
        return self.requester.team

    @property
    def alice(self) -> Any:
        return self.requester.user


def cast_of(portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient, settings: Any) -> Cast:
    """Return the people of the album, with addresses."""
    settings.PKI_OPERATOR_EMAILS = [OPERATORS]
    settings.PKI_WEBHOOK_NETWORKS, settings.PKI_WEBHOOK_ALLOW_HTTP = [ip_network("127.0.0.0/8")], True
    alice = person("alice", email="alice@example.com", team=portal.team)
    carol = person("carol", "approver", "security-team", email="carol@example.com")
    Team.objects.update(name="Web shop", email="web@example.com")
    portal.team.refresh_from_db()
    return Cast(Requester(portal.actor, portal.team, "portal", user=alice), carol, make_spec, twin_ca)


def waiting(cast: Cast, name: str) -> CertificateRequest:
    request = submit(cast.make_spec(name), requester=cast.requester)
    walk([request.pk])
    return CertificateRequest.objects.get(pk=request.pk)


def compose() -> None:
    """Write the digests as their tasks do, those of six o'clock too."""
    DigestEntry.objects.update(at=database_now() - timedelta(days=1))
    announce()
    write_due_digests()
