"""Hashes and claims are looked up whole: Django's second index on each, for LIKE, is only written."""

from typing import Any

from django.db import migrations

_UNUSED = (
    "keys_publickey_spki_sha256_53ed597f_like",
    "keys_key_claimed_for_651afcf0_like",
    "keys_key_spki_sha256_4345ddb3_like",
)


def drop(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in _UNUSED:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("keys", "0004_key_names")]
    operations = [migrations.RunPython(drop, migrations.RunPython.noop)]
