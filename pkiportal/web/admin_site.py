"""Django's admin for people with a role: the permissions of a role are enough to enter it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from certs.models.people.permission import Permission, holds
from pkiportal.web.admin_subjects import by_subject


class PortalAdmin(AdminSite):
    """Let in people who see every team; what is shown inside follows from the model permissions.

    The index groups tables by subject. There is no side bar: columns need the width.
    """

    enable_nav_sidebar = False
    site_url = None  # the frame has a link to the portal already
    index_title = "Machinery: the tables behind the portal"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the tables by subject; those of one application as Django lists them."""
        found = super().get_app_list(request, app_label)
        return found if app_label else by_subject(found)

    def has_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return super().has_permission(request) or holds(user, Permission.SEE_EVERY_TEAM)
