"""The ledger in the Django admin: to be read, never written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from audit.models import AuditEvent, Checkpoint

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:  # Django's class takes no type argument at run time.
    Base = admin.ModelAdmin


class ReadOnlyAdmin(Base):
    """No add, no change, no delete, for nobody, whatever their permissions."""

    actions = None
    # The count of all rows is a scan of the whole table on PostgreSQL.
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "event", "subject", "subject_seq", "actor_kind", "actor_name")
    list_display_links = ("id", "event")
    ordering = ("-id",)
    # An exact subject is found by its index; a search inside texts would read the whole table.
    search_fields = ("subject__exact",)
    search_help_text = "A subject, in full: req-..., cert-..., an issuer or a policy"


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("epoch", "tree_size", "created_at")
    list_display_links = ("tree_size",)
    fields = ("epoch", "tree_size", "created_at", "note")
    ordering = ("-epoch", "-tree_size")
