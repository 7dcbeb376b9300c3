"""A ledger with a sealing key of its own, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from audit.transparency.signing_key import ensure_sealing_key


@pytest.fixture(autouse=True)
def audit_home(tmp_path: Path, settings: Settings) -> Path:
    """Sealing key and checkpoint file of this test alone."""
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    return tmp_path
