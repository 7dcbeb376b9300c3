"""The process in which uploads are read: what it is given, what it may use, and what happens when it does not come back."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import InputRefused
from certs.uploads import Limits
from certs.uploads.sandbox.parent import ROOT, whole_answer
from certs.uploads.sandbox.protocol import line_to_wire
from tests.certs.uploads.examples import csr, one, read, refusal, upload

CHILD = "certs.uploads.sandbox.child"
CANNOT_BE_READ = "The file cannot be read: it is damaged, or made in a way that is not understood here."


@pytest.fixture(scope="module")
def slow() -> bytes:
    """CSRs that take minutes to judge: 4,096-bit RSA keys, looked at for primes."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "slow.example.com")])
    key = rsa.generate_private_key(65537, 4096)
    return x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM) * 1000


def running(marker: int) -> Iterator[int]:
    """Processes of an upload, known by a limit that only this test gives; the forked ones have the same command."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if CHILD.encode() in words and str(marker).encode() in words:
            yield int(folder.name)


def until(found: int, marker: int) -> list[int]:
    """Wait until so many run (0: none any more)."""
    for _ in range(600):
        now = list(running(marker))
        if len(now) >= found > 0 or (not now and not found):
            return now
        time.sleep(0.05)
    raise AssertionError(f"{now} are running, {found} were expected")


def test_it_imports_no_framework() -> None:
    program = f"import sys, {CHILD}; print(sorted({{'django', 'celery', 'hvac', 'requests', 'openpyxl'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={}, stdout=subprocess.PIPE, check=True).stdout == b"[]\n"


def test_it_gets_nothing_of_our_environment(slow: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "a secret of the portal")
    marker = 1_000_000_001
    thread = threading.Thread(target=refusal, args=(slow,), kwargs={"own_process": True, "memory_bytes": marker})
    thread.start()
    processes = until(3, marker)
    environments = [Path(f"/proc/{process}/environ").read_bytes() for process in processes]
    os.kill(min(processes), signal.SIGKILL)
    thread.join()
    assert [b"VAULT_TOKEN" in environment or b"PKI" in environment for environment in environments] == [False] * 3
    assert until(0, marker) == []


@pytest.mark.parametrize("which", [min, max], ids=["the process", "one that it forked"])
def test_a_process_that_is_killed_is_a_refusal(slow: bytes, which: Callable[[list[int]], int]) -> None:
    marker = 1_000_000_002
    refused: list[InputRefused] = []
    thread = threading.Thread(target=lambda: refused.append(refusal(slow, own_process=True, memory_bytes=marker)))
    thread.start()
    processes = until(3, marker)
    os.kill(which(processes), signal.SIGKILL)
    thread.join()
    assert refused[0].message == CANNOT_BE_READ
    assert until(0, marker) == []


def test_a_process_that_takes_too_long_is_ended_with_all_it_forked(slow: bytes) -> None:
    marker = 1_000_000_003
    assert refusal(slow, own_process=True, seconds=2, memory_bytes=marker).message == "Reading the file takes longer than 2 seconds."
    assert until(0, marker) == []


def test_a_process_that_needs_too_much_memory_is_refused() -> None:
    refused = refusal(b"name\n" + b"api\n" * 1_000_000, own_process=True, memory_bytes=64 * 1024 * 1024)
    assert refused.message == "Reading the file needs more than 64 MB of memory."


def test_a_file_that_is_too_large_is_refused_before_a_process_starts() -> None:
    assert refusal(b"x" * 11, own_process=True, max_bytes=10).message == "The file has 0.0 MB, more than 0 MB."
    assert refusal(b"x" * 100_000_000, own_process=True).message == "The file has 95.4 MB, more than 20 MB."


def test_a_line_without_end_is_refused() -> None:
    assert refusal(b"name\n" + b"a" * 19_000_000, own_process=True).message == "Line 2 of the file has more than 131,072 characters."


def test_answers_come_in_order_from_two_processes_as_from_one() -> None:
    pems = b"".join(csr(f"h{n}.example.com") for n in range(600))
    assert upload(pems) == read(pems)


def test_secrets_and_limits_hold_in_a_forked_process_too() -> None:
    from tests.certs.uploads.examples import PRIVATE_PEM  # noqa: PLC0415 - here alone

    pems = csr("a.example.com") * 600
    assert refusal(pems + PRIVATE_PEM, own_process=True).problem == "secret_pasted"


LINE = line_to_wire(one(b"name\napi\n"))


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [LINE],
        [LINE, b'{"end":2}\n'],
        [LINE, b'{"end":'],
        [b'{"failed":"ValueError in x.py:1"}\n'],
    ],
    ids=["nothing", "no end", "another number", "cut off", "a failure"],
)
def test_an_answer_that_is_not_whole_is_not_complete(answer: list[bytes]) -> None:
    with pytest.raises(InputRefused) as caught:
        whole_answer(io.BytesIO(b"".join(answer)), 0, Limits())
    assert caught.value.message == CANNOT_BE_READ


def test_a_whole_answer_is_complete() -> None:
    lines = whole_answer(io.BytesIO(LINE + LINE + json.dumps({"end": 2}).encode()), 0, Limits())
    line = one(b"name\napi\n")
    assert (list(lines), list(lines), len(lines), lines[-1], lines[:1]) == ([line] * 2, [line] * 2, 2, line, [line])
