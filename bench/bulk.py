"""Bulk orders through Celery, Redis and PostgreSQL with two worker processes, beside a frameworkless loop in two processes."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from audit.clock import database_now
from audit.log import Actor
from bench import bare
from bench.csrs import make_csr
from bench.machine import row
from bench.portal import requester, workers
from certs.intake.spec import CertificateSpec
from certs.intake.uploads.lines import Line
from certs.workflow.bulk.drafting import draft
from certs.workflow.bulk.progress import progress
from certs.workflow.bulk.submission import submit_order

LINES = int(os.environ.get("PKI_BENCH_LINES", "10000"))
PROCESSES = 2


def run() -> None:
    print(f"Bulk orders of {LINES:,}, P-256 leaf and CA, Celery + Redis + PostgreSQL, {PROCESSES} worker processes, policy and audit on")
    csrs = _csrs(LINES)
    loop = bare.rate(csrs, processes=PROCESSES)
    row("frameworkless: verify, build, sign, COPY", f"{loop:,.0f} a second", f"{PROCESSES} processes")
    with workers(PROCESSES):
        brought = [_line(n, host, der, spki) for n, (der, spki, host) in enumerate(csrs, start=1)]
        _measure("brought CSRs", brought, loop)
        _measure("keys made here (local)", [_line(n, f"k{n}.example.com") for n in range(1, LINES + 1)], loop)
    print()


def _csrs(count: int) -> list[tuple[bytes, bytes, str]]:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return list(pool.map(make_csr, [f"b{n}.example.com" for n in range(count)], chunksize=500))


def _line(number: int, host: str, der: bytes | None = None, spki: bytes | None = None) -> Line:
    spec = CertificateSpec(host, (host,), (), "ec-p256", 90, "tls-server", csr_der=der, spki_der=spki)
    return Line(number, f"row {number}", spec)


def _measure(what: str, lines: list[Line], loop: float) -> None:
    started = time.perf_counter()
    order = draft(lines, requester=requester(), title=what)
    drafted = time.perf_counter()
    submit_order(order, actor=Actor("command", "bench"))
    seen: Any = None
    while order.finished_at is None:
        time.sleep(0.05)
        order.refresh_from_db()
    done = time.perf_counter()
    seen = progress(order, now=database_now())
    rate = seen.tally.issued / (done - drafted)
    row(what, f"{rate:,.0f} a second", f"{done - drafted:.1f} s after {drafted - started:.1f} s of judging", f"ratio {rate / loop:.2f}")
