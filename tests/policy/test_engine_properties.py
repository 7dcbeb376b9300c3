"""What holds for every request: suggestions pass, judging twice gives the same, taking a bad name away never makes it worse."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy.engine import Outcome, evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.presets import CABF_SC081
from policy.rules import RuleSet, ruleset_from_dict
from policy.rules.names import is_host, without
from tests.policy.examples import DEFAULT, TODAY, rules_with

STRICT = rules_with(
    allowed_keys={"ec": [384], "ml-dsa": [65, 87], "rsa": {"min_bits": 4096, "max_bits": 4096}},
    key_reuse_at_renewal={"allowed": False},
    wildcards={"decision": "deny", "whole_domain": "approval"},
    max_names={"maximum": 2},
    duplicates={"inventory": "deny"},
    ip_addresses={"networks": ["10.0.0.0/8"]},
)
STRICT["defaults"]["key"] = "rsa-4096"
RULESETS = st.sampled_from([DEFAULT, ruleset_from_dict(CABF_SC081), ruleset_from_dict(STRICT)])

DOMAINS = ("example.com", "example.test", "pay.example.com", "evil.org")
NAMES = st.sampled_from(
    [*(f"{left}{domain}" for domain in DOMAINS for left in ("", "api.", "www.", "a.b.", "*.", "*.apps.")), "localhost", "*", ""]
)
KEYS = st.sampled_from(
    [
        ("rsa", 1024),
        ("rsa", 2048),
        ("rsa", 3073),
        ("rsa", 4096),
        ("rsa", 16384),
        ("ec", 224),
        ("ec", 256),
        ("ec", 384),
        ("ed25519", 255),
        ("ml-dsa", 44),
        ("ml-dsa", 65),
        ("dsa", 1024),
        ("", 0),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> RequestFacts:
    family, bits = draw(KEYS)
    dns = tuple(draw(st.lists(NAMES, max_size=5)))
    return RequestFacts(
        profile=draw(st.sampled_from(["tls-server", "tls-client", ""])),
        common_name=draw(NAMES | st.sampled_from(dns or ("api.example.com",)) | st.just("10.0.0.1")),
        dns_names=dns,
        ip_addresses=tuple(draw(st.lists(st.sampled_from(["10.0.0.1", "192.0.2.1", "2001:db8::1"]), max_size=2))),
        key_family=family,
        key_bits=bits,
        validity_days=draw(st.integers(-5, 1000)),
        ekus=tuple(draw(st.lists(st.sampled_from(["serverAuth", "clientAuth"]), max_size=2))),
        renewal=draw(st.booleans()),
        key_reused=draw(st.booleans()),
        csr_brought=draw(st.booleans()),
        duplicate_of=draw(st.sampled_from(["", "cert-1"])),
    )


REQUESTERS = st.sampled_from(
    [
        RequesterFacts("web", ("example.com", "example.test"), ("pay.example.com",)),
        RequesterFacts("pay", ("pay.example.com",), ("example.com",)),
        RequesterFacts("new", ()),
    ]
)


@given(RULESETS, requests(), REQUESTERS)
@settings(max_examples=300, deadline=None)
def test_suggestion_passes_when_it_is_followed(ruleset: RuleSet, facts: RequestFacts, requester: RequesterFacts) -> None:
    decision = evaluate(ruleset, facts, requester, on=TODAY)
    assert (decision.outcome is Outcome.DENY) == bool(decision.failures)
    if decision.outcome is not Outcome.DENY:
        assert (decision.suggestion, decision.advice) == (None, "")
        return
    assert decision.advice
    if decision.suggestion:
        followed = evaluate(ruleset, decision.suggestion.facts, requester, on=TODAY)
        assert followed.outcome is not Outcome.DENY
        assert decision.suggestion.changes


COMMON_NAME_ALONE = RequestFacts(
    profile="tls-server",
    common_name="example.com",
    dns_names=("api.example.com",),
    ip_addresses=(),
    key_family="rsa",
    key_bits=2048,
    validity_days=90,
)


@given(RULESETS, requests(), REQUESTERS)
@example(DEFAULT, COMMON_NAME_ALONE, RequesterFacts("web", ("example.com",)))
@settings(max_examples=300, deadline=None)
def test_suggestion_changes_neither_purpose_nor_names(ruleset: RuleSet, facts: RequestFacts, requester: RequesterFacts) -> None:
    """B9. A common name that is a host is a name; another one, such as a product's, names nothing."""
    suggestion = evaluate(ruleset, facts, requester, on=TODAY).suggestion
    if suggestion is None:
        return
    assert (suggestion.facts.profile, suggestion.facts.ekus) == (facts.profile, facts.ekus)
    assert set(suggestion.facts.names) - {facts.common_name} == set(facts.names) - {facts.common_name}
    assert suggestion.facts.common_name in {facts.common_name, *facts.names}
    if is_host(facts.common_name):
        assert suggestion.facts.common_name == facts.common_name
    assert not {"profile", "ekus", "owner", "team", "requester"} & set(suggestion.changes)
    # The one name that may be added to the alternative names is the common name, which was asked for.
    # A name that was listed twice may be left once.
    once = list(dict.fromkeys(facts.dns_names))
    assert list(dict.fromkeys(suggestion.changes.get("dns_names", once))) in (once, [facts.common_name, *once])


@given(RULESETS, requests(), REQUESTERS)
@settings(max_examples=100, deadline=None)
def test_judging_twice_gives_the_same(ruleset: RuleSet, facts: RequestFacts, requester: RequesterFacts) -> None:
    first, second = (evaluate(ruleset, facts, requester, on=TODAY) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.to_dict())) == first.to_dict()


@given(requests(), REQUESTERS)
@settings(max_examples=200, deadline=None)
def test_taking_a_refused_name_away_never_makes_it_worse(facts: RequestFacts, requester: RequesterFacts) -> None:
    facts = replace(facts, dns_names=("api.example.com", "api.pay.example.com", *facts.dns_names))
    before = evaluate(DEFAULT, facts, requester, on=TODAY)
    for name in set(facts.dns_names):
        if any(check.rule == "allowed_names" and f" {name} " in check.message for check in before.failures):
            after = evaluate(DEFAULT, without(facts, [name]), requester, on=TODAY)
            assert {check.rule for check in after.failures} <= {check.rule for check in before.failures}
