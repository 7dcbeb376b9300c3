"""The embedded portal: an order whose command was killed goes on when somebody watches it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.journeys.test_embedded import ROOT

pytestmark = pytest.mark.long_fault
ORDER = "Issue certificates for k-1 through k-40, all P-256, 90 days"


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def numbers(home: Path) -> tuple[int, int]:
    """Return how many certificates there are, and how many serial numbers."""
    with contextlib.closing(sqlite3.connect(home / "portal.sqlite3", timeout=20)) as database:
        found: tuple[int, int] = database.execute("SELECT count(*), count(DISTINCT serial_number) FROM certs_certificate").fetchone()
    return found


def test_order_of_a_killed_command_is_finished_by_watching_it(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_"))}
    env = kept | {"PKI_HOME": str(tmp_path)}
    subprocess.run(manage("bootstrap", "--no-input"), cwd=ROOT, env=env, check=True, capture_output=True, timeout=120)
    killed = subprocess.Popen(manage("bulk_issue", ORDER), cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while not numbers(tmp_path)[0] and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with contextlib.closing(sqlite3.connect(tmp_path / "portal.sqlite3", timeout=20)) as database:
        ((order, state),) = database.execute("SELECT public_id, state FROM certs_bulkorder").fetchall()
    assert state == "running", "killed too late to show anything"
    watch = manage("bulk_issue", "--watch", order, "--json", "--wait", "150")
    watched = subprocess.run(watch, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=200)
    answer = json.loads(watched.stdout)
    assert (watched.returncode, answer["state"], answer["issued"]) == (0, "done", 40)
    assert "CRITICAL" not in watched.stderr, watched.stderr[-3000:]
    assert numbers(tmp_path) == (40, 40)
    subprocess.run(manage("verify_states"), cwd=ROOT, env=env, check=True, capture_output=True, timeout=60)
