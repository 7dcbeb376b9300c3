"""`manage.py demo_data`: a believable year, made by the real workflow, only in an empty embedded portal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from tests.portal.fixtures import Portal

ROOT = Path(__file__).resolve().parents[2]


def test_production_gets_no_demo_data(settings: Any) -> None:
    settings.PKI_EMBEDDED = False
    with pytest.raises(CommandError, match="embedded portal alone"):
        call_command("demo_data")


@pytest.mark.django_db(transaction=True)
def test_portal_that_is_set_up_gets_no_demo_data(portal: Portal, settings: Any) -> None:
    settings.PKI_EMBEDDED = True
    with pytest.raises(CommandError, match="set up already"):
        call_command("demo_data")


@pytest.mark.django_db
@pytest.mark.parametrize("is_demo", [True, False])
def test_every_page_says_that_demo_data_is_invented(settings: Any, client: Client, is_demo: bool) -> None:
    settings.PKI_DEMO_DATA = is_demo
    assert ("Demo data: the people" in client.get("/login/").content.decode()) == is_demo


def manage(home: Path, *arguments: str) -> str:
    """Run a command of the embedded portal. Returns its output; what it logs must hold no traceback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_", "CELERY_"))}
    command = [sys.executable, "manage.py", *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=kept | {"PKI_HOME": str(home)}, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, (arguments, ran.stdout[-2000:], ran.stderr[-2000:])
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr[-4000:]
    return ran.stdout


@pytest.mark.long_fault
@pytest.mark.timeout(1500)
def test_year_of_demo_data_is_in_reports_and_its_audit_log_verifies(tmp_path: Path) -> None:
    made = json.loads(manage(tmp_path, "demo_data", "--certificates", "40", "--json").splitlines()[-1])
    assert made["certificates"] > 40  # renewals too
    report = json.loads(manage(tmp_path, "compliance_report", "--json", "--output", str(tmp_path / "report.json")))
    assert report["active"] > 0
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert len({point["policy_version"] for point in facts["history"]}) == 2  # it became stricter
    assert sum(one["renewed"] for one in facts["movements"]) > 0
    assert (tmp_path / "demo_data").exists()
    for verification in ("verify_audit", "verify_states"):
        manage(tmp_path, verification)
