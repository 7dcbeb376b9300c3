"""The text and the HTML part of a mail, from two templates with the same content.

Mail programs ignore much of a style sheet, so its rules are inlined. The media queries (phone, dark
mode) stay in a `<style>` element. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import css_inline
from django.conf import settings
from django.template.loader import render_to_string

from certs.notifications.topics import Topic


@dataclass(frozen=True, slots=True)
class Rendered:
    """One subject line and the two parts."""

    subject: str
    text: str
    html: str


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)


def render(template: str, *, topic: Topic, subject: str, context: Mapping[str, Any]) -> Rendered:
    """Render `templates/email/TEMPLATE.txt` and `.html`.

    Both get the context, and `subject`, `topic` and `base_url` (of links to the portal).
    """
    line = " ".join(subject.split())[:200]
    full = {"subject": line, "topic": topic, "base_url": settings.PKI_PORTAL_URL, **context}
    text = render_to_string(f"email/{template}.txt", full).strip() + "\n"
    html = render_to_string(f"email/{template}.html", full)
    return Rendered(line, text, _inliner().inline(html))
