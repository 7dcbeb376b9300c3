"""Reads that more than one caller needs: what a user may see, found by what people type, in pages that cost the same at any depth."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from certs.errors import Conflict, InputRefused, NotFound
from certs.models import BulkOrder, Certificate, CertificateName, CertificateRequest, Issuer, OperatorAlert
from certs.x509.serial import serial_readings

Row = TypeVar("Row", CertificateRequest, Certificate, BulkOrder)
PAGE = 25


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`older` is the id to continue from, 0 on the last page."""

    rows: list[Row]
    older: int


def page_of(rows: QuerySet[Row], *, before: int = 0, size: int = PAGE) -> Page[Row]:
    """Newest first, beginning below the id `before` (0: at the top). A keyset page: no counting, no offset."""
    if before:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: size + 1])
    return Page(found[:size], found[size - 1].pk if len(found) > size else 0)


def search_requests(user: Any, *, text: str = "", state: str = "") -> QuerySet[CertificateRequest]:
    """Requests that the user may see, by id or any name they ask for."""
    rows = CertificateRequest.objects.visible_to(user).select_related("team", "requester")
    if state:
        rows = rows.filter(state=state)
    if text:
        lowered = text.lower()
        rows = rows.alias(dns=Cast("dns_names", TextField()), ips=Cast("ip_addresses", TextField()))
        named = Q(common_name__contains=lowered) | Q(dns__contains=lowered) | Q(ips__contains=lowered)
        rows = rows.filter(Q(public_id=text) | Q(resume_id=text) | named)
    return rows


def search_certificates(user: Any, *, text: str = "", status: str = "", expiring_days: int = 0, now: datetime) -> QuerySet[Certificate]:
    """Certificates that the user may see, by id, serial number in any spelling, fingerprint, or any name they carry."""
    rows = Certificate.objects.visible_to(user).select_related("team", "issuer", "request")
    if status == "expired":
        rows = rows.filter(not_after__lt=now)
    elif status:
        rows = rows.filter(status=status)
    if expiring_days:
        rows = rows.filter(status=Certificate.Status.GOOD, not_after__range=(now, now + timedelta(days=expiring_days)))
    if text:
        rows = rows.filter(pk__in=_exactly(rows, text.strip()) or _named(text.strip()))
    return rows


def find_certificate(rows: QuerySet[Certificate], text: str) -> tuple[Certificate, str]:
    """The one certificate among `rows` of that id or serial number, in any spelling; and a note where a spelling was read one
    of two ways.

    Raises NotFound; Conflict where a serial number means more than one certificate (two CAs, or decimal and hexadecimal).
    """
    cleaned = text.strip()
    if cleaned.lower().startswith("cert-"):
        row = rows.filter(cert_id=cleaned.lower()).first()
        if row is None:
            raise NotFound(f"There is no certificate {cleaned[:40]} that you may see.", field="cert_id", next_step="Look it up by name.")
        return row, ""
    return find_by_serial(rows, *serial_readings(cleaned))


def find_by_serial(rows: QuerySet[Certificate], *readings: int) -> tuple[Certificate, str]:
    """`find_certificate` for a serial number already read, in one or two ways."""
    found = list(_with_serial(rows, readings).order_by("pk")[:10])
    if not found:
        raise NotFound("No certificate that you may see has this serial number.", field="serial_number", next_step=_spellings(readings))
    if len(found) > 1:
        named = "; ".join(f"{c.cert_id} ({c.issuer.name}, 0x{c.serial_number}, decimal {int(c.serial_number, 16)})" for c in found)
        raise Conflict(
            f"This serial number means {len(found)} certificates: {named}.",
            field="serial_number",
            next_step="Say which one by its cert_id, or write 0x before a hexadecimal number.",
        )
    if len(readings) == 1:
        return found[0], ""
    reading = "hexadecimal" if found[0].serial_number == f"{readings[1]:x}" else "decimal"
    return found[0], f"Digits alone may be decimal or hexadecimal; only the {reading} reading is a certificate."


def _spellings(readings: Sequence[int]) -> str:
    if len(readings) > 1:
        return "It was looked for as decimal and as hexadecimal. Compare it with the certificate's page."
    return "Write it as in 4A:3F:2B, 0x4a3f2b or 4863787 (decimal)."


def sharing_key(certificate: Certificate) -> QuerySet[Certificate]:
    """Every other certificate in the whole inventory on the same public key (SPKI SHA-256), oldest first."""
    rows = Certificate.objects.filter(spki_sha256=certificate.spki_sha256).exclude(pk=certificate.pk)
    return rows.select_related("team", "issuer").order_by("pk")


def _exactly(rows: QuerySet[Certificate], text: str) -> list[int]:
    """Ids of the certificates that this whole text names: by id, fingerprint, serial number, or the id of their request.

    Each looked up in an index of its own: as alternatives beside a part of a name they would have every row looked at.
    """
    lowered = text.lower()
    found: list[QuerySet[Certificate]] = [
        rows.filter(cert_id=lowered),
        rows.filter(sha256_fingerprint=lowered.replace(":", "")),
        rows.filter(request__in=CertificateRequest.objects.filter(public_id=lowered)),
    ]
    with contextlib.suppress(InputRefused):
        found.append(_with_serial(rows, serial_readings(text)))
    return [pk for queried in found for pk in queried.values_list("pk", flat=True)]


def _with_serial(rows: QuerySet[Certificate], readings: Sequence[int]) -> QuerySet[Certificate]:
    """The index on serial numbers begins with the issuer, so all issuers are named."""
    issuers = list(Issuer.objects.values_list("pk", flat=True))
    return rows.filter(issuer__in=issuers, serial_number__in=[f"{number:x}" for number in readings])


def _named(text: str) -> QuerySet[CertificateName, int]:
    """Certificates with a name of which this is a part; the common name is always one of the names (RFC 9525, BR 7.1.4.3).

    A part in the middle is in no index, but the table of names is narrow: a quarter of a second for a million. Not a join, which
    takes fifty times as long.
    """
    return CertificateName.objects.filter(name__contains=text.lower()).values_list("certificate_id", flat=True)


def open_alerts() -> QuerySet[OperatorAlert]:
    return OperatorAlert.objects.filter(closed_at__isnull=True).order_by("-last_seen_at")
