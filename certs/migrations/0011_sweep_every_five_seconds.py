"""The sweeper looks every 5 s in place of 15, where nobody has set another time."""

from __future__ import annotations

from typing import Any

from django.db import migrations

NAME = "workflow: start again what stands still"


def every(seconds: int, *, instead_of: int) -> Any:
    def change(apps: Any, _schema_editor: Any) -> None:
        intervals = apps.get_model("django_celery_beat", "IntervalSchedule").objects
        tasks = apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(
            name=NAME, interval__every=instead_of, interval__period="seconds"
        )
        if tasks.exists():
            tasks.update(
                interval=intervals.filter(every=seconds, period="seconds").first() or intervals.create(every=seconds, period="seconds")
            )

    return change


class Migration(migrations.Migration):
    dependencies = [
        ("certs", "0010_chunk_begun"),
        ("django_celery_beat", "0018_improve_crontab_helptext"),
    ]

    operations = [migrations.RunPython(every(5, instead_of=15), every(15, instead_of=5))]
