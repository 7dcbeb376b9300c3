"""How many renewals one run may begin at each CA, so that renewals never take all that a CA can do.

A CA's rate is measured by how long its last batches took. No extra row is written for it, and a CA
that is slow today gets fewer renewals today.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, F, Max

from certs.issuance.steps.ca_submit import STEP
from certs.models import Attempt, CertificateRequest, Issuer
from certs.renewal.plan import issuer_now
from certs.requests.states import UNFINISHED

EVERY = timedelta(minutes=15)  # between two runs, as in the schedule `certs.tasks.renew_due`
SAMPLE = 4000  # of the newest attempts, at any CA
ENOUGH = 20  # certificates of a CA from which its rate is measured
UNMEASURED = 120  # renewals a minute where too little was issued to measure


class Budget:
    """The rest of a run's budget, by the CA that signs."""

    def __init__(self, left: dict[int, int], targets: dict[int, int]) -> None:
        self._left = left
        self._targets = targets

    def has_room(self, issuer_id: int) -> bool:
        """Return whether the CA that now renews what `issuer_id` issued has budget left."""
        return self._left.get(self._targets.get(issuer_id, issuer_id), 0) > 0

    def is_spent(self) -> bool:
        """Return whether no CA has budget left."""
        return not any(self._left.values())

    def take(self, issuer_id: int) -> bool:
        """Count one renewal at a CA. Returns False, and counts nothing, where its budget is spent."""
        if self._left.get(issuer_id, 0) <= 0:
            return False
        self._left[issuer_id] -= 1
        return True


def budget_of_run() -> Budget:
    """Return the budget of a run that begins now.

    A run may begin what its CA is to do until the next run; what earlier runs began and the CA has
    not done yet counts against it. So a CA that is down or slow collects no more than one run's
    renewals, and once it works again the nearest deadlines of that moment come first.
    """
    under_way = dict(
        CertificateRequest.objects.filter(state__in=UNFINISHED, renewed_from__isnull=False)
        .order_by()
        .values_list("issuer")
        .annotate(count=Count("pk"))
    )
    rates = {} if settings.PKI_RENEW_BUDGET else measured_rates()
    # By the CA that will sign, not by the one that issued: after a roll-over they differ.
    minutes = int(EVERY.total_seconds()) // 60
    left, targets = {}, {}
    for issuer in Issuer.objects.exclude(alias=""):
        left[issuer.pk] = max(0, budget_a_minute(issuer.pk, rates) * minutes - under_way.get(issuer.pk, 0))
        targets[issuer.pk] = issuer_now(issuer).pk
    return Budget(left, targets)


def budget_a_minute(issuer_id: int, rates: Mapping[int, float]) -> int:
    """Return how many renewals a minute a run begins at that CA: PKI_RENEW_BUDGET, else half of its measured rate."""
    return settings.PKI_RENEW_BUDGET or max(1, int(rates.get(issuer_id, 2 * UNMEASURED) / 2))


def measured_rates() -> dict[int, float]:
    """Return certificates a minute, by issuer id, of the CAs that issued enough lately.

    The time that a batch took is shared by its certificates, so the figure does not depend on how
    much was requested. Batches that several workers submit at once are not added up: the figure is
    what one worker reaches.
    """
    newest = Attempt.objects.aggregate(newest=Max("pk"))["newest"] or 0
    # The newest ids, not the last hours: a bound by time would read all that a busy day has written.
    rows = (
        Attempt.objects.filter(pk__gt=newest - SAMPLE, step=STEP, outcome="done", closed_at__isnull=False)
        .annotate(taken=F("closed_at") - F("opened_at"))
        .values_list("request__issuer", "batch", "taken")
    )
    seconds: defaultdict[int, float] = defaultdict(float)
    count: defaultdict[int, int] = defaultdict(int)
    for issuer_id, batch, taken in rows:
        seconds[issuer_id] += taken.total_seconds() / batch
        count[issuer_id] += 1
    return {pk: 60 * number / seconds[pk] for pk, number in count.items() if number >= ENOUGH and seconds[pk] > 0}
