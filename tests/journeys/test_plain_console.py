"""Every command on a terminal, or in a pipe, that knows ASCII only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pkiportal.processes.console import escaped
from tests.journeys.test_embedded import ROOT

OURS = ("audit", "certs", "keys", "pkiportal", "policy")
EVERY_HELP = """
import os, sys
sys.argv = ["manage.py"]
import manage
from django.core.management import get_commands
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")
django.setup()
names = sorted(name for name, app in get_commands().items() if str(app) in %r)
for name in names:
    sys.argv = ["manage.py", name, "--help"]
    if (child := os.fork()) == 0:  # alone: no other command has imported what it needs
        manage.main()
        sys.exit("help did not end the command")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, name
print("helped:", len(names))
"""


@pytest.fixture(scope="module")
def ascii_only(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_", "LC_"))}
    home = {"PKI_HOME": str(tmp_path_factory.mktemp("home")), "PYTHONPATH": str(ROOT)}
    return {**env, **home, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(env: dict[str, str], *command: str | Path) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, check=False, timeout=120)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


def test_bootstrap_and_refusals_are_said_in_ascii(ascii_only: dict[str, str]) -> None:
    code, out, err = run(ascii_only, "manage.py", "bootstrap")
    assert (code, "ready" in out) == (0, True), err
    weak = ("manage.py", "issue", "TLS certificate for api.example.com, RSA 2048", "--dry-run")
    code, out, _ = run(ascii_only, *weak, "--json")
    told = json.loads(out)
    assert (told["decision"], told["suggestion"]) == ("deny", "Use RSA key size ≥ 3072 bits")  # the same JSON as in UTF-8
    code, out, err = run(ascii_only, *weak)
    assert (code, "\\u2265 3072 bits" in out) == (0, True), err
    code, out, _ = run(ascii_only, "manage.py", "issue", "Bitte ein Zertifikat für größe 😀", "--json")
    assert (code, json.loads(out)["success"]) == (1, False)


def test_help_of_every_command_is_said_in_ascii(ascii_only: dict[str, str]) -> None:
    code, out, err = run(ascii_only, "-c", EVERY_HELP % (OURS,))
    assert code == 0, err
    assert int(out.rsplit("helped: ", 1)[1]) >= 18


@pytest.mark.parametrize("text", ["≥", "für «größe»", "😀", "\ud800"])
def test_escapes_are_those_of_json(text: str) -> None:
    said, end = escaped(UnicodeEncodeError("ascii", text, 0, len(text), "no"))
    assert (json.loads(f'"{said}"'), end) == (text, len(text))
