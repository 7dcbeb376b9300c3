"""The facts of a decision in a compact canonical form: stored with it, hashed, and read again. Pure.

Kept are the facts that a rule can look at. Of a team's domains these are those at or above a
requested name, and the first ones in order, which refusals list; a team may own thousands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from datetime import date
from typing import Any

from policy.engine import Decision
from policy.facts import RequesterFacts, RequestFacts
from policy.rules.base import Case
from policy.rules.names import LISTED_DOMAINS, base_domain

# A tuple in memory is a list in JSON, and a date its ISO 8601 form.
_DATES = frozenset({"not_after"})
_DEFAULTS = {one.name: one.default for one in fields(RequestFacts) if one.default is not MISSING}


def relevant(facts: RequestFacts, requester: RequesterFacts) -> RequesterFacts:
    """Return the requester with the domains that can matter for this request. Decisions are equal."""
    owned = requester.owned_domains
    if len(owned) <= LISTED_DOMAINS:
        return requester
    # A suggestion may make the common name a subject alternative name.
    names = (*facts.dns_names, facts.common_name)
    at_or_above = {parent for name in names for parent in _upwards(base_domain(name))}
    kept = set(owned[:LISTED_DOMAINS]) | at_or_above
    return replace(requester, owned_domains=tuple(one for one in owned if one in kept))


def _upwards(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def recorded_facts(case: Case, waivers: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts as JSON-able data; what has its default is left out."""
    requester = relevant(case.facts, case.requester)
    data: dict[str, Any] = {"on": case.on.isoformat(), "team": requester.team}
    if requester.owned_domains:
        data["owned"] = list(requester.owned_domains)
    if requester.foreign_domains:
        data["foreign"] = list(requester.foreign_domains)
    if waivers:
        data["waivers"] = list(waivers)
    for field in fields(RequestFacts):
        value = getattr(case.facts, field.name)
        if field.name in _DEFAULTS and value == _DEFAULTS[field.name]:
            continue
        if isinstance(value, tuple):
            value = list(value)
        data[field.name] = value.isoformat() if isinstance(value, date) else value
    return data


def recorded(decision: Decision) -> dict[str, Any]:
    """Return the facts of a decision of the engine, in the form in which they are stored."""
    assert decision.case is not None  # the engine makes no decision without
    return recorded_facts(decision.case, decision.covering)


def facts_digest(recorded: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(recorded, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def case_from(recorded: Mapping[str, Any]) -> tuple[Case, tuple[str, ...]]:
    """Return the case and the references of its waivers: the inverse of `recorded_facts`.

    Raises KeyError, TypeError or ValueError for data that `recorded_facts` did not write.
    """
    values = dict(recorded)
    on = date.fromisoformat(values.pop("on"))
    requester = RequesterFacts(values.pop("team"), tuple(values.pop("owned", ())), tuple(values.pop("foreign", ())))
    waivers = tuple(values.pop("waivers", ()))
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
        elif name in _DATES and value is not None:
            values[name] = date.fromisoformat(value)
    return Case(RequestFacts(**values), requester, on), waivers
