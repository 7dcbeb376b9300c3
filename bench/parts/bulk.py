"""Bulk orders through Celery, Redis and PostgreSQL with two worker processes, beside a frameworkless loop in two processes."""

from __future__ import annotations

import os
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any
from unittest.mock import patch

import requests
from django.conf import settings

from audit.log import Actor
from bench import bare
from bench.csrs import make_csr
from bench.machine import row, spread, timed
from bench.portal import requester, workers
from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.chunk import make_chunk
from certs.bulk.drafting.draft import draft
from certs.bulk.progress import counts
from certs.bulk.submit import submit_order
from certs.ca.local.setup import ensure_own_ca
from certs.enums import RequestState as S
from certs.issuance.advance import advance
from certs.models import BulkOrder
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from keys.registry import get_key_backend
from keys.spec import KeySpec

LINES = int(os.environ.get("PKI_BENCH_LINES", "10000"))
WARMING = 1000  # lines of an order before the one that is measured: a chunk for each worker
ROUNDS = int(os.environ.get("PKI_BENCH_ROUNDS", "30"))
PROCESSES, RSA_LINES, COUNTED = 2, 10, 100
VAULT_CA = "Bench-Vault-CA"


def run() -> None:
    print(f"Bulk orders of {LINES:,}, P-256 leaf and CA, Celery + Redis + PostgreSQL, {PROCESSES} worker processes, policy and audit on")
    csrs = make_csrs(WARMING + LINES)
    loops: dict[bool, list[float]] = {
        False: [],
        True: [],
    }  # by whether it makes keys: before, between and after, for the machine's speed changes
    _loop(csrs, loops)
    with workers(PROCESSES):
        brought = _measure("brought CSRs", [line_of(n, host, der, spki) for n, (der, spki, host) in enumerate(csrs, start=1)])
        _loop(csrs, loops)
        made = _measure("keys made here (local)", [line_of(n, f"k{n}.example.com") for n in range(1, WARMING + LINES + 1)])
        _loop(csrs, loops)
    loop, making = median(loops[False]), median(loops[True])
    row("frameworkless: verify, build, sign, COPY", f"{spread(loops[False])} a second", f"{PROCESSES} processes")
    row("the same with keys and CSRs made there", f"{spread(loops[True])} a second", f"{PROCESSES} processes")
    print(f"    brought CSRs: ratio {brought / loop:.3f} (goal 0.333)")
    print(
        f"    keys made here: ratio {made / loop:.3f} (goal 0.333; that loop makes no keys), {made / making:.3f} to the one that makes them"
    )
    print()


def _loop(csrs: list[tuple[bytes, bytes, str]], rates: dict[bool, list[float]]) -> None:
    for makes_keys, found in rates.items():
        found.append(bare.rate(csrs[WARMING:], processes=PROCESSES, makes_keys=makes_keys))


def make_csrs(count: int) -> list[tuple[bytes, bytes, str]]:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return list(pool.map(make_csr, [f"b{n}.example.com" for n in range(count)], chunksize=500))


def line_of(number: int, host: str, der: bytes | None = None, spki: bytes | None = None) -> Line:
    spec = CertificateSpec(host, (host,), (), "ec-p256", 90, "tls-server", csr_der=der, spki_der=spki)
    return Line(number, f"row {number}", spec)


def _measure(what: str, lines: list[Line]) -> float:
    """Certificates a second. The first lines are an order of their own, in which the workers meet all for the first time."""
    worked_off(draft(lines[:WARMING], requester=requester(), title="warming up"))
    started = time.perf_counter()
    order = draft(lines[WARMING:], requester=requester(), title=what)
    drafted = time.perf_counter()
    issued, seconds = worked_off(order)
    row(what, f"{issued / seconds:,.0f} a second", f"{seconds:.1f} s after {drafted - started:.1f} s of judging")
    return issued / seconds


def worked_off(order: BulkOrder) -> tuple[int, float]:
    """Certificates, and seconds from the click to the end, which the database knows: looking more often would take time from what
    is measured.
    """
    clicked = time.time()
    submit_order(order, authority=Authority(Actor("command", "bench")))
    while order.finished_at is None:
        time.sleep(0.5)
        order.refresh_from_db()
    return counts(order).issued, order.finished_at.timestamp() - clicked


def run_vault() -> None:
    """Keys in Vault's transit engine: ten RSA-4096 beside their generation alone, and a thousand P-256."""
    if "vault" not in settings.KEY_BACKENDS:
        print("Left out: no Vault here.")
        return
    print(f"Bulk orders with keys in Vault transit, {PROCESSES} worker processes")
    settings.PKI_LEAF_KEY_BACKEND = os.environ["PKI_LEAF_KEY_BACKEND"] = "vault"
    settings.PKI_CA_KEY_BACKEND = "vault"
    ensure_own_ca(name=VAULT_CA, spec=KeySpec.EC_P256, actor=Actor("command", "bench"), tell=lambda _line: None)
    with workers(PROCESSES):
        _rsa()
        count = min(LINES, 1000)
        issued, seconds = worked_off(_transit_order(count))
    calls = _vault_calls(_transit_order(COUNTED))
    row(f"{count:,} P-256, CA key in Vault too", f"{issued / seconds:,.0f} a second", f"{calls / COUNTED:.2f} Vault calls each")
    print()


def _transit_order(count: int) -> BulkOrder:
    lines = [line_of(n, f"v{n}-{uuid.uuid4().hex[:8]}.example.com") for n in range(1, count + 1)]
    return draft(lines, requester=requester(), title="transit", issuer=VAULT_CA)


def _vault_calls(order: BulkOrder) -> int:
    """HTTP requests that one process sends for an order that it works off alone, with the functions that the tasks call."""
    sent = 0
    send = requests.Session.send

    def counted(self: requests.Session, *args: Any, **more: Any) -> Any:
        nonlocal sent
        sent += 1
        return send(self, *args, **more)

    submit_order(order, authority=Authority(Actor("command", "bench")))
    with patch.object(requests.Session, "send", counted):
        while dispatch.dispatch() or order.chunks.filter(state="queued").exists():
            for chunk in order.chunks.filter(state="queued"):
                advance(make_chunk(chunk.pk), until=S.COMPLETED)
                dispatch.end_chunk(chunk.pk)
    return sent


def _rsa() -> None:
    """A generation takes from 0.1 to 1.4 seconds by chance, so many are made, in turns, and their totals compared."""
    alone, whole = [], []
    for _ in range(ROUNDS):
        wanted = [(f"bench-{uuid.uuid4().hex}", KeySpec.RSA_4096, uuid.uuid4()) for _ in range(RSA_LINES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            alone.append(timed(lambda: list(pool.map(_create, wanted))))  # noqa: B023 - run at once
        order = draft([_rsa_line(n) for n in range(RSA_LINES)], requester=requester(), title="rsa")
        whole.append(worked_off(order)[1])
    ratio = f"ratio of totals {sum(whole) / sum(alone):.2f} (goal <= 1.15)"
    row(f"{RSA_LINES} RSA-4096, {ROUNDS} times", f"{spread(whole, digits=1)} s", f"keys alone {spread(alone, digits=1)} s", ratio)


def _create(wanted: tuple[str, KeySpec, uuid.UUID]) -> None:
    name, spec, key_id = wanted
    get_key_backend("vault").create(name, spec, key_id=key_id)


def _rsa_line(number: int) -> Line:
    host = f"rsa{number}-{uuid.uuid4().hex[:8]}.example.com"
    return Line(number + 1, f"row {number + 1}", CertificateSpec(host, (host,), (), "rsa-4096", 90, "tls-server"))
