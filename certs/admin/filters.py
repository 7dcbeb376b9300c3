"""Filters of the admin whose choices are said here: Django would read all values of the column from the whole table for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from certs.enums import Channel
from certs.inventory import CertificateFilter, StateGroup, filter_certificates
from certs.inventory import CertificateState as State
from db.clock import database_now


def one_of(field: str, values: Sequence[str]) -> type[admin.SimpleListFilter]:
    """A filter for a text column of few values that has no choices of its own."""

    class OneOf(admin.SimpleListFilter):
        title = field.replace("_", " ")
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value.replace("_", " ")) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() in values else queryset

    return OneOf


class StillOpen(admin.SimpleListFilter):
    """What waits to be closed, or is closed."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "open"), ("closed", "closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("open", "closed"):
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


class CertificateState(admin.SimpleListFilter):
    """The states of the portal's own list: `status` alone calls an expired certificate good."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*StateGroup.choices, *State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value() or ""
        if state not in {*StateGroup.values, *State.values}:
            return queryset
        return filter_certificates(queryset, CertificateFilter(state=state), now=database_now())


Door = one_of("door", tuple(Channel))
AttemptStep = one_of("step", ("key", "csr", "submit"))
AttemptOutcome = one_of("outcome", ("done", "lost", "refused", "mismatch", "pending", "not_sent", "unknown", "cleared"))
