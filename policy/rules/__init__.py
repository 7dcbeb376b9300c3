"""The rules of a policy, one small class each, and the rule set that holds them. Pure: no Django, no keys, no certificates."""

from policy.rules.base import Case, Check, Fault, Repair, Rule, RuleSetInvalid
from policy.rules.ruleset import RULES, Defaults, RuleSet, ruleset_digest, ruleset_from_dict, ruleset_to_dict

__all__ = [
    "RULES",
    "Case",
    "Check",
    "Defaults",
    "Fault",
    "Repair",
    "Rule",
    "RuleSet",
    "RuleSetInvalid",
    "ruleset_digest",
    "ruleset_from_dict",
    "ruleset_to_dict",
]
