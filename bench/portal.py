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
    """Set up a portal on the servers of tests.harness (`make bench` starts them), and drop it at the end.

    It stays as `bootstrap` left it: each part works on a copy (`for_one_part`).
    """
    if not os.environ.get("PKI_TEST_DATABASE_URL"):
        raise SystemExit("Run this as `make bench`: it starts the private PostgreSQL, Redis and Vault that are measured.")
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 - after setup

    name = settings.DATABASES["default"]["NAME"]
    _sql(f'CREATE DATABASE "{name}"')
    try:
        call_command("bootstrap", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        _close_connections()
        _sql(f'ALTER DATABASE "{name}" RENAME TO "{name}_prepared"')
        yield
    finally:
        _close_connections()
        for database in (name, f"{name}_prepared"):
            _sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


@contextlib.contextmanager
def for_one_part() -> Iterator[None]:
    """Give one part the prepared database, an empty Vault mount and empty queues.

    So parts run in any order and any number of times. Settings that a part changes are put back.
    """
    name, mount = settings.DATABASES["default"]["NAME"], os.environ["PKI_TEST_VAULT_MOUNT"]
    environment, changed = dict(os.environ), _Settings()
    client = _transit_mount()
    _sql(f'CREATE DATABASE "{name}" TEMPLATE "{name}_prepared"')
    try:
        _forget_what_is_cached()
        yield
    finally:
        changed.put_back()
        os.environ.clear()
        os.environ.update(environment)
        _close_connections()
        _sql(f'DROP DATABASE "{name}" WITH (FORCE)')
        client.sys.disable_secrets_engine(mount)


class _Settings:
    """The settings that parts change."""

    NAMES = ("CA_CLIENTS", "PKI_CA_KEY_BACKEND", "PKI_LEAF_KEY_BACKEND")

    def __init__(self) -> None:
        self._before = {name: getattr(settings, name) for name in self.NAMES}

    def put_back(self) -> None:
        for name, value in self._before.items():
            setattr(settings, name, value)


def _close_connections() -> None:
    """A database can be copied, renamed or dropped only without connections."""
    from django.db import connections  # noqa: PLC0415 - after setup

    from certs.status.ocsp.lookup import lookups  # noqa: PLC0415

    lookups.close()
    connections.close_all()


def _forget_what_is_cached() -> None:
    """What this process and the queues remember is of another copy of the database."""
    from certs.ca.registry import forget_clients  # noqa: PLC0415 - after setup
    from certs.status.ocsp.respond import forget_answers  # noqa: PLC0415
    from certs.status.ocsp.signers import forget_signers  # noqa: PLC0415
    from keys.registry import forget_backends  # noqa: PLC0415
    from pkiportal.celery import app  # noqa: PLC0415

    for forget in (forget_clients, forget_backends, forget_signers, forget_answers):
        forget()
    app.control.purge()


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
    from certs.requests.submit import Requester  # noqa: PLC0415

    return Requester(actor=Actor("command", "bench"), team=Team.objects.get(), channel="command")
