"""One process that computes a report: `python -m bench.report_once`, run by bench.parts.report."""

from __future__ import annotations

import json
import time
from pathlib import Path

import django

django.setup()

from certs.models import Certificate  # noqa: E402
from certs.reports.facts import compute  # noqa: E402
from certs.reports.weeks import Week  # noqa: E402
from db.clock import database_now  # noqa: E402 - Django first


def peak() -> int:
    """The most memory this process has had since the count began, in kB."""
    (line,) = [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def main() -> None:
    Certificate.objects.exists()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = peak(), time.perf_counter()
    now = database_now()
    compliance = compute(Week.of(now), now=now).facts["compliance"]
    seconds = time.perf_counter() - start
    figures = {"seconds": seconds, "megabytes": (peak() - before) / 1024, "total": compliance["total"], "fails": compliance["fails"]}
    print(json.dumps(figures))


main()
