"""Words that subjects and mails share: days, deadlines and names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certs.models import Certificate


def day(moment: datetime) -> str:
    """Return a date as people write it: 28 Nov 2026."""
    return f"{moment.day} {moment:%b %Y}"


def short_day(moment: datetime) -> str:
    """Return a date for a subject line, where the year is obvious: 28 Nov."""
    return f"{moment.day} {moment:%b}"


def minute(moment: datetime) -> str:
    """Return a date and time with its zone: 28 Nov 2026 14:02 UTC."""
    return f"{day(moment)} {moment:%H:%M} UTC"


def days_left(moment: datetime, now: datetime) -> str:
    """Return how far away a day is: "in 28 days", "tomorrow", "today", "3 days ago"."""
    days = (moment.date() - now.date()).days
    if days < 0:
        return "yesterday" if days == -1 else f"{-days} days ago"
    return ("today", "tomorrow")[days] if days < 2 else f"in {days} days"


def name_of(certificate: Certificate) -> str:
    """Return the name by which people know a certificate."""
    return certificate.first_name


def count_of(names: Sequence[str], total: int | None = None) -> str:
    """Return the first name and how many more there are: "shop.example.com and 3 more"."""
    more = (len(names) if total is None else total) - 1
    return f"{names[0]} and {more} more" if more > 0 else names[0]


def so_many(number: int, noun: str) -> str:
    """Return a number and its noun: "1 certificate", "2,000 certificates"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
