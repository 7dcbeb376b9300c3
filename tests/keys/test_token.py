"""A token that goes away and comes back, a missing library, a wrong PIN: nothing is lost, and nothing is called absent (F6).

Each runs in a process of its own on a SoftHSM token of its own: a library and its login are the process's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pkcs11.exceptions as p11
import pytest

from keys.backends import pkcs11 as pkcs11_backend
from tests.harness.softhsm import create_token

BEGINNING = """
import os, sys, uuid
from pathlib import Path
from keys.backends.pkcs11 import PKCS11KeyBackend
from keys.errors import KeyBackendError
from keys.signing import sign_message
from keys.spec import KeySpec
module, label, pin, folder = sys.argv[1:]
here, away = Path(folder, "tokens"), Path(folder, "away")
backend = PKCS11KeyBackend("pkcs11", module=module, token_label=label, pin=pin)
def tell(act):
    try:
        print(act())
    except KeyBackendError as exc:
        print(type(exc).__name__, exc.retryable)
claim = uuid.uuid4()
"""


def run(script: str, folder: Path, softhsm: Any, *, pin: str = "") -> list[str]:
    token = create_token(folder / "hsm")
    arguments = [sys.executable, "-c", BEGINNING + script, str(token.module), token.label, pin or token.pin, str(folder / "hsm")]
    env = os.environ | {"SOFTHSM2_CONF": str(token.config)}
    answer = subprocess.run(arguments, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert token.pin not in answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def test_token_that_is_away_holds_no_absent_keys_and_works_again_without_a_restart(tmp_path: Path, softhsm: Any) -> None:
    script = """
ref = backend.create("x", KeySpec.EC_P256, key_id=claim).ref
key = backend.private_key(ref)
tell(backend.is_working)
here.rename(away)
tell(backend.is_working)
tell(lambda: backend.find("x", key_id=claim))
tell(lambda: sign_message(key, b"tbs"))
tell(lambda: backend.destroy(ref))
tell(lambda: backend.create("y", KeySpec.EC_P256, key_id=uuid.uuid4()).ref.name)
away.rename(here)
tell(backend.is_working)
tell(lambda: backend.find("x", key_id=claim).ref == ref)
tell(lambda: len(sign_message(key, b"tbs")) > 60)
"""
    gone = "KeyBackendUnavailable True"
    assert run(script, tmp_path, softhsm) == ["True", "False", gone, gone, gone, gone, "True", "True", "True"]


@pytest.mark.parametrize("look", ["backend.find('x', key_id=claim)", "sign_message(key, b'tbs')", "backend.destroy(ref)"])
def test_first_look_at_a_token_that_went_away_does_not_call_its_keys_absent(tmp_path: Path, softhsm: Any, look: str) -> None:
    script = f"""
ref = backend.create("x", KeySpec.EC_P256, key_id=claim).ref
key = backend.private_key(ref)
here.rename(away)
tell(lambda: {look})
away.rename(here)
tell(lambda: backend.find("x", key_id=claim).ref == ref)
"""
    assert run(script, tmp_path, softhsm) == ["KeyBackendUnavailable True", "True"]


def test_session_that_looked_while_the_token_was_away_is_not_believed_after_it_is_back(tmp_path: Path, softhsm: Any) -> None:
    script = """
import pkcs11
ref = backend.create("x", KeySpec.EC_P256, key_id=claim).ref
here.rename(away)
list(backend._session().get_objects({pkcs11.Attribute.ID: claim.bytes}))
away.rename(here)
tell(backend.is_working)
tell(lambda: backend.find("x", key_id=claim).ref == ref)
"""
    assert run(script, tmp_path, softhsm) == ["True", "True"]


def test_library_that_is_not_there_is_retryable(tmp_path: Path, softhsm: Any) -> None:
    script = """
backend = PKCS11KeyBackend("pkcs11", module="/no/such/library.so", token_label=label, pin=pin)
tell(lambda: backend.find("x", key_id=claim))
tell(backend.is_working)
"""
    assert run(script, tmp_path, softhsm) == ["KeyBackendUnavailable True", "False"]


def test_wrong_pin_holds_the_work_and_is_tried_once(tmp_path: Path, softhsm: Any) -> None:
    script = """
for _ in range(3):
    tell(lambda: backend.find("x", key_id=claim))
tell(backend.is_working)
"""
    assert run(script, tmp_path, softhsm, pin="000000000") == [*["KeyLoginRefused True"] * 3, "False"]


def test_forked_process_uses_the_token_although_another_thread_held_the_lock(tmp_path: Path, softhsm: Any) -> None:
    script = """
ref = backend.create("x", KeySpec.EC_P256, key_id=claim).ref
backend._lock.acquire()
if (child := os.fork()) == 0:
    tell(lambda: len(sign_message(backend.private_key(ref), b"tbs")) > 60)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
backend._lock.release()
tell(lambda: len(sign_message(backend.private_key(ref), b"tbs")) > 60)
"""
    assert run(script, tmp_path, softhsm) == ["True", "True"]


def test_a_library_that_is_at_a_loss_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM says CKR_GENERAL_ERROR when another process writes to the token's files in that moment; that cannot be made to happen
    here, so the library is one that says so twice.
    """
    monkeypatch.setattr(pkcs11_backend, "PAUSES", (0.0, 0.0))
    backend = pkcs11_backend.PKCS11KeyBackend("hsm", module="none", token_label="t", pin="1234")

    class AtALoss:
        def __init__(self, times: int) -> None:
            self.times = times

        def get_token(self, *, token_label: str) -> str:
            self.times -= 1
            if self.times >= 0:
                raise p11.GeneralError
            return token_label

    assert backend.find_token(AtALoss(2)) == "t"
    with pytest.raises(p11.GeneralError):
        backend.find_token(AtALoss(3))
