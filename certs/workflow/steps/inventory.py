"""Step 5: complete the inventory: the names people search by, and the day on which the owner is reminded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from certs.models import Certificate, CertificateName, CertificateRequest
from certs.models.batch import update_rows
from certs.terms import RequestState as S
from certs.workflow.states import WORKER, Move, lock_ready, transition_many


@transaction.atomic
def record_inventory(ids: Sequence[int]) -> Sequence[int]:
    """Issued -> completed."""
    now = database_now()
    requests = lock_ready(ids, S.ISSUED)
    if not requests:
        return ids
    certificates = {c.request_id: c for c in Certificate.objects.filter(request__in=[r.pk for r in requests])}
    names = [name for request in requests for name in _names(certificates[request.pk], request)]
    CertificateName.objects.bulk_create(names)
    alerts = {c.pk: {"alert_at": alert_date(c)} for c in certificates.values()}
    update_rows(Certificate, alerts)
    transition_many(
        [_recorded(request, certificates[request.pk], alerts[certificates[request.pk].pk]["alert_at"]) for request in requests],
        source=S.ISSUED,
        actor=WORKER,
        now=now,
    )
    return ids


def alert_date(certificate: Certificate) -> datetime:
    """When the owner is reminded: 30 days (PKI_RENEW_BEFORE_DAYS) before expiry, or a third of the life before it when that is shorter."""
    life = certificate.not_after - certificate.not_before + timedelta(seconds=1)  # both ends belong to it
    return certificate.not_after - min(timedelta(days=settings.PKI_RENEW_BEFORE_DAYS), life / 3)


def _names(certificate: Certificate, request: CertificateRequest) -> list[CertificateName]:
    dns = [
        CertificateName(certificate=certificate, kind="dns", name=n, reversed_labels=".".join(reversed(n.split("."))))
        for n in request.dns_names
    ]
    return dns + [CertificateName(certificate=certificate, kind="ip", name=n, reversed_labels="") for n in request.ip_addresses]


def _recorded(request: CertificateRequest, certificate: Certificate, alert_at: datetime) -> Move:
    data = {"cert_id": certificate.cert_id, "alert_at": alert_at.isoformat(), "owner": request.team.slug}
    return Move(request, (S.COMPLETED,), ((EventType.CERTIFICATE_RECORDED, data),))
