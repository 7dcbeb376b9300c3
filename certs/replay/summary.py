"""The result of a replay: the results of its parts added up, as JSON for pages and mails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from certs.replay.verdicts import Outcome
from certs.replay.work import SEPARATOR

MOST_TEAMS, MOST_REASONS, MOST_WEEKS = 1000, 20, 120


def summary_of(parts: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return for certificates and requests: counts by outcome now and before, by team, by week, and the reasons."""
    found: dict[str, dict[str, Counter[Any]]] = {}
    for kind, result in parts:
        mine = found.setdefault(kind, {name: Counter() for name in ("counts", "teams", "weeks", "reasons")})
        for name in ("counts", "teams", "weeks"):
            mine[name].update(result.get(name, {}))
        texts = result.get("texts", [])
        for key, number in result.get("reasons", {}).items():
            outcome, before, text = key.split(SEPARATOR)
            mine["reasons"][outcome, before, texts[int(text)]] += number
    return {kind: _described(mine) for kind, mine in found.items()}


def _described(mine: dict[str, Counter[Any]]) -> dict[str, Any]:
    counts, changed = Counter[str](), Counter[str]()
    unrecorded = mine["counts"].pop("unrecorded", 0)
    for key, number in mine["counts"].items():
        outcome, before = key.split(SEPARATOR)
        counts[outcome] += number
        changed[outcome] += number if outcome != before else 0
    return {
        "total": sum(counts.values()),
        "unrecorded": unrecorded,
        "outcomes": {str(one): {"total": counts[one], "changed": changed[one]} for one in Outcome},
        "teams": _by(mine["teams"])[:MOST_TEAMS],
        "weeks": sorted(_by(mine["weeks"]), key=lambda one: one["key"])[:MOST_WEEKS],
        "reasons": [
            {"outcome": outcome, "before": before, "reason": reason, "count": number}
            for (outcome, before, reason), number in mine["reasons"].most_common(MOST_REASONS)
            if outcome != Outcome.PASSES
        ],
    }


def _by(counter: Counter[str]) -> list[dict[str, Any]]:
    """Return for each key the numbers by outcome of what changes, the most first."""
    rows: dict[str, dict[str, Any]] = {}
    for key, number in counter.items():
        first, outcome, before = key.split(SEPARATOR)
        row = rows.setdefault(first, {"key": first, "changed": 0, "outcomes": {}})
        if outcome != before:
            row["changed"] += number
            row["outcomes"][outcome] = row["outcomes"].get(outcome, 0) + number
    return sorted((row for row in rows.values() if row["changed"]), key=lambda row: -row["changed"])
