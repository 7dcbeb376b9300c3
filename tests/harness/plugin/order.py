"""The folders with the longest modules come first: one that begins at the end runs while the other workers have nothing to do.

pytest-xdist gives a worker one module at a time, in the order of collection (`--no-loadscope-reorder`;
by default modules with few tests come last, and the longest are among them).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LONGEST = (
    "tests/journeys",
    "tests/faults",
    "tests/deploy",
    "tests/certs/access",
    "tests/certs/issuance",
    "tests/certs/renewal",
)


def rank(path: Path, longest: Sequence[str] = LONGEST) -> int:
    """Return the place of the folder of a test; all other folders share the last one."""
    found = [place for place, folder in enumerate(longest) if path.is_relative_to(ROOT / folder)]
    return found[0] if found else len(longest)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder; within one the order stays that of pytest-django."""
    items.sort(key=lambda item: rank(item.path))
