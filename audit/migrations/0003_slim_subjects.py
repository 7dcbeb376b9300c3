"""Subjects are looked up whole: Django's second index on their key, for LIKE, is only written."""

from typing import Any

from django.db import migrations


def drop(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS audit_subject_subject_06553326_like")


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]
    operations = [migrations.RunPython(drop, migrations.RunPython.noop)]
