"""Judge one part of a replay: counts, texts and findings. Reads only; who calls it stores the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from certs.replay.reading import certificates, recorded_requests
from certs.replay.verdicts import Outcome, Rules, TimeLine, Verdict, recorded_as
from certs.requests.facts.ownership import Ownership
from policy.recorded import case_from

SEPARATOR = "|"


@dataclass(slots=True)
class Tally:
    """What a part found. `counts` and the others have keys that are words with `|` between them."""

    counts: Counter[str] = field(default_factory=Counter)
    teams: Counter[str] = field(default_factory=Counter)
    weeks: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    texts: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[int, int, str, str, date, int]] = field(default_factory=list)

    def add(self, pk: int, team: int, on: date, verdict: Verdict, before: Outcome) -> None:
        """Count one thing, and note it where it does not pass, or did not before."""
        outcome = verdict.outcome
        self.counts[f"{outcome}{SEPARATOR}{before}"] += 1
        if outcome is Outcome.PASSES and before is Outcome.PASSES:
            return
        self.teams[f"{team}{SEPARATOR}{outcome}{SEPARATOR}{before}"] += 1
        monday = on - timedelta(days=on.weekday())
        self.weeks[f"{monday.isoformat()}{SEPARATOR}{outcome}{SEPARATOR}{before}"] += 1
        text = self.texts.setdefault(verdict.reason[:300], len(self.texts))
        self.reasons[f"{outcome}{SEPARATOR}{before}{SEPARATOR}{text}"] += 1
        self.findings.append((pk, team, outcome, before, on, text))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the findings."""
        return {
            "counts": dict(self.counts),
            "teams": dict(self.teams),
            "weeks": dict(self.weeks),
            "reasons": dict(self.reasons),
            "texts": list(self.texts),
        }


def judge_certificates(first: int, last: int, *, candidate: TimeLine, present: TimeLine, ownership: Ownership, now: datetime) -> Tally:
    """Judge the renewals of the certificates of a range of ids, by both time lines."""
    tally = Tally()
    with_key_use = candidate.looks_at_key_use or present.looks_at_key_use
    for page in certificates(first, last, now=now, with_key_use=with_key_use):
        for due in page:
            kind = due.kind(ownership)
            would, does = candidate.on(due.on), present.on(due.on)
            if would is None:
                continue
            verdict = would.verdict(due, kind, ownership)
            before = verdict if does is would or does is None else does.verdict(due, kind, ownership)
            tally.add(due.pk, due.team_id, due.on, verdict, before.outcome)
    return tally


def judge_requests(first: int, last: int, *, rules: Rules, on: date, at: datetime, since: datetime) -> Tally:
    """Judge recorded requests of a range of ids as if they were made on the day `on`.

    Compared with what was decided. Requests of earlier releases have no facts on record; they are
    counted as `unrecorded`.
    """
    tally = Tally()
    for page in recorded_requests(first, last, since=since):
        for pk, team, day, outcome, facts in page:
            if facts is None:
                tally.counts["unrecorded"] += 1
                continue
            case, _ = case_from(facts)
            verdict = rules.request(case.facts, case.requester, on=on, at=at)
            tally.add(pk, team, day, verdict, recorded_as(outcome))
    return tally
