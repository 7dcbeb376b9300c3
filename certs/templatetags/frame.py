"""Parts of a page that consist of many small pieces: links of the frame, choices of a select, lines of a bulk order.

Written in Python: a template takes ten times as long for each, and a page has a hundred and fifty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


_GOOD, _WAIT, _BAD = " is-good", " is-wait", " is-bad"
# By the state of a submitted line, or the policy's outcome for one of a draft.
_LINES = {
    "allow": (_GOOD, "allowed"),
    "issued": (_GOOD, "issued"),
    "deny": (_BAD, "refused"),
    "refused": (_BAD, "refused"),
    "invalid": (_BAD, "cannot be read"),
    "failed": (_BAD, "failed"),
    "cancelled": (_BAD, "cancelled"),
    "needs_approval": (_WAIT, "needs approval"),
    "awaiting_approval": (_WAIT, "needs approval"),
    "held": (_WAIT, "held"),
    "under_way": ("", "under way"),
    "waiting": ("", "not begun"),
    "left_out": ("", "left out"),
}
_NAMES_OF_LINE = 5


@register.simple_tag
def line_badge(state: str) -> SafeString:
    """Write the state of a line of a bulk order: colour and word."""
    look, word = _LINES[state]
    return format_html('<span class="badge-state{}">{}</span>', look, word)


@register.simple_tag
def line_names(names: Sequence[str], common_name: str) -> SafeString | str:
    """Write the first names of a line of a bulk order; of a line without any, what stood in its place."""
    if not names:
        return common_name
    first, *others = names[:_NAMES_OF_LINE]
    more = len(names) - _NAMES_OF_LINE
    return format_html(
        "<div><strong>{}</strong></div>{}{}",
        first,
        format_html_join("", "<div>{}</div>", ((name,) for name in others)),
        format_html('<div class="form-text">and {} more names</div>', more) if more > 0 else "",
    )
