"""Facts on record: what is stored decides as the whole did, and says so by its hash."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings

from policy.engine import evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.recorded import case_from, facts_digest, recorded, relevant
from policy.rules import RuleSet
from tests.policy.examples import DEFAULT, GOOD, TODAY
from tests.policy.test_engine_properties import REQUESTERS, RULESETS, requests

MANY = tuple(sorted(f"d{number}.example" for number in range(40)))


@given(RULESETS, requests(), REQUESTERS)
@settings(max_examples=300, deadline=None)
def test_recorded_facts_give_the_same_decision(ruleset: RuleSet, facts: RequestFacts, requester: RequesterFacts) -> None:
    owner = replace(requester, owned_domains=tuple(sorted((*requester.owned_domains, *MANY))))
    decision = evaluate(ruleset, facts, owner, on=TODAY)
    stored = json.loads(json.dumps(recorded(decision)))
    assert facts_digest(stored) == facts_digest(recorded(decision))
    case, _ = case_from(stored)
    assert evaluate(ruleset, case.facts, case.requester, on=case.on).to_dict() == decision.to_dict()


def test_usual_decision_is_recorded_in_few_bytes() -> None:
    """A team may own thousands of domains: the record does not grow with them."""
    owner = RequesterFacts("web", tuple(sorted((*(f"d{n:04}.example" for n in range(5000)), "example.com"))))
    assert "example.com" in relevant(GOOD, owner).owned_domains
    assert len(json.dumps(recorded(evaluate(DEFAULT, GOOD, owner, on=TODAY)))) < 500
