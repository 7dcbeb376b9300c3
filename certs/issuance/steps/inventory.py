"""Step 5: complete the inventory with the names people search by, and end the request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import prefetch_related_objects

from audit.events import EventType
from audit.log import UnitOfWork
from certs.enums import RequestState as S
from certs.models import CertificateName, CertificateRequest
from certs.requests.states import WORKER, Move, transition_many


def complete(work: UnitOfWork, requests: Sequence[CertificateRequest], *, now: datetime) -> None:
    """Move requests from issued to completed. Effects: the names of the certificates, states, `certificate:recorded`."""
    if not requests:
        return
    prefetch_related_objects(requests, "certificate")  # but for those that were recorded in this unit
    moves, names = [], []
    for request in requests:
        certificate = request.certificate
        names += [
            CertificateName(certificate=certificate, kind="dns", name=name, reversed_labels=".".join(reversed(name.split("."))))
            for name in request.dns_names
        ]
        names += [CertificateName(certificate=certificate, kind="ip", name=name, reversed_labels="") for name in request.ip_addresses]
        alert_at = certificate.alert_at.isoformat() if certificate.alert_at else ""
        data = {"cert_id": certificate.cert_id, "alert_at": alert_at, "owner": request.team.slug}
        moves.append(Move(request, (S.COMPLETED,), ((EventType.CERTIFICATE_RECORDED, data),)))
    work.insert(names)
    transition_many(work, moves, source=S.ISSUED, actor=WORKER, now=now)
