"""Notices about changes of power: a team that loses a domain, a job of the portal that is off.

Receivers of `audit.changes.change_recorded`, so they run at every channel, in the transaction of
the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Model
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.changes import Change, change_recorded
from certs.models import Domain, Team
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.mail import write_mail
from certs.notifications.owners import addresses_of
from certs.x509.names import owning_domain

# A schedule may be made slower by hand, but not so slow that its work does not happen.
SLOWEST = 10
_UNSET = ("queue", "exchange", "routing_key", "expires", "expire_seconds", "start_time")


def connect_notices() -> None:
    """Connect the receivers. For `AppConfig.ready()`."""
    change_recorded.connect(_domain_changed, sender=Domain, dispatch_uid="certs.power.domain")
    for model in (PeriodicTask, IntervalSchedule, CrontabSchedule):
        uid = f"certs.power.{model.__name__}"
        change_recorded.connect(_schedule_changed, sender=model, dispatch_uid=uid)


def _domain_changed(change: Change, **_: Any) -> None:
    before, after = change.before, change.after
    if before is not None and (after is None or _moved(before, after)):
        _tell_loss(before.team, before.name, before, change)
    if after is not None and (before is None or _moved(before, after)):
        # A longer domain takes its part out of the domain above it.
        rows = Domain.objects.filter(name__in=_above(after.name)).select_related("team")
        above = {domain.name: domain.team for domain in rows}
        parent = owning_domain(after.name, above)
        if parent is not None and above[parent] != after.team:
            _tell_loss(above[parent], after.name, after, change)


def _moved(before: Domain, after: Domain) -> bool:
    return (before.name, before.team_id) != (after.name, after.team_id)


def _above(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[n:]) for n in range(1, len(labels))]


def _tell_loss(team: Team, name: str, domain: Domain, change: Change) -> None:
    write_mail(
        dedup_key=f"domain:lost:{domain.pk}:{team.pk}:{change.at.isoformat()}",
        to=addresses_of(team),
        subject=f"[PKI Portal] Team {team.name} no longer owns {name}",
        template="domain_lost",
        context={
            "team": team,
            "name": name,
            "by": change.actor.name,
            "at": change.at,
            "base_url": settings.PKI_PORTAL_URL,
        },
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
    if any(_runs(row, portal_tasks()[task]) for row in rows):
        close_alerts(kind="schedule_off", cause=cause, now=change.at)
        return
    raise_alert(
        kind="schedule_off",
        cause=cause,
        message=f"{change.actor.name} changed the schedules so that {task} does not run as it must",
        next_step="Put the schedule back in the admin under Periodic tasks, or run "
        "`manage.py schedules --restore` if it was removed. The audit log shows its old values.",
        now=change.at,
    )


def _runs(row: PeriodicTask, slowest: timedelta | None) -> bool:
    if not row.enabled or row.one_off or row.args != "[]" or row.kwargs != "{}":
        return False
    if any(getattr(row, name) for name in _UNSET):
        return False
    if slowest is None:
        return row.crontab is not None
    return row.interval is not None and row.interval.schedule.run_every <= slowest
