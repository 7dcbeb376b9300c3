"""The machinery in one row: each part with one word, and bad only where a person must act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from audit.models import Checkpoint
from certs.enums import AlertKind
from certs.inventory import open_alerts
from certs.models import Issuer
from certs.reports.machinery import status_facts
from certs.schedules.machinery import UNSEALED_AFTER, Machinery

MAIL_LATE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the machinery. `since`: the moment that the words are about; `more`: the rest of the sentence."""

    name: str
    words: str
    url: str
    is_bad: bool = False
    since: datetime | None = None
    more: str = ""


def parts(found: Machinery, now: datetime) -> list[Part]:
    """Return the parts of the machinery as it was read; CRLs, OCSP and the seal cost small queries more."""
    status = status_facts(now=now)
    sealed_to = Checkpoint.objects.order_by("-epoch", "-tree_size").values_list("tree_size", flat=True).first()
    broken = open_alerts().filter(kind=AlertKind.VERIFICATION_FAILED).exists()
    machines, cas = reverse("machinery"), reverse("cas")
    own = Issuer.objects.exclude(alias="").count()
    stopped = len(found.stopped_cas)
    late_crls = [one["issuer"] for one in status if not one["crl_good"]]
    late_ocsp = [one["issuer"] for one in status if one["ocsp"] and not one["ocsp_good"]]
    crls = [datetime.fromisoformat(one["crl_until"]) for one in status if one["crl_until"]]
    responders = [datetime.fromisoformat(one["ocsp_until"]) for one in status if one["ocsp_until"]]
    waiting = sum(queue.length for queue in found.queues or ())
    sealed = f"sealed to {sealed_to:,}" if sealed_to else "not sealed yet"
    unsealed = found.unsealed_events
    not_sealed = unsealed.oldest_at is not None and now - unsealed.oldest_at > UNSEALED_AFTER
    mails = found.mails
    mails_late = mails.oldest_at is not None and now - mails.oldest_at > MAIL_LATE_AFTER
    return [
        Part(
            "CAs",
            f"{stopped} of {own} stopped" if stopped else f"{own} in use, none stopped",
            cas,
            is_bad=bool(stopped) or not own,
        ),
        _until("CRL", "next update", late_crls, crls, cas),
        _until("OCSP", "responder until", late_ocsp, responders, cas),
        Part(
            "Queues",
            "the broker does not answer" if found.queues is None else f"{waiting:,} waiting" if waiting else "empty",
            machines,
            is_bad=found.queues is None or bool(found.stuck_queues),
        ),
        Part(
            "Schedules",
            f"{len(found.missed_jobs)} missed" if found.missed_jobs else "all ran",
            machines,
            is_bad=bool(found.missed_jobs) or found.beat.dead,
        ),
        Part(
            "Audit log",
            "verification failed" if broken else sealed,
            machines,
            is_bad=broken or not_sealed,
            since=found.newest_checkpoint_at,
        ),
        Part(
            "Mails",
            f"{mails.count:,} waiting" if mails.count else "none waiting",
            machines,
            is_bad=mails_late,
            since=mails.oldest_at if mails.count else None,
            more="the oldest",
        ),
    ]


def _until(name: str, words: str, late: list[str], moments: list[datetime], url: str) -> Part:
    if late:
        return Part(name, f"not current: {', '.join(late[:3])}", url, is_bad=True)
    nearest = min(moments, default=None)
    return Part(name, words if nearest else "none", url, since=nearest)
