"""What the benchmarks promise: parts run in any order, and documents name peers as they were measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import PARTS
from bench.parts.http import PEERS
from tests.harness.plugin.parts import needed

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
SMALL = {
    "PKI_BENCH_CERTIFICATES": "200",
    "PKI_BENCH_LINES": "20",
    "PKI_BENCH_ROUNDS": "1",
    "PKI_BENCH_SECONDS": "1",
}


@pytest.mark.long_fault
@pytest.mark.parametrize("parts", [["ocsp", "crl"], ["crl", "bulk-vault", "crl"]], ids=" ".join)
def test_parts_run_in_any_order_and_more_than_once(parts: list[str], tmp_path: Path) -> None:
    """K10: a part found the rows of the one before it, and failed with duplicate keys."""
    for name in ("PKI_TEST_DATABASE_URL", "PKI_TEST_REDIS_URL", "PKI_TEST_VAULT_ADDR"):
        needed(name)
    own = {"PKI_TEST_DATABASE": "postgres", "PKI_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    given = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    del given["DJANGO_SETTINGS_MODULE"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *parts],
        cwd=ROOT,
        env=given | own | SMALL,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr


def test_peers_are_measured_in_the_same_run_and_named_as_measured() -> None:
    """K11: the figures of 524 and 1,260 were bound by the client."""
    assert "peers" in PARTS
    for name in ("step-ca", "Vault PKI"):
        measured = re.search(rf"{name} [^/]* (\d[\d,]*) / (\d[\d,]*\d)", PEERS)
        assert measured is not None
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name}")]
        assert re.findall(r"\| (\d[\d,]*)", row) == list(measured.groups())


def test_withdrawn_figures_of_peers_are_named_only_as_withdrawn() -> None:
    """K11: the portal does not reach the rate of step-ca."""
    (paragraph,) = [part for part in PAGE.split("\n\n") if "524 a second" in part]
    assert "the claim is withdrawn" in paragraph
    assert "half of step-ca's rate" in paragraph
    others = PAGE.replace(paragraph, "")
    assert not re.search(r"step-ca[^.|]*\b524\b|Vault[^.|]*1,260", others)
