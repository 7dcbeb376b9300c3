"""Facts in, decision out: every check of a rule set, and the smallest change that would pass. Pure and deterministic.

Waivers count here and nowhere else: a rule that fails, or asks for an approval, is judged again
with the parameters of each waiver that covers the request.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any

from policy.facts import RequesterFacts, RequestFacts
from policy.rules.approval_terms import USUAL, ApprovalTerms
from policy.rules.base import Case, Check, Rule
from policy.rules.keys import key_name
from policy.rules.ruleset import RuleSet
from policy.rules.validity import MaxValidity
from policy.waivers.waiver import Waiver

__all__ = ["Check", "Decision", "Outcome", "Suggestion", "evaluate"]

MAX_CANDIDATES = 200
SEND_A_NEW_CSR = "; send a new CSR"  # ends a suggestion that changes what a CSR has signed


class Outcome(StrEnum):
    """What a policy says to a request, the mildest first."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change that was evaluated under the same rules and is not denied. `changes` is JSON-able and names only what differs:
    key ("rsa-3072"), validity_days, profile, ekus, common_name, dns_names, ip_addresses, new_key.
    """

    text: str
    changes: dict[str, Any]
    facts: RequestFacts


@dataclass(frozen=True, slots=True)
class Decision:
    """All checks, in the order of the rules. A denied request carries a suggestion, or `advice` says whom to ask. `longest_days`
    is the longest validity that the rule set allows on that day, None where it sets no limit. `case`, `rules_digest` and
    `covering` (references of the waivers that cover the request) are what the decision follows from; `waivers` are those
    without which it would be stricter. `approval` says what an approval takes.
    """

    outcome: Outcome
    checks: tuple[Check, ...]
    policy_version: str
    suggestion: Suggestion | None = None
    advice: str = ""
    longest_days: int | None = None
    case: Case | None = None
    rules_digest: str = ""
    covering: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    approval: ApprovalTerms = USUAL

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def approvals(self) -> tuple[Check, ...]:
        """What somebody must approve."""
        return tuple(check for check in self.checks if check.needs_approval)

    @property
    def reason(self) -> str:
        """One line for people: every failure, else what needs approval, else nothing."""
        return "; ".join(check.message for check in self.failures or self.approvals)

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON, for the record and for channels."""
        return {
            "outcome": str(self.outcome),
            "policy_version": self.policy_version,
            "checks": [check.to_dict() for check in self.checks],
            "suggestion": {"text": self.suggestion.text, "changes": self.suggestion.changes} if self.suggestion else None,
            "advice": self.advice,
        }


def evaluate(
    ruleset: RuleSet,
    facts: RequestFacts,
    requester: RequesterFacts,
    *,
    on: date,
    waivers: Sequence[Waiver] = (),
) -> Decision:
    """Judge a request by every rule. `on` is the day of issuance (UTC). Never raises for any facts.

    `waivers`: those in force; the ones that do not cover the request are not looked at.
    """
    # 1. Every rule, also after a failure: people mend all faults of a request at once. A rule under a waiver is judged again with
    #    the waiver's parameters.
    case = Case(facts, requester, on)
    covering = tuple(one for one in waivers if one.covers(facts, requester))
    judged = [_judge(rule, case, covering) for rule in ruleset.rules]
    checks = tuple(check for found, _ in judged for check in found)
    outcome = _outcome(checks)
    # 2. For a refusal what would pass, else whom to ask.
    suggestion, advice = None, ""
    if outcome is Outcome.DENY:
        suggestion = _smallest_change(ruleset, case, covering)
        advice = suggestion.text if suggestion else _whom_to_ask(ruleset, case, covering)
    # 3. With all that the decision follows from, so that anybody can repeat it from the record.
    return Decision(
        outcome,
        checks,
        ruleset.version,
        suggestion,
        advice,
        _longest_days(ruleset, on, covering),
        case,
        ruleset.digest,
        tuple(one.reference for one in covering),
        tuple(dict.fromkeys(used for _, used in judged if used)),
        ruleset.approval,
    )


