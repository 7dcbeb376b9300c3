"""The run itself: what it refuses, what it leaves behind, what it builds."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import checks, packages, vault_build
from tests.harness.__main__ import requirements_beside
from tests.harness.checks import ROOT
from tests.harness.console import HarnessError
from tests.harness.postgres import Postgres


def _harness(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.harness", *arguments]


def test_path_that_does_not_exist_is_refused_before_anything_starts() -> None:
    done = subprocess.run(_harness("test", "tests/no_such_room"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "No such test: tests/no_such_room (T= takes paths from the root of the checkout).\n"


@pytest.mark.parametrize(("code", "failed"), [(0, []), (1, ["mypy"])])
def test_types_are_checked_beside_the_tests_and_reported_after_them(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, code: int, failed: list[str]
) -> None:
    go_on = tmp_path / "go-on"
    script = f"while [ ! -e {go_on} ]; do sleep 0.01; done; echo what it found; exit {code}"
    with checks.types_beside(["sh", "-c", script]) as ended:
        go_on.touch()  # it runs while this does
        assert "what it found" not in capfd.readouterr().out
        assert ended() == failed
    assert "what it found" in capfd.readouterr().out


def test_types_are_checked_no_longer_than_the_run() -> None:
    begun = time.monotonic()
    with checks.types_beside(["sleep", "60"]):
        pass
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(("missing", "is_beside"), [(["curl"], True), ([], False), (["curl", "python3-venv"], False)])
def test_requirements_are_installed_beside_packages_where_both_can_be(tmp_path: Path, missing: list[str], is_beside: bool) -> None:
    begun, go_on, done = (tmp_path / name for name in ("begun", "go-on", "done"))
    script = f"touch {begun}; while [ ! -e {go_on} ]; do sleep 0.01; done; touch {done}"
    with requirements_beside(missing, ["sh", "-c", script]):
        while is_beside and not begun.exists():
            time.sleep(0.01)
        go_on.touch()
    assert (begun.exists(), done.exists()) == (is_beside, is_beside)


def test_requirements_are_installed_no_longer_than_packages_are_tried() -> None:
    begun = time.monotonic()
    with pytest.raises(HarnessError), requirements_beside(["curl"], ["sleep", "60"]):
        raise HarnessError("apt-get failed")
    assert time.monotonic() - begun < 30


def test_exit_code_of_a_command_is_passed_on() -> None:
    assert subprocess.run(_harness("exec", "false"), cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_stops_its_servers_and_deletes_its_folder(number: signal.Signals) -> None:
    script = 'echo "ready $PKI_TEST_DATABASE_URL $PKI_TEST_REDIS_URL $PKI_TEST_VAULT_ADDR $SOFTHSM2_CONF"; exec sleep 60'
    with subprocess.Popen(_harness("exec", "sh", "-c", script), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        ready = next(line for line in run.stdout if line.startswith("ready ")).split()
        run.send_signal(number)
        run.communicate(timeout=60)
    *addresses, token_config = ready[1:]
    assert run.returncode == {signal.SIGTERM: 128 + 15, signal.SIGINT: 130}[number]
    assert [address for address in addresses if _answers(address)] == []
    assert not Path(token_config).parent.parent.exists()


def _answers(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(address).port or 0)) == 0


def test_vault_named_by_the_user_is_taken_or_refused_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKI_TEST_VAULT_BIN", "true")
    assert vault_build.chosen_binary() == Path("/usr/bin/true")
    monkeypatch.setenv("PKI_TEST_VAULT_BIN", "no-such-program")
    with pytest.raises(HarnessError, match="which is no program"):
        vault_build.chosen_binary()


def test_cache_of_the_vault_build_follows_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(vault_build, "SOURCE", tmp_path / "source")
    vault_build.SOURCE.mkdir()
    (vault_build.SOURCE / "main.go").write_text("package main")
    before = vault_build.cached_binary()
    (vault_build.SOURCE / "main.go").write_text("package main // changed")
    assert vault_build.cached_binary() != before
    assert before.is_relative_to(tmp_path / "cache" / "pkiportal")


def test_missing_package_is_named_by_what_it_brings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert packages.missing()[:3] == ["chromium-headless-shell", "curl", "faketime"]
    if os.geteuid() != 0:
        with pytest.raises(HarnessError, match="apt-get install -y --no-install-recommends chromium-headless-shell curl faketime"):
            packages.ensure()


def test_another_chromium_is_enough_for_who_cannot_install_the_headless_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def programs(*names: str) -> None:
        for name in names:
            (tmp_path / name).touch(mode=0o755)

    programs("chromium")
    for user, is_missing in ((0, True), (1000, False)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        assert ("chromium-headless-shell" in packages.missing()) == is_missing
    assert packages.chromium() == str(tmp_path / "chromium")
    programs("chromium-headless-shell")
    assert packages.chromium() == str(tmp_path / "chromium-headless-shell")


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "missing-cluster")
    (tmp_path / "missing-cluster").mkdir()
    with pytest.raises(HarnessError, match="PostgreSQL ended while it started"):
        postgres.start(attempts=1)


def test_requirements_are_installed_once() -> None:
    again = subprocess.run([sys.executable, "tools/venv.py", "requirements-dev.txt"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        ("3 11 7 True 46", "3 11 2 True 33", "theirs"),  # a version manager's, compiled without optimisation
        ("3 11 7 True 34", "3 11 2 True 33", "ours"),
        ("3 13 0 True 46", "3 11 2 True 33", "ours"),  # whoever asks for another version gets it
        ("3 11 7 True 46", "3 11 2 False 33", "ours"),  # Debian without python3-venv
        ("3 11 7 True 46", None, "ours"),
    ],
)
def test_the_faster_of_two_interpreters_of_a_version_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: str, theirs: str | None, taken: str
) -> None:
    spec = importlib.util.spec_from_file_location("tools_venv", ROOT / "tools" / "venv.py")
    assert spec is not None
    assert spec.loader is not None
    venv = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(venv)
    for name, says in (("ours", ours), ("theirs", theirs)):
        if says is not None:
            (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
            (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "ours"))
    monkeypatch.setattr(venv, "SYSTEM_PYTHON", tmp_path / "theirs")
    assert Path(venv.interpreter_for_venv()).name == taken
