"""Requests, requesters and rule sets that the policy tests begin from."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import date
from typing import Any

from policy.engine import Decision, evaluate
from policy.facts import RequesterFacts, RequestFacts
from policy.presets import DEFAULT_V2_3
from policy.rules import RuleSet, ruleset_from_dict, ruleset_to_dict
from policy.texts.descriptions import DESCRIPTIONS
from policy.texts.fields import shown_fields

TODAY = date(2026, 11, 24)
DEFAULT = ruleset_from_dict(DEFAULT_V2_3)
WEB_TEAM = RequesterFacts("web", ("example.com", "example.test"))
GOOD = RequestFacts(
    profile="tls-server",
    common_name="api.example.com",
    dns_names=("api.example.com",),
    ip_addresses=(),
    key_family="rsa",
    key_bits=4096,
    validity_days=90,
)


def named(*names: str, **changes: Any) -> RequestFacts:
    """A good request for these names."""
    return replace(GOOD, common_name=names[0] if names else "", dns_names=names, **changes)


def judge(facts: RequestFacts, ruleset: RuleSet = DEFAULT, requester: RequesterFacts = WEB_TEAM, on: date = TODAY) -> Decision:
    return evaluate(ruleset, facts, requester, on=on)


def rules_with(**changes: Any) -> dict[str, Any]:
    """The default policy's JSON with other parameters for some rules; None takes a rule away."""
    data = copy.deepcopy(DEFAULT_V2_3)
    for name, params in changes.items():
        if params is None:
            del data["rules"][name]
        else:
            data["rules"][name] = params
    return data


def ruleset_with(**changes: Any) -> RuleSet:
    return ruleset_from_dict(rules_with(**changes))


def as_sent(ruleset: RuleSet) -> dict[str, list[str]]:
    """Return what a browser sends for a form that shows this policy and in which nothing is changed."""
    data = ruleset_to_dict(ruleset)
    sent = {"version": [ruleset.version], "approval_valid_days": [str(ruleset.approval_valid_days)]}
    sent |= {f"defaults.{name}": [str(value)] for name, value in data["defaults"].items()}
    sent |= {f"approval.{name}": [str(value)] for name, value in data.get("approval", {}).items()}
    for name, params in data["rules"].items():
        sent[f"{name}.on"] = ["on"]
        for one in shown_fields(DESCRIPTIONS[name], params):
            if one.steps:
                sent[f"{one.name}.from"] = [start for start, _ in one.steps]
                sent[f"{one.name}.days"] = [days for _, days in one.steps]
            else:
                sent[one.name] = list(one.values) or ([one.value] if one.value else [])
    return sent
