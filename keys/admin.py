"""Keys as the security team sees them: where each is and what became of it. Nothing can be changed here."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from audit.admin import ReadOnlyAdmin
from keys.models import Key


class BackendFilter(admin.SimpleListFilter):
    """The configured backends; Django would read them from all keys."""

    title = "backend"
    parameter_name = "backend"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(alias, alias) for alias in settings.KEY_BACKENDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Key]) -> QuerySet[Key]:
        return queryset.filter(backend=self.value()) if self.value() in settings.KEY_BACKENDS else queryset


@admin.register(Key)
class KeyAdmin(ReadOnlyAdmin):
    list_display = ("name", "backend", "version", "spec", "purpose", "state", "made_at")
    list_filter = (BackendFilter, "state", "purpose")
    search_fields = ("name__startswith", "spki_sha256__exact", "claimed_for__exact")
    exclude = ("spki_der",)
