from typing import Any

from django.db import migrations, models

_BY_LIFE = "CREATE INDEX certificate_life ON certs_certificate ((not_after - not_before))"
_KNOWN = "CREATE STATISTICS certificate_life ON (not_after - not_before) FROM certs_certificate"


def _index_lives(apps: Any, schema_editor: Any) -> None:
    """Index how long certificates live. It has the statistics of migration 0063 too."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP STATISTICS certificate_life")
        schema_editor.execute(_BY_LIFE)
        schema_editor.execute("ANALYZE certs_certificate")


def _remove(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX certificate_life")
        schema_editor.execute(_KNOWN)


class Migration(migrations.Migration):
    """What hardly any certificate meets has an index: a life, a profile, a day of issuance.

    Without one PostgreSQL read all certificates to find that there are none: 0.2 to 1 s of 1,000,000.
    What is revoked or being revoked, what a person owns, and by which channel it was requested, is
    counted from an index alone.
    """

    dependencies = [("certs", "0065_orders_of_lines")]

    operations = [
        migrations.RemoveIndex("certificate", "certificate_ends"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["not_after", "alert_at"],
                include=["id", "status", "not_before", "team", "issuer", "key_type", "request", "issued_at"],
                name="certificate_ends",
            ),
        ),
        migrations.AddIndex("certificate", models.Index(fields=["issued_at"], name="certificate_issued")),
        migrations.RemoveIndex("certificate", "certificate_owner_ends"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["owner", "not_after"],
                include=["id", "status", "team"],
                condition=models.Q(("owner__isnull", False)),
                name="certificate_owner_ends",
            ),
        ),
        migrations.RemoveIndex("certificate", "certificate_renewal"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["renewed_from"],
                include=["id", "status", "not_after", "team", "request"],
                condition=models.Q(("renewed_from__isnull", False)),
                name="certificate_renewal",
            ),
        ),
        migrations.RemoveIndex("certificate", "certificate_not_good"),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["not_after"],
                include=["id", "status", "team"],
                condition=models.Q(("status", "good"), _negated=True),
                name="certificate_not_good",
            ),
        ),
        migrations.AddIndex(
            "certificate",
            models.Index(
                fields=["profile", "not_after"],
                condition=models.Q(("profile", "tls-server"), _negated=True),
                name="certificate_rare_profile",
            ),
        ),
        migrations.AddIndex(
            "certificaterequest",
            models.Index(
                fields=["door"],
                include=["id"],
                condition=models.Q(("bulk_item__isnull", True)),
                name="request_channel",
            ),
        ),
        migrations.RunPython(_index_lives, _remove),
    ]
