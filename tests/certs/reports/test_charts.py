"""What the charts of a report show: three series, each as picture, text and table."""

from __future__ import annotations

from typing import Any

import pytest

from certs.reports.charts import charts
from certs.reports.plots import plots
from certs.reports.weeks import Week

LAST = Week.parse("2026-W48")


@pytest.fixture
def facts() -> dict[str, Any]:
    weeks = [LAST.plus(number - 25) for number in range(26)]
    versions = ["v2.3"] * 20 + ["v2.4"] * 6
    known = [(week, version) for number, (week, version) in enumerate(zip(weeks, versions, strict=True)) if number != 5]
    return {
        "week": str(LAST),
        "ends": [{"week": str(LAST.plus(number)), "count": number} for number in range(53)],
        "movements": [{"week": str(week), "issued": 3, "renewed": 2, "revoked": 1} for week in weeks],
        "history": [{"week": str(week), "percent": 90.0 + n / 10, "policy_version": version} for n, (week, version) in enumerate(known)],
    }


def test_expiry_reaches_over_twelve_months_by_week_and_movements_over_half_a_year(facts: dict[str, Any]) -> None:
    ends, movements, _ = charts(facts)
    assert (len(ends.rows), len(ends.bars)) == (52, 52)  # neither row nor bar where nothing ends
    assert all("/certificates/?" in bar.url for bar in ends.bars)
    assert (len(movements.rows), len(movements.bars)) == (26, 3 * 26)
    assert [name for name, _ in movements.legend] == ["issued", "renewed", "revoked"]


def test_compliance_marks_where_a_policy_version_began_and_leaves_gaps(facts: dict[str, Any]) -> None:
    *_, compliance = charts(facts)
    assert [mark.text for mark in compliance.marks] == ["v2.4"]
    assert len(compliance.lines) == 2  # a week without a report is a gap, not a value
    assert len(compliance.dots) == 25
    assert "25 of 26 weeks" in compliance.text


def test_each_chart_has_a_text_alternative_a_table_and_a_picture(facts: dict[str, Any]) -> None:
    drawn = charts(facts)
    assert all(chart.title and chart.text and chart.header and chart.rows for chart in drawn)
    assert set(plots(facts)) == {chart.key for chart in drawn}
