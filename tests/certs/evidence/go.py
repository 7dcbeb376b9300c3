"""Go programs of the tests: built once for each content of their folder, into the cache of the harness."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.harness.vault_build import usable_go

ROOT = Path(__file__).resolve().parents[3]
KIT = ROOT / "certs" / "evidence" / "kit"
TLOGCHECK = ROOT / "tests" / "tlogcheck"


@cache
def go_program(source: Path) -> Path:
    """The program built from a folder. Skips, saying so, where there is no Go."""
    go = usable_go()
    if go is None:
        pytest.skip("no Go 1.21 or newer: the verifier that is not ours cannot be built")
    digest = hashlib.sha256()
    for path in sorted(one for one in source.iterdir() if one.suffix in {".go", ".mod", ".sum"}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pkiportal"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.name}-{digest.hexdigest()}"
    with (folder / f"{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            subprocess.run([go, "build", "-trimpath", "-o", f"{target}.new", "."], cwd=source, check=True)
            Path(f"{target}.new").replace(target)
    return target
