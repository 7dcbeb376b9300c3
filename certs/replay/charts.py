"""On which weeks what breaks, as a chart with a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from certs.replay.verdicts import Outcome
from certs.reports.charts import Bar, Chart, Tick
from policy.rules.base import plural

WIDTH, HEIGHT = 720, 200
WIDEST = 24
_LEFT, _TOP, _BOTTOM = 44, 10, 26
_SERIES = (
    (Outcome.REFUSED, "revoked", "cannot be renewed"),
    (Outcome.NEEDS_CSR, "revoked", "need a new CSR"),
    (Outcome.APPROVAL, "ends", "need an approval"),
    (Outcome.NEW_KEY, "by_hand", "get a new key"),
    (Outcome.SHORTENED, "by_hand", "are shortened"),
)


def by_week(weeks: Sequence[dict[str, Any]]) -> Chart | None:
    """Return how many renewals change in each week; None where each goes on as now, or goes on again.

    A week in which none changes is a gap, and no row of the table.
    """
    weeks = [week for week in weeks if any(week["outcomes"].get(outcome) for outcome, _, _ in _SERIES)]
    if not weeks:
        return None
    first = date.fromisoformat(weeks[0]["key"])
    span = (date.fromisoformat(weeks[-1]["key"]) - first).days // 7 + 1
    totals = [sum(one["outcomes"].get(outcome, 0) for outcome, _, _ in _SERIES) for one in weeks]
    most = max(totals, default=0)
    left, bottom = _LEFT, HEIGHT - _BOTTOM
    step = (WIDTH - left - 8) / span
    bars, table = [], []
    width = min(max(step * 0.8, 1), WIDEST)
    for week in weeks:
        monday = date.fromisoformat(week["key"])
        day, x, top = f"{monday.day} {monday:%b %Y}", left + (monday - first).days // 7 * step, float(bottom)
        for outcome, kind, words in _SERIES:
            count = week["outcomes"].get(outcome, 0)
            if count:
                height = (bottom - _TOP) * count / most
                top -= height
                bars.append(Bar(x + (step - width) / 2, top, width, height, kind, f"Week of {day}: {count} {words}"))
        table.append([day, *(str(week["outcomes"].get(outcome, 0)) for outcome, _, _ in _SERIES)])
    shown = [(place, first + timedelta(weeks=place)) for place in range(0, span, max(1, span // 6))]
    return Chart(
        key="replay",
        title="Renewals that change, by the week in which they are due",
        text=(
            f"{plural(sum(totals), 'renewal')} would change, the first in the week of {first.day} {first:%b %Y}; "
            f"at most {most} in one week."
        ),
        header=("Week of", *(words for _, _, words in _SERIES)),
        rows=table,
        bars=bars,
        across=[Tick(left + (place + 0.5) * step, f"{day.day} {day:%b}") for place, day in shown],
        upwards=[Tick(bottom, "0"), Tick(_TOP, str(most))],
        legend=(("revoked", "refused, or need a CSR"), ("ends", "need an approval"), ("by_hand", "shorter, or a new key")),
    )
