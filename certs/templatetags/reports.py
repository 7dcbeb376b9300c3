"""How the stored facts of a report are written for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template

from certs.inventory.states import CertificateState
from certs.notifications import wording
from certs.reports.words import sentence as sentence_of

register = template.Library()


@register.filter
def moment(text: str) -> str:
    """`2026-11-28T09:00:00+00:00` -> `28 Nov 2026 09:00 UTC`."""
    return wording.minute(datetime.fromisoformat(text)) if text else ""


@register.filter
def day(text: str) -> str:
    """The day of a moment; nothing where there is none."""
    return wording.day(datetime.fromisoformat(text)) if text else ""


@register.filter
def last_day(text: str) -> str:
    """The last day of a time that ends at this moment."""
    return wording.day(datetime.fromisoformat(text) - timedelta(seconds=1))


@register.filter
def state_word(state: str) -> str:
    """Return the word of a certificate's state, as on its badge."""
    return CertificateState(state).label


@register.filter
def duration(seconds: int) -> str:
    """`5400` -> `1 h 30 min`."""
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


@register.filter
def value(figure: dict[str, Any]) -> str:
    """A figure with its unit; a dash where there is nothing to count."""
    number = figure["value"]
    if number is None:
        return "–"
    return f"{number:.1f} %" if figure["unit"] == "%" else f"{number:,}"


@register.filter
def sentence(facts: dict[str, Any]) -> str:
    """The report's first sentence."""
    return sentence_of(facts)


@register.filter
def says_why(lines: list[dict[str, Any]]) -> bool:
    """Whether any line says why."""
    return any(line["why"] for line in lines)
