"""The figures of a compliance report, each defined once (docs/reports.md has the same words).

`compute` reads the active certificates once, in pages, in flat memory; what is counted over the
past comes from indexed columns. The result is JSON: it is stored, and page, mail and PDF are made
from it, so that they cannot differ.
"""

from __future__ import annotations

import csv
import heapq
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncWeek

from certs.alone import Alone
from certs.inventory import in_force
from certs.inventory.filters import CertificateFilter, Compliance, StateGroup
from certs.models import Certificate, Revocation
from certs.reports import machinery, persons
from certs.reports.judging import Judge, Judged
from certs.reports.waivers import waiver_facts
from certs.reports.weeks import Week, month_end
from certs.uploads.formats.cells import safe_cell
from db.sql import among_ids, fetch, id_list
from keys.spec import KeyFacts
from policy.models import PolicyVersion
from policy.publishing import rules_in_force
from policy.rules import RULES

SCHEMA = 1
WORST = 20
WEEKS_AHEAD = 53
WEEKS_BACK = 26
LIST_MOST = 10_000  # lines of the attached CSV, about 2 MB; the portal has the whole list
PAGE = 2000

log = logging.getLogger(__name__)

RULE_LABELS = {rule.name: rule.label for rule in RULES}
LIST_HEADER = ("cert_id", "common_name", "team", "owner", "ends", "key", "validity_days", "rules", "reasons")


@dataclass(slots=True)
class _Rule:
    """What one rule refuses: how many certificates, and those that end last."""

    count: int = 0
    worst: list[tuple[float, int, Certificate, Judged]] = field(default_factory=list)

    def add(self, certificate: Certificate, judged: Judged) -> None:
        """Count it. The worst are those that stay longest as they are."""
        self.count += 1
        entry = (certificate.not_after.timestamp(), certificate.pk, certificate, judged)
        if len(self.worst) < WORST:
            heapq.heappush(self.worst, entry)
        else:
            heapq.heappushpop(self.worst, entry)


@dataclass(slots=True)
class Computed:
    """The facts of a report, and the CSV of what does not comply (its first LIST_MOST certificates)."""

    facts: dict[str, Any]
    list_csv: str


def compute(week: Week, *, now: datetime, history: Sequence[dict[str, Any]] = ()) -> Computed:
    """Compute the report of a week from the database as of `now`.

    `history`: weeks of earlier reports with their compliance (`week`, `percent`, `policy_version`),
    oldest first. Raises PolicyMissing where no policy is in force.
    """
    version, waivers = rules_in_force(settings.PKI_DEFAULT_POLICY, now)
    judge = Judge(version.ruleset, on=now.date(), waivers=waivers)
    this_month = month_end(now)
    total = expiring = fails = 0
    unjudged: list[Certificate] = []
    rules: dict[str, _Rule] = {}
    ends: Counter[Week] = Counter()
    listed = io.StringIO()
    csv.writer(listed).writerow(LIST_HEADER)
    horizon = Week.of(now).plus(WEEKS_AHEAD).start
    for page in active_certificates(now):
        failing: dict[int, tuple[Judged, frozenset[str]]] = {}
        broken: list[int] = []
        for pk, judged in page:
            total += 1
            expiring += judged.not_after < this_month
            if judged.not_after < horizon:
                ends[Week.of(judged.not_after)] += 1
            refused_by: frozenset[str] = frozenset()
            with Alone() as outcome:
                refused_by = judge.failing_rules(judged)
            if outcome.error is not None:
                log.error("certificate %d cannot be judged", pk, exc_info=outcome.error)
                broken.append(pk)
            elif refused_by:
                failing[pk] = judged, refused_by
        certificates = _rows([*failing, *broken])
        unjudged += [certificates[pk] for pk in broken]
        for pk, (judged, refused_by) in failing.items():
            fails += 1
            for rule in refused_by:
                rules.setdefault(rule, _Rule()).add(certificates[pk], judged)
            if fails <= LIST_MOST:
                csv.writer(listed).writerow(list_row(certificates[pk], judged, judge))
    fails += len(unjudged)
    facts = {
        "schema": SCHEMA,
        "week": str(week),
        "from": week.start.isoformat(),
        "to": week.end.isoformat(),
        "as_of": now.isoformat(),
        "complete": now >= week.end,
        "figures": _figures(week, now, total=total, expiring=expiring, fails=fails),
        "waivers": waiver_facts(week, now=now),
        "needs": persons.what_needs_a_person(version.ruleset, now=now),
        "compliance": {
            "policy_version": version.version,
            "percent": percent_complying(total, fails),
            "total": total,
            "fails": fails,
            "listed": min(fails, LIST_MOST),
            "url": _refused(Compliance.FAILS.value),
            "unjudged": persons.lines_of(unjudged[:WORST], lambda _one: "It could not be judged; the log has the reason.", now=now),
            "rules": _by_rule(rules, judge, now),
        },
        "ends": [{"week": str(one), "count": ends[one]} for one in (Week.of(now).plus(n) for n in range(WEEKS_AHEAD))],
        "movements": movements(week),
        "history": [*history, _history_entry(week, version, total=total, fails=fails)][-WEEKS_BACK:],
        "audit": machinery.audit_facts(now=now),
        "status": machinery.status_facts(now=now),
        "availability": machinery.availability(week, now=now),
    }
    return Computed(facts, listed.getvalue())


