"""The difference of two versions in words: the sentences that go and those that come. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from policy.rules.ruleset import RuleSet
from policy.texts.descriptions import label_of, sentences


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes in one rule."""

    rule: str
    label: str
    gone: tuple[str, ...]
    new: tuple[str, ...]


def differences(before: RuleSet | None, after: RuleSet) -> list[Difference]:
    """Return the rules that differ, in the order of evaluation; all of them where nothing was before."""
    old = sentences(before) if before else {}
    new = sentences(after)
    found = []
    for name in sorted({*old, *new}, key=[*new, *old].index):
        gone = tuple(one for one in old.get(name, ()) if one not in new.get(name, ()))
        come = tuple(one for one in new.get(name, ()) if one not in old.get(name, ()))
        if gone or come:
            found.append(Difference(name, label_of(name), gone, come))
    return found
