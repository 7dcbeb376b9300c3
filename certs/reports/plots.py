"""The same charts as PNG, for mail: mail programs show neither SVG nor data addresses."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

from certs.reports.weeks import Week

# matplotlib keeps a list of fonts, and the home of a container is read-only.
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "pki-portal-matplotlib"))

from matplotlib.figure import Figure

_COLOURS = {"ends": "#0b5c6b", "issued": "#0b5c6b", "renewed": "#5aa469", "revoked": "#a32020"}
_INK = "#33464e"


def plots(facts: dict[str, Any]) -> dict[str, bytes]:
    """Return PNG files by name: `ends`, `movements`, `compliance`. Each 720 x 260 px at twice the density.

    Their letters are large: a phone shows a picture at half of its width.
    """
    return {"ends": _ends(facts), "movements": _movements(facts), "compliance": _compliance(facts)}


def _figure() -> tuple[Figure, Any]:
    # Not pyplot: it keeps figures in a registry that threads share.
    figure = Figure(figsize=(7.2, 2.6), dpi=200, layout="constrained")
    figure.patch.set_facecolor("white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(b=False)
    axes.tick_params(labelsize=9.5, colors=_INK)
    axes.grid(axis="y", color="#d8e0e3", linewidth=0.6)
    axes.set_axisbelow(b=True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _label(axes: Any, weeks: list[Week], every: int) -> None:
    shown = range(0, len(weeks), every)
    axes.set_xticks(list(shown), [f"{weeks[n].monday:%d %b}" for n in shown])
    axes.set_xlim(-0.7, len(weeks) - 0.3)


def _ends(facts: dict[str, Any]) -> bytes:
    figure, axes = _figure()
    weeks = [Week.parse(row["week"]) for row in facts["ends"]]
    axes.bar(range(len(weeks)), [row["count"] for row in facts["ends"]], color=_COLOURS["ends"])
    axes.yaxis.get_major_locator().set_params(integer=True)
    _label(axes, weeks, 8)
    return _png(figure)


def _movements(facts: dict[str, Any]) -> bytes:
    figure, axes = _figure()
    rows = facts["movements"]
    for place, name in enumerate(("issued", "renewed", "revoked")):
        places = [n + (place - 1) * 0.27 for n in range(len(rows))]
        axes.bar(places, [row[name] for row in rows], width=0.27, color=_COLOURS[name], label=name)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=9.5, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    _label(axes, [Week.parse(row["week"]) for row in rows], 5)
    return _png(figure)


def _compliance(facts: dict[str, Any]) -> bytes:
    figure, axes = _figure()
    last = Week.parse(facts["week"])
    weeks = [last.plus(number - 25) for number in range(26)]
    known = {row["week"]: row for row in facts["history"] if row["percent"] is not None}
    values = [known[str(w)]["percent"] if str(w) in known else float("nan") for w in weeks]
    axes.plot(range(26), values, color=_COLOURS["ends"], marker="o", markersize=3, linewidth=1.4, clip_on=False)
    version = ""
    for number, row in ((n, known.get(str(w))) for n, w in enumerate(weeks)):
        if row and version and row["policy_version"] != version:
            axes.axvline(number - 0.5, color=_INK, linewidth=0.8, linestyle="--")
            axes.text(number - 0.4, 101.5, row["policy_version"], fontsize=9, color=_INK, va="bottom")
        version = row["policy_version"] if row else version
    axes.set_ylim(max(0, min((v for v in values if v == v), default=0) // 10 * 10 - 10), 101)  # noqa: PLR0124 - not NaN
    axes.yaxis.set_major_formatter("{x:g} %")
    _label(axes, weeks, 5)
    return _png(figure)
