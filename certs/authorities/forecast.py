"""The forecast of a re-issue: what would be renewed, what the policy would refuse, and how long it would take. Nothing is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import F, Q

from certs.authorities.reissue import unreplaced_of
from certs.models import Certificate, InstalledPlace, Issuer, Reissue, Team
from certs.renewal.budget import budget_a_minute, measured_rates
from certs.renewal.plan import RELATED, RenewalPlan, Verdict, plan_renewals
from certs.requests.submit import latest_issuer
from db.clock import database_now

CHUNK = 500
MOST_REASONS, MOST_EXAMPLES, MOST_TEAMS = 20, 3, 200


@dataclass(slots=True)
class _Team:
    """What the forecast says of a team."""

    total: int = 0
    renewed: int = 0
    first_end: datetime | None = None


@dataclass(slots=True)
class _Tally:
    """The forecast as far as it is."""

    verdicts: Counter[str] = field(default_factory=Counter)
    teams: dict[int, _Team] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    places: int = 0
    switched_off: int = 0
    first_end: datetime | None = None

    def add(self, certificate: Certificate, verdict: str, reason: str, advice: str) -> None:
        self.verdicts[verdict] += 1
        team = self.teams.setdefault(certificate.team_id, _Team())
        team.total += 1
        team.renewed += verdict == Verdict.GO
        team.first_end = team.first_end or certificate.not_after  # they come nearest end first
        self.first_end = self.first_end or certificate.not_after
        if reason:
            key = (reason, advice)
            self.reasons[key] += 1
            examples = self.examples.setdefault(key, [])
            if len(examples) < MOST_EXAMPLES:
                examples.append(certificate.cert_id)


def forecast_of(issuer: Issuer, target: Issuer, *, progress: Callable[[int], object]) -> dict[str, Any]:
    """Return what a re-issue of every valid certificate of `issuer` by `target` would do now. Writes nothing.

    Nearest end first, in chunks; `progress` is called with the number looked at after each.
    """
    now, tally, looked_at = database_now(), _Tally(), 0
    target = latest_issuer(target)
    for chunk in _chunks(issuer):
        _look_at(chunk, target, tally, now)
        looked_at += len(chunk)
        progress(looked_at)
    return _result(tally, target)


def forecast_reissue(pk: int) -> int:
    """Compute and keep the forecast of a planned re-issue. Returns how many certificates were looked at.

    One that broke off is computed anew when a person asks. Effects: columns of the row; no
    certificate, request or event.
    """
    rows = Reissue.objects.filter(pk=pk, state=Reissue.State.PLANNED)
    reissue = rows.select_related("issuer", "target").first()
    if reissue is None:
        return 0
    result = forecast_of(reissue.issuer, reissue.target, progress=lambda checked: rows.update(checked=checked))
    rows.update(checked=result["total"], forecast=result, forecast_at=database_now())
    return int(result["total"])


def _chunks(issuer: Issuer) -> Iterator[list[Certificate]]:
    rows = unreplaced_of(issuer.pk).select_related(*RELATED).order_by("not_after", "pk")
    beyond = Q()
    while chunk := list(rows.filter(beyond)[:CHUNK]):
        yield chunk
        last = chunk[-1]
        beyond = Q(not_after__gte=last.not_after) & (Q(not_after__gt=last.not_after) | Q(pk__gt=last.pk))


def _look_at(chunk: list[Certificate], target: Issuer, tally: _Tally, now: datetime) -> None:
    wanted = [one for one in chunk if not one.renewal_off_reason]
    for certificate in chunk:
        if certificate.renewal_off_reason:
            tally.switched_off += 1
            tally.add(certificate, "off", "Its renewal is switched off.", "Ask its owner to switch it on, or to replace it by hand.")
    for plan in plan_renewals(wanted, at=now, target=target):
        tally.add(plan.certificate, plan.verdict, "" if plan.verdict is Verdict.GO else _reason(plan), plan.advice)
    tally.places += InstalledPlace.objects.filter(certificate__in=[one.pk for one in chunk], served=F("certificate")).count()


def _reason(plan: RenewalPlan) -> str:
    """Return the reason without names, so that equal reasons are counted together."""
    text = plan.reason.replace(plan.certificate.cert_id, "the certificate")
    for name in sorted((*plan.spec.dns_names, *plan.spec.ip_addresses, plan.spec.common_name), key=len, reverse=True):
        text = text.replace(name, "…") if name else text
    return text[:300]


def _result(tally: _Tally, target: Issuer) -> dict[str, Any]:
    rates = measured_rates()
    budget, ready = budget_a_minute(target.pk, rates), tally.verdicts[Verdict.GO]
    names = {team.pk: team for team in Team.objects.filter(pk__in=tally.teams)}
    teams = sorted(tally.teams.items(), key=lambda item: (-item[1].total, names[item[0]].name))
    rate = rates.get(target.pk)
    return {
        "total": sum(tally.verdicts.values()),
        "verdicts": {verdict: tally.verdicts[verdict] for verdict in (*(one.value for one in Verdict), "off")},
        "places": tally.places,
        "first_end": tally.first_end.isoformat() if tally.first_end else None,
        "target": target.name,
        "rate_a_minute": round(rate) if rate is not None else None,
        "budget_a_minute": budget,
        "minutes": -(-ready // budget),
        "teams": [
            {
                "slug": names[pk].slug,
                "name": names[pk].name,
                "total": team.total,
                "renewed": team.renewed,
                "first_end": team.first_end.isoformat() if team.first_end else None,
            }
            for pk, team in teams[:MOST_TEAMS]
        ],
        "teams_total": len(teams),
        "reasons": [
            {"reason": reason, "advice": advice, "count": count, "examples": tally.examples[reason, advice]}
            for (reason, advice), count in tally.reasons.most_common(MOST_REASONS)
        ],
    }
