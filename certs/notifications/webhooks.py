"""Webhooks of a team: added, removed, enabled again; and who may do that."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from audit.changes import attribute
from certs.access.permissions import Authority, Permission, names_of_leads
from certs.enums import AlertKind
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import Team, Webhook, WebhookDelivery
from certs.notifications.alerts import close_alerts, webhook_cause
from certs.notifications.audience import team_of
from certs.notifications.delivery.deliveries import new_delivery
from certs.notifications.delivery.targets import check_target
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from db.clock import database_now

# Topics that are about certificates of one team.
TOPICS = (
    Topic.ISSUED,
    Topic.ISSUED_BY_PROGRAM,
    Topic.RENEWED,
    Topic.RENEWAL_FAILED,
    Topic.EXPIRING,
    Topic.EXPIRED,
    Topic.REVOKED,
)
MOST = 10  # of a team


def secret_of(hook: Webhook) -> str:
    """Return the signing secret. It is derived, so that no row holds it; a new SECRET_KEY makes new
    secrets.
    """
    digest = salted_hmac("certs.webhook", hook.salt, algorithm="sha256").digest()
    return "whsec_" + base64.b64encode(digest).decode()


def webhooks_of(team: Team) -> QuerySet[Webhook]:
    """Return the webhooks that the team has now."""
    return Webhook.objects.filter(team=team, removed_at=None).order_by("name")


def find_team(slug: str, authority: Authority) -> Team:
    """Return a team that the actor may see. Raises NotFound."""
    team = Team.objects.filter(slug=slug).first()
    seen = authority.sees()
    if team is None or (seen is not None and team.pk not in seen):
        raise NotFound("There is no such team.")
    return team


def may_manage(team: Team, authority: Authority) -> bool:
    """Return whether the actor may change the team's webhooks: its members, and officers."""
    return authority.belongs_to(team) or authority.is_officer


def check_may_manage(team: Team, authority: Authority) -> None:
    """Raise NotPermitted unless the actor may change the team's webhooks."""
    if not may_manage(team, authority):
        raise NotPermitted(
            "Only members of the team and the security team change its webhooks.",
            next_step=f"Ask team {team.name}.",
            permission=Permission.ACT_FOR_EVERY_TEAM,
            givers=names_of_leads(team),
        )


def find_webhook(team: Team, pk: int) -> Webhook:
    """Return a webhook of the team. Raises NotFound."""
    hook = webhooks_of(team).filter(pk=pk).first()
    if hook is None:
        raise NotFound("There is no such webhook.")
    return hook


def add_webhook(team: Team, *, name: str, url: str, topics: Sequence[str], authority: Authority) -> Webhook:
    """Add a webhook; `secret_of` returns its secret.

    Effects: the row, `webhook:created` and a notice to the team, in one transaction.
    Raises NotPermitted, InputRefused, Conflict for a name that is taken.
    """
    check_may_manage(team, authority)
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise InputRefused(
            "A webhook needs a name of 1 to 64 characters.",
            field="name",
            next_step="Name it after what receives it.",
        )
    chosen = [topic for topic in TOPICS if topic in topics]
    if not chosen or len(chosen) != len(set(topics)):
        raise InputRefused(
            "Choose what the webhook is sent.",
            field="topics",
            next_step=f"One or more of {', '.join(TOPICS)}.",
        )
    check_target(url)
    if webhooks_of(team).count() >= MOST:
        raise Conflict(f"Team {team.name} has {MOST} webhooks.", next_step="Remove one that is not used.")
    hook = Webhook(
        team=team,
        name=name,
        url=url,
        topics=[str(topic) for topic in chosen],
        salt=secrets.token_hex(16),
        created_at=database_now(),
        created_by=authority.user,
    )
    try:
        with transaction.atomic():
            attribute(hook, authority.actor)
            hook.save()
            _notify_team(hook, "added", authority)
    except IntegrityError:
        raise Conflict(
            f"Team {team.name} has a webhook {name} already.",
            field="name",
            next_step="Choose another name.",
        ) from None
    return hook


@transaction.atomic
def remove_webhook(hook: Webhook, *, authority: Authority) -> None:
    """Remove a webhook. Messages that wait for it are given up. Raises NotPermitted."""
    check_may_manage(hook.team, authority)
    now = database_now()
    hook.removed_at = now
    attribute(hook, authority.actor)
    hook.save(update_fields=["removed_at"])
    _waiting(hook).update(given_up_at=now, lease_until=None)
    _notify_team(hook, "removed", authority)


@transaction.atomic
def enable_webhook(hook: Webhook, *, authority: Authority) -> None:
    """Use a webhook again that was disabled because it failed for long. Raises NotPermitted."""
    check_may_manage(hook.team, authority)
    if hook.disabled_at is None:
        return
    hook.disabled_at = hook.failing_since = None
    attribute(hook, authority.actor)
    hook.save(update_fields=["disabled_at", "failing_since"])
    close_alerts(kind=AlertKind.WEBHOOK_DISABLED, cause=webhook_cause(hook.pk), now=database_now())


def send_again(hook: Webhook, message_id: str, *, authority: Authority) -> None:
    """Send a message once more, with the same id: receivers recognise that they have it already.

    Raises NotPermitted, NotFound, Conflict for a disabled webhook.
    """
    check_may_manage(hook.team, authority)
    _check_enabled(hook)
    again = {"not_before": database_now(), "delivered_at": None, "given_up_at": None}
    if not WebhookDelivery.objects.filter(webhook=hook, message_id=message_id).update(**again):
        raise NotFound("There is no such message.")


def send_test(hook: Webhook, *, authority: Authority) -> None:
    """Send a message without content, to try the receiver.

    Raises NotPermitted, Conflict for a disabled webhook.
    """
    check_may_manage(hook.team, authority)
    _check_enabled(hook)
    now = database_now()
    document: dict[str, Any] = {
        "type": "test",
        "timestamp": now.isoformat(timespec="seconds"),
        "data": {"team": hook.team.slug, "summary": f"A test by {authority.actor.name}"},
    }
    new_delivery(hook, topic="test", document=document, now=now).save()


def _check_enabled(hook: Webhook) -> None:
    if hook.disabled_at is not None:
        raise Conflict(f"The webhook {hook.name} is disabled.", next_step="Enable it first, once it works.")


def _waiting(hook: Webhook) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(webhook=hook, delivered_at=None, given_up_at=None)


def _notify_team(hook: Webhook, what: str, authority: Authority) -> None:
    now = database_now()
    notify(
        Topic.POWER,
        key=f"webhook:{what}:{hook.pk}:{now:%Y%m%d%H%M%S}",
        audience=team_of(hook.team),
        subject=f"Webhook {hook.name} of team {hook.team.name} was {what}",
        template="webhook_changed",
        context={"hook": hook, "what": what, "by": authority.actor.name, "at": now},
        now=now,
    )
