"""What was measured on, printed above every figure."""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

LIBRARIES = ("Django", "celery", "kombu", "redis", "psycopg", "cryptography", "hvac", "gunicorn")


def describe() -> None:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    print(f"machine: {os.cpu_count()} cores, {model.group(1) if model else platform.processor()}")
    print(f"Python: {platform.python_version()} ({platform.python_compiler()}) at {Path(sys.executable).resolve()}")
    print("versions: " + ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES))
    print(f"fixed Python loop: {loop_ms():.0f} ms (30 on a quiet machine of the kind that docs/performance.md was measured on)\n")


def loop_ms() -> float:
    """A yardstick for shared machines that have a slow and a fast hour."""
    start = time.perf_counter()
    total = 0
    for number in range(1_000_000):
        total += number
    return (time.perf_counter() - start) * 1000


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """Median (minimum - maximum)"""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} - {max(values):,.{digits}f}){unit}"


def row(label: str, *cells: str) -> None:
    print(f"  {label:<52}" + "".join(f"{cell:>34}" for cell in cells))
