"""The security team's view of requests, certificates and issuers. What must not change is shown and nothing more."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from audit.admin import AttributedAdmin, ReadOnlyAdmin
from audit.log import Actor
from certs.access.api_tokens import revoke_token
from certs.access.permissions import Authority, Permission, holds
from certs.admin.filters import AttemptOutcome, AttemptStep, CertificateState, Door, StillOpen
from certs.errors import InputRefused, PortalError
from certs.inventory import certificates_named, filter_requests, states_of
from certs.models import (
    CRL,
    ApiToken,
    Approval,
    Attempt,
    BulkChunk,
    BulkItem,
    BulkOrder,
    Certificate,
    CertificateRequest,
    Domain,
    IssuanceIntent,
    Issuer,
    OperatorAlert,
    OutgoingMail,
    PolicyEvaluation,
    QuarantinedCertificate,
    ResponderCertificate,
    Revocation,
    Team,
    UnclaimedResult,
    UnknownCertificate,
)
from certs.models.people.team import outside
from certs.revocation.unblock import MOST_REASON, unblock_key
from certs.x509.certificate.serial import serial_readings
from certs.x509.domains import is_inside
from db.clock import database_now
from keys.models import PublicKey


class DomainFormSet(BaseInlineFormSet):  # type: ignore[type-arg] # no type arguments at run time
    """The domains of a team, as they will be: the default domain must lie inside them."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """Name each field of the table: a heading of a column is no label (WCAG 2.2, 4.1.2)."""
        super().add_fields(form, index)
        for name, label in (("name", "Domain"), ("DELETE", "Delete this domain")):
            if name in form.fields:
                form.fields[name].widget.attrs["aria-label"] = label

    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form not in self.deleted_forms]
        shown = {form.initial.get("name") for form in self.forms}
        stored = self.instance.domain_names() if self.instance.pk else ()
        owned = {form.instance.name for form in kept if form.instance.name}
        owned |= {name for name in stored if name not in shown}
        default = self.instance.default_domain
        if default and not is_inside(default, owned):
            raise ValidationError(outside(default, owned))


class DomainInline(admin.TabularInline):  # type: ignore[type-arg] # no type arguments at run time
    model = Domain
    formset = DomainFormSet
    extra = 1


@admin.register(Team)
class TeamAdmin(AttributedAdmin):
    list_display = ("name", "slug", "default_domain", "email")
    search_fields = ("name", "slug")
    filter_horizontal = ("members", "leads")
    inlines = (DomainInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Team | None = None) -> tuple[str, ...]:
        """The slug is final, see `Team.save`."""
        return ("slug",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Save a default domain only after its domain: both may be new on this page."""
        wanted, obj.default_domain = obj.default_domain, ""
        if is_inside(wanted, obj.domain_names() if change else ()):
            obj.default_domain = wanted
        super().save_model(request, obj, form, change)
        obj.default_domain = wanted

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        wanted = form.instance.default_domain
        super().save_related(request, form, formsets, change)
        form.instance.refresh_from_db(fields=["default_domain"])
        if form.instance.default_domain != wanted:
            form.instance.default_domain = wanted
            form.instance.save()


@admin.register(Issuer)
class IssuerAdmin(ReadOnlyAdmin):
    """A CA's state is changed by the workflow and its commands, which write the audit events that go with it."""

    list_display = ("name", "alias", "state", "parent", "circuit_opened_at", "circuit_reason")
    list_select_related = ("parent",)
    exclude = ("certificate_der", "trust_anchor_der")


@admin.register(CertificateRequest)
class CertificateRequestAdmin(ReadOnlyAdmin):
    list_display = ("public_id", "common_name", "state", "team", "key_type", "policy_version", "held_since", "created_at")
    list_filter = ("state", Door)
    list_select_related = ("team",)
    search_fields = ("public_id__exact", "common_name__startswith", "resume_id__exact")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CertificateRequest], search_term: str
    ) -> tuple[QuerySet[CertificateRequest], bool]:
        """As the portal's own list is searched."""
        return filter_requests(queryset, text=search_term), False


