"""Each mail exists as text and as HTML, and its HTML loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certs.notifications.delivery.rendering import render
from certs.notifications.topics import Topic

FOLDER = Path(__file__).resolve().parents[3] / "templates" / "email"
TEXTS = {path.stem for path in FOLDER.glob("*.txt")}
PAGES = {path.stem for path in FOLDER.glob("*.html")}
# What the server of a picture, a font or a script would learn: who opened which mail, and when.
LOADS = re.compile(r"<(?:script|link|iframe|form)\b|@import|url\(|src=(?![\"']cid:)", re.IGNORECASE)


def test_each_text_has_an_html_part() -> None:
    assert TEXTS <= PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_html_part_loads_nothing(name: str) -> None:
    assert LOADS.findall((FOLDER / f"{name}.html").read_text()) == []


def test_names_that_look_like_markup_are_text_in_both_parts() -> None:
    """A bulk order may be called anything."""
    context = {"names": [], "by": "<b>&", "request": {"public_id": "req-1"}}
    sent = render("request_approved", topic=Topic.DECISION, subject="a\r\nBcc: b", context=context)
    assert "approved by <b>&" in sent.text
    assert "approved by &lt;b&gt;&amp;" in sent.html
    assert "<b>" not in sent.html
    assert sent.subject == "a Bcc: b"


@pytest.mark.parametrize("topic", list(Topic))
def test_each_topic_says_what_it_is_and_why_it_cannot_be_switched_off(topic: Topic) -> None:
    assert topic.about.title
    assert topic.about.text.endswith(".")
    assert topic.is_optional != bool(topic.about.why_always)
    assert re.fullmatch(r"[a-z-]{1,32}", topic)  # a label of List-Id (RFC 2919)
