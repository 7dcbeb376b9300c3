"""The Celery application: queues, routes and delivery settings. No tasks here; they are in each app's `tasks` module."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")

app = Celery("pkiportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _end_logins(**_signal: Any) -> None:
    """A child of the prefork pool ends without running atexit: its login to Vault ends here."""
    from keys.backends.vault_session import revoke_tokens  # noqa: PLC0415 - hvac is loaded by those who use it

    revoke_tokens()


worker_process_shutdown.connect(_end_logins)
