"""Notices about changes of power: rights of a person, a team that loses a domain, a job that is off.

Receivers of signals, so they run at every channel, in the transaction of the change. A change
without a named person (a shell, a script) is in the audit log as unattributed and not mailed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.changes import CHANGED, CREATED, DELETED, UNATTRIBUTED, Change, actor_of, change_recorded
from audit.log import Actor
from certs.enums import AlertKind
from certs.models import ApiToken, Domain, SecondFactorGrace, Team
from certs.models.schedule import pause_of
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.audience import Audience, people_of, team_of, to_addresses, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.x509.dns_names import owning_domain
from db.clock import database_now

# A schedule may be made slower by hand, but not so slow that its work does not happen.
SLOWEST = 10
_UNSET = ("queue", "exchange", "routing_key", "expires", "expire_seconds", "start_time")


def connect_notices() -> None:
    """Connect the receivers. For `AppConfig.ready()`."""
    change_recorded.connect(_domain_changed, sender=Domain, dispatch_uid="certs.power.domain")
    for model in (PeriodicTask, IntervalSchedule, CrontabSchedule):
        uid = f"certs.power.{model.__name__}"
        change_recorded.connect(_schedule_changed, sender=model, dispatch_uid=uid)
    users = get_user_model()
    change_recorded.connect(_account_changed, sender=users, dispatch_uid="certs.power.account")
    for model in (Authenticator, SocialAccount, SecondFactorGrace):
        change_recorded.connect(_sign_in_changed, sender=model, dispatch_uid=f"certs.power.{model.__name__}")
    m2m_changed.connect(_roles_changed, sender=users.groups.through, dispatch_uid="certs.power.roles")
    m2m_changed.connect(_members_changed, sender=Team.members.through, dispatch_uid="certs.power.members")
    m2m_changed.connect(_members_changed, sender=Team.leads.through, dispatch_uid="certs.power.leads")


def _sign_in_changed(change: Change, **_: Any) -> None:
    """Notify a person of every change of the ways to sign in, also of the person's own."""
    row = change.after or change.before
    what = _grace_in_words(row) if isinstance(row, SecondFactorGrace) else _way_in_in_words(change, row)
    if what and change.actor != UNATTRIBUTED:
        _notify_of_power(what, to_user(row.user), change.actor)


def _grace_in_words(row: SecondFactorGrace) -> str:
    return f"You may work without a second factor until {row.until.day} {row.until:%b %Y, %H:%M} UTC"


def _way_in_in_words(change: Change, row: Authenticator | SocialAccount) -> str:
    """Return the sentence; nothing for what opens and closes no way in, such as a new name."""
    if isinstance(row, SocialAccount):
        verb = {CREATED: "connected to", DELETED: "disconnected from"}.get(change.verb)
        name: str = settings.PKI_OIDC_NAME
        return f"{name[:1].upper()}{name[1:]} was {verb} your account" if verb else ""
    if change.verb == CHANGED:
        used = [one.data.get("used_mask") for one in (change.before, change.after)]
        return "A recovery code of your account was used" if used[0] != used[1] else ""
    kind = {
        Authenticator.Type.TOTP: "An authenticator app",
        Authenticator.Type.RECOVERY_CODES: "Recovery codes",
    }.get(row.type, f"The passkey {row}")
    were = "were" if row.type == Authenticator.Type.RECOVERY_CODES else "was"
    return f"{kind} {were} {'added to' if change.verb == CREATED else 'removed from'} your account"


_ACCOUNT = {
    "username": "user name",
    "email": "mail address",
    "is_staff": "access to the admin",
    "is_superuser": "superuser",
    "password": "password",
}


def _account_changed(change: Change, **_: Any) -> None:
    before, after = change.before, change.after
    if before is None or after is None or change.actor == UNATTRIBUTED:
        return
    # To the old address too: a new one may be the thief's.
    audience = to_addresses([before.email, after.email])
    if before.is_active != after.is_active:
        _notify_of_power(f"Your account was switched {'on' if after.is_active else 'off'}", audience, change.actor)
    what = [text for name, text in _ACCOUNT.items() if getattr(before, name) != getattr(after, name)]
    if what:
        _notify_of_power(f"Your account was changed: {', '.join(what)}", audience, change.actor)


def _roles_changed(
    instance: Any,
    action: str,
    reverse: bool,  # noqa: FBT001 - Django's signal
    model: type[Model],
    pk_set: Collection[int] | None,
    **_: Any,
) -> None:
    if action not in _VERBS or not pk_set or actor_of(instance) == UNATTRIBUTED:
        return
    others: list[Any] = list(QuerySet(model).filter(pk__in=pk_set).order_by("pk"))
    pairs = [(other, [instance]) for other in others] if reverse else [(instance, others)]
    for user, groups in pairs:
        names = ", ".join(str(group) for group in groups)
        what = "You have a new role" if action == "post_add" else "You no longer have the role"
        _notify_of_power(f"{what}: {names}", to_user(user), actor_of(instance))


