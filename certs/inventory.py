"""Reads that more than one caller needs: what a user may see, found by what people type, in pages that cost the same at any depth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Q, QuerySet

from certs.errors import InputRefused
from certs.models import Certificate, CertificateRequest, OperatorAlert
from certs.x509.serial import parse_serial

Row = TypeVar("Row", CertificateRequest, Certificate)
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
    """Requests that the user may see, by id or common name."""
    rows = CertificateRequest.objects.visible_to(user).select_related("team", "requester")
    if state:
        rows = rows.filter(state=state)
    if text:
        rows = rows.filter(Q(public_id=text) | Q(common_name__contains=text.lower()) | Q(resume_id=text))
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


def _matches(text: str) -> Q:
    lowered = text.lower()
    wanted = Q(cert_id=lowered) | Q(common_name__contains=lowered) | Q(names__name__contains=lowered)
    wanted |= Q(sha256_fingerprint=lowered.replace(":", "")) | Q(request__public_id=lowered)
    try:
        wanted |= Q(serial_number=f"{parse_serial(text):x}")
    except InputRefused:
        if lowered.isdecimal():
            wanted |= Q(serial_number=lowered) | Q(serial_number=f"{int(lowered):x}")
    return wanted


def open_alerts() -> QuerySet[OperatorAlert]:
    return OperatorAlert.objects.filter(closed_at__isnull=True).order_by("-last_seen_at")
