"""Colours of charts, as attributes of the SVG: style sheets override them, print and PDF use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from certs.reports.charts import Bar

register = template.Library()

_COLOURS = {
    "renewed": "#5aa469",
    "revoked": "#a32020",
    "by_hand": "#b57a1d",
    "blocked": "#a32020",
    "off": "#8a979d",
    "weak": "#a32020",
}


@register.simple_tag
def share_bar(part: int, whole: int, kind: str = "") -> SafeString:
    """Draw a part of a whole as a bar; `kind` is its series."""
    width = 100 * part / whole if whole else 0.0
    return format_html(
        '<svg class="share-bar" viewBox="0 0 100 8" width="100" height="8" preserveAspectRatio="none" role="img">'
        '<title>{}</title><rect class="track" width="100" height="8"></rect>'
        '<rect class="mark-{}" fill="{}" width="{}" height="8"></rect></svg>',
        f"{part:,} of {whole:,}",
        kind or "share",
        colour(kind),
        f"{max(width, 1.0) if part else 0:.1f}",
    )


@register.simple_tag
def draw_bars(bars: Iterable[Bar], base: str = "") -> SafeString:
    """Draw the bars of a chart, each a link where it counts something.

    Not in a template: there are a hundred on a page, and a template takes ten times as long.
    """
    return mark_safe("\n    ".join(_bar(bar, base) for bar in bars))  # noqa: S308 - each is made by format_html


def _bar(bar: Bar, base: str) -> SafeString:
    drawn = format_html(
        '<rect class="mark-{}" fill="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        bar.kind,
        colour(bar.kind),
        *(f"{size:.1f}" for size in (bar.x, bar.y, bar.width, bar.height)),
        bar.title,
    )
    return format_html('<a href="{}{}" tabindex="-1">{}</a>', base, bar.url, drawn) if bar.url else drawn


@register.simple_tag
def draw_dots(dots: Iterable[Bar]) -> SafeString:
    """Draw the points of a line, each with its words; in Python as the bars."""
    circle = '<circle class="mark-{}" fill="{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>'
    return format_html_join("\n    ", circle, ((dot.kind, colour(dot.kind), f"{dot.x:.1f}", f"{dot.y:.1f}", dot.title) for dot in dots))


@register.simple_tag
def table_rows(rows: Iterable[Sequence[str]]) -> SafeString:
    """Write the rows of a chart's table. A cell may be a link."""
    return format_html_join("", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows))


@register.filter
def colour(kind: str) -> str:
    """The colour of a series on white paper."""
    return _COLOURS.get(kind, "#0b5c6b")
