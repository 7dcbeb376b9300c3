"""`manage.py bulk_issue`: the plan that the portal would show, and an order whose every line is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certs.models import BulkOrder
from tests.certs.api.test_bulk import LIKE_A_FILE, work_off
from tests.portal.commands import run
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
TWICE = b"name,key\nd1,P-256\nD1.EXAMPLE.COM,P-256\nd1.example.com.,P-256\nd2.example.com,\n"


@pytest.fixture
def file(tmp_path: Path, portal: Portal, settings: Any) -> Path:
    settings.CELERY_TASK_ALWAYS_EAGER = False
    return tmp_path / "wanted.csv"


def test_dry_run_shows_the_plan_of_every_line(file: Path) -> None:
    """B4: completed names, defaults, and duplicates within the file."""
    file.write_bytes(TWICE)
    code, told = run("bulk_issue", "--csv", str(file), "--dry-run")
    assert (code, told["total"], told["duplicates"]) == (0, 4, 2)
    assert [(line["line"], line["common_name"], line["duplicate"]) for line in told["plan"]] == [
        ("row 2", "d1.example.com", ""),
        ("row 3", "d1.example.com", "same names as row 2"),
        ("row 4", "d1.example.com", "same names as row 2"),
        ("row 5", "d2.example.com", ""),
    ]
    assert "Completed with the default domain example.com: d1.example.com" in told["plan"][0]["notes"]
    assert "Key RSA 3072: the policy's default" in told["plan"][3]["notes"]
    assert (told["plan"][3]["validity_days"], told["plan"][3]["not_after"]) == (90, None)


def test_dry_run_of_a_sentence_has_its_notes(file: Path) -> None:
    """B4."""
    code, told = run("bulk_issue", "Issue certificates for a1 through a3, P-256", "--dry-run")
    assert (code, [line["common_name"] for line in told["plan"]]) == (0, ["a1.example.com", "a2.example.com", "a3.example.com"])
    assert "Completed with the default domain example.com: a1.example.com, a2.example.com, a3.example.com" in told["notes"]


def test_order_tells_what_was_assumed_and_what_is_there_already(file: Path) -> None:
    """B4: duplicates within the file and of certificates that live."""
    file.write_bytes(b"name,key\nd1.example.com,P-256\n")
    run("bulk_issue", "--csv", str(file), "--wait", "0")
    work_off()
    file.write_bytes(TWICE)
    _, told = run("bulk_issue", "--csv", str(file), "--wait", "0")
    assert told["duplicates"] == 3
    assert "has the same names and is valid" in told["duplicate_lines"][0]["duplicate"]
    assert "Completed with the default domain example.com: d1.example.com" in told["notes"]


@pytest.mark.parametrize(("options", "failed", "code"), [((), 4, 1), (("--only-allowed",), 0, 0)])
def test_every_row_of_a_file_is_counted(file: Path, options: tuple[str, ...], failed: int, code: int) -> None:
    """B1: the same numbers as over REST."""
    file.write_bytes(LIKE_A_FILE)
    run("bulk_issue", "--csv", str(file), "--wait", "0", *options)
    work_off()
    found, told = run("bulk_issue", "--watch", BulkOrder.objects.get().public_id)
    assert (found, told["total"], told["issued"], told["failed"]) == (code, 6, 2, failed)
    assert sum(told["counts"].values()) == 6
    assert [problem["line"] for problem in told["problems"]] == ["row 3", "row 4", "row 5", "row 6"]
    assert all(problem["error"] for problem in told["problems"])
