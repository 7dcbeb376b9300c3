"""What the pass on SQLite leaves unread has no test of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.plugin.marked import MARK, names_no_mark

FOR_SQLITE = "both_databases and not long_fault"


def test_every_test_with_the_mark_stands_in_a_module_that_names_it(request: pytest.FixtureRequest) -> None:
    """Else it would not run on SQLite, and nobody would see that."""
    marked = {item.path for item in request.session.items if item.get_closest_marker(MARK)}
    assert [path for path in marked if MARK not in path.read_text()] == []


def test_modules_without_it_are_unread_but_where_they_are_named(tmp_path: Path) -> None:
    without, marked, helper = (tmp_path / name for name in ("test_pure.py", "test_rows.py", "rows.py"))
    for path, text in ((without, "x"), (marked, f"pytestmark = pytest.mark.{MARK}"), (helper, "x")):
        path.write_text(text)
    unread = [path for path in (without, marked, helper, tmp_path) if names_no_mark(path, FOR_SQLITE, ["tests"])]
    assert unread == [without]
    assert not names_no_mark(without, FOR_SQLITE, [f"{without}::test_x"])
    assert not names_no_mark(without, "not long_fault", ["tests"])
