"""The tests of the folders with the longest modules begin first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.plugin.order import LONGEST, ROOT, pytest_collection_modifyitems


class Named:
    """What is asked of a test that was collected."""

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = ROOT / path, name


@pytest.mark.parametrize("folder", LONGEST)
def test_each_folder_has_tests(folder: str) -> None:
    assert list(Path(ROOT / folder).glob("test_*.py"))


def test_longest_folders_come_first_and_the_rest_keeps_its_order() -> None:
    items = [
        Named("tests/audit/test_log.py", "a"),
        Named("tests/certs/renewal/test_many.py", "b"),
        Named("tests/policy/test_engine.py", "c"),
        Named("tests/journeys/test_mails.py", "d"),
        Named("tests/audit/test_log.py", "e"),
        Named("tests/journeys/test_admin.py", "f"),
    ]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert "".join(one.name for one in items) == "dfbace"
