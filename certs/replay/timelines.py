"""The time lines of a replay: what is in force and planned, and the same with one version more."""

from __future__ import annotations

from datetime import date, datetime

from django.conf import settings

from certs.replay.verdicts import Rules, TimeLine
from policy.models import PolicyVersion, PolicyWaiver
from policy.rules.ruleset import RuleSet
from policy.waivers.waiver import Waiver

Waivers = list[tuple[Waiver, datetime, datetime]]


def counting_versions(now: datetime) -> list[PolicyVersion]:
    """Return the version in force and those planned, in the order in which they begin."""
    versions = PolicyVersion.objects.published().filter(policy__name=settings.PKI_DEFAULT_POLICY, withdrawal__isnull=True)
    begun = versions.filter(effective_from__lte=now).order_by("-effective_from", "-published_at", "-pk")[:1]
    planned = versions.filter(effective_from__gt=now).order_by("effective_from", "published_at", "pk")
    return [*begun, *planned]


def counting_waivers(now: datetime) -> Waivers:
    """Return the approved waivers that count now or later, with their time."""
    rows = PolicyWaiver.objects.filter(
        policy__name=settings.PKI_DEFAULT_POLICY, approved_at__isnull=False, ended_at__isnull=True, ends__gt=now
    )
    return [(row.waiver, row.begins, row.ends) for row in rows.order_by("pk")]


def present_time_line(now: datetime, waivers: Waivers) -> TimeLine:
    """Return what counts now and later."""
    versions = counting_versions(now)
    return TimeLine([(_start(row), Rules(row.ruleset, waivers)) for row in versions])


def candidate_time_line(present: TimeLine, ruleset: RuleSet, *, starts: datetime, waivers: Waivers) -> tuple[TimeLine, Rules]:
    """Return the same with the version that is replayed from its day on, and its rules."""
    rules = Rules(ruleset, waivers)
    return present.with_version(starts.date(), rules), rules


def _start(row: PolicyVersion) -> date:
    assert row.effective_from is not None  # a published version has one
    return row.effective_from.date()
