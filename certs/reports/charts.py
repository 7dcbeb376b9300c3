"""Charts as SVG that the server draws: sizes are attributes, so the strict content policy holds; every chart has a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from certs.inventory.filters import CertificateFilter, StateGroup
from certs.reports.weeks import Week

WIDTH, HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 26


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; `kind` is its series (a CSS class), `title` the text for pointers and screen readers."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, at x or y. `is_left`: it stands left of its line, which is near the right edge."""

    at: float
    text: str
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: what is drawn, and the same as a table."""

    key: str
    title: str
    text: str  # what it shows, for those who do not see it
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # a cell may be a link
    bars: Sequence[Bar] = ()
    lines: Sequence[str] = ()  # the points of each unbroken part
    dots: Sequence[Bar] = ()
    marks: Sequence[Tick] = ()  # vertical, with a label
    across: Sequence[Tick] = ()  # labels beneath
    upwards: Sequence[Tick] = ()  # labels at the left, each with a line across
    legend: Sequence[tuple[str, str]] = field(default=())
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def charts(facts: dict[str, Any]) -> list[Chart]:
    """Return the three charts of a report, from its stored facts."""
    return [ends(facts), movements(facts), compliance(facts)]


def ends(facts: dict[str, Any]) -> Chart:
    """Return how many active certificates end in each of the next 53 weeks."""
    weeks = [Week.parse(row["week"]) for row in facts["ends"]]
    values = [row["count"] for row in facts["ends"]]
    most = max(values, default=0)
    busiest = weeks[values.index(most)] if most else None
    active = StateGroup.ACTIVE.value
    urls = [CertificateFilter(state=active, ends_after=w.monday, ends_before=w.plus(1).monday).url() for w in weeks]
    return Chart(
        key="ends",
        title="Ends in the next twelve months, by week",
        text=f"{sum(values)} end within 53 weeks; most in the week of {busiest.monday:%d %B %Y}: {most}."
        if busiest
        else "No active certificate ends within 53 weeks.",
        header=("Week of", "End"),
        rows=[(f"{w.monday.day} {w.monday:%b %Y}", str(v)) for w, v in zip(weeks, values, strict=True) if v],
        bars=list(_bars([("ends", "end", values)], weeks, urls)),
        across=_across(weeks, every=6),
        upwards=upwards(most),
    )


def movements(facts: dict[str, Any]) -> Chart:
    """Return what was issued, renewed and revoked in each week."""
    rows = facts["movements"]
    weeks = [Week.parse(row["week"]) for row in rows]
    series = [(name, name, [row[name] for row in rows]) for name in ("issued", "renewed", "revoked")]
    most = max((value for *_, values in series for value in values), default=0)
    totals = ", ".join(f"{sum(values)} {name}" for name, _, values in series)
    return Chart(
        key="movements",
        title="Issued, renewed and revoked, by week",
        text=f"In {len(rows)} weeks: {totals}.",
        header=("Week of", "Issued", "Renewed", "Revoked"),
        rows=[(f"{w.monday.day} {w.monday:%b %Y}", *(str(v[2][n]) for v in series)) for n, w in enumerate(weeks)],
        bars=list(_bars(series, weeks, [""] * len(weeks))),
        across=_across(weeks, every=4),
        upwards=upwards(most),
        legend=[(name, name) for name, *_ in series],
    )


def compliance(facts: dict[str, Any]) -> Chart:
    """Return the compliance in the weeks that have a report; the others are gaps."""
    last = Week.parse(facts["week"])
    weeks = [last.plus(number - 25) for number in range(26)]
    known = {row["week"]: row for row in facts["history"] if row["percent"] is not None}
    step = (WIDTH - _LEFT - _RIGHT) / len(weeks)
    bottom, height = HEIGHT - _BOTTOM, HEIGHT - _TOP - _BOTTOM
    places = {str(w): _LEFT + step * (n + 0.5) for n, w in enumerate(weeks)}
    lowest = min((row["percent"] for row in known.values()), default=0.0)
    floor = max(0, int(lowest // 10) * 10 - 10)
    dots: list[Bar] = []
    marks: list[Tick] = []
    parts: list[list[str]] = []
    part: list[str] = []
    version = ""
    for week in map(str, weeks):
        row = known.get(week)
        if row is None:
            parts, part = [*parts, part], []
            continue
        x, y = places[week], bottom - (row["percent"] - floor) / (100 - floor) * height
        part.append(f"{x:.1f},{y:.1f}")
        dots.append(Bar(x, y, 3, 3, "compliance", f"{week}: {row['percent']:.1f} %, policy {row['policy_version']}"))
        if version and row["policy_version"] != version:
            marks.append(Tick(x - step / 2, row["policy_version"]))
        version = row["policy_version"]
    drawn = [one for one in (*parts, part) if one]
    newest = known.get(str(last))
    return Chart(
        key="compliance",
        title="Compliance in the last 26 weeks",
        text=f"{newest['percent']:.1f} % now; {len(known)} of 26 weeks {'has' if len(known) == 1 else 'have'} a report."
        if newest
        else "No week has a report yet.",
        header=("Week", "Compliance", "Policy"),
        rows=[(w, f"{row['percent']:.1f} %", row["policy_version"]) for w, row in known.items()],
        lines=[" ".join(one) for one in drawn if len(one) > 1],
        dots=dots,
        marks=marks,
        across=_across(weeks, every=4),
        upwards=[Tick(bottom - height * n / 4, f"{floor + (100 - floor) * n / 4:g} %") for n in range(5)],
    )


def _bars(series: Sequence[tuple[str, str, Sequence[int]]], weeks: Sequence[Week], urls: Sequence[str]) -> Iterator[Bar]:
    top = _round_up(max((value for *_, values in series for value in values), default=0))
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(weeks))
    width = step * 0.8 / len(series)
    for place, (kind, verb, values) in enumerate(series):
        for number, value in enumerate(values):
            if not value:
                continue
            height = max(1.0, value / top * (HEIGHT - _TOP - _BOTTOM))
            x = _LEFT + step * (number + 0.1) + width * place
            title = f"Week of {weeks[number].monday.day} {weeks[number].monday:%b %Y}: {value} {verb}"
            yield Bar(x, HEIGHT - _BOTTOM - height, width, height, kind, title, urls[number])


def _across(weeks: Sequence[Week], *, every: int) -> list[Tick]:
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(weeks))
    return [Tick(_LEFT + step * (n + 0.5), f"{w.monday.day} {w.monday:%b}") for n, w in enumerate(weeks) if n % every == 0]


def upwards(most: int) -> list[Tick]:
    """Return the labels of an axis from 0 to at least `most`; the last is its top."""
    top = _round_up(most)
    height = HEIGHT - _TOP - _BOTTOM
    marks = (0, top // 2, top) if top % 2 == 0 else (0, top)
    return [Tick(HEIGHT - _BOTTOM - height * value / top, f"{value:,}") for value in marks]


def _round_up(most: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50 and so on."""
    for power in range(1, 12):
        for digit in (1, 2, 5):
            if most <= digit * 10 ** (power - 1):
                return int(digit * 10 ** (power - 1))
    return most
