"""The ledger in the Django admin: to be read, never written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import DataError, transaction
from django.db.models import Model, Q, QuerySet
from django.forms import MultiWidget, PasswordInput
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.module_loading import import_string

from audit.changes import attribute
from audit.events import Actor
from audit.models import AuditEvent, Checkpoint

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:  # Django's classes take no type argument at run time.
    Base = admin.ModelAdmin
    AnyPaginator = Paginator


MOST_COUNTED = 10_000


class BoundedPaginator(AnyPaginator):
    """Counts no further than MOST_COUNTED: what lies behind is found by a search or a filter, not by turning pages."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, MOST_COUNTED + 1 where there are more."""
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: MOST_COUNTED + 1].count())


class PortalAdmin(Base):
    """What holds for every page of the admin.

    A row has a link to its page in the portal where it has one (setting `PKI_ADMIN_PAGES`). Counts
    of all rows, scans of the whole table on PostgreSQL, are not made.
    """

    paginator = BoundedPaginator
    list_per_page = 25  # as the lists of the portal
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = tuple(super().get_list_display(request))
        return (*shown, "portal_page") if self._page_of() else shown

    @admin.display(description="portal")
    def portal_page(self, row: Any) -> str:
        """Return the link in a list."""
        address = self.get_view_on_site_url(row)
        return format_html('<a href="{}">Page<span class="visually-hidden"> of {}</span></a>', address, row) if address else ""

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        page_of = self._page_of()
        return (page_of(obj) or None) if page_of and obj is not None else None

    def _page_of(self) -> Callable[[Any], str] | None:
        found: Callable[[Any], str] | None = import_string(settings.PKI_ADMIN_PAGES)(self.model)
        return found

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Name both halves of a date and time: Django labels only the pair (WCAG 2.2, 4.1.2)."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, MultiWidget):
            for widget, half in zip(field.widget.widgets, ("date", "time"), strict=False):
                widget.attrs["aria-label"] = f"{field.label}: {half}"
        return field

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Raise IncorrectLookupParameters, which the admin answers, where an address asks for what no query can.

        Any field may stand in the address: a year of twenty digits, a pattern without its end, octets as text.
        """
        try:
            return super().get_changelist_instance(request)
        except (ValueError, TypeError, OverflowError, DataError) as exc:
            if not request.GET:
                raise
            raise IncorrectLookupParameters(request.path) from exc


class ReadOnlyAdmin(PortalAdmin):
    """Refuse to add, change and delete, whatever the person's permissions are."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class SearchedAdmin(PortalAdmin):
    """Texts of its forms are searched for secrets before anything is stored (setting `PKI_TEXT_CHECK`)."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        return _searched(super().get_form(request, obj, change=change, **kwargs), actor_of_request(request))


def _searched(form: Any, actor: Actor) -> Any:
    """Return a subclass of the form whose `clean` refuses a secret in a field, and does not show it again."""
    problem_with_text = import_string(settings.PKI_TEXT_CHECK)  # by dotted path: the search lies above this package

    class SearchedForm(form):  # type: ignore[misc]
        def clean(self) -> Any:
            data = super().clean()
            for name, field in self.fields.items():
                value = self.cleaned_data.get(name)
                if isinstance(field.widget, PasswordInput):
                    continue
                text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | dict) else ""
                if text and (problem := problem_with_text(text, actor=actor, field=name)):
                    self.add_error(name, problem)
                    shown = self.data.copy()
                    shown[self.add_prefix(name)] = ""
                    self.data: Any = shown
            return data

    return SearchedForm


class AttributedAdmin(SearchedAdmin):
    """For models of `audit.changes`: each event names the person who is signed in.

    Rows are written one by one, because bulk statements leave no event.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        found: Model | None = super().get_object(request, object_id, from_field)
        if found is not None:
            attribute(found, actor_of_request(request))
        return found

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:  # noqa: FBT001 - Django's signature
        row = super().save_form(request, form, change)
        attribute(row, actor_of_request(request))
        return row

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        for one in formset.forms:
            attribute(one.instance, actor_of_request(request))
        super().save_formset(request, form, formset, change)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for row in queryset:
                attribute(row, actor_of_request(request))
                row.delete()


def actor_of_request(request: HttpRequest) -> Actor:
    """Return the person who is signed in, as the audit log names people."""
    return Actor("user", request.user.get_username())


# The kinds of subject, before the id.
_KINDS = ("request", "certificate", "bulk", "issuer", "policy", "key", "public_key", "token", "user", "team", "act", "waiver", "alert")


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "event", "subject", "subject_seq", "actor_kind", "actor_name")
    list_display_links = ("id", "event")
    ordering = ("-id",)
    # Whole subjects and actors are found by their indexes; a search inside texts would read the whole table.
    search_fields = ("subject__exact",)
    search_help_text = "A whole id, with or without its kind, or an actor. The portal's page Audit finds names too."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """Find the events of a subject whatever its kind, and those by an actor. Never says that rows may come twice."""
        text = search_term.strip()
        if not text:
            return queryset, False
        subjects = [text, *(f"{kind}:{text}" for kind in _KINDS)]
        return queryset.filter(Q(subject__in=subjects) | Q(actor_name=text)), False


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("epoch", "tree_size", "created_at")
    list_display_links = ("tree_size",)
    fields = ("epoch", "tree_size", "created_at", "note")
    ordering = ("-epoch", "-tree_size")
