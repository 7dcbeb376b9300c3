"""Versions that follow a policy: the next free name, and the steps of ballot SC-081. Pure.

CA/Browser Forum ballot SC-081v3 (Baseline Requirements 6.3.2 and 4.2.1): the validity of
certificates for servers, and the reuse of what was validated about their names, become shorter on
three dates.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from policy.presets import SC081_STEPS
from policy.rules.ruleset import RuleSet, ruleset_from_dict, ruleset_to_dict
from policy.rules.validity import MaxValidity


def next_version(ruleset: RuleSet, taken: Collection[str], *, suffix: str = "") -> RuleSet:
    """Return the same rules under the next version that is not taken."""
    numbers = [int(one) for one in re.findall(r"\d+", ruleset.version.partition("-")[0])] or [1]
    while True:
        numbers[-1] += 1
        name = f"v{'.'.join(map(str, numbers))}{suffix}"
        if name not in taken:
            return replace(ruleset, version=name)


def sc081_versions(ruleset: RuleSet, *, now: datetime, taken: Collection[str]) -> list[tuple[RuleSet, datetime | None, str]]:
    """Return the versions that follow ballot SC-081 from now on: rules, begin (None: at once) and note.

    Steps that the rules satisfy already are left out. The reuse of validated names is here the time
    for which a renewal inherits an approval.
    """
    reached = [step for step in SC081_STEPS if _moment(step[0]) <= now][-1:]
    coming = [step for step in SC081_STEPS if _moment(step[0]) > now]
    found: list[tuple[RuleSet, datetime | None, str]] = []
    names = set(taken)
    current = ruleset
    for start, days, reuse in [*reached, *coming]:
        stricter = _with(current, _moment(start).date(), days, reuse)
        if stricter is None:
            continue
        named = ruleset_from_dict(ruleset_to_dict(next_version(stricter, names)))
        names.add(named.version)
        moment = _moment(start)
        note = f"CA/Browser Forum ballot SC-081v3: {days} days, reuse {reuse} days, from {start}."
        found.append((named, moment if moment > now else None, note))
        current = named
    return found


def _moment(start: str) -> datetime:
    return datetime.combine(datetime.fromisoformat(start).date(), time(), UTC)


def _with(ruleset: RuleSet, start: date, days: int, reuse: int) -> RuleSet | None:
    """Return the rules with at most so many days on that date; None where they are as strict already."""
    validity = ruleset.rule(MaxValidity)
    limit = validity.limit(start)[0] if validity else days + 1
    if limit <= days and ruleset.approval_valid_days <= reuse:
        return None
    data: dict[str, Any] = ruleset_to_dict(ruleset)
    days = min(limit, days)
    later = validity.schedule if validity else ()
    data["rules"]["max_validity"] = {
        "days": days,
        "schedule": [{"from": one.isoformat(), "days": number} for one, number in later if one > start and number < days],
    }
    data["approval_valid_days"] = min(ruleset.approval_valid_days, reuse)
    data["defaults"]["validity_days"] = min(ruleset.defaults.validity_days, days)
    return ruleset_from_dict(data)
