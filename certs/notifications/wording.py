"""Words that subjects and mails share: days, deadlines and names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import prefetch_related_objects

from certs.models import Certificate

# A subject line: a phone shows about 40 characters, other programs about 80.
MOST_NAMES, NAMES_LENGTH = 3, 60


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


def read_names(certificates: Sequence[Certificate]) -> None:
    """Read what `name_of` needs of these certificates together, instead of one by one."""
    prefetch_related_objects([one for one in certificates if not one.common_name], "request")


def count_of(names: Sequence[str], total: int | None = None) -> str:
    """Return up to three names, as far as a subject line has room, and how many more there are.

    "a.example.com", "a.example.com and b.example.com", "a.example.com, b.example.com and 3 more".
    """
    count = len(names) if total is None else total
    shown = [names[0]]
    for name in dict.fromkeys(names[1:]):
        if len(shown) == MOST_NAMES or len(", ".join((*shown, name))) > NAMES_LENGTH:
            break
        if name not in shown:
            shown.append(name)
    last = f"{count - len(shown)} more" if count > len(shown) else shown.pop() if len(shown) > 1 else ""
    return f"{', '.join(shown)} and {last}" if last else shown[0]


def all_of(names: Sequence[str]) -> str:
    """Return all the names in a sentence: "alice", "alice and bob", "alice, bob and carol"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def so_many(number: int, noun: str) -> str:
    """Return a number and its noun: "1 certificate", "2,000 certificates"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
