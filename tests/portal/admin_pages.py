"""The pages of the admin, by what Django says about them."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Model


def admin_pages() -> dict[type[Model], Any]:
    """Return the page of every model that the admin shows."""
    return {model: admin.site.get_model_admin(model) for model in apps.get_models() if admin.site.is_registered(model)}
