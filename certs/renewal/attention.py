"""Certificates that end, or have ended, and that nothing replaces: whom reminders and alerts concern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet

from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest
from certs.renewal.due import LIVING
from certs.renewal.replacement import replaced_among

CHUNK = 500
# What reminders, alerts and messages for webhooks read. A page of whole rows takes twice as long.
COLUMNS = (
    "cert_id",
    "request",
    "issuer",
    "serial_number",
    "status",
    "common_name",
    "team",
    "profile",
    "not_before",
    "not_after",
    "alert_at",
    "issued_at",
    "owner",
    "renewal_off_reason",
    "renewal_blocked",
)


@dataclass(frozen=True, slots=True)
class Unreplaced:
    """A certificate with its renewal under way, if there is one."""

    certificate: Certificate
    renewal: CertificateRequest | None

    def needs_attention(self, now: datetime) -> bool:
        """Return whether people are to know: they need not of what the portal is about to renew.

        Where nothing blocks it, the portal has the first half of the certificate's window to renew it.
        """
        end = self.certificate.not_after
        half = end - (end - (self.certificate.alert_at or end)) / 2
        if now >= half or self.certificate.renewal_off_reason:
            return True
        if self.renewal is not None:
            return self.renewal.state == S.AWAITING_APPROVAL
        return bool(self.certificate.renewal_blocked)


def unreplaced(rows: QuerySet[Certificate], *, now: datetime) -> Iterator[list[Unreplaced]]:
    """Yield those of `rows` that are good, not replaced and need attention; nearest end first.

    Keyset pages by end: flat memory, and no cursor that outlives a transaction. The certificates
    have COLUMNS, their renewals what `_under_way` reads.
    """
    renewals = Certificate.objects.filter(renewed_from=OuterRef("pk"), status=Certificate.Status.GOOD)
    rows = rows.filter(~Exists(renewals), _may_need_attention(now), status=Certificate.Status.GOOD)
    rows = rows.order_by("not_after", "pk").only(*COLUMNS)
    beyond = Q()
    while page := list(rows.filter(beyond)[:CHUNK]):
        # The query above has left out what was renewed; this also finds new certificates for the same names.
        replaced, under_way = replaced_among(page), _under_way(page)
        left = [Unreplaced(one, under_way.get(one.pk)) for one in page if one.pk not in replaced]
        yield [one for one in left if one.needs_attention(now)]
        last = page[-1]
        beyond = Q(not_after__gte=last.not_after) & (Q(not_after__gt=last.not_after) | Q(pk__gt=last.pk))


def _may_need_attention(now: datetime) -> Q:
    """Return what `needs_attention` may be true of, so that the others, which are most of a large estate, are not even read."""
    waiting = CertificateRequest.objects.filter(renewed_from=OuterRef("pk"), state=S.AWAITING_APPROVAL)
    # The second half of the window has begun: as long ago as the end is away, the alert date had come.
    late = Q(alert_at__isnull=True) | Q(alert_at__lte=ExpressionWrapper(now + (now - F("not_after")), DateTimeField()))
    return late | ~Q(renewal_off_reason="") | ~Q(renewal_blocked="") | Q(Exists(waiting))


def _under_way(certificates: Sequence[Certificate]) -> dict[int, CertificateRequest]:
    rows = CertificateRequest.objects.filter(renewed_from__in=[one.pk for one in certificates], state__in=LIVING)
    rows = rows.only("public_id", "state", "renewed_from")
    return {row.renewed_from_id: row for row in rows if row.renewed_from_id is not None}
