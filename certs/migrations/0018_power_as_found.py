"""The rows that give power are recorded as they are, so that every later change shows.

What they were before is not explained by the log. A new installation has no such rows yet.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import migrations

from audit.changes import record_as_found
from audit.log import Actor
from certs.access.changes_of_power import wholly_recorded
from policy.models import Person


def record(apps: Any, _schema_editor: Any) -> None:
    for model, what in wholly_recorded().items():
        if model is Person:  # recorded since 0028
            continue
        try:
            rows = apps.get_model(model._meta.label).objects.order_by("pk")
        except LookupError:  # a later release makes its table
            continue
        record_as_found(rows.iterator(), what, actor=Actor("command", "migrate"))


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("audit", "0004_room_for_counters"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("certs", "0017_end_date"),
        ("django_celery_beat", "0018_improve_crontab_helptext"),
        ("policy", "0002_published_is_final"),
    ]

    operations = [migrations.RunPython(record, migrations.RunPython.noop)]
