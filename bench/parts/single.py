"""One RSA-4096 request, split by step, beside the key generation it contains: what the portal adds to the arithmetic."""

from __future__ import annotations

import statistics
import uuid

from django.conf import settings

from audit.models import AuditEvent
from bench.machine import row, spread, timed
from bench.portal import requester, workers
from certs.models import CertificateRequest
from certs.requests.representation import wait
from certs.requests.submit import submit
from certs.spec import CertificateSpec
from keys.registry import get_key_backend
from keys.spec import KeySpec

RUNS = 5
STEPS = (
    ("submitted -> policy evaluated", "request:submitted", "policy:evaluated"),
    ("-> key made in the backend", "policy:evaluated", "key:generated"),
    ("-> CSR signed there", "key:generated", "csr:created"),
    ("-> certificate issued", "csr:created", "certificate:issued"),
    ("-> in the inventory", "certificate:issued", "certificate:recorded"),
)


def run() -> None:
    for backend in ("local", "vault"):
        if backend in settings.KEY_BACKENDS:
            _measure(backend)


def _measure(backend: str) -> None:
    print(f"One RSA-4096 certificate, key in `{backend}`, Celery on Redis, PostgreSQL ({RUNS} runs, ms)")
    settings.PKI_LEAF_KEY_BACKEND = backend
    requests: list[CertificateRequest] = []
    totals: list[float] = []
    with workers():
        for number in range(RUNS):
            spec = CertificateSpec(f"single{number}.example.com", (f"single{number}.example.com",), (), "rsa-4096", 90, "tls-server")
            made: list[CertificateRequest] = []
            totals.append(timed(lambda spec=spec, made=made: made.append(wait(submit(spec, requester=requester()), seconds=60))) * 1000)  # type: ignore[misc]
            requests += made
    pure = [
        timed(lambda: get_key_backend(backend).create(f"bench-{uuid.uuid4().hex}", KeySpec.RSA_4096, key_id=uuid.uuid4())) * 1000
        for _ in range(RUNS)
    ]
    split = [_step_times(request) for request in requests]
    for label, _, _ in STEPS:
        row(label, spread([times[label] for times in split]))
    around = [total - times["-> key made in the backend"] for total, times in zip(totals, split, strict=True)]
    row("total, from submit to seeing the answer", spread(totals))
    row("pure key generation, same backend, same run", spread(pure))
    row("total less its own key step (goal: <= 150)", spread(around), f"median {statistics.median(around):.0f}")
    print()


def _step_times(request: CertificateRequest) -> dict[str, float]:
    """Milliseconds between the audit events of a request: the evidence is the clock."""
    at = dict(AuditEvent.objects.filter(subject=request.subject).values_list("event", "at"))
    return {label: (at[end] - at[begin]).total_seconds() * 1000 for label, begin, end in STEPS}
