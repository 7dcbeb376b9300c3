"""Rules in words: their descriptions for pages and forms, and the sentences of a whole policy. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from policy.rules.approval_terms import ApprovalTerms
from policy.rules.base import Rule, plural
from policy.rules.fields import Field
from policy.rules.keys import key_from_name, key_label
from policy.rules.ruleset import RULES, RuleSet


@dataclass(frozen=True, slots=True)
class Description:
    """A kind of rule as pages and forms show it. (Templates would call the class itself.)"""

    rule: type[Rule]

    @property
    def name(self) -> str:
        """The rule's name in JSON and in forms."""
        return self.rule.name

    @property
    def label(self) -> str:
        """What people call the rule."""
        return self.rule.label

    @property
    def about(self) -> str:
        """What the rule is for."""
        return self.rule.about

    @property
    def fields(self) -> tuple[Field, ...]:
        """The rule's fields in a form."""
        return self.rule.form

    @property
    def may_be_left_out(self) -> bool:
        """Whether a policy need not state the rule."""
        return self.rule.may_be_left_out


DESCRIPTIONS: dict[str, Description] = {kind.name: Description(kind) for kind in RULES}


def rule_sentences(rule: Rule) -> tuple[str, ...]:
    """Return the sentences of one rule."""
    return tuple(rule.sentences())


def sentences(ruleset: RuleSet) -> dict[str, tuple[str, ...]]:
    """Return the sentences of each rule by its name, then those of the defaults under `defaults`."""
    found = {rule.name: rule_sentences(rule) for rule in ruleset.rules}
    defaults = ruleset.defaults
    key = key_label(*key_from_name(defaults.key))
    found["defaults"] = (
        f"What a request leaves open is {key}, {plural(defaults.validity_days, 'day')} and profile {defaults.profile}.",
        (
            f"A renewal of the same content inherits an approval for {plural(ruleset.approval_valid_days, 'day')}."
            if ruleset.approval_valid_days
            else "Every renewal that needs an approval is approved anew."
        ),
        *_approval_sentences(ruleset.approval),
    )
    return found


def _approval_sentences(terms: ApprovalTerms) -> tuple[str, ...]:
    """Return what differs from the usual terms of an approval."""
    found = [f"An approval takes {terms.approvers} different persons."] if terms.approvers > 1 else []
    if terms.time_limit_days is not None:
        found.append(f"A request that nobody has decided lapses after {plural(terms.time_limit_days, 'day')}.")
    if terms.confirmed:
        found.append("Each approval is confirmed with a passkey or a one-time code.")
    return tuple(found)


def label_of(name: str) -> str:
    """Return what people call a rule, or the defaults."""
    return DESCRIPTIONS[name].rule.label if name in DESCRIPTIONS else "Defaults and approvals"
