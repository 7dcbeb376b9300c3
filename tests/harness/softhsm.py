"""A private SoftHSM 2 token: a PKCS#11 module that needs no server, only a folder and a configuration file."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.harness.console import HarnessError
from tests.harness.processes import run_tool

LABEL = "pki-test"


def module_path() -> Path | None:
    """The module: Debian's path first, then the architecture's library folders."""
    candidates = [Path("/usr/lib/softhsm/libsofthsm2.so"), *sorted(Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"))]
    return next((path for path in candidates if path.exists()), None)


@dataclass(frozen=True)
class SoftHSM:
    module: Path
    config: Path
    label: str
    pin: str


def create_token(folder: Path) -> SoftHSM:
    """An initialised token in `folder`, with new PINs."""
    module, tool = module_path(), shutil.which("softhsm2-util")
    if module is None or tool is None:
        raise HarnessError("SoftHSM 2 is missing. Run: apt-get install softhsm2", exit_code=2)
    tokens = folder / "tokens"
    for path in (folder, tokens):
        path.mkdir(mode=0o700)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8")
    token = SoftHSM(module, config, LABEL, secrets.token_hex(4))
    pins = ["--pin", token.pin, "--so-pin", secrets.token_hex(4)]
    run_tool([tool, "--init-token", "--free", "--label", LABEL, *pins], env={**os.environ, "SOFTHSM2_CONF": str(config)})
    return token
