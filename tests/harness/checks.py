"""The checks that need no server: ruff, mypy, import-linter."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.harness.console import say
from tests.harness.processes import die_with_parent

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
MYPY = VENV / "bin" / "mypy"


def run() -> list[str]:
    """Run all checks; return the names of those that failed."""
    return [*run_short(), *_failed({"mypy": [MYPY]})]


def run_short(paths: Sequence[str] = ()) -> list[str]:
    """Run those that take seconds; return the names of those that failed.

    For single `paths` these are ruff's: imports, like types, cannot be judged in part.
    """
    ruff, where = VENV / "bin" / "ruff", list(paths) or ["."]
    commands: dict[str, list[str | Path]] = {
        "ruff check": [ruff, "check", *where],
        "ruff format": [ruff, "format", "--check", *where],
    }
    if not paths:
        commands["import-linter"] = [VENV / "bin" / "lint-imports"]
    return _failed(commands)


def _failed(commands: Mapping[str, Sequence[str | Path]]) -> list[str]:
    failed = []
    for name, command in commands.items():
        say(f"Checking: {name}")
        if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
            failed.append(name)
    return failed


@contextlib.contextmanager
def types_beside(command: Sequence[str | Path] = (MYPY,)) -> Iterator[Callable[[], list[str]]]:
    """Run mypy while the block does something else: for a minute it uses one core and leaves the others idle.

    The function that is yielded waits for its end, prints what it said, and returns its name if it failed.
    """
    say("Checking: mypy, beside the tests")
    tied = die_with_parent(signal.SIGTERM)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=tied,  # noqa: PLW1509 - one thread
        ) as mypy,
    ):

        def ended() -> list[str]:
            code = mypy.wait()
            said.seek(0)
            say(f"mypy: {said.read().strip()}")
            return ["mypy"] if code else []

        try:
            yield ended
        finally:
            mypy.terminate()
