"""Mails before the roots change: subscribed to by people who are signed in, confirmed by a mail, ended at any time.

The links in the mails carry a signature instead of a row: whoever has the mail may confirm and end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction

from certs.access.rates import Limit, use
from certs.errors import InputRefused
from certs.models import TrustSubscription
from certs.notifications.audience import to_addresses
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.trust.roots import Root, roots, set_digest
from db.clock import database_now

CONFIRM_WITHIN = timedelta(days=7)
WARN_DAYS = (180, 90, 30, 7)  # before the end of a root
_SALT = "certs.trust.subscriptions"
_CONFIRM, _END = "confirm", "end"
MOST_A_DAY = 3  # mails that ask one person to confirm


@transaction.atomic
def subscribe(user: Any, *, now: datetime) -> TrustSubscription:
    """Subscribe a person and mail the link that confirms it.

    Effects: the row, one mail. Raises InputRefused for an account without an address, TooMany.
    """
    address = user.email
    if not address:
        raise InputRefused("Your account has no mail address.", field="email", next_step="Ask an administrator to add it.")
    use([Limit("trust", f"user:{user.pk}", MOST_A_DAY, timedelta(days=1))], message="You were mailed already.")
    row, _ = TrustSubscription.objects.get_or_create(user=user, defaults={"address": address, "created_at": now})
    if row.confirmed_at is None or row.address != address:
        row.address, row.confirmed_at, row.created_at = address, None, now
        row.save(update_fields=["address", "confirmed_at", "created_at"])
        notify(
            Topic.TRUST,
            key=f"trust:confirm:{row.pk}:{now.isoformat()}",
            audience=to_addresses([address]),
            subject="Confirm: mails before the root certificates change",
            template="trust_confirm",
            context={"path": _path(_CONFIRM, row), "end_path": _path(_END, row)},
            now=now,
        )
    return row


def find(verb: str, text: str) -> TrustSubscription | None:
    """Return the subscription that a link in a mail is about; None for a link that is none, or that is too old."""
    max_age = CONFIRM_WITHIN if verb == _CONFIRM else None
    try:
        pk, address = signing.loads(text, salt=f"{_SALT}.{verb}", max_age=max_age)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return TrustSubscription.objects.filter(pk=pk, address=address).first()


@transaction.atomic
def confirm(row: TrustSubscription, *, now: datetime) -> None:
    """Let the mails begin: with the next change of the roots that are published now."""
    if row.confirmed_at is None:
        row.confirmed_at, row.told = now, set_digest(roots())
        row.save(update_fields=["confirmed_at", "told"])


def end(row: TrustSubscription) -> None:
    """End the mails."""
    row.delete()


def notify_changes() -> int:
    """Notify the subscribers of roots that were added or removed, and of roots that end. Returns the number of mails."""
    now, present = database_now(), roots()
    digest = set_digest(present)
    sent = sum(_notify_change(pk, present, digest, now) for pk in _confirmed().exclude(told=digest).values_list("pk", flat=True))
    for root in present:
        days = (root.not_after.date() - now.date()).days
        stage = min((stage for stage in WARN_DAYS if days <= stage), default=None)
        if stage is not None and days >= 0:
            sent += sum(_notify_end(row, root, stage, now) for row in _confirmed())
    return sent


def _confirmed() -> Any:
    return TrustSubscription.objects.filter(confirmed_at__isnull=False, user__is_active=True).order_by("pk")


@transaction.atomic
def _notify_change(pk: int, present: list[Root], digest: str, now: datetime) -> int:
    row = TrustSubscription.objects.select_for_update().filter(pk=pk).exclude(told=digest).first()
    if row is None:  # another run was first
        return 0
    row.told = digest
    row.save(update_fields=["told"])
    return notify(
        Topic.TRUST,
        key=f"trust:changed:{row.pk}:{digest[:16]}:{now:%Y%m%d}",
        audience=to_addresses([row.address]),
        subject="The root certificates of the portal change: install them now",
        template="trust_changed",
        context={"roots": present, "end_path": _path(_END, row), "now": now},
        now=now,
    )


@transaction.atomic
def _notify_end(row: TrustSubscription, root: Root, stage: int, now: datetime) -> int:
    return notify(
        Topic.TRUST,
        key=f"trust:ends:{row.pk}:{root.sha256[:16]}:{stage}",
        audience=to_addresses([row.address]),
        subject=f"The root certificate {root.name} ends on {root.not_after:%d %b %Y}",
        template="trust_ends",
        context={"root": root, "end_path": _path(_END, row), "now": now},
        now=now,
    )


def _path(verb: str, row: TrustSubscription) -> str:
    return f"/trust/mails/{verb}/{signing.dumps([row.pk, row.address], salt=f'{_SALT}.{verb}')}/"
