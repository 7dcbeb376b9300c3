"""Step 5: complete the inventory with the names people search by, and end the request."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from audit.log import together
from certs.enums import RequestState as S
from certs.issuance.certificates import names_of, recorded_event
from certs.models import Certificate
from certs.models.rows import insert_models
from certs.requests.states import WORKER, Move, lock_ready, transition_many
from db.clock import database_now


@transaction.atomic
def record_inventory(ids: Sequence[int]) -> Sequence[int]:
    """Issued -> completed."""
    requests = {request.pk: request for request in lock_ready(ids, S.ISSUED)}
    if not requests:
        return ids
    certificates = list(Certificate.objects.filter(request__in=list(requests)))
    for certificate in certificates:
        certificate.request = requests[certificate.request_id]
    with together():
        insert_models([name for certificate in certificates for name in names_of(certificate)])
        moves = [Move(certificate.request, (S.COMPLETED,), (recorded_event(certificate),)) for certificate in certificates]
        transition_many(moves, source=S.ISSUED, actor=WORKER, now=database_now())
    return ids
