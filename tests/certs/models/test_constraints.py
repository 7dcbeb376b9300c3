"""What the models promise, the database keeps."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection, models

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.mark.parametrize("app", ["audit", "keys", "policy", "certs"])
def test_every_constraint_and_index_of_the_models_is_in_the_database(app: str) -> None:
    """K7: an AlterField that drops a foreign key's index drops each unique index on that column
    too, so `request_renewal_once` was in the models and in no database.
    """
    missing = []
    with connection.cursor() as cursor:
        for model in apps.get_app_config(app).get_models():
            if not model._meta.managed:
                continue
            there = connection.introspection.get_constraints(cursor, model._meta.db_table)
            promised: list[models.Index | models.BaseConstraint] = [*model._meta.constraints, *model._meta.indexes]
            missing += [one.name for one in promised if one.name not in there]
    assert missing == []
