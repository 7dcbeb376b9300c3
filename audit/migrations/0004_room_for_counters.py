"""Each event raises its subject's counter: with room on the page the row is changed where it is, and no index hears of it."""

from __future__ import annotations

from typing import Any

from django.db import migrations


def fill(percent: int) -> Any:
    def change(_apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"ALTER TABLE audit_subject SET (fillfactor = {percent})")

    return change


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_slim_subjects")]

    operations = [migrations.RunPython(fill(50), fill(100))]
