"""What needs a person among the renewals that are near, found out anew when another policy counts.

The expiry check does it every night. From a change of the policy until then pages would say that a
certificate renews automatically which the policy refuses by now.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from django.conf import settings

from certs.alone import Alone
from certs.models import ComplianceDay
from certs.renewal.due import Candidate, unrenewed
from certs.renewal.expiry import blocked_by, chunks_of, last_renewals, note_blocked, read_rows, stopped_by_a_person
from certs.renewal.plan import plan_renewals
from db.clock import database_now
from policy.publishing import version_in_force

log = logging.getLogger(__name__)


def look_ahead_when_due() -> int:
    """Look ahead where compliance was judged today by another version than the one in force. Returns what `look_ahead` does."""
    now = database_now()
    version = version_in_force(settings.PKI_DEFAULT_POLICY, now)
    judged = ComplianceDay.objects.filter(day=now.astimezone(UTC).date(), team__isnull=True)
    return look_ahead() if judged.exclude(policy_version=version.version).exists() else 0


def look_ahead() -> int:
    """Keep in each certificate near its end why it is not renewed without a person. Returns how many were looked at.

    Effects: `renewal_blocked`, a transaction a chunk. Nothing is renewed, and nobody is mailed: the
    next expiry check does both. A chunk that fails is logged, and left to that check.
    """
    now, done = database_now(), 0

    def is_near(one: Candidate) -> bool:
        return one.is_near(now)

    for candidates in chunks_of((unrenewed(now),), is_near):
        with Alone() as outcome:
            done += _look_at(candidates, now)
        if outcome.error is not None:
            log.error("looking ahead failed for some certificates", exc_info=outcome.error)
    return done


def _look_at(candidates: Sequence[Candidate], now: datetime) -> int:
    certificates = read_rows(candidates)
    last = last_renewals([one.pk for one in certificates])
    stopped = {one.pk: why for one in certificates if (why := stopped_by_a_person(last.get(one.pk)))}
    plans = plan_renewals([one for one in certificates if one.pk not in stopped], at=now)
    note_blocked(certificates, {plan.certificate.pk: blocked_by(plan) for plan in plans} | stopped, last)
    return len(certificates)
