"""The private servers of one run, in one temporary folder; their addresses as PKI_TEST_* variables."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.harness.console import say
from tests.harness.packages import chromium
from tests.harness.postgres import Postgres
from tests.harness.redis import Redis
from tests.harness.softhsm import create_token
from tests.harness.vault import Vault


@contextlib.contextmanager
def running(vault_program: Path | None) -> Iterator[dict[str, str]]:
    """Start everything, yield the environment for the tests, stop everything and delete the folder, whatever happens.

    Without a program for Vault its variables are absent.
    """
    with contextlib.ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="pkiportal-test-")).resolve()
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)  # the user that PostgreSQL runs as must pass through; every folder inside is 0700
        env = {**_start_postgres(folder, undo), **_start_redis(folder, undo), **_start_softhsm(folder)}
        if vault_program is not None:
            env |= _start_vault(folder, vault_program, undo)
        if browser := chromium():
            env["PKI_TEST_CHROMIUM"] = browser
        work = folder / "tmp"
        work.mkdir(mode=0o711)  # a test may start a PostgreSQL of its own in there
        # What tests leave behind goes with the run. Ours in TMPDIR, so that a killed worker leaves nothing elsewhere.
        yield {**_inherited(), **env, "TMPDIR": str(work)}


def _inherited() -> dict[str, str]:
    """Return this process's environment, in which Python may keep what it compiles.

    Otherwise each worker and each process that a test starts would compile the portal anew: a quarter of a second, and for the
    modules of the tests, whose assertions pytest rewrites, seven.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _start_postgres(folder: Path, undo: contextlib.ExitStack) -> dict[str, str]:
    say("PostgreSQL: making a cluster and starting it")
    postgres = Postgres(folder / "postgres")
    undo.callback(postgres.stop)
    postgres.create()
    postgres.start()
    return {"PKI_TEST_DATABASE_URL": postgres.url}


def _start_redis(folder: Path, undo: contextlib.ExitStack) -> dict[str, str]:
    redis = Redis(folder / "redis")
    undo.callback(redis.stop)
    redis.start()
    return {"PKI_TEST_REDIS_URL": redis.url}


def _start_softhsm(folder: Path) -> dict[str, str]:
    token = create_token(folder / "softhsm")
    return {
        "PKI_TEST_SOFTHSM_MODULE": str(token.module),
        "PKI_TEST_SOFTHSM_TOKEN_LABEL": token.label,
        "PKI_TEST_SOFTHSM_PIN": token.pin,
        "SOFTHSM2_CONF": str(token.config),
    }


def _start_vault(folder: Path, program: Path, undo: contextlib.ExitStack) -> dict[str, str]:
    say(f"Vault: starting {program.name}")
    vault = Vault(folder / "vault", program)
    undo.callback(vault.stop)
    vault.start()
    vault.initialise()
    return {
        "PKI_TEST_VAULT_ADDR": vault.address,
        "PKI_TEST_VAULT_CACERT": str(vault.ca_file),
        "PKI_TEST_VAULT_TOKEN": vault.root_token,
        "PKI_TEST_VAULT_PROGRAM": str(program),
    }
