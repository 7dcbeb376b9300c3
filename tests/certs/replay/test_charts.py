"""The chart of a replay: by week what changes for the worse."""

from __future__ import annotations

from certs.replay.charts import by_week


def week(key: str, **outcomes: int) -> dict[str, object]:
    return {"key": key, "outcomes": outcomes}


def test_weeks_in_which_renewals_only_pass_again_are_no_change() -> None:
    """The page said: 0 renewals would change, the first in the week of 31 May 2027."""
    passing = week("2027-05-31", passes=4)
    assert by_week([passing]) is None
    assert by_week([]) is None
    chart = by_week([passing, week("2027-06-14", refused=1, shortened=2)])
    assert chart is not None
    assert chart.text == "3 renewals would change, the first in the week of 14 Jun 2027; at most 3 in one week."