def _by_rule(rules: dict[str, _Rule], judge: Judge, now: datetime) -> list[dict[str, Any]]:
    """Return the rules that refuse something, the one that refuses most first."""
    ordered = sorted(rules.items(), key=lambda item: (-item[1].count, item[0]))
    return [
        {
            "rule": name,
            "label": RULE_LABELS.get(name, name),
            "count": found.count,
            "url": _refused(name),
            "worst": _worst(name, found, judge, now),
        }
        for name, found in ordered
    ]


def _worst(rule: str, found: _Rule, judge: Judge, now: datetime) -> list[dict[str, Any]]:
    """Return the lines of those that stay longest, each with what the rule says about it."""
    entries = sorted(found.worst, key=lambda entry: entry[:2], reverse=True)
    judged = {pk: content for _, pk, _, content in entries}
    certificates = [certificate for _, _, certificate, _ in entries]
    return persons.lines_of(certificates, lambda one: _reason(judge, judged[one.pk], rule), now=now)


def _reason(judge: Judge, judged: Judged, rule: str) -> str:
    return "; ".join(check.message for check in judge.failures(judged) if check.rule == rule)


def percent_complying(total: int, fails: int) -> float | None:
    """Return the percentage with one decimal, never rounded up: 100.0 means every one. None without certificates."""
    return (total - fails) * 1000 // total / 10 if total else None


def movements(week: Week) -> list[dict[str, Any]]:
    """Count what was issued (renewals apart), renewed and revoked in each of the weeks up to this one."""
    first = week.plus(1 - WEEKS_BACK)
    rows = Certificate.objects.filter(issued_at__gte=first.start, issued_at__lt=week.end)
    issued = _by_week(rows.filter(renewed_from__isnull=True), "issued_at")
    renewed = _by_week(rows.filter(renewed_from__isnull=False), "issued_at")
    revoked = _by_week(_revoked(first.start, week.end), "requested_at")
    weeks = [first.plus(number) for number in range(WEEKS_BACK)]
    return [{"week": str(one), "issued": issued[one], "renewed": renewed[one], "revoked": revoked[one]} for one in weeks]


def _by_week(rows: QuerySet[Any], column: str) -> Counter[Week]:
    counted = rows.order_by().annotate(monday=TruncWeek(column)).values("monday").annotate(count=Count("pk"))
    return Counter({Week.of(row["monday"]): row["count"] for row in counted})


def _revoked(start: datetime, end: datetime) -> QuerySet[Revocation]:
    """Return the revocations requested in that time whose certificate is revoked or about to be; no released holds."""
    rows = Revocation.objects.filter(requested_at__gte=start, requested_at__lt=end)
    return rows.filter(certificate__status__in=Certificate.SAYS_REVOKED)


def _figures(week: Week, now: datetime, *, total: int, expiring: int, fails: int) -> list[dict[str, Any]]:
    revoked = _revoked(week.start, week.end).count()
    percent = percent_complying(total, fails)
    ending = CertificateFilter(state=StateGroup.ACTIVE.value, ends_before=month_end(now).date())
    gone = CertificateFilter(revoked_after=week.monday, revoked_before=week.plus(1).monday)
    return [
        _figure("active", "Active certificates", total, CertificateFilter(state=StateGroup.ACTIVE.value).url()),
        _figure("expiring", f"Expiring this month ({now:%B})", expiring, ending.url()),
        _figure("revoked", "Revoked this week", revoked, gone.url()),
        {
            "key": "compliance",
            "label": "Policy compliance",
            "value": percent,
            "unit": "%",
            "url": _refused(Compliance.FAILS.value),
        },
    ]


