"""The checks that need no server: ruff, mypy, import-linter."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.harness.console import say

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"


def run(paths: Sequence[str] = ()) -> list[str]:
    """Run all checks, or for single `paths` ruff's only (types and imports cannot be judged in part); the names of those that failed."""
    ruff, where = VENV / "bin" / "ruff", list(paths) or ["."]
    commands: dict[str, list[str | Path]] = {
        "ruff check": [ruff, "check", *where],
        "ruff format": [ruff, "format", "--check", *where],
    }
    if not paths:
        commands["mypy"] = [VENV / "bin" / "mypy"]
        commands["import-linter"] = [VENV / "bin" / "lint-imports"]
    failed = []
    for name, command in commands.items():
        say(f"Checking: {name}")
        if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
            failed.append(name)
    return failed
