"""The schedules that an installation begins with, written where operators change them: django-celery-beat's rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.changes import attribute
from audit.log import Actor
from certs.models import ScheduledJob
from certs.schedules.due import add_job


def ensure_schedules(*, actor: Actor, now: datetime) -> list[str]:
    """Write the schedules of PKI_SCHEDULES and PKI_CRONTABS that were never written here. Returns their names.

    The due table remembers every schedule that ever was: one that an operator deleted or renamed
    does not come back.
    """
    made = []
    for name in {**settings.PKI_SCHEDULES, **settings.PKI_CRONTABS}:
        with transaction.atomic():
            task = PeriodicTask.objects.filter(name=name).first()
            if task is None and not ScheduledJob.objects.filter(name=name).exists():
                task = _write(name, actor)
                made.append(name)
            if task is not None:
                add_job(task, now)
    return made


def restore_schedules(*, actor: Actor) -> list[str]:
    """Write the schedules of the settings anew that were deleted. Returns their names."""
    made = []
    for name in {**settings.PKI_SCHEDULES, **settings.PKI_CRONTABS}:
        with transaction.atomic():
            if not PeriodicTask.objects.filter(name=name).exists():
                _write(name, actor)
                made.append(name)
    return made


def _write(name: str, actor: Actor) -> PeriodicTask:
    """Write one schedule in an open transaction; the audit log holds by whom."""
    crontabs: dict[str, Any] = settings.PKI_CRONTABS
    rule: dict[str, Any]
    if name in crontabs:
        entry = crontabs[name]
        crontab, _ = CrontabSchedule.objects.get_or_create(**entry["crontab"], timezone="UTC")
        rule = {"crontab": crontab}
    else:
        entry = settings.PKI_SCHEDULES[name]
        seconds: Any = entry["every_seconds"]
        interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
        rule = {"interval": interval}
    task = PeriodicTask(name=name, task=entry["task"], **rule)
    attribute(task, actor)
    task.save()
    return task
