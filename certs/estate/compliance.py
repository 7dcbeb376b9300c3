"""Compliance with the policy, day by day: judged at night, kept by team, read as a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet, Sum

from certs.inventory import active
from certs.models import Certificate, ComplianceDay, ComplianceReport, Team
from certs.reports.facts import percent_complying
from certs.reports.verdicts import complete_run, keep_verdicts
from certs.reports.weeks import Week
from db.clock import database_now
from db.sql import one_moment
from policy.models import PolicyVersion
from policy.publishing import version_in_force

DAYS = 90
KEPT_DAYS = 400


@dataclass(frozen=True, slots=True)
class Point:
    """Compliance on one day. Counts are None where only a weekly report knows the percentage."""

    day: date
    percent: float | None
    policy_version: str
    active: int | None = None
    failing: int | None = None

    @property
    def words(self) -> str:
        """Return the point as a sentence, for pointers and screen readers."""
        return f"{self.day.day} {self.day:%b %Y}: {self.percent:.1f} %, policy {self.policy_version}"


@dataclass(frozen=True, slots=True)
class Mark:
    """The day on which a version of the policy began."""

    day: date
    version: str


@dataclass(frozen=True, slots=True)
class Line:
    """The points of a time, oldest first. `step`: how many days apart two neighbours may be."""

    first: date
    last: date
    points: Sequence[Point]
    marks: Sequence[Mark]
    step: int = 1

    @property
    def newest(self) -> Point | None:
        return self.points[-1] if self.points else None


def judge_when_due() -> int:
    """Judge where today has no numbers yet, or those of another version of the policy. Returns what `judge_day` does."""
    now = database_now()
    version = version_in_force(settings.PKI_DEFAULT_POLICY, now)
    today = ComplianceDay.objects.filter(day=now.astimezone(UTC).date(), team__isnull=True)
    return 0 if today.filter(policy_version=version.version).exists() else judge_day()


def judge_day() -> int:
    """Keep how many active certificates of each team comply today. Returns how many do not.

    The verdicts of `keep_verdicts` are counted, so that one pass over the inventory serves the lists
    and the line, and both say the same. A certificate that cannot be judged does not comply. While
    another worker judges nothing is kept: the next call counts. Effects: what `keep_verdicts` does;
    rows of `ComplianceDay`, in one transaction; those older than KEPT_DAYS are deleted. Twice a
    day: the later numbers stay. Raises PolicyMissing where no policy is in force.
    """
    keep_verdicts()
    now = database_now()
    run = complete_run(now)
    if run is None:
        return 0
    with one_moment():
        rows = active(Certificate.objects.filter(pk__lte=run.judged_to), now=now).order_by()
        whole = _by_team(rows)
        failing = _by_team(rows.filter(verdict__isnull=False))
    _keep(now.astimezone(UTC).date(), run.policy_version, whole, failing)
    return failing.total()


def _by_team(rows: QuerySet[Certificate]) -> Counter[int]:
    return Counter(dict(rows.values_list("team").annotate(count=Count("pk"))))


@transaction.atomic
def _keep(day: date, version: str, active: Counter[int], failing: Counter[int]) -> None:
    teams = set(Team.objects.values_list("pk", flat=True))
    ComplianceDay.objects.filter(day=day).delete()
    ComplianceDay.objects.filter(day__lt=day - timedelta(days=KEPT_DAYS)).delete()
    wanted: list[tuple[int | None, int, int]] = [(None, active.total(), failing.total())]
    wanted += [(pk, active[pk], failing[pk]) for pk in sorted(teams & set(active))]
    ComplianceDay.objects.bulk_create(
        ComplianceDay(day=day, team_id=pk, policy_version=version, active=whole, failing=fails) for pk, whole, fails in wanted
    )


def line_of(teams: Collection[int] | None, *, now: datetime) -> Line:
    """Return the last DAYS days of these teams together; of all teams for None.

    For all teams the weekly reports fill the time before the first night of this release.
    """
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=DAYS)
    rows = ComplianceDay.objects.filter(day__gte=first, team__isnull=True)
    if teams is not None:
        rows = ComplianceDay.objects.filter(day__gte=first, team__in=teams)
    summed = rows.order_by("day").values_list("day", "policy_version").annotate(whole=Sum("active"), fails=Sum("failing"))
    points = [
        Point(day, percent_complying(int(whole), int(fails)), version, int(whole), int(fails)) for day, version, whole, fails in summed
    ]
    points = [point for point in points if point.percent is not None]
    step = 1
    if teams is None:
        earlier = _of_reports(first, points[0].day if points else last)
        step = 7 if earlier else 1
        points = [*earlier, *points]
    return Line(first, last, points, _marks(first, now), step)


def _of_reports(first: date, before: date) -> list[Point]:
    """Return the percentages of weekly reports whose week ended in that time."""
    weeks = {str(Week(first).plus(-1)), str(Week(before))}
    rows = ComplianceReport.objects.filter(week__gte=min(weeks), week__lte=max(weeks), as_of__isnull=False)
    found = []
    for row in rows.order_by("week").values("week", "facts__compliance__percent", "facts__compliance__policy_version"):
        day, percent = Week.parse(row["week"]).sunday, row["facts__compliance__percent"]
        if first <= day < before and percent is not None:
            found.append(Point(day, percent, row["facts__compliance__policy_version"]))
    return found


def _marks(first: date, now: datetime) -> list[Mark]:
    rows = PolicyVersion.objects.published().filter(policy__name=settings.PKI_DEFAULT_POLICY, effective_from__lte=now)
    return [
        Mark(at.astimezone(UTC).date(), version)
        for version, at in rows.order_by("effective_from").values_list("version", "effective_from")
        if at is not None and at.astimezone(UTC).date() >= first
    ]
