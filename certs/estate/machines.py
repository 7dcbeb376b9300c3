"""The machinery in one row: each part with one word, and bad only where a person must act.

Read from the open alerts, in one query: every part is watched all the time, each web process looks at
schedules and queues (`certs.schedules.alarm`), and the details are on the pages behind the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from certs.enums import AlertKind
from certs.inventory import open_alerts


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the machinery. `since`: when the first of its open alerts was raised; None where it has none."""

    name: str
    words: str
    url: str
    since: datetime | None = None

    @property
    def is_bad(self) -> bool:
        """Return whether a person must act."""
        return self.since is not None


# Name, words while all is well, the page with the details, and what its alerts are about, in words.
_PARTS: Sequence[tuple[str, str, str, dict[AlertKind, str]]] = (
    (
        "CAs",
        "none stopped",
        "cas",
        {
            AlertKind.CA_STOPPED: "stopped",
            AlertKind.CA_UNAVAILABLE: "not available",
            AlertKind.CA_MISCONFIGURED: "wrongly configured",
            AlertKind.KEYS_UNAVAILABLE: "keys not available",
        },
    ),
    (
        "CRLs",
        "current",
        "cas",
        {
            AlertKind.CRL_LATE: "late",
            AlertKind.CRL_WITHHELD: "withheld",
            AlertKind.ROOT_CRL_BEHIND: "behind",
            AlertKind.STATUS_FAILED: "not made",
        },
    ),
    ("OCSP", "current", "cas", {AlertKind.RESPONDER_LATE: "responder late"}),
    (
        "Queues",
        "moving",
        "machinery",
        {
            AlertKind.QUEUE_STUCK: "standing still",
            AlertKind.REQUEST_STUCK: "requests do not move",
            AlertKind.RESULT_NOT_RECORDED: "a result is not recorded",
        },
    ),
    (
        "Schedules",
        "all ran",
        "machinery",
        {
            AlertKind.BEAT_DEAD: "beat is silent",
            AlertKind.JOB_MISSED: "missed",
            AlertKind.SCHEDULE_OFF: "switched off",
            AlertKind.SWEEP_FAILED: "the sweep failed",
        },
    ),
    (
        "Audit log",
        "sealed",
        "audit",
        {
            AlertKind.VERIFICATION_FAILED: "verification failed",
            AlertKind.AUDIT_UNSEALED: "not sealed",
            AlertKind.WITNESS_SILENT: "a witness is silent",
        },
    ),
    ("Mails", "none late", "machinery", {AlertKind.MAIL_LATE: "late", AlertKind.MAIL_GIVEN_UP: "some given up"}),
)


def parts() -> list[Part]:
    """Return the parts of the machinery, each with the first of its open alerts. One query."""
    kinds = [kind for *_, words in _PARTS for kind in words]
    rows = open_alerts().filter(kind__in=kinds).order_by("raised_at", "pk").values_list("kind", "cause", "raised_at")
    alerts = [(AlertKind(kind), cause, at) for kind, cause, at in rows]
    return [_part(name, well, page, words, [one for one in alerts if one[0] in words]) for name, well, page, words in _PARTS]


def _part(name: str, well: str, page: str, words: dict[AlertKind, str], found: list[tuple[AlertKind, str, datetime]]) -> Part:
    if not found:
        return Part(name, well, reverse(page))
    kind, cause, at = found[0]
    what = cause.partition(":")[2]
    said = f"{what}: {words[kind]}" if what else words[kind]
    return Part(name, f"{said}, and {len(found) - 1} more" if len(found) > 1 else said, reverse("alerts"), at)