def _members_changed(
    sender: type[Model],
    instance: Any,
    action: str,
    reverse: bool,  # noqa: FBT001 - Django's signal
    model: type[Model],
    pk_set: Collection[int] | None,
    **_: Any,
) -> None:
    verb = _VERBS.get(action)
    if verb is None or not pk_set or actor_of(instance) == UNATTRIBUTED:
        return
    others: list[Any] = list(QuerySet(model).filter(pk__in=pk_set).order_by("pk"))
    pairs = [(team, instance) for team in others] if reverse else [(instance, user) for user in others]
    position = "lead" if sender is Team.leads.through else "member"
    for team, user in pairs:
        audience = to_user(user) | to_addresses([team.email])
        what = f"{user} was {verb} as a {position} of team {team.name}"
        _notify_of_power(what, audience, actor_of(instance))


def notify_of_token(token: ApiToken, *, actor: Actor) -> None:
    """Notify the user of a token, who may not be the one who made it. Needs the transaction that made it."""
    what = f"An API token was made for your account: {token.name} ({token.prefix}…), team {token.team.name}"
    _notify_of_power(what, to_user(token.user), actor)


_VERBS = {"post_add": "added", "post_remove": "removed"}


def _notify_of_power(what: str, audience: Audience, actor: Actor) -> None:
    if not audience:
        return
    now = database_now()
    notify(
        Topic.POWER,
        key=f"power:{what[:80]}:{now.isoformat()}",
        audience=audience,
        subject=what,
        template="power_changed",
        context={"what": what, "by": actor.name, "at": now},
        now=now,
    )


def _domain_changed(change: Change, **_: Any) -> None:
    before, after = change.before, change.after
    if before is not None and (after is None or _moved(before, after)):
        _notify_of_loss(before.team, before.name, before, change)
    if after is not None and (before is None or _moved(before, after)):
        if change.actor != UNATTRIBUTED:
            _notify_of_power(f"Team {after.team.name} owns {after.name} now", people_of(after.team), change.actor)
        if before is not None and before.name == after.name:
            return  # the domain above it has been without that part all along
        # A longer domain takes its part out of the domain above it.
        rows = Domain.objects.filter(name__in=_above(after.name)).select_related("team")
        above = {domain.name: domain.team for domain in rows}
        parent = owning_domain(after.name, above)
        if parent is not None and above[parent] != after.team:
            _notify_of_loss(above[parent], after.name, after, change)


def _moved(before: Domain, after: Domain) -> bool:
    return (before.name, before.team_id) != (after.name, after.team_id)


def _above(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[n:]) for n in range(1, len(labels))]


def _notify_of_loss(team: Team, name: str, domain: Domain, change: Change) -> None:
    notify(
        Topic.POWER,
        key=f"domain:lost:{domain.pk}:{team.pk}:{change.at.isoformat()}",
        audience=team_of(team),
        subject=f"Team {team.name} no longer owns {name}",
        template="domain_lost",
        context={"team": team, "name": name, "by": change.actor.name, "at": change.at},
        now=change.at,
    )


def portal_tasks() -> dict[str, timedelta | None]:
    """Return the tasks that the portal needs, with the longest pause between two runs.

    None for a task that runs at a time of day.
    """
    intervals: dict[str, Any] = settings.PKI_SCHEDULES
    crontabs: dict[str, Any] = settings.PKI_CRONTABS
    slowest: dict[str, timedelta | None] = {entry["task"]: None for entry in crontabs.values()}
    for entry in intervals.values():
        slowest[entry["task"]] = timedelta(seconds=SLOWEST * entry["every_seconds"])
    return slowest


def _schedule_changed(sender: type[Model], change: Change, **_: Any) -> None:
    if sender is PeriodicTask:
        rows: Iterable[Any] = [one for one in (change.before, change.after) if one is not None]
    else:
        rows = PeriodicTask.objects.filter(**{_field_of(sender): change.after or change.before})
    for task in {row.task for row in rows} & portal_tasks().keys():
        _check(task, change)


def _field_of(sender: type[Model]) -> str:
    return "interval" if sender is IntervalSchedule else "crontab"


def _check(task: str, change: Change) -> None:
    """Raise an alert when no schedule runs the task often enough; close it when one does again."""
    cause = f"schedule:{task}"
    rows = PeriodicTask.objects.filter(task=task).select_related("interval", "crontab")
    if any(runs_as_needed(row) for row in rows):
        close_alerts(kind=AlertKind.SCHEDULE_OFF, cause=cause, now=change.at)
        return
    raise_alert(
        kind=AlertKind.SCHEDULE_OFF,
        cause=cause,
        message=f"{change.actor.name} changed the schedules so that {task} does not run as it must",
        next_step="Put the schedule back in the admin under Periodic tasks, or run "
        "`manage.py schedules --restore` if it was removed. The audit log shows its old values.",
        now=change.at,
    )


def runs_as_needed(row: PeriodicTask) -> bool:
    """Return whether the schedule of one of the portal's tasks runs it as often as the portal needs."""
    slowest = portal_tasks()[row.task]
    if not row.enabled or row.one_off or row.args != "[]" or row.kwargs != "{}":
        return False
    if any(getattr(row, name) for name in _UNSET):
        return False
    if slowest is None:
        return row.crontab is not None
    pause = pause_of(row.interval) if row.interval is not None else None
    return pause is not None and pause <= slowest
