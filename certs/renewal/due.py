"""Which certificates are due for renewal, nearest end first, in pages of few columns.

A certificate is due on its alert date: PKI_RENEW_BEFORE_DAYS (30) before its end, or a third of its
life before it where that is shorter; at once where its CA is distrusted, or re-issued by another.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import TruncDate

from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest, Issuer, reissue_paused, reissued_at_once
from certs.models.certificate import RenewalBlocked

DEAD = (S.REJECTED, S.FAILED, S.CANCELLED)  # as in the constraint request_renewal_once
LIVING = tuple(state.value for state in S if state not in DEAD)
APPROVAL_LEAD = 1.5  # times the window: 45 days where the alert date is 30 days before the end
PAGE = 2000
CROWD = 2000  # certificates of one CA with one alert day, from which they are spread
SPREAD_OVER = 1 / 3  # of the window: 10 days, so 20 are left where the window is 30 days

Crowds = AbstractSet[tuple[int, date]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What decides whether and when a certificate is due."""

    pk: int
    issuer_id: int
    alert_at: datetime
    not_after: datetime
    is_worthless: bool  # its CA is distrusted, or given up: it is replaced at once, though it has not expired

    @property
    def window(self) -> timedelta:
        """Return the time between the alert date and the end."""
        return self.not_after - self.alert_at

    def is_due(self, now: datetime) -> bool:
        return self.alert_at <= now or self.is_worthless

    def is_near(self, now: datetime) -> bool:
        """Return whether it is time to request an approval that its renewal needs."""
        return self.is_due(now) or self.not_after - self.window * APPROVAL_LEAD <= now

    def slot(self) -> datetime:
        """Return when it is renewed if it is one of a crowd: the same moment in every run."""
        # Fibonacci hashing (Knuth 6.4): neighbouring ids, which were issued together, lie far apart.
        fraction = (self.pk * 2654435769 % 2**32) / 2**32
        return self.alert_at + self.window * SPREAD_OVER * fraction


def issuers_to_replace() -> frozenset[int]:
    """Return ids of CAs whose certificates are all due at once: distrusted ones, and those whose re-issue runs.

    A pause of the re-issue counts for a distrusted CA too: a person stopped it.
    """
    distrusted = Issuer.objects.filter(state=Issuer.State.DISTRUSTED).values_list("pk", flat=True)
    return (frozenset(distrusted) | reissued_at_once()) - reissue_paused()


def near_end(now: datetime) -> QuerySet[Certificate]:
    """Return good certificates that end within the longest window, and all of CAs that are to be replaced."""
    horizon = now + timedelta(days=settings.PKI_RENEW_BEFORE_DAYS) * APPROVAL_LEAD
    near = Q(not_after__lte=horizon) | Q(issuer__in=sorted(issuers_to_replace()))
    return Certificate.objects.filter(near, status=Certificate.Status.GOOD, not_after__gt=now)


def unrenewed(now: datetime) -> QuerySet[Certificate]:
    """Return those near their end whose renewal is switched on and has not begun."""
    living = CertificateRequest.objects.filter(renewed_from=OuterRef("pk")).exclude(state__in=DEAD)
    return near_end(now).filter(~Exists(living), renewal_off_reason="")


def lately_ended(now: datetime) -> QuerySet[Certificate]:
    """Return good certificates that ended within PKI_RENEW_BEFORE_DAYS while nothing but an outage kept them from a renewal.

    The portal or the CA was away for longer than their window. Their servers still wait for a new
    certificate. What needs a person, or was replaced by a renewal, is not among them.
    """
    since = now - timedelta(days=settings.PKI_RENEW_BEFORE_DAYS)
    ended = Certificate.objects.filter(status=Certificate.Status.GOOD, not_after__gt=since, not_after__lte=now)
    living = CertificateRequest.objects.filter(renewed_from=OuterRef("pk")).exclude(state__in=DEAD)
    return ended.filter(~Exists(living), renewal_off_reason="", renewal_blocked__in=("", RenewalBlocked.FAILED))


def unblocked(now: datetime) -> QuerySet[Certificate]:
    """Return the unrenewed ones for which the last run did not need a person."""
    return unrenewed(now).filter(renewal_blocked__in=("", RenewalBlocked.FAILED))


def pages_of(rows: QuerySet[Certificate]) -> Iterator[list[Candidate]]:
    """Yield candidates, nearest end first.

    Keyset pages: memory does not grow with the number of certificates, and rows that were renewed
    since the last page do not shift the next one.
    """
    worthless = issuers_to_replace()
    ordered = rows.order_by("not_after", "pk").values_list("pk", "issuer_id", "alert_at", "not_after")
    beyond = Q()
    while True:
        page = [
            Candidate(pk, issuer_id, _alert_at(alert_at, not_after), not_after, issuer_id in worthless)
            for pk, issuer_id, alert_at, not_after in ordered.filter(beyond)[:PAGE]
        ]
        if not page:
            return
        last = page[-1]
        beyond = Q(not_after__gt=last.not_after) | Q(not_after=last.not_after, pk__gt=last.pk)
        # The bound on the end alone lets PostgreSQL begin in the index there; the OR does not.
        beyond &= Q(not_after__gte=last.not_after)
        yield page


def candidate_of(certificate: Certificate, worthless: AbstractSet[int]) -> Candidate:
    """Return the same of a row. `worthless`: what `issuers_to_replace` returned in this run."""
    return Candidate(
        certificate.pk,
        certificate.issuer_id,
        _alert_at(certificate.alert_at, certificate.not_after),
        certificate.not_after,
        certificate.issuer_id in worthless,
    )


def _alert_at(alert_at: datetime | None, not_after: datetime) -> datetime:
    return alert_at or not_after - timedelta(days=settings.PKI_RENEW_BEFORE_DAYS)


def crowds(now: datetime) -> Crowds:
    """Return the pairs of CA and alert day with so many certificates that they are spread.

    Renewed ones count too: a crowd that is half done stays one, and its slots stay where they are.
    """
    days = (
        near_end(now)
        .filter(alert_at__lte=now)
        .annotate(day=TruncDate("alert_at"))
        .order_by()
        .values_list("issuer_id", "day")
        .annotate(count=Count("pk"))
        .filter(count__gt=CROWD)
    )
    return {(issuer_id, day) for issuer_id, day, _ in days}


def waits_for_slot(one: Candidate, crowded: Crowds, *, now: datetime) -> bool:
    """Return whether a due certificate is one of a crowd and its moment has not come yet."""
    if one.is_worthless or (one.issuer_id, one.alert_at.date()) not in crowded:
        return False
    return one.slot() > now
