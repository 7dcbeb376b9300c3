"""Memory of a Celery worker from an order of 1,000 to one of 50,000, and of the web process that reads and judges such an upload."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from http.client import HTTPConnection
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import connections

from audit.log import Actor
from bench.machine import row
from bench.parts.bulk import line_of, make_csrs, worked_off
from bench.parts.http import web_server
from bench.portal import requester, workers
from certs.access.api_tokens import create_token
from certs.bulk.drafting.draft import draft
from certs.models import BulkOrder, Team

SMALL = 1_000
LARGE = int(os.environ.get("PKI_BENCH_MEMORY_LINES", "50000"))
KEYED = int(os.environ.get("PKI_BENCH_MEMORY_KEYED", "10000"))
MB = 1024


def run() -> None:
    print(f"Memory in MB: resident now / proportional share now / most ever resident; orders of {SMALL:,} to {LARGE:,}")
    last = _workers()
    _web(last)
    print()


def _workers() -> BulkOrder:
    csrs = make_csrs(2 * SMALL + LARGE)
    brought = [line_of(n, host, der, spki) for n, (der, spki, host) in enumerate(csrs, start=1)]
    with workers(2) as worker:
        _show("worker, started", _below(worker.pid))
        for what, lines in (
            (f"worker, {SMALL:,} CSRs brought", brought[:SMALL]),
            (f"worker, {SMALL:,} more", brought[SMALL : 2 * SMALL]),
            (f"worker, {LARGE:,} CSRs brought", brought[2 * SMALL :]),
        ):
            order = draft(lines, requester=requester(), title=what)
            issued, seconds = worked_off(order)
            _show(what, _below(worker.pid), f"{issued:,} issued, {issued / seconds:,.0f} a second")
    with workers(2) as worker:
        for count in (SMALL, KEYED):
            lines = [line_of(n, f"m{count}-{n}.example.com") for n in range(1, count + 1)]
            issued, seconds = worked_off(draft(lines, requester=requester(), title=f"{count} keys"))
            _show(f"worker, {count:,} keys made here", _below(worker.pid), f"{issued:,} issued, {issued / seconds:,.0f} a second")
    return order


def _web(order: BulkOrder) -> None:
    user = get_user_model().objects.create_superuser("memory", "memory@example.com", "unused-" + os.urandom(8).hex())
    scopes = ["certificates:issue", "certificates:read"]
    _, secret = create_token(user=user, team=Team.objects.get(), name="memory", scopes=scopes, actor=Actor("command", "bench"))
    connections.close_all()
    with web_server(processes=1) as port:
        for count in (SMALL, SMALL, LARGE, LARGE):
            took = _upload(port, secret, count)
            _show(f"web, upload of {count:,} lines judged", _below(os.getpid(), "gunicorn"), f"{took:.1f} s")
        for form in ("certificates.zip", "inventory.csv"):
            size, took = _download(port, secret, order, form)
            _show(f"web, {form} of {LARGE:,}", _below(os.getpid(), "gunicorn"), f"{size / 1e6:.1f} MB in {took:.1f} s")


def _upload(port: int, token: str, count: int) -> float:
    table = "name,key\n" + "".join(f"w{n}.example.com,P-256\n" for n in range(count))
    part = 'Content-Disposition: form-data; name="{}"'
    body = "\r\n".join(
        (
            "--edge",
            part.format("plan_only"),
            "",
            "true",
            "--edge",
            part.format("file") + '; filename="table.csv"',
            "Content-Type: text/csv",
            "",
            table,
            "--edge--",
            "",
        )
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=edge"}
    began = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/api/v1/bulk/upload", body.encode(), headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise SystemExit(f"The upload was answered {response.status}: {text[:300]!r}")
    return time.perf_counter() - began


def _download(port: int, token: str, order: BulkOrder, form: str) -> tuple[int, float]:
    began, size = time.perf_counter(), 0
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", f"/api/v1/bulk/{order.public_id}/{form}", headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{form} was answered {response.status}.")
    while piece := response.read(65536):
        size += len(piece)
    return size, time.perf_counter() - began


def _below(pid: int, program: str = "") -> list[int]:
    """The processes at the end of a tree of processes: a pool's children, without who leads them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)):
            children.setdefault(parent, []).append(int(entry.name))
    if program:
        (pid,) = (child for child in children.get(pid, ()) if program in Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8"))
    return sorted(children.get(pid, [pid]))


def _parent(process: Path) -> int:
    try:
        return int(_field(process / "status", "PPid"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _field(file: Path, name: str) -> str:
    return next(line.split()[1] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith(name + ":"))


def _show(what: str, processes: Iterable[int], *more: str) -> None:
    row(what, ", ".join(_memory(Path(f"/proc/{pid}")) for pid in processes), *more)


def _memory(process: Path) -> str:
    resident, most = int(_field(process / "status", "VmRSS")), int(_field(process / "status", "VmHWM"))
    share = int(_field(process / "smaps_rollup", "Pss"))
    return f"{resident / MB:.0f} / {share / MB:.0f} / {most / MB:.0f}"
