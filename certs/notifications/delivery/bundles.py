"""Bundles: many notices of one kind to one recipient are one mail.

A CA that refuses everything lets two hundred requests fail within a minute. The first AT_ONCE mails
of a kind go at once; those that follow wait for the end of a PERIOD and go together. A mail server
that was down for a while is no flood either. Each notice keeps its row, so none is lost and none
written twice; a bundle is one more mail (`delivery.bundling`), and the rows in it are not sent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Count

from certs.models import OutgoingMail

AT_ONCE = 5
PERIOD = timedelta(minutes=5)
_START = datetime.min.replace(tzinfo=UTC)


class Kind(StrEnum):
    """What the notices of a bundle have in common."""

    WAITS = "request-waits"
    APPROVED = "request-approved"
    REFUSED = "request-refused"
    LAPSED = "request-lapsed"
    FAILED = "request-failed"
    KEY_ALERT = "key-blocked-alert"
    KEY_BLOCKED = "key-blocked"


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a kind: begin of the subject, what happened to so many `things`, what it means, what to do, and where."""

    subject: str
    happened: str
    means: str
    to_do: str
    path: str
    button: str
    look: str = "is-wait"
    things: str = "requests"


TEXTS = {
    Kind.WAITS: Texts(
        "Approve or reject",
        "wait for your decision",
        "Until you decide, the requests wait.",
        "Decide each on its page; the inbox lists them.",
        "/inbox/",
        "Open the inbox",
    ),
    Kind.APPROVED: Texts(
        "Approved",
        "were approved",
        "Their certificates are issued now. You get a mail when they are ready.",
        "Nothing.",
        "/requests/",
        "Open your requests",
        "is-good",
    ),
    Kind.REFUSED: Texts(
        "Refused",
        "were refused",
        "There are no certificates for them.",
        "Change what the reason names, and request again.",
        "/requests/?state=rejected",
        "Open the refused requests",
        "is-bad",
    ),
    Kind.LAPSED: Texts(
        "Lapsed",
        "lapsed, because nobody decided in time",
        "There are no certificates for them.",
        "Request again what is still needed, and ask the approvers to decide.",
        "/requests/?state=rejected",
        "Open the lapsed requests",
        "is-bad",
    ),
    Kind.FAILED: Texts(
        "Failed",
        "failed",
        "There are no certificates for them yet. What was done so far is kept.",
        "Once the cause is repaired, resume each on its page, or ask the operators.",
        "/requests/?state=failed",
        "Open the failed requests",
        "is-bad",
    ),
    Kind.KEY_ALERT: Texts(
        "Keys blocked",
        "were blocked",
        "No certificate is issued for them any more. Certificates on them may still be in use.",
        "Look whether certificates on them are still to be revoked, and tell their owners.",
        "/inbox/",
        "Open the inbox",
        "is-bad",
        "public keys",
    ),
    Kind.KEY_BLOCKED: Texts(
        "Replace now (keys blocked)",
        "of your team were blocked",
        "No certificate is issued for them any more.",
        "Make new keys and request new certificates for the names now. The security team decides about the revocation of the old ones.",
        "/certificates/?blocked_key=yes",
        "Open the certificates",
        "is-bad",
        "public keys",
    ),
}


@dataclass(frozen=True, slots=True)
class Line:
    """What one notice says in a bundle. `path`: of its page, without host."""

    kind: Kind
    name: str
    why: str
    path: str


def held_until(kind: Kind, recipients: Collection[str], *, now: datetime) -> dict[str, datetime]:
    """Return for each recipient who had AT_ONCE mails of the kind within a PERIOD when the next may go."""
    recent = OutgoingMail.objects.filter(recipient__in=recipients, bundle_kind=kind, written_at__gt=now - PERIOD)
    counts = recent.order_by().values("recipient").annotate(number=Count("pk")).filter(number__gte=AT_ONCE)
    end = now + PERIOD - (now - _START) % PERIOD
    return dict.fromkeys(counts.values_list("recipient", flat=True), end)


def fields_of(line: Line) -> dict[str, Any]:
    """Return the fields of OutgoingMail that let a mail go in a bundle."""
    return {"bundle_kind": line.kind, "bundle_line": asdict(line)}
