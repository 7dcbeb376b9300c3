"""Colours of charts, as attributes of the SVG: style sheets override them, print and PDF use them."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()

_COLOURS = {
    "renewed": "#5aa469",
    "revoked": "#a32020",
    "by_hand": "#b57a1d",
    "blocked": "#a32020",
    "off": "#8a979d",
    "weak": "#a32020",
}


@register.inclusion_tag("components/bar.html")
def share_bar(part: int, whole: int, kind: str = "") -> dict[str, Any]:
    """Draw a part of a whole as a bar; `kind` is its series."""
    width = 100 * part / whole if whole else 0.0
    return {"width": f"{max(width, 1.0) if part else 0:.1f}", "kind": kind, "title": f"{part:,} of {whole:,}"}


@register.filter
def colour(kind: str) -> str:
    """The colour of a series on white paper."""
    return _COLOURS.get(kind, "#0b5c6b")
