"""Read what a replay judges: living certificates with the day of their renewal, and recorded requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings

from certs.inventory import active
from certs.models import Certificate, CertificateName, PolicyEvaluation
from certs.replay.verdicts import Due, aged
from certs.requests.facts.policy_facts import key_use

PAGE = 2000
_DAY = 86_400
_COLUMNS = (
    "pk",
    "team_id",
    "profile",
    "key_type",
    "common_name",
    "not_before",
    "not_after",
    "alert_at",
    "key_id",
    "spki_sha256",
)


def certificates(first: int, last: int, *, now: datetime, with_key_use: bool) -> Iterator[list[Due]]:
    """Yield the living certificates of a range of ids in pages, in flat memory."""
    rows = active(Certificate.objects.all(), now=now).filter(pk__lte=last).order_by("pk").values_list(*_COLUMNS)
    after = first - 1
    while page := list(rows.filter(pk__gt=after)[:PAGE]):
        after = page[-1][0]
        dns: dict[int, list[str]] = {}
        ips: dict[int, list[str]] = {}
        # By range: the ids of a page are neighbours, and the names of the few others are left out below.
        names = CertificateName.objects.filter(certificate__gte=page[0][0], certificate__lte=after).order_by()
        for pk, kind, name in names.values_list("certificate_id", "kind", "name"):
            (dns if kind == "dns" else ips).setdefault(pk, []).append(name)
        uses = key_use({row[9] for row in page}, at=now) if with_key_use else {}
        found = []
        for row in page:
            one = _due(row, dns.get(row[0], ()), ips.get(row[0], ()), now)
            if use := uses.get(row[9]):
                waits = (one.on - now.date()).days
                one = aged(one, use.age_days + waits, use.certificates)
            found.append(one)
        yield found


def _due(row: tuple[Any, ...], dns: Any, ips: Any, now: datetime) -> Due:
    pk, team_id, profile, key_type, common_name, not_before, not_after, alert_at, key_id, _ = row
    moment = alert_at or not_after - timedelta(days=settings.PKI_RENEW_BEFORE_DAYS)
    return Due(
        pk,
        team_id,
        profile,
        key_type,
        common_name,
        tuple(sorted(dns)),
        tuple(sorted(ips)),
        max(1, int((not_after - not_before).total_seconds()) // _DAY),
        key_id is None,
        max(moment, now).date(),
    )


def recorded_requests(first: int, last: int, *, since: datetime) -> Iterator[list[tuple[int, int, date, str, dict[str, Any] | None]]]:
    """Yield for each request of a range of ids: its id, team, day, the outcome of its first evaluation, and the recorded facts."""
    rows = PolicyEvaluation.objects.filter(request__created_at__gte=since, request__lte=last)
    columns = ("request_id", "request__team_id", "request__created_at", "outcome", "facts")
    ordered = rows.order_by("request_id", "pk").values_list(*columns)
    after = first - 1
    while page := list(ordered.filter(request__gt=after)[:PAGE]):
        after = page[-1][0]
        if len(page) == PAGE:  # the evaluations of the last request may go on in the next page
            page = [row for row in page if row[0] < after] or page
            after = page[-1][0]
        firsts = {row[0]: row for row in reversed(page)}
        yield [(pk, team, at.date(), outcome, facts) for pk, team, at, outcome, facts in sorted(firsts.values(), key=lambda r: r[0])]