@admin.register(BulkOrder)
class BulkOrderAdmin(ReadOnlyAdmin):
    """An order; its lines and chunks are a click away, in lists of their own, for there may be fifty thousand."""

    list_display = ("public_id", "title", "state", "team", "door", "total", "created_at", "finished_at", "lines", "parts")
    list_filter = ("state", Door)
    list_select_related = ("team",)
    search_fields = ("public_id__exact",)
    readonly_fields = ("lines", "parts")

    @admin.display(description="lines")
    def lines(self, order: BulkOrder) -> str:
        return _list_of(BulkItem, order, "lines")

    @admin.display(description="chunks")
    def parts(self, order: BulkOrder) -> str:
        return _list_of(BulkChunk, order, "chunks")


def _list_of(model: type[Model], order: BulkOrder, label: str) -> str:
    address = reverse(f"admin:certs_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?order__id__exact={}">{}</a>', address, order.pk, label)


@admin.register(BulkItem)
class BulkItemAdmin(ReadOnlyAdmin):
    list_display = ("number", "source", "common_name", "outcome", "reason", "order")
    list_display_links = ("number", "source")
    list_filter = ("outcome",)
    list_select_related = ("order",)
    search_fields = ("order__public_id__exact",)
    exclude = ("csr_der", "spki_der")
    ordering = ("-order", "number")


@admin.register(BulkChunk)
class BulkChunkAdmin(ReadOnlyAdmin):
    list_display = ("order", "first", "last", "state", "key_backend", "queued_at", "done_at")
    list_filter = ("state",)
    list_select_related = ("order",)
    search_fields = ("order__public_id__exact",)


class _WithStates(ChangeList):
    """The rows of the page with their states, which are read together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        states = states_of([row.pk for row in rows], database_now())
        for row in rows:
            row.state_now = states.get(row.pk)
        self.result_list = rows  # Django goes through it and counts it


@admin.register(Certificate)
class CertificateAdmin(ReadOnlyAdmin):
    list_display = ("cert_id", "common_name", "state", "team", "issuer", "not_after", "policy_version")
    list_filter = (CertificateState,)
    list_select_related = ("team", "issuer")
    search_fields = ("cert_id__exact", "common_name__startswith", "serial_number__exact", "sha256_fingerprint__exact")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Certificate], search_term: str
    ) -> tuple[QuerySet[Certificate], bool]:
        """As the portal's own list is searched: in every spelling of a serial number, name or fingerprint."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(certificates_named(Certificate.objects.all(), search_term)), False

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return _WithStates

    @admin.display
    def state(self, row: Any) -> str:
        return row.state_now.label if row.state_now else ""


@admin.register(PolicyEvaluation)
class PolicyEvaluationAdmin(ReadOnlyAdmin):
    list_display = ("request", "policy_version", "outcome", "evaluated_at")
    list_select_related = ("request",)


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("request", "approver", "granted", "comment", "decided_at")
    list_select_related = ("request", "approver")


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ("request", "step", "number", "outcome", "opened_at", "closed_at", "detail")
    list_filter = (StillOpen, AttemptStep, AttemptOutcome, "opened_at", "closed_at")
    list_select_related = ("request",)


@admin.register(UnclaimedResult)
class UnclaimedResultAdmin(ReadOnlyAdmin):
    list_display = ("request", "kind", "brought_at", "settled_at", "settlement")
    list_select_related = ("request",)
    exclude = ("payload", "chain")


@admin.register(QuarantinedCertificate)
class QuarantinedCertificateAdmin(ReadOnlyAdmin):
    list_display = ("request", "issuer", "serial_number", "received_at", "revoked_at", "revocation_tries", "revocation_error")
    list_select_related = ("request", "issuer")
    exclude = ("der",)


@admin.register(Revocation)
class RevocationAdmin(ReadOnlyAdmin):
    list_display = ("certificate", "reason", "requested_by", "requested_at", "confirmed_at", "released_at", "tries", "last_error")
    list_filter = ("reason",)
    search_fields = ("certificate__cert_id__exact",)
    list_select_related = ("certificate",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Revocation], search_term: str
    ) -> tuple[QuerySet[Revocation], bool]:
        """By whatever names the certificate."""
        if not search_term.strip():
            return queryset, False
        # The revocation has the key of its certificate.
        return queryset.filter(certificates_named(Certificate.objects.all(), search_term)), False


