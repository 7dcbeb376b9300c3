"""Colours of charts, as attributes of the SVG: style sheets override them, print and PDF use them."""

from __future__ import annotations

from django import template

register = template.Library()

_COLOURS = {"renewed": "#5aa469", "revoked": "#a32020"}


@register.filter
def colour(kind: str) -> str:
    """The colour of a series on white paper."""
    return _COLOURS.get(kind, "#0b5c6b")
