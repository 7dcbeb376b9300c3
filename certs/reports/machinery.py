"""The facts of the report about the portal itself: the audit log, CRLs and OCSP, and how long CAs and key backends were away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Q

from audit.events import EventType
from audit.models import AuditEvent, Checkpoint
from certs.ca.lifetime import has_ended
from certs.enums import AlertKind
from certs.models import CRLPoint, Issuer, OperatorAlert, ResponderCertificate
from certs.notifications.alerts import OUTAGES
from certs.reports.weeks import Week
from certs.status.publishing import own_issuing_cas, own_roots

VERIFIED_WITHIN = timedelta(days=2)


def audit_facts(*, now: datetime) -> dict[str, Any]:
    """Return the newest verification of the audit log and the newest checkpoint.

    The checkpoint's note is signed: a mail that carries it is a witness outside the portal.
    """
    verified = AuditEvent.objects.filter(event=EventType.AUDIT_VERIFIED, at__lte=now).order_by("-pk").first()
    newest = Checkpoint.objects.order_by("-epoch", "-tree_size").first()
    broken = OperatorAlert.objects.filter(kind=AlertKind.VERIFICATION_FAILED, closed_at=None).order_by("pk").first()
    return {
        "verified_at": verified.at.isoformat() if verified else "",
        "problem": broken.message if broken else "",
        "late": verified is not None and verified.at < now - VERIFIED_WITHIN,
        "checkpoint": newest.note if newest else "",
        "sealed": newest.tree_size if newest else 0,
        "sealed_at": newest.created_at.isoformat() if newest else "",
    }


def status_facts(*, now: datetime) -> list[dict[str, Any]]:
    """Return for each own CA that has not ended until when its CRL and its OCSP responder are good.

    Two queries for all of them. A CA whose CRL has parts is good until the first of them is not;
    a part that was never published counts as not good.
    """
    issuers = [one for one in (*own_issuing_cas(), *own_roots()) if not has_ended(one, now=now)]
    updates: dict[int, dict[int, datetime | None]] = {}
    points = CRLPoint.objects.filter(issuer__in=issuers).order_by()
    for issuer, shard, next_update in points.values_list("issuer_id", "shard", "published__next_update"):
        updates.setdefault(issuer, {})[shard] = next_update
    responders = ResponderCertificate.objects.filter(issuer__in=issuers).order_by().values_list("issuer_id").annotate(Max("not_after"))
    until = dict(responders)
    return [_status_of(one, updates.get(one.pk, {}), until.get(one.pk) if one.alias else None, now) for one in issuers]


def _status_of(issuer: Issuer, updates: Mapping[int, datetime | None], responder: datetime | None, now: datetime) -> dict[str, Any]:
    """`updates`: the next update of each part of the CRL; None where it was never published."""
    expected = [updates.get(shard) for shard in {*updates, *range(issuer.crl_shard + 1)}]
    published = [one for one in expected if one is not None]
    until = min(published) if published and len(published) == len(expected) else None
    return {
        "issuer": issuer.name,
        "crl_until": until.isoformat() if until else "",
        "crl_good": bool(until and until > now),
        "ocsp": bool(issuer.alias),
        "ocsp_until": responder.isoformat() if responder else "",
        "ocsp_good": bool(responder and responder > now),
    }


def availability(week: Week, *, now: datetime) -> list[dict[str, Any]]:
    """Return how long CAs and key backends were away in the week, from the alerts that were open.

    An alert opens after the third try of a request that could not be served, and closes when the
    work works again: an outage during which nothing was requested is not seen.
    """
    end = min(week.end, now)
    if end <= week.start:
        return []
    rows = OperatorAlert.objects.filter(kind__in=OUTAGES, raised_at__lt=end)
    rows = rows.filter(Q(closed_at__isnull=True) | Q(closed_at__gt=week.start))
    by_cause: dict[str, list[tuple[datetime, datetime]]] = {}
    for alert in rows.order_by("raised_at"):
        span = (max(alert.raised_at, week.start), min(alert.closed_at or end, end))
        by_cause.setdefault(f"{OUTAGES[AlertKind(alert.kind)]} {alert.cause.partition(':')[2] or alert.cause}", []).append(span)
    whole = end - week.start
    return [
        {"name": name, "away_seconds": int(away.total_seconds()), "percent": _percent(whole - away, whole), "outages": len(spans)}
        for name, spans in sorted(by_cause.items())
        for away in [union(spans)]
    ]


def union(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """Return the time that at least one of the spans covers."""
    total, reached = timedelta(), None
    for start, end in sorted(spans):
        if reached is None or start > reached:
            total, reached = total + max(end - start, timedelta()), end
        elif end > reached:
            total, reached = total + (end - reached), end
    return total


def _percent(part: timedelta, whole: timedelta) -> float:
    """Return the percentage with two decimals, never rounded up."""
    return int(part / whole * 10_000) / 100
