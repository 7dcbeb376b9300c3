"""Parts of a page that consist of many small pieces: links of the frame, choices of a select.

Written in Python: a template takes ten times as long for each, and a page has a hundred and fifty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_WAITING = ' <span class="badge-state is-bad">{}<span class="visually-hidden"> waiting</span></span>'


@register.simple_tag
def nav_links(links: Iterable[Any]) -> SafeString:
    """Write `Link`s of `certs.views.navigation`; the one that is shown is marked, and what waits is counted."""
    return format_html_join("", "{}", ((_link(one),) for one in links))


def _link(link: Any) -> SafeString:
    badge = format_html(_WAITING, link.badge) if link.count else ""
    here = SafeString(' aria-current="page"') if link.here else ""
    return format_html('<a href="{}"{}>{}{}</a>', link.url, here, link.label, badge)


@register.simple_tag
def options(choices: Iterable[tuple[str, str]], chosen: str) -> SafeString:
    """Write the choices of a select, as pairs of value and label; `chosen` is the value in force."""
    chosen_mark = SafeString(" selected")
    rows = ((value, chosen_mark if value == chosen else "", label) for value, label in choices)
    return format_html_join("", '<option value="{}"{}>{}</option>', rows)
