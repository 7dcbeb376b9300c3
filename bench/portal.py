"""A fresh portal on private PostgreSQL, Redis and Vault for the time of a benchmark."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import django
from django.conf import settings

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
os.environ.setdefault("PKI_HOME", tempfile.mkdtemp(prefix="pkiportal-bench-"))  # workers and servers share it with us
os.environ.setdefault("PKI_TEST_VAULT_MOUNT", f"bench-{os.getpid()}")
os.environ.setdefault("PKI_BENCH_DATABASE", f"bench_{os.getpid()}")


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Needs the servers of tests.harness (`make bench` starts them); makes a database of its own and drops it again."""
    if not os.environ.get("PKI_TEST_DATABASE_URL"):
        raise SystemExit("Run this as `make bench`: it starts the private PostgreSQL, Redis and Vault that are measured.")
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 - after setup

    name = settings.DATABASES["default"]["NAME"]
    mount = _transit_mount()
    _sql(f'CREATE DATABASE "{name}"')
    try:
        call_command("bootstrap", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        yield
    finally:
        mount.sys.disable_secrets_engine(os.environ["PKI_TEST_VAULT_MOUNT"])
        from django.db import connections  # noqa: PLC0415 - after setup

        connections.close_all()
        _sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def _transit_mount() -> Any:
    """A transit engine of this run's own in the private Vault."""
    import hvac  # noqa: PLC0415 - only here

    client = hvac.Client(
        url=os.environ["PKI_TEST_VAULT_ADDR"], token=os.environ["PKI_TEST_VAULT_TOKEN"], verify=os.environ["PKI_TEST_VAULT_CACERT"]
    )
    client.session.trust_env = False
    client.sys.enable_secrets_engine("transit", path=os.environ["PKI_TEST_VAULT_MOUNT"])
    return client


def _sql(statement: str) -> None:
    import psycopg  # noqa: PLC0415 - only here

    with psycopg.connect(os.environ["PKI_TEST_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement)


@contextlib.contextmanager
def workers(processes: int = 2) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker on Redis, prefork, all queues: the process that leads its pool."""
    queues = ",".join(queue.name for queue in settings.CELERY_TASK_QUEUES)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "pkiportal",
        "worker",
        "-Q",
        queues,
        "-c",
        str(processes),
        "-l",
        "ERROR",
        "--without-gossip",
        "--without-mingle",
    ]
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL) as worker:
        try:
            _wait_for_worker(processes)
            yield worker
        finally:
            worker.terminate()


def _wait_for_worker(processes: int) -> None:
    from pkiportal.celery import app  # noqa: PLC0415 - after setup

    for _ in range(60):
        if app.control.ping(timeout=0.5):
            return
        time.sleep(0.2)
    raise SystemExit(f"The Celery worker ({processes} processes) did not come up.")


def requester() -> Any:
    from audit.log import Actor  # noqa: PLC0415 - after setup
    from certs.models import Team  # noqa: PLC0415
    from certs.workflow.issuance import Requester  # noqa: PLC0415

    return Requester(actor=Actor("command", "bench"), team=Team.objects.get(), door="command")
