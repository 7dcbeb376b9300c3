"""Two people, or two containers, that set up the same portal at the same moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_bootstraps_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    """A migration that another one runs at the same moment fails, with words about a database that cannot be used."""
    environment = {"PATH": os.environ["PATH"], "PKI_HOME": str(tmp_path / "home")}
    started = [
        subprocess.Popen(
            [sys.executable, "manage.py", "bootstrap", "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    made = sorted((len(json.loads(out)["made"]), err.count("Another bootstrap of this database is at work")) for out, err in ended)
    assert made[0] == (0, 1)
    assert made[1][0] > 10
    assert made[1][1] == 0
