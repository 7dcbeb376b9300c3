"""A draft beside what is in force, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from policy.engine import Outcome
from policy.facts import RequesterFacts, RequestFacts
from policy.simulation import simulate
from tests.policy.examples import DEFAULT, GOOD, TODAY, WEB_TEAM, ruleset_with

SHORTER = ruleset_with(max_validity={"days": 90})


def test_draft_is_compared_with_the_rules_in_force() -> None:
    items = [("a", GOOD, WEB_TEAM), ("b", replace(GOOD, validity_days=100), WEB_TEAM), ("c", replace(GOOD, key_bits=1024), WEB_TEAM)]
    result = list(simulate(SHORTER, items, on=TODAY, current=DEFAULT))
    assert [(one.key, one.decision.outcome, one.changed, one.stricter) for one in result] == [
        ("a", Outcome.ALLOW, False, False),
        ("b", Outcome.DENY, True, True),
        ("c", Outcome.DENY, False, False),
    ]


def test_looser_draft_is_a_change_but_not_stricter() -> None:
    result = next(simulate(DEFAULT, [("b", replace(GOOD, validity_days=100), WEB_TEAM)], on=TODAY, current=SHORTER))
    assert (result.changed, result.stricter) == (True, False)


def test_simulation_reads_no_further_than_it_is_asked() -> None:
    read = []

    def endless() -> Iterator[tuple[str, RequestFacts, RequesterFacts]]:
        while True:
            read.append(1)
            yield ("x", GOOD, WEB_TEAM)

    assert next(simulate(SHORTER, endless(), on=TODAY)).before is None
    assert len(read) == 1