@admin.register(IssuanceIntent)
class IssuanceIntentAdmin(ReadOnlyAdmin):
    list_display = ("order_ref", "issuer", "serial_number", "state", "created_at", "signed_at")
    list_filter = ("state",)
    list_select_related = ("issuer",)
    search_fields = ("order_ref__exact", "serial_number__exact")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[IssuanceIntent], search_term: str
    ) -> tuple[QuerySet[IssuanceIntent], bool]:
        """By order, or by serial number in every spelling."""
        if not search_term.strip():
            return queryset, False
        try:
            serials = [f"{number:x}" for number in serial_readings(search_term)]
        except InputRefused:
            serials = []
        return queryset.filter(Q(order_ref=search_term.strip()) | Q(serial_number__in=serials)), False

    exclude = ("tbs", "signature_algorithm", "certificate_der")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are made and revoked in the portal by their users; the hash is nobody's business."""

    list_display = ("name", "prefix", "user", "team", "created_at", "expires_at", "revoked_at")
    list_select_related = ("user", "team")
    exclude = ("sha256",)
    actions = ("revoke",)  # type: ignore[assignment] # the base has none

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return holds(request.user, Permission.REVOKE_TOKENS)

    @admin.action(description="Revoke the selected tokens (a leaver's, or one that leaked)", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            revoke_token(token, authority=Authority(Actor("user", request.user.get_username()), request.user))


@admin.register(OperatorAlert)
class OperatorAlertAdmin(ReadOnlyAdmin):
    list_display = ("message", "kind", "cause", "occurrences", "raised_at", "closed_at", "closed_by")
    list_filter = (StillOpen,)
    search_fields = ("kind__exact", "cause__exact")


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyAdmin):
    list_display = ("subject", "recipient", "written_at", "sent_at", "bundled_into", "given_up_at", "tries", "last_error")
    list_select_related = ("bundled_into",)
    exclude = ("html",)


@admin.register(CRL)
class CRLAdmin(ReadOnlyAdmin):
    list_display = ("point", "number", "count", "this_update", "next_update", "published_at")
    list_select_related = ("point__issuer",)
    exclude = ("head", "tail", "segments")


@admin.register(ResponderCertificate)
class ResponderCertificateAdmin(ReadOnlyAdmin):
    list_display = ("order_ref", "issuer", "serial_number", "not_before", "not_after")
    list_select_related = ("issuer",)
    exclude = ("certificate_der",)


@admin.register(UnknownCertificate)
class UnknownCertificateAdmin(ReadOnlyAdmin):
    """What `reconcile_ca` found; a person settles it with `reconcile_ca --settle`, saying how."""

    list_display = ("issuer", "serial_number", "subject", "found_at", "settled_at", "settlement")
    list_select_related = ("issuer",)
    exclude = ("der",)


class UnblockForm(ActionForm):
    reason = forms.CharField(required=False, max_length=MOST_REASON, help_text="Why the block is wrong; kept in the audit log.")


@admin.register(PublicKey)
class PublicKeyAdmin(ReadOnlyAdmin):
    """Registered here and not beside its model: unblocking is a use case of certs."""

    list_display = ("spki_sha256", "team", "recorded_at", "blocked_at", "blocked_reason")
    search_fields = ("spki_sha256__exact",)
    actions = ("unblock",)  # type: ignore[assignment] # the base has none
    action_form = UnblockForm

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return holds(request.user, Permission.DECIDE_KEYS)

    @admin.action(description="Unblock the selected keys (blocked by mistake)", permissions=["decide"])
    def unblock(self, request: HttpRequest, queryset: QuerySet[PublicKey]) -> None:
        authority = Authority(Actor("user", request.user.get_username()), request.user)
        for key in queryset:
            try:
                unblock_key(key.pk, reason=request.POST.get("reason", ""), authority=authority)
            except PortalError as exc:
                messages.error(request, f"{key}: {exc.message} {exc.next_step}".strip())
            else:
                messages.success(request, f"{key} is unblocked.")
