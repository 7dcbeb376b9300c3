"""Logins to Vault: a refused one holds the work and names the credential, a lost one is made again, none is shared or left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac
import pytest

from keys.backends.vault import VaultKeyBackend
from keys.backends.vault_session import VaultSession
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyLoginRefused
from keys.spec import KeySpec
from pkiportal.celery import app
from tests.harness.plugin.parts import VaultAccess
from tests.keys.backends.test_vault_policies import Mounts, mounts
from tests.keys.logging_in import TASK

__all__ = ["mounts"]  # a fixture


def session_of(mounts: Mounts, **login: Any) -> VaultSession:
    return VaultSession(url=mounts.access.address, ca_cert=str(mounts.access.ca_file), **login)


def token_of(session: VaultSession) -> str:
    return session.call(lambda client: str(client.token))


def backend_with(mounts: Mounts, **login: Any) -> VaultKeyBackend:
    return VaultKeyBackend("vault", mount=mounts.leaf, url=mounts.access.address, ca_cert=str(mounts.access.ca_file), **login)


def create(backend: VaultKeyBackend) -> Any:
    return backend.create("refused", KeySpec.EC_P256, key_id=uuid.uuid4())


def refusal(backend: VaultKeyBackend) -> KeyBackendError:
    with pytest.raises(KeyBackendError) as caught:
        create(backend)
    return caught.value


def test_wrong_secret_id_holds_the_work_and_names_what_to_renew(mounts: Mounts) -> None:
    wrong = str(uuid.uuid4())
    login = mounts.login("keys") | {"secret_id": wrong}
    backend = backend_with(mounts, **login)
    error = refusal(backend)
    assert (type(error), error.retryable) == (KeyLoginRefused, True)
    assert login["role_id"][:8] in str(error)
    assert "secret-id" in error.next_step
    assert wrong not in f"{error} {error.next_step}"
    assert backend.is_working() is False  # else the sweeper would release what waits, at each turn


def test_secret_id_that_expired_after_the_login_holds_the_work(mounts: Mounts) -> None:
    login = mounts.login("keys")
    backend = backend_with(mounts, **login)
    create(backend)
    mounts.vault.auth.approle.destroy_secret_id(f"keys-{mounts.mark}", login["secret_id"])
    mounts.vault.auth.token.revoke(backend.session.token)
    error = refusal(backend)
    assert (type(error), error.retryable) == (KeyLoginRefused, True)


def test_given_token_that_was_revoked_holds_the_work(mounts: Mounts) -> None:
    token = mounts.vault.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    backend = backend_with(mounts, token=token)
    create(backend)
    mounts.vault.auth.token.revoke(token)
    error = refusal(backend)
    assert (type(error), error.retryable, "VAULT_TOKEN" in error.next_step) == (KeyLoginRefused, True, True)
    assert token not in f"{error} {error.next_step}"


def test_token_given_to_one_command_wins_over_the_workers_login_and_is_not_revoked(mounts: Mounts) -> None:
    token = mounts.vault.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    session = session_of(mounts, **mounts.login("ca"), token=token)
    assert token_of(session) == token
    session.revoke_own_token()
    assert mounts.vault.auth.token.lookup(token)["data"]["id"] == token


def test_missing_login_holds_the_work(mounts: Mounts) -> None:
    backend = backend_with(mounts)
    error = refusal(backend)
    assert (type(error), error.retryable, "VAULT_ROLE_ID" in error.next_step) == (KeyLoginRefused, True, True)
    assert backend.is_working() is False


def test_refused_login_is_not_repeated_at_each_call_and_works_once_it_is_right(mounts: Mounts) -> None:
    secret = str(uuid.uuid4())
    backend = backend_with(mounts, **(mounts.login("keys") | {"secret_id": secret}))
    refusal(backend)
    mounts.vault.auth.approle.create_custom_secret_id(f"keys-{mounts.mark}", secret)
    assert isinstance(refusal(backend), KeyLoginRefused)  # Vault was not asked: five wrong ones would lock the role
    backend.session.login_again_at = 0.0  # the pause is over
    assert create(backend).ref.version == 1
    assert backend.is_working() is True


def test_engine_that_is_not_there_is_not_a_key_that_is_absent(mounts: Mounts) -> None:
    backend = VaultKeyBackend(
        "vault", mount="nowhere", url=mounts.access.address, ca_cert=str(mounts.access.ca_file), token=mounts.access.token
    )
    for act in (lambda: backend.find("x", key_id=uuid.uuid4()), lambda: create(backend)):
        with pytest.raises(KeyBackendUnavailable, match="no engine"):
            act()


def test_token_at_its_greatest_age_is_followed_by_a_new_login(mounts: Mounts) -> None:
    login = mounts.login("keys")
    mounts.vault.auth.approle.create_or_update_approle(
        f"keys-{mounts.mark}", token_policies=[f"keys-{mounts.mark}"], token_period="0", token_ttl="3s", token_max_ttl="4s"
    )
    session = session_of(mounts, **login)
    first = token_of(session)
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        session.call(lambda client: client.auth.token.lookup_self())
        time.sleep(0.3)
    assert token_of(session) != first


def test_renewal_that_fails_leaves_the_token_in_use_as_long_as_it_lives(own_vault: Any) -> None:
    session = VaultSession(url=own_vault.address, ca_cert=str(own_vault.ca_file), token=own_vault.root_token)
    token_of(session)
    session.ends_at, session.renew_at = time.monotonic() + 600, 0.0
    own_vault.seal()
    with pytest.raises(KeyBackendUnavailable, match="sealed"):
        session.call(lambda client: client.secrets.kv.v2.read_configuration())
    assert session.token == own_vault.root_token
    assert session.renew_at > time.monotonic()


FORKED = """
import os, sys
from keys.backends.vault_session import VaultSession
session = VaultSession(url=sys.argv[1], ca_cert=sys.argv[2], role_id=sys.argv[3], secret_id=sys.argv[4])
look = lambda: session.call(lambda client: client.auth.token.lookup_self()["data"]["accessor"])
print("parent", look(), flush=True)
session._lock.acquire()  # as another thread may hold it at the moment of a fork
connections = session._local.client.session
if (child := os.fork()) == 0:
    print("child", look(), session._local.client.session is connections, flush=True)
    os._exit(0)
