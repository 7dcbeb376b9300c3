"""Accounts, groups and schedules in the admin: Django's own pages, with each change in the log."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django_celery_beat.admin import (
    ClockedScheduleAdmin,
    CrontabScheduleAdmin,
    IntervalScheduleAdmin,
    PeriodicTaskAdmin,
    SolarScheduleAdmin,
)
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from audit.admin import AttributedAdmin, actor_of_request
from audit.changes import attribute
from certs.models import GroupMapping
from certs.notifications.changes_of_power import portal_tasks

for _model in (
    *(get_user_model(), Group, PeriodicTask),
    *(IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule),
    # django-allauth's own pages show secrets, and let an administrator add a way in to an account of somebody else.
    *(Authenticator, SocialAccount, SocialApp, SocialToken, EmailAddress),
):
    admin.site.unregister(_model)


@admin.register(get_user_model())
class AccountAdmin(AttributedAdmin, UserAdmin):  # type: ignore[type-arg] # no type arguments at run time
    """Accounts. A password is set in one transaction with its event."""

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's signature
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


@admin.register(Group)
class RoleAdmin(AttributedAdmin, GroupAdmin):
    """Groups and their permissions."""


@admin.register(GroupMapping)
class GroupMappingAdmin(AttributedAdmin):
    """What groups of the identity provider give. Only who may change accounts may change it: it gives roles."""

    list_display = ("group", "team", "role")
    search_fields = ("group",)
    list_select_related = ("team", "role")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and _gives_roles(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _gives_roles(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _gives_roles(request)


def _gives_roles(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.has_perm("auth.change_user"))


@admin.register(PeriodicTask)
class TaskAdmin(AttributedAdmin, PeriodicTaskAdmin):  # type: ignore[misc]
    """Schedules. The portal's own are never deleted, and one that is off is an alert."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.task in portal_tasks():
            return False
        return bool(super().has_delete_permission(request, obj))

    @admin.action(description="Enable the selected schedules")
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, True) for task in queryset])

    @admin.action(description="Disable the selected schedules")
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, False) for task in queryset])

    @admin.action(description="Enable or disable the selected schedules")
    def toggle_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._set_enabled(request, [(task, not task.enabled) for task in queryset])

    def _set_enabled(self, request: HttpRequest, wanted: list[tuple[PeriodicTask, bool]]) -> None:
        with transaction.atomic():
            for task, enabled in wanted:
                attribute(task, actor_of_request(request))
                task.enabled = enabled
                if not enabled:
                    task.last_run_at = None
                task.save()
        self.message_user(request, f"{len(wanted)} schedules were changed.")


@admin.register(IntervalSchedule)
class IntervalAdmin(AttributedAdmin, IntervalScheduleAdmin):  # type: ignore[misc]
    """Intervals, with each change in the log."""


@admin.register(CrontabSchedule)
class CrontabAdmin(AttributedAdmin, CrontabScheduleAdmin):  # type: ignore[misc]
    """Times of day, with each change in the log."""


@admin.register(SolarSchedule)
class SolarAdmin(AttributedAdmin, SolarScheduleAdmin):  # type: ignore[misc]
    """Solar times, with each change in the log."""


@admin.register(ClockedSchedule)
class ClockedAdmin(AttributedAdmin, ClockedScheduleAdmin):  # type: ignore[misc]
    """Single moments, with each change in the log."""
