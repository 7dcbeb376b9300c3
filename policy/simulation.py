"""A draft against what exists: what would change if these rules came into force. Streams, so that an inventory of any size fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from policy.engine import Decision, Outcome, evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.rules import RuleSet

_SEVERITY = {Outcome.ALLOW: 0, Outcome.NEEDS_APPROVAL: 1, Outcome.DENY: 2}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the draft says to one thing, beside what the rules in force say (None when no rules to compare with were given)."""

    key: str
    decision: Decision
    before: Decision | None = None

    @property
    def changed(self) -> bool:
        return self.before is not None and self.before.outcome is not self.decision.outcome

    @property
    def stricter(self) -> bool:
        return self.before is not None and _SEVERITY[self.decision.outcome] > _SEVERITY[self.before.outcome]


def simulate(
    ruleset: RuleSet, items: Iterable[tuple[str, RequestFacts, RequesterFacts]], *, on: date, current: RuleSet | None = None
) -> Iterator[Comparison]:
    """Judge each (key, facts, requester) by the draft `ruleset`, and by `current` beside it; one at a time, in order."""
    for key, facts, requester in items:
        before = evaluate(current, facts, requester, on=on) if current else None
        yield Comparison(key, evaluate(ruleset, facts, requester, on=on), before)
