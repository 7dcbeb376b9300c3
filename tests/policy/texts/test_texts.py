"""A policy as sentences, fields and YAML: what is written is read back, and every fault is named with its place."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.presets import CABF_SC081, DEFAULT_V2_3
from policy.rules import RULES, RuleSet, RuleSetInvalid, ruleset_from_dict
from policy.texts.descriptions import DESCRIPTIONS, sentences
from policy.texts.differences import differences
from policy.texts.fields import rules_from_form
from policy.texts.yaml_text import MOST_BYTES, TextInvalid, ruleset_from_yaml, ruleset_to_yaml
from tests.policy.examples import DEFAULT, as_sent, ruleset_with

DECISION = st.sampled_from(["allow", "approval", "deny"])


@st.composite
def rulesets(draw: st.DrawFn) -> RuleSet:
    """Any policy that can be read."""
    starts = draw(st.lists(st.dates(date(2026, 1, 1), date(2040, 1, 1)), unique=True, max_size=4))
    low = draw(st.integers(2048, 3072))
    data: dict[str, Any] = {
        "version": draw(st.from_regex(r"v[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-[a-z0-9]{1,9})?", fullmatch=True)),
        "defaults": {"key": "rsa-3072", "validity_days": 1, "profile": "tls-server"},
        "approval_valid_days": draw(st.integers(0, 3650)),
        "rules": {
            "allowed_keys": {
                "rsa": {"min_bits": low, "max_bits": draw(st.integers(4096, 16384))},
                "ec": draw(st.lists(st.sampled_from([256, 384, 521]), unique=True)),
                "ed25519": draw(st.booleans()),
                "ml-dsa": draw(st.lists(st.sampled_from([44, 65, 87]), unique=True)),
            },
            "max_validity": {
                "days": draw(st.integers(1, 36500)),
                "schedule": [{"from": one.isoformat(), "days": draw(st.integers(1, 400))} for one in sorted(starts)],
            },
            "allowed_profiles": {"tls-server": ["serverAuth"]}
            | ({"tls-client": ["clientAuth", "emailProtection"]} if draw(st.booleans()) else {}),
            "allowed_names": {},
            "ip_addresses": {"networks": draw(st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]), unique=True))},
        },
    }
    optional: dict[str, Any] = {
        "key_reuse_at_renewal": {"allowed": draw(st.booleans()), "max_age_days": draw(st.none() | st.integers(1, 36500))},
        "require_san": {},
        "wildcards": {"decision": draw(DECISION), "whole_domain": draw(DECISION)},
        "max_names": {"maximum": draw(st.integers(1, 10000))},
        "duplicates": {"inventory": draw(DECISION)},
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        data["rules"][name] = optional[name]
    return ruleset_from_dict(data)


@given(rulesets())
@settings(max_examples=100, deadline=None)
def test_yaml_is_read_back_as_it_was(ruleset: RuleSet) -> None:
    again = ruleset_from_yaml(ruleset_to_yaml(ruleset))
    assert (again, again.digest) == (ruleset, ruleset.digest)


@given(rulesets())
@settings(max_examples=100, deadline=None)
def test_form_that_is_sent_unchanged_changes_nothing(ruleset: RuleSet) -> None:
    sent = as_sent(ruleset)
    again = ruleset_from_dict(rules_from_form(lambda name: sent.get(name, [])))
    assert again.digest == ruleset.digest


@given(rulesets(), rulesets())
@settings(max_examples=50, deadline=None)
def test_every_change_of_the_rules_is_in_the_difference(before: RuleSet, after: RuleSet) -> None:
    """Rules with the same sentences are the same rules."""
    same = (before.rules, before.defaults, before.approval_valid_days) == (after.rules, after.defaults, after.approval_valid_days)
    assert (differences(before, after) == []) == same


def test_every_rule_has_a_description_with_sentences_for_the_shipped_policies() -> None:
    assert set(DESCRIPTIONS) == {kind.name for kind in RULES}
    for preset in (DEFAULT_V2_3, CABF_SC081):
        found = sentences(ruleset_from_dict(preset))
        assert all(found.values())
    assert sentences(ruleset_from_dict(CABF_SC081))["max_validity"] == (
        "At most 398 days.",
        "At most 200 days from 15 Mar 2026.",
        "At most 100 days from 15 Mar 2027.",
        "At most 47 days from 15 Mar 2029.",
    )


def test_difference_names_the_sentences_that_go_and_come() -> None:
    (found,) = differences(DEFAULT, ruleset_with(max_validity={"days": 397, "schedule": [{"from": "2026-12-15", "days": 200}]}))
    assert (found.label, found.gone, found.new) == ("Validity", (), ("At most 200 days from 15 Dec 2026.",))


def test_several_faults_are_named_together_each_with_its_field() -> None:
    """B10: an error named one missing field at a time."""
    data = copy.deepcopy(DEFAULT_V2_3)
    del data["defaults"]["profile"]
    data["rules"]["max_validity"] = {"days": 0, "schedule": [{"from": "soon", "days": "many", "until": 1}]}
    data["rules"]["max_names"] = {"maximum": True}
    data["rules"]["surprise"] = {}
    data["owner"] = "me"
    with pytest.raises(RuleSetInvalid) as refused:
        ruleset_from_dict(data)
    assert {fault.where for fault in refused.value.faults} == {
        "defaults.profile",
        "rules.max_validity.days",
        "rules.max_validity.schedule[0].from",
        "rules.max_validity.schedule[0].days",
        "rules.max_validity.schedule[0].until",
        "rules.max_names.maximum",
        "rules.surprise",
        "owner",
    }


def test_fault_in_yaml_has_its_line() -> None:
    text = ruleset_to_yaml(DEFAULT).replace("    days: 397", "    days: a year").replace("maximum: 100", "maximum: -1")
    with pytest.raises(TextInvalid) as refused:
        ruleset_from_yaml(text)
    lines = text.splitlines()
    found = {fault.where: lines[fault.line - 1].strip() for fault in refused.value.faults}
    assert found == {"rules.max_validity.days": "days: a year", "rules.max_names.maximum": "maximum: -1"}


@pytest.mark.parametrize("number", ["0400", "0x18d", "0b11", "1_00", "1:30", "+397"])
def test_number_that_yaml_of_two_versions_reads_as_two_numbers_is_refused(number: str) -> None:
    text = ruleset_to_yaml(DEFAULT).replace("    days: 397", f"    days: {number}")
    with pytest.raises(TextInvalid) as refused:
        ruleset_from_yaml(text)
    (fault,) = refused.value.faults
    assert text.splitlines()[fault.line - 1].strip() == f"days: {number}"
    assert "as a decimal number" in fault.message


def test_date_that_does_not_exist_is_a_fault_of_its_field() -> None:
    text = ruleset_to_yaml(DEFAULT).replace("    schedule: []", "    schedule:\n    - from: 2027-02-30\n      days: 100")
    with pytest.raises(TextInvalid) as refused:
        ruleset_from_yaml(text)
    (fault,) = refused.value.faults
    assert (fault.where, text.splitlines()[fault.line - 1].strip()) == ("rules.max_validity.schedule[0].from", "- from: 2027-02-30")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a: [", "line 1: This is not YAML"),
        ("\t", "not YAML"),
        ("v" * (MOST_BYTES + 1), "at most 65,536"),
        ("[" * 20 + "]" * 20, "nested more than 8"),
        ("[" * 30000, "nested more than 8"),
        ("a: &x 1\nb: *x", "line 1: Anchors"),
        ("a: !!python/object/apply:os.system [echo]", "line 1: Tags"),
        ("a: !thing 1", "line 1: Tags"),
        *((f"version: !!{tag} x", "line 1: Tags") for tag in ("int", "bool", "timestamp", "str", "map", "null")),
        ("version: !!int ''", "line 1: Tags"),
        ("version: v1\nversion: v2", "line 2: version: The field is there twice."),
        ("<<: {a: 1}", "Merge keys"),
        ("{1: 2, null: 3}", "unknown field"),
        ("version: 2026-01-01", "version must look like v2.3"),
        ("a: 2026-13-77", "unknown field"),
        ("a: \x00", "not YAML"),
        ("--- 1\n--- 2", "line 2: This is not YAML"),
        ("just words", "expected an object, found a single value"),
        ("null", "expected an object, found nothing"),
        ("- a", "expected an object, found a list"),
        ("? [a, b]\n: 1", "not YAML"),
        ("a: " + "9" * 5000, "not YAML"),
    ],
)
def test_text_that_is_no_policy_is_refused_and_says_why(text: str, message: str) -> None:
    with pytest.raises(TextInvalid, match=message):
        ruleset_from_yaml(text)


@given(st.binary(max_size=200) | st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: bytes | str) -> None:
    with pytest.raises(TextInvalid):
        ruleset_from_yaml(text)
