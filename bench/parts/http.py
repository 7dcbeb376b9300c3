"""`POST /api/v1/certificates/issue` over real HTTP on PostgreSQL, with 1 and 4 clients, beside a bare WSGI answer."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from multiprocessing import get_context

from django.contrib.auth import get_user_model

from audit.log import Actor
from bench.csrs import at_once, post_for
from bench.machine import row
from certs.access.api_tokens import create_token
from certs.models import Certificate, Team

# Measured once side by side, with raw-socket clients and requests prepared beforehand; see docs/performance.md.
PEERS = (
    "peers with 1 / 4 clients, measured on 29 Nov 2026: step-ca 0.28.4 857 / 1,380, Vault PKI 1.13 on "
    "file storage 1,245 / 3,271; the portal in the same quarter of an hour 210-308 / 721-740"
)
SECONDS = 8
WARM_UP = 3  # statements are planned anew a second after they were planned first
WORKERS, THREADS = 2, 8  # as the image


def run() -> None:
    print("POST /api/v1/certificates/issue, P-256 CA and leaf, policy and audit on")
    print(f"  {WORKERS} web processes of {THREADS} threads, {SECONDS} s each after {WARM_UP} s of the same")
    user = get_user_model().objects.create_superuser("bench", "bench@example.com", "unused-" + os.urandom(8).hex())
    _, secret = create_token(
        user=user, team=Team.objects.get(), name="bench", scopes=["certificates:issue"], actor=Actor("command", "bench")
    )
    with web_server() as port:
        for clients in (1, 4):
            _load(port, secret, clients, WARM_UP)
            before = Certificate.objects.count()
            rate = _load(port, secret, clients, SECONDS)
            stored = Certificate.objects.count() - before
            row(f"{clients} client(s)", f"{rate:,.0f} a second", f"{stored:,} in the inventory")
    print(f"  ({PEERS})\n")


@contextlib.contextmanager
def web_server(application: str = "pkiportal.wsgi:application", *, processes: int = WORKERS, **more: str) -> Iterator[int]:
    """Gunicorn on a loopback port; `more` are environment variables of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        application,
        "-b",
        f"127.0.0.1:{port}",
        "-w",
        str(processes),
        "-k",
        "gthread",
        "--threads",
        str(THREADS),
        "--log-level",
        "warning",
    ]
    with subprocess.Popen(command, env={**os.environ, **more}) as server:
        try:
            _wait(port)
            yield port
        finally:
            server.terminate()


def _wait(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("The web server did not come up.")


def _load(port: int, token: str, clients: int, seconds: float) -> float:
    """Certificates a second. Each client is a process with a keep-alive connection."""
    processes = get_context("spawn")
    with processes.Pool(clients, initializer=at_once, initargs=(processes.Barrier(clients),)) as pool:
        counts = pool.starmap(post_for, [(port, token, number, seconds) for number in range(clients)], chunksize=1)
    return sum(counts) / seconds
