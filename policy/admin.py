"""Policies, profiles and policy versions in the admin: a version is drafted here, published once,
and read-only from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from audit.admin import AttributedAdmin, SearchedAdmin
from audit.log import Actor
from policy.errors import PolicyError
from policy.models import Policy, PolicyVersion, Profile
from policy.publishing import PUBLISH, draft_version, publish_as
from policy.rules import RuleSetInvalid, ruleset_from_dict
from policy.rules.profiles import KNOWN_EKUS

# Django's own classes take no type parameters at run time.
if TYPE_CHECKING:
    ProfileModelForm = forms.ModelForm[Profile]
    VersionModelForm = forms.ModelForm[PolicyVersion]
else:
    ProfileModelForm = VersionModelForm = forms.ModelForm


class ProfileForm(ProfileModelForm):
    """Refuses usages that the portal cannot write into a certificate."""

    class Meta:
        model = Profile
        fields = ("name", "ekus", "description", "subject_organization")

    def clean_ekus(self) -> list[str]:
        ekus = self.cleaned_data["ekus"]
        if not isinstance(ekus, list) or not ekus or any(eku not in KNOWN_EKUS for eku in ekus):
            raise ValidationError(f"List at least one of {', '.join(KNOWN_EKUS)}.")
        return ekus


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


class PolicyVersionForm(VersionModelForm):
    """A draft: the policy and its rules. The version comes from the rules, so that the two cannot disagree."""

    class Meta:
        model = PolicyVersion
        fields = ("policy", "rules")

    def clean_rules(self) -> Any:
        rules = self.cleaned_data["rules"]
        try:
            ruleset = ruleset_from_dict(rules)
        except RuleSetInvalid as error:
            raise ValidationError(str(error)) from error
        if self.instance.pk and ruleset.version != self.instance.version:
            raise ValidationError(f"This draft is version {self.instance.version}. Add a new draft for {ruleset.version}.")
        return rules

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        policy, rules = data.get("policy") or self.instance.policy_id, data.get("rules")
        if rules and PolicyVersion.objects.published().filter(policy=policy, version=rules["version"]).exists():
            raise ValidationError({"rules": f"Version {rules['version']} is published and final. Choose the next version."})
        return data


@admin.register(PolicyVersion)
class PolicyVersionAdmin(SearchedAdmin):
    """Drafts are written by `draft_version`, so that each is validated and audited; publishing is an action."""

    form = PolicyVersionForm
    list_display = ("policy", "version", "state", "effective_from", "published_by", "digest")
    list_filter = ("policy", "state")
    list_select_related = ("policy",)
    readonly_fields = ("version", "state", "digest", "drafted_at", "drafted_by", "effective_from", "published_at", "published_by")
    actions = ("publish_selected",)

    def get_readonly_fields(self, request: HttpRequest, obj: PolicyVersion | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "policy") if obj else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or not obj.is_published)

    def has_delete_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return False

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(PUBLISH))

    def save_model(self, request: HttpRequest, obj: PolicyVersion, form: VersionModelForm, change: bool) -> None:  # noqa: FBT001
        actor = Actor("user", request.user.get_username())
        stored = draft_version(obj.policy.name, obj.rules, actor=actor, now=timezone.now())
        obj.pk, obj.version, obj.digest = stored.pk, stored.version, stored.digest

    def response_change(self, request: HttpRequest, obj: PolicyVersion) -> HttpResponse:
        """A draft that was changed is another row: who goes on editing goes on there."""
        response = super().response_change(request, obj)
        return redirect("admin:policy_policyversion_change", obj.pk) if "_continue" in request.POST else response

    @admin.action(description="Publish the selected drafts, in force from now on", permissions=["publish"])
    def publish_selected(self, request: HttpRequest, queryset: QuerySet[PolicyVersion]) -> None:
        if len(queryset) < len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))):
            changed = "A selected draft was drafted anew since you saw it. Look at the new draft before you publish it."
            self.message_user(request, changed, messages.ERROR)
        for version in queryset.select_related("policy"):
            try:
                published = publish_as(version, user=request.user, now=timezone.now())
            except PolicyError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                alone = published.published_by == published.drafted_by
                note = " One person drafted and published it, as PKI_SINGLE_OFFICER allows." if alone else ""
                self.message_user(request, f"{version} is published and in force.{note}", messages.SUCCESS)
