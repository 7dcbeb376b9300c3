"""Reads that more than one caller needs: what a user may see, found by what people type, in pages that cost the same at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from certs.errors import Conflict, InputRefused, NotFound
from certs.models import BulkOrder, Certificate, CertificateRequest, OperatorAlert
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
        rows = rows.filter(_matches(text.strip())).distinct()
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
    found = list(rows.filter(serial_number__in=[f"{number:x}" for number in readings]).order_by("pk")[:10])
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


def _matches(text: str) -> Q:
    lowered = text.lower()
    wanted = Q(cert_id=lowered) | Q(common_name__contains=lowered) | Q(names__name__contains=lowered)
    wanted |= Q(sha256_fingerprint=lowered.replace(":", "")) | Q(request__public_id=lowered)
    try:
        return wanted | Q(serial_number__in=[f"{number:x}" for number in serial_readings(text)])
    except InputRefused:
        return wanted


def open_alerts() -> QuerySet[OperatorAlert]:
    return OperatorAlert.objects.filter(closed_at__isnull=True).order_by("-last_seen_at")