def _judge(rule: Rule, case: Case, waivers: Sequence[Waiver]) -> tuple[tuple[Check, ...], str]:
    """Return the checks of a rule, and the waiver that makes them milder than they would be."""
    # A waiver is named only where it makes the decision milder: a list of waivers that were not needed would hide the one that was.
    checks, used = tuple(rule.checks(case)), ""
    for waiver in waivers:
        if waiver.rule == rule.name and _severity(checks):
            relaxed = waiver.checks(case)
            if _severity(relaxed) < _severity(checks):
                checks, used = relaxed, waiver.reference
    return checks, used


def _severity(checks: tuple[Check, ...]) -> int:
    return list(Outcome).index(_outcome(checks))


def _longest_days(ruleset: RuleSet, on: date, waivers: Sequence[Waiver]) -> int | None:
    rule = ruleset.rule(MaxValidity)
    if rule is None:
        return None
    relaxed = [one.relaxed for one in waivers if isinstance(one.relaxed, MaxValidity)]
    return max(one.limit(on)[0] for one in (rule, *relaxed))


def _outcome(checks: tuple[Check, ...]) -> Outcome:
    if not all(check.passed for check in checks):
        return Outcome.DENY
    return Outcome.NEEDS_APPROVAL if any(check.needs_approval for check in checks) else Outcome.ALLOW


def _failing_rules(ruleset: RuleSet, case: Case, waivers: Sequence[Waiver]) -> list[Rule]:
    return [rule for rule in ruleset.rules if _outcome(_judge(rule, case, waivers)[0]) is Outcome.DENY]


def _smallest_change(ruleset: RuleSet, case: Case, waivers: Sequence[Waiver]) -> Suggestion | None:
    """Return the cheapest chain of repairs that passes, one failing rule after the other, so that the result fixes all together.

    Bounded by MAX_CANDIDATES evaluations, which keeps one hostile request from costing more than some milliseconds.
    """
    queue: list[tuple[int, int, RequestFacts, tuple[str, ...]]] = [(0, 0, case.facts, ())]
    pushed, seen = 1, {case.facts}
    for _ in range(MAX_CANDIDATES):
        if not queue:
            return None
        # `_order` decides between equal costs: without it facts would be compared, and the result would depend on their fields.
        cost, _order, facts, texts = heapq.heappop(queue)
        here = Case(facts, case.requester, case.on)
        failing = _failing_rules(ruleset, here, waivers)
        if not failing:
            return _suggestion(case.facts, facts, texts)
        for repair in failing[0].repairs(here):
            if repair.facts not in seen:
                seen.add(repair.facts)
                heapq.heappush(queue, (cost + repair.cost, pushed, repair.facts, (*texts, repair.text)))
                pushed += 1
    return None


def _suggestion(before: RequestFacts, after: RequestFacts, texts: tuple[str, ...]) -> Suggestion:
    changes = _changes(before, after)
    # Names and key of an external CSR are signed by its owner; only validity and profile can be changed for it.
    text = "; ".join(texts)
    if before.csr_brought and set(changes) - {"validity_days", "profile", "ekus"}:
        text += SEND_A_NEW_CSR
    return Suggestion(text, changes, after)


def _changes(before: RequestFacts, after: RequestFacts) -> dict[str, Any]:
    changed = {field.name for field in fields(RequestFacts) if getattr(before, field.name) != getattr(after, field.name)}
    result: dict[str, Any] = {}
    if changed & {"key_family", "key_bits"}:
        result["key"] = key_name(after.key_family, after.key_bits)
    for name in ("common_name", "validity_days", "profile"):
        if name in changed:
            result[name] = getattr(after, name)
    for name in ("dns_names", "ip_addresses", "ekus"):
        if name in changed:
            result[name] = list(getattr(after, name))
    if "key_reused" in changed:
        result["new_key"] = not after.key_reused
    return result


def _whom_to_ask(ruleset: RuleSet, case: Case, waivers: Sequence[Waiver]) -> str:
    # Only rules that know no change need a person; where each knows one but none passes together, all of them speak.
    failing = _failing_rules(ruleset, case, waivers)
    stuck = [rule for rule in failing if next(rule.repairs(case), None) is None] or failing
    return " ".join(dict.fromkeys(rule.advice(case) for rule in stuck))
