"""How pages write audit events, and how long ago something was that happens every few seconds."""

from __future__ import annotations

from datetime import datetime

from django import template

from audit.models import AuditEvent
from certs.evidence.words import words_of
from certs.templatetags.when import relative

register = template.Library()


@register.simple_tag
def ago(moment: datetime, now: datetime) -> str:
    """Write "4 s ago" below a minute, and what the other pages write above."""
    seconds = int((now - moment).total_seconds())
    return f"{max(seconds, 0)} s ago" if seconds < 60 else relative(moment, now)


@register.filter
def in_words(event: AuditEvent) -> str:
    """Write an event as a sentence."""
    return words_of(event)
