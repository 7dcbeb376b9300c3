"""CRL entries are nearly random: trying to compress them costs more than writing them."""

from django.db import migrations


def store_as_they_are(_apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE certs_crlsegment ALTER COLUMN entries SET STORAGE EXTERNAL")


class Migration(migrations.Migration):
    dependencies = [("certs", "0006_bulk_notes")]

    operations = [migrations.RunPython(store_as_they_are, migrations.RunPython.noop)]
