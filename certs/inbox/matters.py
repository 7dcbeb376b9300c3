"""One thing that waits for a person, and the list of them: the most urgent first, then the oldest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What waits. The values are words of the page."""

    KEY = "Key"
    ALERT = "Alert"
    APPROVAL = "Approval"
    ORDER = "Bulk order"
    QUESTION = "Question"
    DOMAIN = "Domain"
    POLICY = "Policy"
    CA = "CA"
    PERSON = "Person"
    EXPIRED = "Expired"
    RENEWAL = "Renewal"
    INSTALLATION = "Installation"
    REPLACEMENT = "Replacement"
    OWNER = "Owner"


_OF_CERTIFICATES = (Kind.RENEWAL, Kind.INSTALLATION, Kind.REPLACEMENT, Kind.OWNER)


@dataclass(frozen=True, slots=True)
class Matter:
    """One thing that waits, with its one action. `why` says what it is about, and why it stands where it stands.

    `since`: how long it has waited; None where nobody knows.
    """

    kind: Kind
    title: str
    why: str
    url: str
    action: str
    since: datetime | None
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class More:
    """Things of one kind that the list does not show, and where they are listed."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for one person."""

    matters: tuple[Matter, ...]
    more: tuple[More, ...] = ()

    @property
    def about_certificates(self) -> int:
        """How many lines are about certificates: the badge counts the others."""
        return sum(one.kind in _OF_CERTIFICATES for one in self.matters)

    @classmethod
    def of(cls, parts: Iterable[Inbox], *, now: datetime) -> Inbox:
        """Return the parts as one list."""
        found = list(parts)
        matters = sorted(
            (one for part in found for one in part.matters),
            key=lambda one: (not one.is_urgent, one.since or now, one.title),
        )
        return cls(tuple(matters), tuple(one for part in found for one in part.more))
