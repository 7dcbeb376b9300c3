"""What a waiver changes, and all that it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.engine import Outcome, evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.rules import RuleSetInvalid
from policy.waivers.waiver import WAIVABLE, Waiver, waiver_from_dict
from tests.policy.examples import DEFAULT, GOOD, TODAY, WEB_TEAM
from tests.policy.test_engine_properties import REQUESTERS, requests

SHORT_KEY = replace(GOOD, key_bits=2048)


def waiver(rule: str = "allowed_keys", params: Any = None, names: Any = ("api.example.com",), teams: Any = ()) -> Waiver:
    given_params = {"rsa": {"min_bits": 2048}} if params is None else params
    return waiver_from_dict("W-1", rule, given_params, names=names, teams=teams)


def outcome(facts: RequestFacts, *waivers: Waiver) -> Outcome:
    return evaluate(DEFAULT, facts, WEB_TEAM, on=TODAY, waivers=waivers).outcome


def test_waiver_lets_the_named_request_pass_and_is_named() -> None:
    decision = evaluate(DEFAULT, SHORT_KEY, WEB_TEAM, on=TODAY, waivers=[waiver()])
    assert (decision.outcome, decision.waivers) == (Outcome.ALLOW, ("W-1",))
    assert decision.checks[0].message == "Key RSA 2048 is allowed (waiver W-1)"


def test_waiver_that_is_not_needed_is_not_named() -> None:
    decision = evaluate(DEFAULT, GOOD, WEB_TEAM, on=TODAY, waivers=[waiver()])
    assert (decision.outcome, decision.waivers, decision.covering) == (Outcome.ALLOW, (), ("W-1",))


@pytest.mark.parametrize(
    ("facts", "given_waiver"),
    [
        (replace(SHORT_KEY, key_bits=1024), waiver()),  # beyond what was waived
        (replace(SHORT_KEY, dns_names=("api.example.com", "www.example.com")), waiver()),  # one name more
        (replace(SHORT_KEY, validity_days=500), waiver()),  # another rule fails too
        (SHORT_KEY, waiver(teams=("pay",))),  # another team's
        (SHORT_KEY, waiver(rule="max_validity", params={"days": 500})),  # another rule's
        (replace(GOOD, common_name="x.evil.org", dns_names=("x.evil.org",)), waiver(names=(), teams=("web",))),
    ],
)
def test_waiver_never_reaches_further_than_its_rule_names_and_teams(facts: RequestFacts, given_waiver: Waiver) -> None:
    assert outcome(facts, given_waiver) is Outcome.DENY


def test_longer_validity_is_allowed_and_is_the_limit_at_issuance() -> None:
    decision = evaluate(DEFAULT, replace(GOOD, validity_days=500), WEB_TEAM, on=TODAY, waivers=[waiver("max_validity", {"days": 600})])
    assert (decision.outcome, decision.longest_days) == (Outcome.ALLOW, 600)


def test_name_outside_the_domains_is_waived_for_one_team_and_name_only() -> None:
    facts = replace(GOOD, common_name="x.evil.org", dns_names=("x.evil.org",))
    allowed = waiver("allowed_names", {}, names=("x.evil.org",), teams=("web",))
    assert outcome(facts, allowed) is Outcome.ALLOW
    pay = RequesterFacts("pay", ("pay.example.com",))
    assert evaluate(DEFAULT, facts, pay, on=TODAY, waivers=[allowed]).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("rule", "params", "names", "teams", "message"),
    [
        ("require_san", {}, ["a"], [], "cannot be waived"),
        ("nonsense", {}, ["a"], [], "cannot be waived"),
        ("max_names", {"maximum": 5}, [], [], "name the names or the teams"),
        ("allowed_names", {}, ["a.example.org"], [], "needs both"),
        ("allowed_names", {}, [], ["web"], "needs both"),
        ("max_names", {"maximum": 5, "also": 1}, ["a"], [], "unknown field 'also'"),
        ("max_names", {"maximum": "many"}, ["a"], [], "whole number"),
    ],
)
def test_unreadable_waiver_is_refused(rule: str, params: Any, names: list[str], teams: list[str], message: str) -> None:
    with pytest.raises(RuleSetInvalid, match=message):
        waiver_from_dict("W-1", rule, params, names=names, teams=teams)


RELAXED = {
    "allowed_keys": {"rsa": {"min_bits": 2048}, "ec": [256, 384, 521], "ed25519": True},
    "max_validity": {"days": 900},
    "wildcards": {"decision": "allow"},
    "duplicates": {"inventory": "allow"},
    "max_names": {"maximum": 3},
    "ip_addresses": {"networks": ["10.0.0.0/8"]},
}


@given(requests(), REQUESTERS, st.sampled_from(sorted(RELAXED)), st.booleans())
@settings(max_examples=200, deadline=None)
def test_waiver_changes_only_the_checks_of_its_rule_and_never_for_the_worse(
    facts: RequestFacts, requester: RequesterFacts, rule: str, by_team: bool
) -> None:
    assert rule in WAIVABLE
    scope = {"names": (), "teams": (requester.team,)} if by_team else {"names": facts.names or ("a",), "teams": ()}
    given_waiver = waiver(rule, RELAXED[rule], **scope)
    before = evaluate(DEFAULT, facts, requester, on=TODAY)
    after = evaluate(DEFAULT, facts, requester, on=TODAY, waivers=[given_waiver])
    assert list(Outcome).index(after.outcome) <= list(Outcome).index(before.outcome)
    assert [c for c in after.checks if c.rule != rule] == [c for c in before.checks if c.rule != rule]
    assert bool(after.waivers) == (after.checks != before.checks)
