"""Triggers that refuse every change of events, leaves and checkpoints."""

from django.db import migrations

from audit.triggers import migrate_backward, migrate_forward


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_ledger")]

    operations = [migrations.RunPython(migrate_forward, migrate_backward)]
