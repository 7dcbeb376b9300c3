"""How many valid certificates each CA has: counted by a schedule, because no page counts a million rows."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Count, Max, Q

from certs.models import Certificate, Issuer, IssuerFigure
from db.clock import database_now


def count_by_issuer() -> int:
    """Count the valid certificates of each CA and keep the figures. Returns the number of all.

    One pass over the inventory. A CA without a certificate keeps a figure of 0.
    """
    now = database_now()
    valid = Q(status=Certificate.Status.GOOD, not_after__gte=now)
    rows = Certificate.objects.order_by().values_list("issuer")
    found = {pk: (count, last) for pk, count, last in rows.annotate(count=Count("pk", filter=valid), last=Max("issued_at"))}
    figures = [
        IssuerFigure(issuer_id=pk, valid=found.get(pk, (0, None))[0], last_issued_at=found.get(pk, (0, None))[1], counted_at=now)
        for pk in Issuer.objects.order_by("pk").values_list("pk", flat=True)
    ]
    with transaction.atomic():
        IssuerFigure.objects.bulk_create(
            figures,
            update_conflicts=True,
            unique_fields=["issuer"],
            update_fields=["valid", "last_issued_at", "counted_at"],
        )
    return sum(figure.valid for figure in figures)
