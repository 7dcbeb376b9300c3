"""`manage.py revoke`: revoke a certificate, or take a hold back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management import CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware

from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.inventory import find_certificate
from certs.language.reasons import reason_named
from certs.management.portal_command import PortalCommand, begin_working
from certs.management.waiting import wait_for_ca
from certs.models import Certificate
from certs.revocation.request import request_release
from certs.revocation.revoke import revocation_result, revoke


class Command(PortalCommand):
    help = "Revoke a certificate by its id or serial number: revoke cert-20250118143215-1a2b3c4d5e --reason keyCompromise"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("certificate", metavar="CERT_ID", help="its id, or its serial number in any spelling")
        parser.add_argument("--as", dest="as_user", metavar="USER", help="act for this user (default: the command itself)")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--reason", help=f"one of {', '.join(RevocationReason)}")
        what.add_argument("--release", action="store_true", help="take a certificateHold back; no other reason has a way back")
        parser.add_argument("--comment", default="", help="kept with the revocation; never sent to a CA")
        parser.add_argument("--invalidity-date", default="", metavar="DATE", help="since when it should not be trusted (ISO 8601, UTC)")
        parser.add_argument("--destroy-key", action="store_true", help="destroy the key in its backend, with a receipt in the audit log")
        parser.add_argument("--only", action="store_true", help="with keyCompromise: leave the other certificates on the key alone")
        self.add_wait(parser, default=30, what="for the CA")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        authority = self.authority(options)
        certificate, note = find_certificate(authority.visible(), options["certificate"])
        begin_working()
        result = self._release(certificate, authority, options) if options["release"] else self._revoke(certificate, authority, options)
        return result | ({"notes": [note]} if note else {})

    def _revoke(self, certificate: Certificate, authority: Authority, options: dict[str, Any]) -> dict[str, Any]:
        done = revoke(
            certificate,
            reason=reason_named(options["reason"]),
            authority=authority,
            comment=options["comment"][:500],
            invalidity_date=_moment(options["invalidity_date"]),
            only=() if options["only"] else None,
            destroy_key=options["destroy_key"],
        )
        wait_for_ca([done.certificate.pk, *(one.pk for one in done.also)], seconds=options["wait"])
        return revocation_result(done)

    def _release(self, certificate: Certificate, authority: Authority, options: dict[str, Any]) -> dict[str, Any]:
        request_release(certificate, authority=authority)
        wait_for_ca([certificate.pk], seconds=options["wait"])
        certificate.refresh_from_db()
        released = certificate.status == Certificate.Status.GOOD
        result: dict[str, Any] = {"success": True, "cert_id": certificate.cert_id, "status": certificate.status, "released": released}
        return result


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = parse_datetime(text) or (datetime.combine(day, datetime.min.time()) if (day := parse_date(text)) else None)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"--invalidity-date {text!r} is not a date such as 2026-11-24 or 2026-11-24T08:30:00Z.", returncode=2)
    return make_aware(found) if is_naive(found) else found
