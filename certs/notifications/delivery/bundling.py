"""Compose the bundles (`certs.notifications.delivery.bundles`) of what waits to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q

from certs.models import OutgoingMail
from certs.notifications.delivery.bundles import AT_ONCE, TEXTS, Kind, Line
from certs.notifications.delivery.mail import waiting
from certs.notifications.delivery.rendering import render
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of
from db.clock import database_now

LINES = 200  # requests that a bundle lists; it counts the others, and its link leads to all
_HELD = Q(tries=0, not_before__gt=F("written_at"))


def write_bundles() -> int:
    """Put mails of a kind that are due for one recipient into one mail, where they are many.

    Many are more than AT_ONCE, and two that were held back to go together.
    Returns the number of bundles. Each is a transaction of its own.
    """
    now = database_now()
    groups = _due(now).order_by().values("recipient", "bundle_kind").annotate(number=Count("pk"), held=Count("pk", filter=_HELD))
    groups = groups.filter(Q(number__gt=AT_ONCE) | Q(held__gt=1))
    return sum(_write(row["recipient"], Kind(row["bundle_kind"]), now) for row in list(groups))


def _due(now: datetime) -> Any:
    return waiting().exclude(bundle_kind="").filter(lease_until=None, not_before__lte=now)


@transaction.atomic
def _write(recipient: str, kind: Kind, now: datetime) -> int:
    # A mail that a worker claims at this moment goes alone.
    locked = _due(now).select_for_update(of=("self",), skip_locked=True).filter(recipient=recipient, bundle_kind=kind)
    rows = list(locked.defer("body", "html").order_by("written_at", "pk"))
    held = [row for row in rows if not row.tries and row.not_before > row.written_at]
    if len(rows) <= AT_ONCE and len(held) <= 1:
        return 0
    lines = [Line(**row.bundle_line) for row in rows]
    subject = f"{TEXTS[kind].subject}: {count_of([line.name for line in lines])}"
    topic = Topic(rows[0].topic)
    context = {"total": len(rows), "texts": TEXTS[kind], "reasons": _by_reason(lines[:LINES]), "more": len(rows) - LINES}
    rendered = render("bundle", topic=topic, subject=subject, context=context)
    replies_to = {row.reply_to for row in rows}
    bundle = OutgoingMail.objects.create(
        dedup_key=f"bundle:{rows[0].pk}",
        topic=topic,
        recipient=recipient,
        reply_to=replies_to.pop() if len(replies_to) == 1 else "",
        subject=rendered.subject,
        body=rendered.text,
        html=rendered.html,
        # It has waited as long as the first of them: for the watch over mails that are late.
        written_at=rows[0].written_at,
        not_before=now,
    )
    OutgoingMail.objects.filter(pk__in=[row.pk for row in rows]).update(bundled_into=bundle)
    return 1


def _by_reason(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Return each reason with its lines, the most frequent first."""
    order = Counter(line.why for line in lines).most_common()
    return [(why, [line for line in lines if line.why == why]) for why, _ in order]
