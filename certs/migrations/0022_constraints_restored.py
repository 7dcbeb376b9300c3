"""Restore constraints that an older migration dropped by accident.

On PostgreSQL, migration 0003 took the index of some foreign keys away, and Django removed every
other index on the same columns with it, the unique ones too. Among them was the one that allows
only one living renewal of a certificate.
"""

from typing import Any

from django.db import migrations


def restore(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    for model in apps.get_app_config("certs").get_models():
        with connection.cursor() as cursor:
            there = connection.introspection.get_constraints(cursor, model._meta.db_table)
        for constraint in model._meta.constraints:
            if there and constraint.name not in there:
                schema_editor.add_constraint(model, constraint)


class Migration(migrations.Migration):
    dependencies = [
        ("certs", "0021_lines_not_submitted"),
    ]

    operations = [migrations.RunPython(restore, migrations.RunPython.noop)]
