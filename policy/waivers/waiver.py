"""A waiver as the policy engine evaluates it: one rule with relaxed parameters. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.facts import RequesterFacts, RequestFacts
from policy.rules.base import Case, Check, Params, Rule, RuleSetInvalid
from policy.rules.names import AllowedNames, RequireSAN
from policy.rules.ruleset import RULES

# `require_san` cannot be waived: a waiver lists names, and a request without a SAN has none.
WAIVABLE: dict[str, type[Rule]] = {kind.name: kind for kind in RULES if kind is not RequireSAN}


@dataclass(frozen=True, slots=True)
class Waiver:
    """For requests that it covers, `relaxed` is evaluated in place of the policy's rule of the same name.

    Every other rule is evaluated as before. A request that fails `relaxed` as well is refused.
    `names` and `teams`: whom it covers; `reference`: such as W-12.
    """

    reference: str
    relaxed: Rule
    names: frozenset[str]
    teams: frozenset[str]

    @property
    def rule(self) -> str:
        """Return the name of the rule that it relaxes."""
        return self.relaxed.name

    def covers(self, facts: RequestFacts, requester: RequesterFacts) -> bool:
        """Return whether the waiver covers a request: its team, if the waiver lists teams, and all its names, if it lists names."""
        return self.covers_names(requester.team, facts.names, facts.common_name)

    def covers_names(self, team: str, names: Collection[str], common_name: str) -> bool:
        """Return the same for the slug of a team, subject alternative names and a common name."""
        # All names must be listed, not one of them: else a waiver for one name would carry others with it.
        if self.teams and team not in self.teams:
            return False
        if not self.names:
            return bool(self.teams)
        return bool(names) and self.names.issuperset(names) and (not common_name or common_name in self.names)

    def checks(self, case: Case) -> tuple[Check, ...]:
        """Return the checks of the relaxed rule. Each message names the waiver."""
        if isinstance(self.relaxed, AllowedNames):  # it has no parameters to relax: the listed names are allowed
            passed = Check(self.rule, passed=True, message="The names are allowed", field="dns_names")
            return (self._named(passed),)
        return tuple(self._named(check) for check in self.relaxed.checks(case))

    def _named(self, check: Check) -> Check:
        return check._replace(message=f"{check.message} (waiver {self.reference})")


def waiver_from_dict(
    reference: str,
    rule: str,
    params: Mapping[str, Any],
    *,
    names: Sequence[str],
    teams: Sequence[str],
) -> Waiver:
    """Return a waiver with these parameters of a rule. Raises RuleSetInvalid, naming the field that is wrong."""
    kind = WAIVABLE.get(rule)
    if kind is None:
        raise RuleSetInvalid(f"rule: {rule!r} cannot be waived; choose from {', '.join(WAIVABLE)}")
    if not names and not teams:
        raise RuleSetInvalid("names: name the names or the teams for which the waiver counts")
    if kind is AllowedNames and not (names and teams):
        raise RuleSetInvalid("names: a waiver of this rule needs both the names and the team that gets them")
    relaxed = kind.from_params(Params(f"rules.{rule}", dict(params)))
    return Waiver(reference, relaxed, frozenset(names), frozenset(teams))


def waiver_id(reference: str) -> int:
    """Return the number in a reference such as W-12."""
    return int(reference.removeprefix("W-"))
