"""The Celery application: queues, routes and delivery settings. No tasks here; they are in each app's `tasks` module."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from celery.signals import (
    before_task_publish,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
)
from django.db import close_old_connections

from pkiportal.processes.garbage import collect_seldom, collect_young
from pkiportal.processes.worker_progress import Progress

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")

app = Celery("pkiportal", task_cls="certs.schedules.runs:PortalTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup closes the database connection before and after each task, whatever CONN_MAX_AGE is. A new one costs
# two logins' worth of hashing and a server process that knows no table yet: more than most tasks. So it is configured to do that
# every thousand tasks only, and Django's own rule decides before each (age, errors, health check).
app.conf.update({"CELERY_DB_REUSE_MAX": 1000})
app.autodiscover_tasks()
app.steps["consumer"].add(Progress)


def _drop_old_connections(sender: Any = None, **_signal: Any) -> None:
    if not getattr(sender.request, "is_eager", False):
        close_old_connections()


task_prerun.connect(_drop_old_connections)


def _stamp(headers: dict[str, Any] | None = None, **_signal: Any) -> None:
    """Write into each message when it was published, so that the age of a queue can be read from its oldest one."""
    if headers is not None:
        headers.setdefault("published_at", time.time())


before_task_publish.connect(_stamp)


def _end_logins(**_signal: Any) -> None:
    """End the login to Vault of a child of the prefork pool, which does not run atexit."""
    from keys.backends.vault_session import revoke_tokens  # noqa: PLC0415 - hvac is loaded by those who use it

    revoke_tokens()


def _collect_seldom(**_signal: Any) -> None:
    collect_seldom()


def _collect_young(**_signal: Any) -> None:
    collect_young()


worker_process_shutdown.connect(_end_logins)
worker_process_init.connect(_collect_seldom)
task_postrun.connect(_collect_young)
