"""Keep which certificates the policy in force refuses, so that lists and figures need no policy.

A run goes through everything in force, in pages by key, and begins anew when another version is in
force, and with each day (UTC): who owns which domain changes too. Between runs only new
certificates are judged. A worker that dies loses one page; the next one goes on behind it.
The line of compliance by day (`certs.estate.compliance`) counts the verdicts of the day's run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction

from certs.alone import Alone
from certs.inventory import in_force
from certs.models import Certificate, PolicyVerdict, VerdictRun
from certs.reports.facts import judged_pages
from certs.reports.judging import Judge, Judged
from db.clock import database_now
from policy.models import PolicyVersion
from policy.publishing import rules_in_force

log = logging.getLogger(__name__)

UNREADABLE = "unjudged"  # in place of a rule: the certificate could not be judged
_ONLY_ROW = 1


def keep_verdicts() -> int:
    """Judge what the policy in force has not judged yet. Returns how many certificates were judged.

    Effects: rows of PolicyVerdict and VerdictRun, a transaction a page. Safe to run twice at once:
    a page counts once. Raises PolicyMissing where no policy is in force.
    """
    now = database_now()
    version, waivers = rules_in_force(settings.PKI_DEFAULT_POLICY, now)
    run = _run(version, now)
    judge = Judge(version.ruleset, on=now.date(), waivers=waivers)
    rows, after, done = in_force(Certificate.objects.all(), now=now), run.judged_to, 0
    for page in judged_pages(rows, after=after):
        last = page[-1][0]
        if not record_page(run, after, last, verdicts_of(judge, page), [pk for pk, _ in page]):
            return done  # another worker is at it
        after, done = last, done + len(page)
    VerdictRun.objects.filter(pk=_ONLY_ROW, begun_at=run.begun_at, complete_at=None).update(complete_at=database_now())
    return done


def complete_run(now: datetime) -> VerdictRun | None:
    """Return the run of today under the version in force; None where it has not come to its end."""
    version, _ = rules_in_force(settings.PKI_DEFAULT_POLICY, now)
    run = VerdictRun.objects.filter(pk=_ONLY_ROW, policy_digest=version.digest, complete_at__isnull=False).first()
    return run if run is not None and _is_of_today(run, now) else None


def _is_of_today(run: VerdictRun, now: datetime) -> bool:
    return run.begun_at.astimezone(UTC).date() == now.astimezone(UTC).date()


@transaction.atomic
def _run(version: PolicyVersion, now: datetime) -> VerdictRun:
    """Return the run under way, or a new one where the last one does not count any more."""
    fresh = {
        "policy_version": version.version,
        "policy_digest": version.digest,
        "begun_at": now,
        "judged_to": 0,
        "complete_at": None,
    }
    VerdictRun.objects.get_or_create(pk=_ONLY_ROW, defaults=fresh)
    run = VerdictRun.objects.select_for_update().get(pk=_ONLY_ROW)
    outdated = run.complete_at is not None and not _is_of_today(run, now)
    if run.policy_digest != version.digest or outdated:
        for name, value in fresh.items():
            setattr(run, name, value)
        run.save()
        # Of certificates that ended since; the others are judged again page by page.
        PolicyVerdict.objects.exclude(pk__in=in_force(Certificate.objects.all(), now=now).values("pk")).delete()
    return run


def verdicts_of(judge: Judge, page: Sequence[tuple[int, Judged]]) -> list[PolicyVerdict]:
    found = []
    for pk, judged in page:
        rules: frozenset[str] = frozenset()
        with Alone() as outcome:
            rules = judge.failing_rules(judged)
        if outcome.error is not None:
            log.error("certificate %d cannot be judged", pk, exc_info=outcome.error)
            rules = frozenset({UNREADABLE})
        if rules:
            found.append(PolicyVerdict(certificate_id=pk, rules=f" {' '.join(sorted(rules))} "))
    return found


@transaction.atomic
def record_page(run: VerdictRun, after: int, last: int, verdicts: list[PolicyVerdict], ids: list[int]) -> bool:
    """Write a page, if the run is still where this worker found it."""
    here = VerdictRun.objects.select_for_update().filter(pk=_ONLY_ROW, begun_at=run.begun_at, judged_to=after)
    if not here.exists():
        return False
    PolicyVerdict.objects.filter(pk__in=ids).delete()
    PolicyVerdict.objects.bulk_create(verdicts)
    VerdictRun.objects.filter(pk=_ONLY_ROW).update(judged_to=last)
    return True
