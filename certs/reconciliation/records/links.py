"""Name rows that point at a row that does not exist, which no program of the portal can bring about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Exists, ForeignKey, Model, OuterRef, QuerySet

from audit.changes import watched
from certs.reconciliation.records.comparison import Comparison
from db.sql import one_moment

SHOWN = 20  # of one kind of link
_APPS = ("certs", "keys", "policy")


def compare_links(comparison: Comparison) -> None:
    """Add them, table by table. One query for each foreign key."""
    for model in _models():
        for link in model._meta.concrete_fields:
            if isinstance(link, ForeignKey):
                with one_moment():
                    _broken(model, link, comparison)


def _models() -> Iterator[type[Model]]:
    """Yield the portal's own tables, and those of rights."""
    mine = {model for app in _APPS for model in apps.get_app_config(app).get_models(include_auto_created=True)}
    granting = {*watched(), get_user_model()}
    through = {getattr(model, f.name).through for model in granting for f in model._meta.many_to_many}
    yield from sorted(
        (model for model in mine | granting | through if model._meta.managed and not model._meta.proxy),
        key=lambda model: model._meta.label,
    )


def _broken(model: type[Model], link: ForeignKey[Any, Any], comparison: Comparison) -> None:
    target: Any = link.related_model
    there: QuerySet[Any] = QuerySet(target).filter(**{link.target_field.name: OuterRef(link.attname)})
    rows: QuerySet[Any] = QuerySet(model).filter(~Exists(there), **{f"{link.name}__isnull": False})
    for key, missing in rows.order_by("pk").values_list("pk", link.attname)[:SHOWN]:
        kind = str(model._meta.verbose_name)
        problem = f"it points at {target._meta.verbose_name} {missing}, which does not exist"
        comparison.add(kind, str(key), problem)
