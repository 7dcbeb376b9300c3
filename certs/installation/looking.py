"""Look at a place and write down what was seen; look again at known places after a renewal."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from audit.events import EventType, Value
from audit.log import Actor, record
from certs.installation.places import STUCK_AFTER, expected_of
from certs.installation.probe import NotSeen, Seen, Target, is_address, look
from certs.installation.still_old import FIRST_LOOK, notify_owners
from certs.installation.verdict import Expected, judge, lacking, served_by
from certs.models import Certificate, InstalledPlace, PlaceOutcome, StartTLS
from certs.requests.lineage import lineage_of
from db.clock import database_now

SYSTEM = Actor("system", "installation")
AGAIN = timedelta(days=1)
MOST_FAILURES = 5  # looks in a row without a certificate, then the portal leaves it to people
AFTER_END = timedelta(days=7)  # a place that still serves what has ended so long ago is left to people too
RUN_SECONDS = 60.0
MOST_OF_A_RUN = 50
_LONGEST_CHAIN = 64 * 1024


def look_at(pk: int) -> PlaceOutcome | None:
    """Look at one place and record the result. Returns the outcome; None for a row that is gone.

    The network is used before the transaction. A result that comes after a newer one is dropped.
    Effects, in one transaction: the row and `certificate:observed`.
    """
    place = InstalledPlace.objects.select_related("certificate__team").filter(pk=pk).first()
    if place is None:
        return None
    asked_at = place.asked_at
    lineage = lineage_of(place.certificate)
    certificate = expected_of(lineage)
    names = list(certificate.names.order_by("pk").values_list("name", flat=True))
    values: dict[str, Any] = {"certificate": certificate}
    try:
        seen = look(_target(place, names), settings.PKI_LIVE_NETWORKS)
    except NotSeen as exc:
        # What was seen before stays: it is the last that is known of the place.
        values |= {"outcome": exc.outcome, "detail": str(exc)[:300], "failures": F("failures") + 1}
        values |= {"address": exc.address}
    else:
        values |= _values(place, seen, certificate, lineage, names)
    return _record(place, asked_at, values)


def _target(place: InstalledPlace, names: list[str]) -> Target:
    server_name = place.host
    if is_address(place.host):
        server_name = next((name for name in names if not name.startswith("*.") and not is_address(name)), "")
    return Target(place.host, place.port, StartTLS(place.starttls), server_name)


def _values(place: InstalledPlace, seen: Seen, certificate: Certificate, lineage: list[Certificate], names: list[str]) -> dict[str, Any]:
    """Return what is written about a certificate that was seen."""
    served = served_by(seen.chain)
    ours = Certificate.objects.filter(sha256_fingerprint=served.sha256).first()
    expected = Expected(
        sha256=certificate.sha256_fingerprint,
        older={one.sha256_fingerprint for one in lineage if one != certificate},
        ours=ours is not None,
        chain=certificate.chain.pem,
        names=names,
    )
    # A node behind a load balancer may be named by its address; clients use the name.
    host = "" if is_address(place.host) and place.host not in names else place.host
    outcome = judge(served, seen.chain, expected, host)
    missing = lacking(seen.chain, expected.chain) if outcome == PlaceOutcome.NO_INTERMEDIATE else []
    return {
        "outcome": outcome,
        "detail": "; ".join(missing)[:300],
        "failures": 0,
        "address": seen.address,
        "protocol": seen.protocol,
        "cipher": seen.cipher,
        "served": ours,
        "served_sha256": served.sha256,
        "served_issuer": served.issuer,
        "served_not_after": served.not_after,
        "chain": _pem(seen.chain)[:_LONGEST_CHAIN],
    }


def _pem(chain: tuple[bytes, ...]) -> str:
    return "".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode() for der in chain)


@transaction.atomic
def _record(place: InstalledPlace, asked_at: datetime, values: dict[str, Any]) -> PlaceOutcome | None:
    now = database_now()
    mine = InstalledPlace.objects.filter(pk=place.pk, asked_at=asked_at)
    if not mine.update(**values, seen_at=now):
        return None  # asked for again, or forgotten, in the meantime
    place.refresh_from_db()
    outcome = PlaceOutcome(place.outcome)
    data: dict[str, Value] = {"host": place.host, "port": place.port, "outcome": outcome.value, "address": place.address}
    if place.failures == 0:
        data |= {"served_sha256": place.served_sha256, "protocol": place.protocol}
    record(
        EventType.CERTIFICATE_OBSERVED,
        subject=f"certificate:{place.certificate.cert_id}",
        actor=Actor("user", place.asked_by) if place.asked_by else SYSTEM,
        at=now,
        data=data,
    )
    return outcome


def look_again() -> int:
    """Look at the places that are due, then notify the owners of old certificates that are still served.

    Returns how many places were looked at. Bounded: so many places and so many seconds in one run;
    what is left is due at the next.
    """
    until = time.monotonic() + RUN_SECONDS
    looked = 0
    now = database_now()
    for pk, asked_at in _due(now).values_list("pk", "asked_at")[:MOST_OF_A_RUN]:
        if time.monotonic() > until:
            break
        # Claimed by compare-and-set: two runs at once look at different places.
        if asked_at < now - STUCK_AFTER:
            claimed = InstalledPlace.objects.filter(pk=pk, asked_at=asked_at).update(asked_at=now, asked_by="")
            if claimed and look_at(pk) is not None:
                looked += 1
    notify_owners(database_now())
    return looked


def _due(now: datetime) -> QuerySet[InstalledPlace]:
    """Places with a renewal that should be installed by now, with an old certificate, or with a look that was lost."""
    renewals = Certificate.objects.filter(renewed_from=OuterRef("certificate"), status=Certificate.Status.GOOD)
    renewed = Exists(renewals.filter(issued_at__lte=now - FIRST_LOOK)) & Q(seen_at__lt=now - AGAIN)
    still_old = Q(outcome=PlaceOutcome.OLD, seen_at__lt=now - AGAIN, served_not_after__gt=now - AFTER_END)
    # Only places at which the portal has seen something of this certificate before.
    no_answer = Q(failures__range=(1, MOST_FAILURES), seen_at__lt=now - AGAIN) & ~Q(served_sha256="")
    lost = Q(seen_at__isnull=True) | Q(asked_at__gt=F("seen_at"))
    due = renewed | still_old | no_answer | lost
    return InstalledPlace.objects.filter(due, asked_at__lt=now - STUCK_AFTER).order_by("asked_at", "pk")
