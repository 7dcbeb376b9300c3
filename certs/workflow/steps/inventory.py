"""Step 5: complete the inventory with the names people search by, and end the request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from certs.models import Certificate, CertificateName, CertificateRequest
from certs.models.batch import insert_models
from certs.terms import RequestState as S
from certs.workflow.states import WORKER, Move, lock_ready, transition_many


@transaction.atomic
def record_inventory(ids: Sequence[int]) -> Sequence[int]:
    """Issued -> completed."""
    requests = lock_ready(ids, S.ISSUED)
    certificates = {c.request_id: c for c in Certificate.objects.filter(request__in=[r.pk for r in requests])} if requests else {}
    complete([(request, certificates[request.pk]) for request in requests], now=database_now())
    return ids


def complete(pairs: Sequence[tuple[CertificateRequest, Certificate]], *, now: datetime) -> None:
    """The names of the certificates and the end of their requests, which are locked in this transaction."""
    insert_models([name for request, certificate in pairs for name in _names(certificate, request)])
    transition_many([_recorded(request, certificate) for request, certificate in pairs], source=S.ISSUED, actor=WORKER, now=now)


def _names(certificate: Certificate, request: CertificateRequest) -> list[CertificateName]:
    dns = [
        CertificateName(certificate_id=certificate.pk, kind="dns", name=n, reversed_labels=".".join(reversed(n.split("."))))
        for n in request.dns_names
    ]
    return dns + [CertificateName(certificate_id=certificate.pk, kind="ip", name=n, reversed_labels="") for n in request.ip_addresses]


def _recorded(request: CertificateRequest, certificate: Certificate) -> Move:
    alert_at = certificate.alert_at.isoformat() if certificate.alert_at else ""
    data = {"cert_id": certificate.cert_id, "alert_at": alert_at, "owner": request.team.slug}
    return Move(request, (S.COMPLETED,), ((EventType.CERTIFICATE_RECORDED, data),))
