"""Django's admin for people with a role: the permissions of a role are enough to enter it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from certs.models.people.permission import Permission, holds


class PortalAdmin(AdminSite):
    """Let in people who see every team; what is shown inside follows from the model permissions."""

    def has_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return super().has_permission(request) or holds(user, Permission.SEE_EVERY_TEAM)
