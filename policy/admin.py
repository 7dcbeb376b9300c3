"""Policies and profiles in the admin; policy versions and waivers are only shown there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from audit.admin import AttributedAdmin, SearchedAdmin
from policy.models import Policy, PolicyVersion, PolicyWaiver, Profile
from policy.rules.profiles import KNOWN_EKUS

# Django's own classes take no type parameters at run time.
if TYPE_CHECKING:
    ProfileModelForm = forms.ModelForm[Profile]
else:
    ProfileModelForm = forms.ModelForm


class ProfileForm(ProfileModelForm):
    """Offers the usages that the portal can write into a certificate."""

    ekus = forms.MultipleChoiceField(
        label="Extended key usages",
        choices=[(eku, eku) for eku in KNOWN_EKUS],
        widget=forms.CheckboxSelectMultiple,
        help_text="What the certificates are for (RFC 5280, 4.2.1.12): at least one.",
    )

    class Meta:
        model = Profile
        fields = ("name", "ekus", "description", "subject_organization")


@admin.register(Profile)
class ProfileAdmin(AttributedAdmin):
    form = ProfileForm
    list_display = ("name", "ekus", "description", "subject_organization")
    search_fields = ("name",)


@admin.register(Policy)
class PolicyAdmin(AttributedAdmin):
    list_display = ("name", "description")
    search_fields = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Policy | None = None) -> tuple[str, ...]:
        return ("name",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        return False


@admin.register(PolicyVersion)
class PolicyVersionAdmin(SearchedAdmin):
    """Shows versions. They are drafted, published and withdrawn in the portal, by two persons."""

    list_display = ("policy", "version", "state", "effective_from", "published_by", "digest")
    list_filter = ("policy", "state")
    list_select_related = ("policy",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return False


@admin.register(PolicyWaiver)
class PolicyWaiverAdmin(SearchedAdmin):
    """Shows waivers. They are requested, approved and ended in the portal, by two persons."""

    list_display = ("reference", "rule", "names", "teams", "begins", "ends", "requester", "approver")
    list_select_related = ("requester", "approver")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: PolicyWaiver | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: PolicyWaiver | None = None) -> bool:
        return False
