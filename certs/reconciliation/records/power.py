"""Compare the rows that give power with the digest in the last event of each."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model, QuerySet

from audit.changes import CHANGED, CREATED, DELETED, Watched, digest_of, subject_of
from certs.access.changes_of_power import wholly_recorded
from certs.access.roles import is_as_released
from certs.reconciliation.records import comparison as shared
from certs.reconciliation.records.comparison import Comparison, events_of, pages
from certs.reconciliation.records.granted import CHANGED_SILENTLY


def compare_power(comparison: Comparison) -> None:
    """Add accounts, groups, teams, domains, policies and schedules that no event explains."""
    for model, what in wholly_recorded().items():
        # the others are left out: an inner join would hide a row that points at nothing
        related = [f.name for f in model._meta.get_fields() if f.many_to_one and f.concrete and f.null]
        rows: QuerySet[Any] = QuerySet(model)
        if related:
            rows = rows.select_related(*related)

        def compare(page: list[Any], what: Watched = what) -> None:
            _rows(page, what, comparison)

        pages(rows, compare)
        _gone(model, what, comparison)


def _types(what: Watched) -> list[str]:
    return [f"{what.kind}:{verb}" for verb in (CREATED, CHANGED, DELETED)]


def _rows(page: list[Any], what: Watched, comparison: Comparison) -> None:
    logged = events_of([subject_of(row) for row in page], _types(what))
    for row in page:
        comparison.compared["rows that give power"] += 1
        if isinstance(row, Group) and is_as_released(row):
            continue  # `migrate` gives a role its permissions, without an event
        digests = [e.data.get("state_sha256") for e in logged[subject_of(row)]]
        name = f"{row} ({subject_of(row)})"
        if not digests:
            comparison.add(what.kind, name, "no event says that it was created")
        elif digests[-1] != digest_of(row):
            comparison.add(what.kind, name, CHANGED_SILENTLY)


def _gone(model: type[Model], what: Watched, comparison: Comparison) -> None:
    """Name rows that an event created, that are gone, and of which no event says that they were deleted."""
    prefix = f"{model._meta.label_lower}:"
    last = ""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT subject FROM audit_subject WHERE subject > %s AND substr(subject, 1, %s) = %s ORDER BY subject LIMIT %s",
                [last, len(prefix), prefix, shared.PAGE],
            )
            subjects = [row[0] for row in cursor.fetchall()]
        keys = {subject.removeprefix(prefix): subject for subject in subjects}
        there = {str(pk) for pk in QuerySet(model).filter(pk__in=keys).values_list("pk", flat=True)}
        logged = events_of([keys[key] for key in keys.keys() - there], _types(what))
        for subject, events in logged.items():
            if events and events[-1].event != f"{what.kind}:{DELETED}":
                name = f"{events[-1].data.get('name')} ({subject})"
                comparison.add(what.kind, name, "it is gone, and no event says that it was deleted")
        if len(subjects) < shared.PAGE:
            return
        last = subjects[-1]
