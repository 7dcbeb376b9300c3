"""Rule sets as JSON: strict reading, exact writing, a digest that names the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keys.spec import KeySpec
from policy.presets import CABF_SC081, DEFAULT_V2_3
from policy.rules import RULES, RuleSetInvalid, ruleset_digest, ruleset_from_dict, ruleset_to_dict
from policy.rules.keys import OFFERED, key_from_name, key_name
from tests.policy.examples import rules_with


@pytest.mark.parametrize("preset", [DEFAULT_V2_3, CABF_SC081], ids=["default", "SC-081"])
def test_preset_survives_json_and_back(preset: dict[str, Any]) -> None:
    ruleset = ruleset_from_dict(preset)
    again = ruleset_from_dict(json.loads(json.dumps(ruleset_to_dict(ruleset))))
    assert again == ruleset
    assert ruleset_digest(again) == ruleset_digest(ruleset)
    # In the order of evaluation; a preset need not have every rule.
    assert [rule.name for rule in ruleset.rules] == [kind.name for kind in RULES if kind.name in preset["rules"]]


def test_digest_knows_values_not_order() -> None:
    rules = dict(reversed(DEFAULT_V2_3["rules"].items()))
    assert ruleset_digest(ruleset_from_dict(DEFAULT_V2_3 | {"rules": rules})) == ruleset_digest(ruleset_from_dict(DEFAULT_V2_3))
    other = ruleset_from_dict(rules_with(max_names={"maximum": 99}))
    assert ruleset_digest(other) != ruleset_digest(ruleset_from_dict(DEFAULT_V2_3))


def test_policy_and_keys_spell_the_same_keys() -> None:
    assert {key_name(family, bits) for family, sizes in OFFERED.items() for bits in sizes} == {spec.value for spec in KeySpec}
    assert {key_from_name(spec.value) for spec in KeySpec} == {(spec.family, spec.bits) for spec in KeySpec}


MISTAKES: list[tuple[Any, str]] = [
    ([], "policy: expected an object"),
    (DEFAULT_V2_3 | {"colour": "red"}, "colour: unknown field 'colour'"),
    (DEFAULT_V2_3 | {"version": "2.3 beta"}, "version must look like v2.3, not '2.3 beta'"),
    (DEFAULT_V2_3 | {"approval_valid_days": -1}, "approval_valid_days must be a whole number from 0"),
    (DEFAULT_V2_3 | {"defaults": {"key": "rsa-1", "validity_days": 1, "profile": "x"}}, "unknown key 'rsa-1'"),
    (DEFAULT_V2_3 | {"defaults": {"key": "rsa-2048", "validity_days": 90, "profile": "tls-server"}}, "key rsa-2048 is refused"),
    (DEFAULT_V2_3 | {"defaults": {"key": "rsa-3072", "validity_days": 398, "profile": "tls-server"}}, "validity_days 398 exceeds 397"),
    (DEFAULT_V2_3 | {"defaults": {"key": "rsa-3072", "validity_days": 90, "profile": "email"}}, "profile email is refused"),
    (rules_with(allowed_names=None), "rules: allowed_names must be stated"),
    (rules_with(be_nice={}), "rules.be_nice: unknown field 'be_nice'"),
    (rules_with(max_validity={"days": 397, "dayz": 1}), "rules.max_validity.dayz: unknown field 'dayz'"),
    (rules_with(max_validity={"days": "397"}), "days must be a whole number"),
    (rules_with(max_validity={"days": True}), "days must be a whole number"),
    (rules_with(max_validity={}), "field 'days' is missing"),
    (rules_with(max_validity={"days": 397, "schedule": [{"from": "2026-13-01", "days": 1}]}), "from must be a date"),
    (
        rules_with(max_validity={"days": 397, "schedule": [{"from": "2027-01-01", "days": 99}, {"from": "2026-01-01", "days": 90}]}),
        "schedule must ascend",
    ),
    (rules_with(allowed_keys={"rsa": {"min_bits": 1024}}), "min_bits must be a whole number from 2048"),
    (rules_with(allowed_keys={"dsa": True}), "rules.allowed_keys.dsa: unknown field 'dsa'"),
    (rules_with(allowed_keys={"ec": [224]}), "ec may list 256, 384 or 521, not 224"),
    (rules_with(allowed_profiles={"tls-server": ["serverauth"]}), "'tls-server' must list some of serverAuth"),
    (rules_with(allowed_profiles={}), "name at least one profile"),
    (rules_with(ip_addresses={"networks": ["10.0.0.1/8"]}), "'10.0.0.1/8' is not a network"),
    (rules_with(wildcards={"decision": "maybe"}), "decision must be one of allow, approval, deny"),
    (rules_with(require_san={"really": True}), "rules.require_san.really: unknown field 'really'"),
    (rules_with(key_reuse_at_renewal={"allowed": 1}), "allowed must be true or false"),
]


@pytest.mark.parametrize(("data", "message"), MISTAKES)
def test_mistake_in_json_is_refused_and_named(data: Any, message: str) -> None:
    with pytest.raises(RuleSetInvalid) as refused:
        ruleset_from_dict(data)
    assert message in str(refused.value)
