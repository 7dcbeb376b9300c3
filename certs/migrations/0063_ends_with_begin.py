from __future__ import annotations

from typing import Any

from django.db import migrations

_MADE = "CREATE STATISTICS certificate_life ON (not_after - not_before) FROM certs_certificate"


def _learn(apps: Any, schema_editor: Any) -> None:
    """Have PostgreSQL know how long certificates live, without an index that each of them would be written to."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_MADE)
        schema_editor.execute("ANALYZE certs_certificate")


def _forget(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP STATISTICS certificate_life")


class Migration(migrations.Migration):
    """PostgreSQL expects a third of all rows of a comparison of two columns: begin and end of a certificate.

    Then it reads most of the table in the order of the end for the few that live longest. It keeps
    statistics of their difference from now on.
    """

    dependencies = [("certs", "0062_chunks_that_are_issued")]

    operations = [migrations.RunPython(_learn, _forget)]
