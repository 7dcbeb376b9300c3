"""The facts of the report about waivers: how many certificates were issued under one, and which end soon."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from certs.models import Certificate, WaiverUse
from certs.reports.weeks import Week
from policy.models import PolicyWaiver
from policy.texts.descriptions import label_of

SOON = timedelta(days=30)
MOST_NAMED = 20


def waiver_facts(week: Week, *, now: datetime) -> dict[str, Any]:
    """Return the certificates issued under a waiver in the week, the waivers that count now, and those that end soon."""
    # From the uses, which are few: a certificate is issued some days after its request was judged at most.
    used = WaiverUse.objects.filter(used_at__lt=week.end, request__certificate__issued_at__gte=week.start)
    issued = Certificate.objects.filter(request__in=used.values("request"), issued_at__lt=week.end).count()
    counting = PolicyWaiver.objects.filter(approved_at__isnull=False, ended_at__isnull=True, begins__lte=now, ends__gt=now)
    ending = counting.filter(ends__lte=now + SOON).order_by("ends", "pk")[:MOST_NAMED]
    return {
        "issued": issued,
        "counting": counting.count(),
        "ending": [{"waiver": row.reference, "label": label_of(row.rule), "ends": row.ends.isoformat()} for row in ending],
    }
