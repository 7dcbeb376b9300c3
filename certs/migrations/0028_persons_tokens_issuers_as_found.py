"""Persons, tokens and CAs are recorded as they are: their events carry a digest of the row from now on.

What they were before is not explained by the log. A new installation has no such rows yet.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import migrations

from audit.changes import record_as_found, watched
from audit.log import Actor
from certs.models import ApiToken, Issuer
from policy.models import Person


def record(apps: Any, _schema_editor: Any) -> None:
    for model in (Person, ApiToken, Issuer):
        rows = apps.get_model(model._meta.label).objects.order_by("pk")
        record_as_found(rows.iterator(), watched()[model], actor=Actor("command", "migrate"))


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("audit", "0004_room_for_counters"),
        ("certs", "0027_due_table"),
        ("policy", "0004_persons"),
    ]

    operations = [migrations.RunPython(record, migrations.RunPython.noop)]
