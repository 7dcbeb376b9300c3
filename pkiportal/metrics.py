"""`/metrics`: what an operator's monitoring should watch, in the Prometheus text format (version 0.0.4).

Every number is one query over a small or partial index; nothing here counts a large table. Who may read them says
PKI_METRICS_TOKEN. Without one they are closed: a proxy on the same host makes everybody look like this machine. Only the embedded
default, which is one process on somebody's own machine, then answers that machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Count, Min
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from audit.clock import database_now
from audit.models import AuditUnsealed
from certs.models import BulkChunk, BulkOrder, Certificate, CertificateRequest, Issuer, OperatorAlert, OutgoingMail, Revocation
from certs.workflow.states import UNFINISHED

CLOSED = "Metrics are closed: set PKI_METRICS_TOKEN (or PKI_METRICS_TOKEN_FILE), and send it as Authorization: Bearer TOKEN.\n"
_LOOPBACK = ("127.0.0.1", "::1")
_PROXIED = {f"HTTP_{name}" for name in ("X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP", "FORWARDED", "VIA")}


@dataclass(frozen=True, slots=True)
class Sample:
    """One gauge; `label` is (name, value) where it has several series."""

    name: str
    help: str
    value: float
    label: tuple[str, str] | None = None


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """404 for whoever may not read them; 403 with the way to open them where no token was set."""
    if settings.PKI_METRICS_TOKEN:
        if not _has_token(request, settings.PKI_METRICS_TOKEN):
            raise Http404
    elif not (settings.PKI_EMBEDDED and _from_this_machine(request)):
        return HttpResponse(CLOSED, status=403, content_type="text/plain; charset=utf-8")
    return HttpResponse(render(list(samples())), content_type="text/plain; version=0.0.4; charset=utf-8")


def _has_token(request: HttpRequest, token: str) -> bool:
    return hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode())


def _from_this_machine(request: HttpRequest) -> bool:
    """Asked for by a local address, under a local name, through nothing that says that it is a proxy."""
    host = urlsplit(f"//{request.get_host()}").hostname
    return request.META.get("REMOTE_ADDR") in _LOOPBACK and host in (*_LOOPBACK, "localhost") and not (_PROXIED & set(request.META))


def render(found: list[Sample]) -> str:
    """Samples of one name stand together, after its HELP and TYPE lines."""
    lines: list[str] = []
    for name in dict.fromkeys(sample.name for sample in found):
        series = [sample for sample in found if sample.name == name]
        lines += [f"# HELP {name} {series[0].help}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_label(sample)} {sample.value:.15g}" for sample in series]
    return "\n".join(lines) + "\n"


def _label(sample: Sample) -> str:
    if sample.label is None:
        return ""
    name, value = sample.label
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{name}="{escaped}"}}'


def samples() -> Iterator[Sample]:
    """The gauges, read now."""
    now = database_now()
    yield from _requests()
    open_alerts = OperatorAlert.objects.filter(closed_at__isnull=True)
    yield Sample("pki_alerts_open", "Operator alerts that nobody closed yet.", open_alerts.count())
    pending = Revocation.objects.filter(confirmed_at__isnull=True)
    yield Sample("pki_revocations_pending", "Revocations that a CA has not confirmed.", pending.count())
    soon = Certificate.objects.filter(not_after__gt=now, not_after__lt=now + timedelta(days=7), status=Certificate.Status.GOOD)
    yield Sample("pki_certificates_expiring_7d", "Certificates in force that expire within 7 days.", soon.count())
    oldest = AuditUnsealed.objects.aggregate(at=Min("event__at"))["at"]
    age = (now - oldest).total_seconds() if oldest else 0
    yield Sample("pki_audit_oldest_unsealed_seconds", "Age of the oldest audit event that is not sealed; alarm above 60.", age)
    yield Sample("pki_bulk_orders_running", "Bulk orders under way.", BulkOrder.objects.filter(state=BulkOrder.State.RUNNING).count())
    for state in (BulkChunk.State.WAITING, BulkChunk.State.QUEUED):
        count = BulkChunk.objects.filter(state=state).count()
        yield Sample("pki_bulk_chunks", "Chunks of bulk orders that are not done.", count, ("state", str(state)))
    unsent = OutgoingMail.objects.filter(sent_at__isnull=True)
    yield Sample("pki_mails_unsent", "Mails that wait to be sent.", unsent.count())
    for issuer in Issuer.objects.exclude(alias="").order_by("name"):
        stopped = float(issuer.circuit_opened_at is not None)
        yield Sample("pki_ca_stopped", "1 while nothing is sent to this CA.", stopped, ("issuer", issuer.name))


def _requests() -> Iterator[Sample]:
    unfinished = CertificateRequest.objects.filter(state__in=UNFINISHED)
    counts = dict(unfinished.order_by().values_list("state").annotate(count=Count("pk")))
    for state in UNFINISHED:
        yield Sample("pki_requests_unfinished", "Requests under way.", counts.get(str(state), 0), ("state", str(state)))
    held = unfinished.filter(held_since__isnull=False).count()
    yield Sample("pki_requests_held", "Requests that wait for a CA or key backend.", held)
