"""What runs on a schedule: when each job is due, what became of its runs, and which beat leads."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from django_celery_beat.models import IntervalSchedule


LONGEST_PAUSE = timedelta(days=36_525)  # a century


def pause_of(interval: IntervalSchedule) -> timedelta | None:
    """Return the pause between two runs; None for one that is no pause: zero, or longer than the calendar."""
    try:
        pause: timedelta = interval.schedule.run_every
    except OverflowError:
        return None
    return pause if timedelta(0) < pause <= LONGEST_PAUSE else None


class ScheduledJob(models.Model):
    """One row of the due table: the schedule of that name (a `PeriodicTask`) and its last run.

    The schedule's own row says how often it runs; this one says when it is due. The row stays when
    the schedule is deleted, so that `bootstrap` does not bring back what an operator removed.
    """

    class Result(models.TextChoices):
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    name = models.CharField(max_length=200, unique=True)
    task = models.CharField(max_length=200)
    rule = models.CharField(max_length=300, help_text="The schedule for which due_at was computed.")
    due_at = models.DateTimeField(null=True, help_text="Empty while the schedule is off.")
    done_until = models.DateTimeField(help_text="Periods up to this time are done.")
    sent_period = models.DateTimeField(null=True, help_text="The period that was sent last.")
    sent_at = models.DateTimeField(null=True)
    started_period = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, help_text="Empty while a run goes on, and after one that broke off.")
    run_id = models.CharField(max_length=64, blank=True, help_text="The Celery task that works on started_period.")
    starts = models.PositiveSmallIntegerField(default=0, help_text="Runs of started_period.")
    lease_until = models.DateTimeField(null=True, help_text="Until then the message, or the run, is waited for.")
    result = models.CharField(max_length=12, choices=Result.choices, blank=True)
    error = models.CharField(max_length=300, blank=True)
    missed = models.PositiveIntegerField(default=0, help_text="Periods of the last gap in which nothing ran.")
    missed_at = models.DateTimeField(null=True, help_text="When that gap ended.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class BeatLease(models.Model):
    """The one row that says which beat leads, and until when if it gives no further sign of life."""

    holder = models.CharField(max_length=64)
    host = models.CharField(max_length=120, help_text="Host name and process id, for people.")
    since = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        default_permissions = ()


class QueueProgress(models.Model):
    """When a task of a queue last ended, to within some seconds."""

    name = models.CharField(max_length=64, primary_key=True)
    finished_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
