"""`policy_check` in processes of its own, which have databases of their own: it needs none of the two of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policy.rules import ruleset_from_dict
from policy.texts.yaml_text import ruleset_to_yaml
from tests.certs.replay.test_verdicts import stricter

ROOT = Path(__file__).resolve().parents[3]
FINE, FAULTS, NOT_CHECKED = 0, 1, 2


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(ruleset_to_yaml(ruleset_from_dict(stricter(max_validity={"days": 45}))))
    return file


def manage(*arguments: str, environment: dict[str, str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of a process of its own."""
    done = subprocess.run(
        [sys.executable, "manage.py", "policy_check", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_in_a_process_of_its_own_without_tables_without_a_database_and_from_standard_input(policy: Path, tmp_path: Path) -> None:
    """The embedded default before its first start has a database without tables."""
    embedded = {"DJANGO_SETTINGS_MODULE": "pkiportal.settings.embedded", "PKI_HOME": str(tmp_path / "home")}
    code, out, err = manage(str(policy), environment=embedded)
    assert (code, out) == (NOT_CHECKED, "")
    assert "The database cannot be used" in err
    assert "migrate" in err
    assert "Traceback" not in err

    away = {
        "DJANGO_SETTINGS_MODULE": "pkiportal.settings.test",
        "PKI_TEST_DATABASE": "postgres",
        "PKI_TEST_DATABASE_URL": "postgres://nobody:hidden@127.0.0.1:1/none",
        "PKI_HOME": str(tmp_path / "home"),
    }
    code, out, err = manage(str(policy), "--json", environment=away)
    answer = json.loads(out)
    assert (code, answer["success"], answer["checked"]) == (NOT_CHECKED, False, False)
    assert "DATABASE_URL" in answer["next_step"]
    assert "hidden" not in out + err

    code, out, err = manage("-", "--no-compare", stdin=policy.read_bytes(), environment=away)
    assert (code, "has no faults" in out) == (FINE, True), err
    code, out, err = manage("-", "--no-compare", stdin=b"\xff\xfe\x00", environment=away)
    assert (code, "not UTF-8" in out) == (FAULTS, True), err
    code, out, err = manage("-", "--no-compare", "--no-replay", environment=away)
    assert (code, out) == (NOT_CHECKED, "")
