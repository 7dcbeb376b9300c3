"""The tests: the embedded shape on PostgreSQL (or SQLite), with the real Redis, Vault and HSM that `make test` started.

Where the parts are comes from PKI_TEST_* variables (`tests/harness/` sets them). Every pytest-xdist worker has a home folder, a
database and a Redis database of its own.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from pkiportal.env import env_int, env_str
from pkiportal.settings.base import *  # noqa: F403 - Django's way of layering settings

_WORKER = env_str("PYTEST_XDIST_WORKER", "main")
# 0 for a run without workers, else 1, 2, ...: the harness starts Redis with 64 databases.
_WORKER_NUMBER = int(re.sub(r"\D", "", _WORKER) or "-1") + 1


def _home() -> Path:
    """PKI_HOME when given (a process that a test started shares its parent's), else a new folder that goes with this process."""
    if given := env_str("PKI_HOME"):
        Path(given).mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(given).resolve()
    made, owner = Path(tempfile.mkdtemp(prefix=f"pkiportal-{_WORKER}-")).resolve(), os.getpid()
    # A forked child (a pool worker) must not take its parent's folder away when it ends.
    atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == owner else None)
    return made


PKI_EMBEDDED = True
PKI_HOME = _home()
SECRET_KEY = "known to everybody, for tests only"  # noqa: S105 - signs nothing outside a test run
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]


def _databases(choice: str) -> dict[str, dict[str, Any]]:
    if choice == "postgres":
        url = env_str("PKI_TEST_DATABASE_URL")
        if not url:
            raise ImproperlyConfigured(
                "PKI_TEST_DATABASE_URL is not set, so there is no PostgreSQL to test on. Run `make test T=<path>`, which starts one, "
                "or set PKI_TEST_DATABASE=sqlite."
            )
        return {"default": environ.Env.db_url_config(url)}
    if choice == "sqlite":
        # synchronous=OFF, as fsync=off of the private PostgreSQL: these files never survive a power cut, and the system writes on
        # what a killed process wrote. With NORMAL each test would wait for the disk when it closes its connection.
        options = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=OFF;PRAGMA busy_timeout=20000;PRAGMA recursive_triggers=ON;",
        }
        # A file, not memory: threads and processes that a test starts must see the same rows.
        test = {"NAME": str(PKI_HOME / "test.sqlite3")}
        return {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PKI_HOME / "portal.sqlite3", "OPTIONS": options, "TEST": test}}
    raise ImproperlyConfigured(f"PKI_TEST_DATABASE must be postgres or sqlite, not {choice!r}.")


DATABASES = _databases(env_str("PKI_TEST_DATABASE", "postgres"))

_REDIS_URL = env_str("PKI_TEST_REDIS_URL")
CELERY_BROKER_URL = f"{_REDIS_URL.rsplit('/', 1)[0]}/{_WORKER_NUMBER}" if _REDIS_URL else "memory://"
# Redis answers "no message" after this time, else after a second, and a worker that ends waits for the answer.
CELERY_BROKER_TRANSPORT_OPTIONS |= {"polling_interval": 0.05 if _REDIS_URL else 0.01}

PKI_CA_NETWORKS = [ip_network("127.0.0.0/8")]  # CAs of tests are on this machine
PKI_ALARM_EVERY_SECONDS = env_int("PKI_ALARM_EVERY_SECONDS", 0)  # a thread's connection would outlive the test's database

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; no password outlives a test
STATIC_ROOT = PKI_HOME / "static"
STATIC_ROOT.mkdir(exist_ok=True)

KEY_BACKENDS: dict[str, dict[str, Any]] = {
    "local": {"BACKEND": "keys.backends.local.LocalKeyBackend", "OPTIONS": {"kek_file": PKI_HOME / "keys.kek"}},
    "root": {"BACKEND": "keys.backends.local.LocalKeyBackend", "OPTIONS": {"kek_file": PKI_HOME / "root.kek"}},
}
if env_str("PKI_TEST_VAULT_ADDR"):
    KEY_BACKENDS["vault"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {
            "url": env_str("PKI_TEST_VAULT_ADDR"),
            "ca_cert": env_str("PKI_TEST_VAULT_CACERT"),
            "token": env_str("PKI_TEST_VAULT_TOKEN"),
            "mount": env_str("PKI_TEST_VAULT_MOUNT", "transit"),
        },
    }
if env_str("PKI_TEST_SOFTHSM_MODULE"):
    KEY_BACKENDS["pkcs11"] = {
        "BACKEND": "keys.backends.pkcs11.PKCS11KeyBackend",
        "OPTIONS": {
            "module": env_str("PKI_TEST_SOFTHSM_MODULE"),
            "token_label": env_str("PKI_TEST_SOFTHSM_TOKEN_LABEL"),
            "pin": env_str("PKI_TEST_SOFTHSM_PIN"),
        },
    }
PKI_CA_KEY_BACKEND = "local"
PKI_ROOT_KEY_BACKEND = "root"
PKI_OCSP_KEY_BACKEND = "local"
PKI_ALLOW_LOCAL_KEYS = True
CA_CLIENTS = {"Internal-CA-Prod": {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
