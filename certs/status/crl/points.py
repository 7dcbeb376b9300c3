"""Where an issuer's CRLs are published, and under which numbers."""

from __future__ import annotations

from django.db import transaction

from certs.ca.urls import crl_url
from certs.models import CRLPoint, Issuer
from db.clock import database_now


def idp_url(point: CRLPoint) -> str:
    """Return the address that the CRL's issuing distribution point names, "" for a complete CRL.

    A shard covers only the certificates that name its address, so its IDP is critical (RFC 5280
    5.2.5). The complete CRL has none: clients that keep one CRL for each issuer, or know no IDP,
    can use it for every certificate (6.3.3 (b) (2) compares only an IDP that is there).
    """
    return crl_url(point.issuer.slug, point.shard) if point.shard else ""


def points_of(issuer: Issuer) -> list[CRLPoint]:
    """Return the CRL point of each shard up to the one in use, made where missing."""
    known = set(CRLPoint.objects.filter(issuer=issuer).values_list("shard", flat=True))
    missing = [shard for shard in range(issuer.crl_shard + 1) if shard not in known]
    CRLPoint.objects.bulk_create([CRLPoint(issuer=issuer, shard=shard) for shard in missing], ignore_conflicts=True)
    rows = CRLPoint.objects.filter(issuer=issuer).select_related("issuer__key", "published")
    return list(rows.order_by("shard"))


@transaction.atomic
def take_number(point: CRLPoint) -> int:
    """Return the next CRL number, which is never used again. Never below the clock, so that a
    restored database stays above what is public.
    """
    # Of two builders at once each gets its own number; a number whose builder dies is left out, which RFC 5280 5.2.3 allows.
    row = CRLPoint.objects.select_for_update().get(pk=point.pk)
    row.last_number = max(row.last_number + 1, int(database_now().timestamp()))
    row.save(update_fields=["last_number"])
    return row.last_number
