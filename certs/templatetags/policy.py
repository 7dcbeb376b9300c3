"""How pages write the outcomes of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from certs.replay.lists import Line
from certs.replay.verdicts import Outcome

register = template.Library()

_LOOKS = {Outcome.REFUSED: "is-bad", Outcome.NEEDS_CSR: "is-bad", Outcome.PASSES: "is-good"}
_WORDS = {
    Outcome.PASSES: "pass",
    Outcome.SHORTENED: "shortened",
    Outcome.NEW_KEY: "new key",
    Outcome.APPROVAL: "need an approval",
    Outcome.NEEDS_CSR: "need a new CSR",
    Outcome.REFUSED: "refused",
}
# Of a renewal, as it is without the version; of a request, as it was decided.
_BEFORE = {
    Outcome.PASSES: ("renewed as now", "passed"),
    Outcome.SHORTENED: ("shortened", "shortened"),
    Outcome.NEW_KEY: ("a new key", "a new key"),
    Outcome.APPROVAL: ("needs an approval", "needed an approval"),
    Outcome.NEEDS_CSR: ("needs a new CSR", "needed a new CSR"),
    Outcome.REFUSED: ("refused", "refused"),
}


@register.filter
def look(outcome: str) -> str:
    """Return the class for the colour of an outcome."""
    return _LOOKS.get(Outcome(outcome), "is-wait")


@register.filter
def outcome_words(outcome: str) -> str:
    """Return an outcome in words."""
    return _WORDS[Outcome(outcome)]


@register.filter
def before_words(line: Line) -> str:
    """Return what becomes of it without the version; of a request what was decided."""
    renewal, request = _BEFORE[line.before]
    return renewal if line.is_certificate else request


@register.filter
def lookup(found: Mapping[str, Any], name: str) -> Any:
    """Return the value under a name that template syntax cannot spell; nothing where there is none."""
    return found.get(name, "")
