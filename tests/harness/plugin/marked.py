"""The pass on SQLite reads only the modules that name its mark: to import the others costs each worker ten seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

MARK = "both_databases"


def names_no_mark(path: Path, markers: str, named: list[str]) -> bool:
    """Return whether a path is a module that has no test of the pass. Modules that the command line names are read."""
    if not markers.startswith(MARK) or not path.match("test_*.py"):
        return False
    if path in {Path(name.partition("::")[0]).resolve() for name in named}:
        return False
    return MARK not in path.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return names_no_mark(collection_path, config.getoption("markexpr"), config.args) or None
