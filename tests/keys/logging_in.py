"""A Celery application whose one task logs in to Vault; run as a real prefork worker by test_vault_session.py.

It is the portal's own application, so that what ends the logins there ends them here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import hvac
from celery.signals import worker_init

from keys.backends.vault_session import VaultSession
from pkiportal.celery import app

TASK = "tests.keys.log_in"

# Made before the pool forks, as a backend in the registry may be.
session = VaultSession(
    url=os.environ.get("PKI_TEST_VAULT_ADDR", ""),
    ca_cert=os.environ.get("PKI_TEST_VAULT_CACERT", ""),
    role_id=os.environ.get("LOGGING_IN_ROLE_ID", ""),
    secret_id=os.environ.get("LOGGING_IN_SECRET_ID", ""),
)


def note_accessor(**_signal: Any) -> None:
    accessor = session.call(_accessor)
    with Path(os.environ["LOGGING_IN_NOTES"]).open("a") as notes:
        notes.write(f"{os.getpid()} {accessor}\n")


def _accessor(client: hvac.Client) -> str:
    return str(client.auth.token.lookup_self()["data"]["accessor"])


worker_init.connect(note_accessor)  # the parent logs in, and its children must not use that login
app.task(note_accessor, name=TASK)
