"""Judge one part of a replay: counts, texts and findings. Reads only; who calls it stores the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from certs.replay.reading import certificates, recorded_requests
from certs.replay.verdicts import Outcome, Rules, TimeLine, Verdict, recorded_as
from certs.requests.facts.ownership import Ownership
from policy.recorded import case_from

SEPARATOR = "|"
MOST_TEXT = 300


@dataclass(slots=True)
class Tally:
    """What a part found: how many of each group, and each thing that does not pass, or did not before."""

    groups: Counter[tuple[int, date, Outcome, Outcome, str]] = field(default_factory=Counter)
    unrecorded: int = 0
    texts: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[int, int, str, str, date, int]] = field(default_factory=list)

    def add(self, pk: int, team: int, on: date, verdict: Verdict, before: Outcome) -> None:
        """Count one thing, and note it where it does not pass, or did not before."""
        outcome, reason = verdict.outcome, verdict.reason
        self.groups[team, on, outcome, before, reason] += 1
        if outcome is Outcome.PASSES and before is Outcome.PASSES:
            return
        text = self.texts.setdefault(reason, len(self.texts))
        self.findings.append((pk, team, outcome.value, before.value, on, text))

    @property
    def counts(self) -> Counter[str]:
        """Return the numbers by outcome and outcome before, such as `refused|passes`."""
        return self._by(lambda _team, _on, outcome, before, _reason: f"{outcome}{SEPARATOR}{before}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the findings. Keys are words with `|` between them."""
        counts = self.counts
        if self.unrecorded:
            counts["unrecorded"] = self.unrecorded
        changed = Tally(Counter({key: n for key, n in self.groups.items() if key[2:4] != (Outcome.PASSES, Outcome.PASSES)}))
        return {
            "counts": counts,
            "teams": changed._by(lambda team, _on, outcome, before, _: f"{team}{SEPARATOR}{outcome}{SEPARATOR}{before}"),
            "weeks": changed._by(lambda _, on, outcome, before, __: f"{_monday(on)}{SEPARATOR}{outcome}{SEPARATOR}{before}"),
            "reasons": changed._by(lambda _, __, outcome, before, reason: f"{outcome}{SEPARATOR}{before}{SEPARATOR}{self.texts[reason]}"),
            "texts": [text[:MOST_TEXT] for text in self.texts],
        }

    def _by(self, name: Callable[[int, date, Outcome, Outcome, str], str]) -> Counter[str]:
        found = Counter[str]()
        for key, number in self.groups.items():
            found[name(*key)] += number
        return found


def _monday(on: date) -> str:
    return (on - timedelta(days=on.weekday())).isoformat()


def judge_certificates(first: int, last: int, *, candidate: TimeLine, present: TimeLine, ownership: Ownership, now: datetime) -> Tally:
    """Judge the renewals of the certificates of a range of ids, by both time lines."""
    tally = Tally()
    with_key_use = candidate.looks_at_key_use or present.looks_at_key_use
    # Both verdicts of a kind, day, use of the key and waivers: one look-up for nearly every certificate.
    known: dict[Hashable, tuple[Verdict, Outcome]] = {}
    for page in certificates(first, last, now=now, with_key_use=with_key_use):
        for due in page:
            would = candidate.on(due.on)
            if would is None:
                continue
            kind, waivers = due.kind(ownership), would.waivers_for(due, ownership)
            key = kind, due.on, due.key_age_days, due.key_certificates, waivers
            both = known.get(key)
            if both is None:
                verdict, does = would.verdict(due, kind, ownership), present.on(due.on)
                before = verdict if does is would or does is None else does.verdict(due, kind, ownership)
                both = known[key] = (verdict, before.outcome)
            tally.add(due.pk, due.team_id, due.on, *both)
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
                tally.unrecorded += 1
                continue
            case, _ = case_from(facts)
            verdict = rules.request(case.facts, case.requester, on=on, at=at)
            tally.add(pk, team, day, verdict, recorded_as(outcome))
    return tally