os.waitpid(child, 0)
session._lock.release()
print("parent", look(), flush=True)
"""


def test_forked_process_has_a_login_and_connections_of_its_own(mounts: Mounts) -> None:
    login, access = mounts.login("keys"), mounts.access
    arguments = [sys.executable, "-c", FORKED, access.address, str(access.ca_file), login["role_id"], login["secret_id"]]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    before, child, after = (line.split() for line in answer.stdout.splitlines())
    assert before == after
    assert child[1] != before[1]
    assert child[2] == "False"
    assert is_revoked(mounts.vault, before[1])  # at exit


def is_revoked(vault: hvac.Client, accessor: str) -> bool:
    try:
        vault.auth.token.lookup_accessor(accessor)
    except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath):
        return True
    return False


def test_prefork_worker_and_its_children_end_their_logins(
    mounts: Mounts, tmp_path: Path, vault_access: VaultAccess, settings: Any, worker_id: str
) -> None:
    if not settings.CELERY_BROKER_URL.startswith("redis"):
        pytest.skip("PKI_TEST_REDIS_URL is not set: run `make test T=<path>`, which starts what it stands for")
    login, notes, queue = mounts.login("keys"), tmp_path / "notes", f"logging-in-{worker_id}"
    env = os.environ | {
        "LOGGING_IN_ROLE_ID": login["role_id"],
        "LOGGING_IN_SECRET_ID": login["secret_id"],
        "LOGGING_IN_NOTES": str(notes),
    }
    options = ["worker", "-Q", queue, "-c", "2", "-P", "prefork", "-l", "WARNING", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "tests.keys.logging_in", *options]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(8):
            app.send_task(TASK, queue=queue)
        wait_for(lambda: notes.exists() and len(notes.read_text().splitlines()) == 9, tmp_path / "log")
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)
    accessors = dict(line.split() for line in notes.read_text().splitlines())  # by process
    assert len(accessors) in {2, 3}, "the parent, and one or both of its children"
    assert len(set(accessors.values())) == len(accessors)
    assert [process for process, accessor in accessors.items() if not is_revoked(mounts.vault, accessor)] == []


def wait_for(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)