def _refused(policy: str) -> str:
    """Return the address of the active certificates that the policy refuses, or that one of its rules does."""
    return CertificateFilter(state=StateGroup.ACTIVE.value, policy=policy).url()


def _figure(key: str, label: str, value: int, url: str) -> dict[str, Any]:
    return {"key": key, "label": label, "value": value, "unit": "", "url": url}


def _history_entry(week: Week, version: PolicyVersion, *, total: int, fails: int) -> dict[str, Any]:
    return {"week": str(week), "percent": percent_complying(total, fails), "policy_version": version.version}


_COLUMNS = ("pk", "team_id", "profile", "key_type", "common_name", "not_before", "not_after")


def active_certificates(now: datetime) -> Iterator[list[tuple[int, Judged]]]:
    """Yield every active certificate with its names, in pages by key.

    What is replaced is looked up for each page: as a condition of the page, the database would look
    through all renewals once for each page.
    """
    sql = f"SELECT renewed_from_id FROM certs_certificate WHERE {among_ids('renewed_from_id')} AND status = %s"  # noqa: S608 - constants
    for page in judged_pages(in_force(Certificate.objects.all(), now=now)):
        found = fetch(sql, [id_list([pk for pk, _ in page]), Certificate.Status.GOOD.value])
        replaced = {pk for (pk,) in found}
        yield [(pk, judged) for pk, judged in page if pk not in replaced]


def judged_pages(certificates: QuerySet[Certificate], *, after: int = 0) -> Iterator[list[tuple[int, Judged]]]:
    """Yield certificates with ids above `after`, with their names, in pages by key: flat memory, and no long transaction.

    Only what the policy looks at is read; the row itself is fetched for what does not comply.
    """
    rows = certificates.order_by("pk").values_list(*_COLUMNS)
    sql = f"SELECT certificate_id, kind, name FROM certs_certificatename WHERE {among_ids('certificate_id')} ORDER BY id"  # noqa: S608 - constants
    while page := list(rows.filter(pk__gt=after)[:PAGE]):
        after = page[-1][0]
        dns: dict[int, list[str]] = {}
        ips: dict[int, list[str]] = {}
        for pk, kind, name in fetch(sql, [id_list([row[0] for row in page])]):
            (dns if kind == "dns" else ips).setdefault(pk, []).append(name)
        yield [
            (
                pk,
                Judged(
                    team_id=team_id,
                    profile=profile,
                    key_type=key_type,
                    common_name=common_name,
                    dns_names=tuple(dns.get(pk, ())),
                    ip_addresses=tuple(ips.get(pk, ())),
                    not_before=not_before,
                    not_after=not_after,
                ),
            )
            for pk, team_id, profile, key_type, common_name, not_before, not_after in page
        ]


def _rows(ids: Sequence[int]) -> dict[int, Certificate]:
    return Certificate.objects.select_related("team", "owner").in_bulk(ids)


def list_row(certificate: Certificate, judged: Judged, judge: Judge) -> tuple[str, ...]:
    """Return one line of the CSV, as LIST_HEADER names its columns. No cell begins a formula of a spreadsheet."""
    checks = judge.failures(judged)
    cells = (
        certificate.cert_id,
        certificate.common_name,
        certificate.team.name,
        certificate.owner.get_username() if certificate.owner else "",
        f"{certificate.not_after:%Y-%m-%d %H:%M:%S}",
        KeyFacts.from_name(certificate.key_type).label,
        str(judged.days),
        " ".join(dict.fromkeys(check.rule for check in checks)),
        "; ".join(check.message for check in checks),
    )
    return tuple(safe_cell(cell) for cell in cells)


def list_lines(*, now: datetime) -> Iterator[str]:
    """Yield the whole CSV of what does not comply now, line by line."""
    version, waivers = rules_in_force(settings.PKI_DEFAULT_POLICY, now)
    judge = Judge(version.ruleset, on=now.date(), waivers=waivers)
    yield _line(LIST_HEADER)
    for page in active_certificates(now):
        failing = {pk: judged for pk, judged in page if judge.failing_rules(judged)}
        certificates = _rows(list(failing))
        for pk, judged in failing.items():
            yield _line(list_row(certificates[pk], judged, judge))


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
