"""A secret that is made once is whole for whoever finds its file, and stays the first one."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from audit.files import write_once
from audit.transparency.signing_key import ensure_sealing_key, get_signer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def test_first_file_stays(folder: Path) -> None:
    path = folder / "key"
    assert write_once(path, b"first")
    assert not write_once(path, b"second")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"first", 0o600)
    assert list(folder.iterdir()) == [path]


def test_file_that_cannot_be_written_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_once(folder / "key", b"secret")
    assert list(folder.iterdir()) == []


def test_two_bootstraps_at_once_make_one_sealing_key(tmp_path: Path, settings: Any) -> None:
    for number in range(20):
        settings.AUDIT_HOME = tmp_path / str(number)
        settings.AUDIT_HOME.mkdir()
        barrier = threading.Barrier(4)
        found: list[bool] = []
        failed: list[Exception] = []

        def start(barrier: threading.Barrier = barrier, found: list[bool] = found, failed: list[Exception] = failed) -> None:
            barrier.wait(10)
            try:
                found.append(ensure_sealing_key())
            except Exception as exc:  # noqa: BLE001 - none may be raised
                failed.append(exc)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (failed, sorted(found)) == ([], [False, False, False, True])
        get_signer().verifier()
        assert {path.name for path in settings.AUDIT_HOME.iterdir()} == {"audit.key", "audit.pub"}
