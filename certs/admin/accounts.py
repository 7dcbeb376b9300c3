"""Accounts and groups in the admin: Django's own pages, with each change in the log."""

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
from django.http import HttpRequest, HttpResponse

from audit.admin import AttributedAdmin
from certs.models import GroupMapping

for _model in (
    *(get_user_model(), Group),
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
