"""Schedules in the admin: those that the portal cannot do without are switched off or slowed down on purpose only."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.forms.models import construct_instance
from django.http import HttpRequest
from django_celery_beat.admin import (
    ClockedScheduleAdmin,
    CrontabScheduleAdmin,
    IntervalScheduleAdmin,
    PeriodicTaskAdmin,
    PeriodicTaskForm,
    SolarScheduleAdmin,
)
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from audit.admin import AttributedAdmin, actor_of_request
from audit.changes import attribute
from certs.access.permissions import Permission, holds
from certs.notifications.changes_of_power import portal_tasks, runs_as_needed

for _model in (PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(_model)

if TYPE_CHECKING:
    IntervalModelForm = forms.ModelForm[IntervalSchedule]
else:  # Django's own class takes no type parameter at run time.
    IntervalModelForm = forms.ModelForm


class ScheduleForm(PeriodicTaskForm):  # type: ignore[misc]
    """Asks for the schedule's name before it stops doing what the portal needs: seal, sweeper, checks."""

    confirmation = forms.CharField(
        required=False,
        max_length=200,
        label="Name of the schedule",
        help_text="Type it to switch off, slow down or redirect a schedule that the portal needs. Operators get an alert.",
    )

    def clean(self) -> Any:
        data = super().clean()
        before = self.instance
        if before.pk is None or self.errors or before.task not in portal_tasks():
            return data
        after = construct_instance(self, copy(before), self._meta.fields, self._meta.exclude)
        if after.task == before.task and runs_as_needed(after):
            return data
        if self.cleaned_data.get("confirmation") != before.name:
            self.add_error(
                "confirmation",
                f"The portal needs {before.task}, and it would not run as it must. Nothing was changed. "
                f"Type {before.name} here to do it all the same.",
            )
        return data


@admin.register(PeriodicTask)
class TaskAdmin(AttributedAdmin, PeriodicTaskAdmin):  # type: ignore[misc]
    """Schedules. The portal's own are never deleted, and one that is off is an alert."""

    form = ScheduleForm
    change_form_template = "admin/change_form.html"  # the package's own has an inline script, which the CSP blocks
    list_display = ("name", "enabled", "interval", "crontab", "last_run_at")
    date_hierarchy = None
    fieldsets = (
        *PeriodicTaskAdmin.fieldsets,
        ("Switch off or slow down", {"fields": ("confirmation",), "classes": ("wide",)}),
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The right to change rows is not enough: it takes an operator."""
        return bool(super().has_change_permission(request, obj)) and holds(request.user, Permission.OPERATE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.task in portal_tasks():
            return False
        return bool(super().has_delete_permission(request, obj)) and holds(request.user, Permission.OPERATE)

    @admin.action(description="Enable the selected schedules", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, True) for task in queryset])

    @admin.action(description="Disable the selected schedules", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, False) for task in queryset])

    @admin.action(description="Enable or disable the selected schedules", permissions=["change"])
    def toggle_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, not task.enabled) for task in queryset])

    def _set_enabled(self, request: HttpRequest, wanted: list[tuple[PeriodicTask, bool]]) -> None:
        needed = [task for task, enabled in wanted if not enabled and task.task in portal_tasks()]
        for task in needed:
            text = f"The portal needs {task.name}. It was left on: to switch it off, open it and type its name."
            self.message_user(request, text, messages.ERROR)
        changed = [(task, enabled) for task, enabled in wanted if task not in needed]
        with transaction.atomic():
            for task, enabled in changed:
                attribute(task, actor_of_request(request))
                task.enabled = enabled
                if not enabled:
                    task.last_run_at = None
                task.save()
        if changed:
            self.message_user(request, f"{len(changed)} schedules were changed.")


class IntervalForm(IntervalModelForm):
    """Refuses to slow down an interval that a schedule of the portal uses: others use it too."""

    class Meta:
        model = IntervalSchedule
        fields = ("every", "period")

    def clean(self) -> Any:
        data = super().clean()
        if self.instance.pk is None or self.errors:
            return data
        after = construct_instance(self, copy(self.instance), self._meta.fields, self._meta.exclude)
        for task in PeriodicTask.objects.filter(interval=self.instance.pk, task__in=portal_tasks()).order_by("pk"):
            task.interval = after
            if task.enabled and not runs_as_needed(task):
                self.add_error(
                    "every",
                    f"{task.name} uses this interval, and the portal needs it to run more often. Nothing was changed. "
                    "Add another interval and choose it in that schedule.",
                )
        return data


class _UsedBySchedules(AttributedAdmin):
    """A time that schedules use. Deleting it would delete them."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and holds(request.user, Permission.OPERATE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        used = obj is not None and obj.periodictask_set.filter(task__in=portal_tasks()).exists()
        return not used and bool(super().has_delete_permission(request, obj)) and holds(request.user, Permission.OPERATE)


@admin.register(IntervalSchedule)
class IntervalAdmin(_UsedBySchedules, IntervalScheduleAdmin):  # type: ignore[misc]
    """Intervals, with each change in the log."""

    form = IntervalForm


@admin.register(CrontabSchedule)
class CrontabAdmin(_UsedBySchedules, CrontabScheduleAdmin):  # type: ignore[misc]
    """Times of day, with each change in the log."""


@admin.register(SolarSchedule)
class SolarAdmin(_UsedBySchedules, SolarScheduleAdmin):  # type: ignore[misc]
    """Solar times, with each change in the log."""


@admin.register(ClockedSchedule)
class ClockedAdmin(_UsedBySchedules, ClockedScheduleAdmin):  # type: ignore[misc]
    """Single moments, with each change in the log."""
