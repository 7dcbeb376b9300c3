"""Keys as the security team sees them: where each is and what became of it. Nothing can be changed here."""

from __future__ import annotations

from django.contrib import admin

from audit.admin import ReadOnlyAdmin
from keys.models import Key, PublicKey


@admin.register(Key)
class KeyAdmin(ReadOnlyAdmin):
    list_display = ("name", "backend", "version", "spec", "purpose", "state", "made_at")
    list_filter = ("backend", "state", "purpose")
    search_fields = ("name__startswith", "spki_sha256__exact", "claimed_for__exact")
    exclude = ("spki_der",)


@admin.register(PublicKey)
class PublicKeyAdmin(ReadOnlyAdmin):
    list_display = ("spki_sha256", "team", "recorded_at", "blocked_at", "blocked_reason")
    search_fields = ("spki_sha256__exact",)
