"""The Celery application: queues, routes and delivery settings. No tasks here; they are in each app's `tasks` module."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")

app = Celery("pkiportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
