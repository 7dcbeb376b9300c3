"""The drawings of the estate pages, from their numbers. The drawing itself: `certs.reports.charts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.utils.html import format_html

from certs.estate.compliance import Line
from certs.estate.overview import SERIES, Number, Week
from certs.reports.charts import HEIGHT, WIDTH, Bar, Chart, Tick, upwards

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 26
_ROOM = HEIGHT - _TOP - _BOTTOM


def ends_by_week(weeks: Sequence[Week]) -> Chart:
    """Return how many certificates end in each week, stacked by how they are renewed."""
    most = max((week.total for week in weeks), default=0)
    marks = upwards(most)
    top = max(1, marks_top(marks, most))
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(weeks))
    bars: list[Bar] = []
    for place, week in enumerate(weeks):
        y = float(HEIGHT - _BOTTOM)
        for (renewal, words), number in zip(SERIES, week.numbers, strict=True):
            if not number.count:
                continue
            height = max(1.5, number.count / top * _ROOM)
            y -= height
            title = f"Week of {_day(week.monday)}: {number.count:,} {words}"
            x = _LEFT + step * (place + 0.12)
            bars.append(Bar(x, y, step * 0.76, height, renewal.value, title, number.url))
    totals = [sum(week.numbers[n].count for week in weeks) for n in range(len(SERIES))]
    parts = ", ".join(f"{total:,} {words}" for total, (_, words) in zip(totals, SERIES, strict=True))
    busiest = max(weeks, key=lambda week: week.total, default=None)
    text = "No certificate ends in the next 26 weeks."
    if busiest is not None and busiest.total:
        text = f"In 26 weeks {sum(totals):,} end: {parts}. The most in the week of {_day(busiest.monday)}: {busiest.total:,}."
    return Chart(
        key="ends",
        title="Ends by week",
        text=text,
        header=("Week of", *(words.capitalize() for _, words in SERIES)),
        rows=[(_day(week.monday), *(linked(number) for number in week.numbers)) for week in weeks if week.total],
        bars=bars,
        across=[
            Tick(_LEFT + step * (place + 0.5), f"{week.monday.day} {week.monday:%b}") for place, week in enumerate(weeks) if place % 4 == 0
        ],
        upwards=marks,
        legend=[(renewal.value, words) for renewal, words in SERIES],
    )


def compliance_line(line: Line) -> Chart:
    """Return the compliance of the last days. Days without a judgement are gaps."""
    known = [point for point in line.points if point.percent is not None]
    lowest = min((point.percent or 0.0 for point in known), default=0.0)
    floor = max(0, int(lowest // 10) * 10 - 10) if known else 0
    span = max(1, (line.last - line.first).days)
    width, bottom = WIDTH - _LEFT - _RIGHT - 8, HEIGHT - _BOTTOM

    def x(day: date) -> float:
        return _LEFT + 4 + (day - line.first).days / span * width

    def y(percent: float) -> float:
        return bottom - (percent - floor) / (100 - floor) * _ROOM

    dots = [Bar(x(point.day), y(point.percent or 0.0), 3, 3, "compliance", point.words) for point in known]
    newest = known[-1] if known else None
    text = "No day has been judged yet. The portal does it every day."
    if newest is not None:
        text = f"{newest.percent:.1f} % on {_day(newest.day)}; {len(known)} of {span + 1} days were judged."
    drawn = _unbroken([(x(point.day), y(point.percent or 0.0), point.day) for point in known], line.step)
    return Chart(
        key="compliance",
        title=f"Compliance with the policy, {span} days",
        text=text,
        header=("Day", "Complies", "Certificates", "Do not comply", "Policy"),
        rows=[
            (
                _day(point.day),
                f"{point.percent:.1f} %",
                f"{point.active:,}" if point.active is not None else "–",
                f"{point.failing:,}" if point.failing is not None else "–",
                point.policy_version,
            )
            for point in reversed(known)
        ],
        lines=drawn,
        dots=dots,
        marks=[Tick(x(mark.day), mark.version, is_left=x(mark.day) > WIDTH * 0.9) for mark in line.marks],
        across=[Tick(x(date.fromordinal(line.first.toordinal() + back)), _short(line.first, back)) for back in range(0, span, 15)],
        upwards=[Tick(bottom - _ROOM * n / 4, f"{floor + (100 - floor) * n / 4:g} %") for n in range(5)],
    )


def _unbroken(points: Sequence[tuple[float, float, date]], step: int) -> list[str]:
    """Return the parts of a line in which no two neighbours are more than `step` days apart."""
    parts: list[list[str]] = [[]]
    before: date | None = None
    for x, y, day in points:
        if before is not None and (day - before).days > step:
            parts.append([])
        parts[-1].append(f"{x:.1f},{y:.1f}")
        before = day
    return [" ".join(part) for part in parts if len(part) > 1]


def marks_top(marks: Sequence[Tick], most: int) -> int:
    """Return the value of the highest mark of an axis."""
    return int(marks[-1].text.replace(",", "")) if marks else most


def linked(number: Number) -> str:
    """Return a count for a table, as a link where there is something to list."""
    if not number.count:
        return "0"
    return format_html('<a href="{}">{}</a>', number.url, f"{number.count:,}")


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _short(first: date, days: int) -> str:
    day = date.fromordinal(first.toordinal() + days)
    return f"{day.day} {day:%b}"
