"""`/metrics`: the gauges that an operator's monitoring watches, in Prometheus' exposition formats.

Every number is one query over a small or partial index; nothing here counts a large table. They are read at each scrape, so
each process of the service returns the same ones. PKI_METRICS_TOKEN is what a reader sends. Without it they are closed: a proxy on the
same host makes every client look like this machine. Only the embedded default, one process on a person's own machine, then answers
that machine.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from audit.models import AuditUnsealed
from certs.ca.lifetime import end_of
from certs.ca.local.ocsp_responder import newest_responder
from certs.inventory import expiring, needing_action
from certs.inventory.figures import state_figures
from certs.models import BulkChunk, BulkOrder, Certificate, CertificateRequest, CRLPoint, Issuer, OperatorAlert, Revocation
from certs.notifications.delivery.mail import waiting as waiting_mails
from certs.requests.states import UNFINISHED
from certs.schedules.machinery import machinery
from certs.status.publishing import own_issuing_cas, own_roots
from db.clock import database_now

log = logging.getLogger(__name__)

CLOSED = "Metrics are closed: set PKI_METRICS_TOKEN (or PKI_METRICS_TOKEN_FILE), and send it as Authorization: Bearer TOKEN.\n"
NO_DATABASE = "The metrics cannot be read, because the database does not answer. /readyz shows which parts work.\n"
_TEXT = "text/plain; charset=utf-8"
_LOOPBACK = ("127.0.0.1", "::1")
_PROXIED = {f"HTTP_{name}" for name in ("X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP", "FORWARDED", "VIA")}


@dataclass(frozen=True, slots=True)
class Sample:
    """One gauge; `label` is (name, value) where it has several series."""

    name: str
    help: str
    value: float
    label: tuple[str, str] | None = None


class PortalCollector(Collector):
    """The gauges as metric families; the database is read while `collect` runs."""

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for sample in samples():
            names, values = ([sample.label[0]], [sample.label[1]]) if sample.label else ([], [])
            family = families.get(sample.name)
            if family is None:
                family = families[sample.name] = GaugeMetricFamily(sample.name, sample.help, labels=names)
            family.add_metric(values, sample.value)
        return families.values()


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the gauges. 404 without the token, 403 with the way to open them where no token was set, 503 without the database."""
    if settings.PKI_METRICS_TOKEN:
        if not _has_token(request, settings.PKI_METRICS_TOKEN):
            return HttpResponse("Not found.\n", status=404, content_type=_TEXT)
    elif not (settings.PKI_EMBEDDED and _from_this_machine(request)):
        return HttpResponse(CLOSED, status=403, content_type=_TEXT)
    registry = CollectorRegistry()
    registry.register(PortalCollector())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        return HttpResponse(encode(registry), content_type=content_type)
    except Error as exc:
        log.warning("the metrics could not be read: %s", type(exc).__name__)
        return HttpResponse(NO_DATABASE, status=503, content_type=_TEXT, headers={"Retry-After": "30"})


def _has_token(request: HttpRequest, token: str) -> bool:
    return hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode())


def _from_this_machine(request: HttpRequest) -> bool:
    """Return whether the request comes from a local address, under a local name and through no proxy.

    A page elsewhere whose name was pointed here (DNS rebinding) has another name.
    """
    try:
        host = urlsplit(f"//{request.META.get('HTTP_HOST', '')}").hostname
    except ValueError:
        return False
    return request.META.get("REMOTE_ADDR") in _LOOPBACK and host in (*_LOOPBACK, "localhost") and not (_PROXIED & set(request.META))


def samples() -> Iterator[Sample]:
    """Yield the gauges, read now."""
    now = database_now()
    yield from _requests()
    open_alerts = OperatorAlert.objects.filter(closed_at__isnull=True)
    yield Sample("pki_alerts_open", "Operator alerts that are open.", open_alerts.count())
    pending = Revocation.objects.filter(confirmed_at__isnull=True)
    yield Sample("pki_revocations_pending", "Revocations that a CA has not confirmed.", pending.count())
    certificates = Certificate.objects.all()
    soon = expiring(certificates, days=7, now=now)
    yield Sample("pki_certificates_expiring_7d", "Active certificates (in force, not replaced) that expire within 7 days.", soon.count())
    counts, counted_at = state_figures()
    for one, count in counts.items():
        yield Sample("pki_certificates", "Certificates by state, as they were last counted.", count, ("state", one.value))
    if counted_at is not None:
        yield Sample(
            "pki_certificates_counted_timestamp_seconds",
            "When the certificates were last counted; alarm above an hour.",
            counted_at.timestamp(),
        )
    due = needing_action(certificates, now=now)
    yield Sample(
        "pki_certificates_needing_action",
        "Active certificates that are due for renewal and have no renewal under way.",
        due.count(),
    )
    oldest = AuditUnsealed.objects.aggregate(at=Min("event__at"))["at"]
    age = (now - oldest).total_seconds() if oldest else 0
    yield Sample("pki_audit_oldest_unsealed_seconds", "Age of the oldest audit event that is not sealed; alarm above 60.", age)
    yield Sample("pki_bulk_orders_running", "Bulk orders under way.", BulkOrder.objects.filter(state=BulkOrder.State.RUNNING).count())
    for state in (BulkChunk.State.WAITING, BulkChunk.State.QUEUED):
        count = BulkChunk.objects.filter(state=state).count()
        yield Sample("pki_bulk_chunks", "Chunks of bulk orders that are not done.", count, ("state", str(state)))
    yield Sample("pki_mails_unsent", "Mails that wait to be sent.", waiting_mails().count())
    for issuer in Issuer.objects.exclude(alias="").order_by("name"):
        stopped = float(issuer.circuit_opened_at is not None)
        yield Sample("pki_ca_stopped", "1 while nothing is sent to this CA.", stopped, ("issuer", issuer.name))
    yield from _ends()
    yield from _machinery(now)


def _machinery(now: datetime) -> Iterator[Sample]:
    """Beat, jobs, queues and what does not move; the queues are left out while the broker does not answer."""
    found = machinery(now)
    silent = (now - found.beat.silent_since).total_seconds() if found.beat.silent_since else 0
    yield Sample("pki_beat_silent_seconds", "Seconds since beat's last lease ended; alarm above 60.", silent)
    for job in found.jobs:
        label = ("job", job.name)
        yield Sample("pki_job_missed", "1 while a job has not succeeded in its period.", float(job.missed), label)
        done = job.done_until.timestamp()
        yield Sample("pki_job_done_until_timestamp_seconds", "The newest period of a job that succeeded.", done, label)
        if job.seconds is not None:
            yield Sample("pki_job_last_duration_seconds", "How long the last run of a job took.", job.seconds, label)
    for queue in found.queues or ():
        label = ("queue", queue.name)
        yield Sample("pki_queue_messages", "Messages that wait in a queue.", queue.length, label)
        age = (now - queue.oldest_at).total_seconds() if queue.oldest_at else 0
        yield Sample("pki_queue_oldest_message_seconds", "Age of the oldest message that waits in a queue.", max(age, 0), label)
        stuck = float(queue in found.stuck_queues)
        yield Sample("pki_queue_stuck", "1 while messages wait and no task of the queue ends.", stuck, label)
    yield Sample(
        "pki_requests_stuck",
        "Requests that are open, wait for nothing that is known, and have not moved for a minute.",
        found.stuck_requests.count,
    )
    oldest = (now - found.stuck_requests.oldest_at).total_seconds() if found.stuck_requests.oldest_at else 0
    yield Sample("pki_request_oldest_stuck_seconds", "Since when the oldest of them has not moved.", oldest)
    waiting = (now - found.mails.oldest_at).total_seconds() if found.mails.oldest_at else 0
    yield Sample("pki_mail_oldest_unsent_seconds", "Age of the oldest mail that waits to be sent.", waiting)
    if found.newest_checkpoint_at is not None:
        newest = found.newest_checkpoint_at.timestamp()
        yield Sample("pki_audit_newest_checkpoint_timestamp_seconds", "When the audit log was last sealed.", newest)


def _ends() -> Iterator[Sample]:
    """Yield when own CAs, their CRLs and OCSP responders run out, as Prometheus' time() counts."""
    for issuer in [*own_roots(), *own_issuing_cas()]:
        label = ("issuer", issuer.name)
        try:
            end = end_of(issuer).timestamp()
        except ValueError as exc:  # the maintenance raises the alert; the gauges of the others stay
            log.warning("the certificate of %s cannot be read: %s", issuer.name, type(exc).__name__)
            continue
        yield Sample("pki_ca_not_after_timestamp_seconds", "When an own CA ends; alarm a year ahead.", end, label)
        responder = newest_responder(issuer)
        if responder is not None:
            name, ends = "pki_ocsp_responder_not_after_timestamp_seconds", responder.not_after.timestamp()
            yield Sample(name, "When an OCSP responder ends; alarm a day ahead.", ends, label)
    for point in CRLPoint.objects.filter(published__isnull=False).select_related("issuer", "published"):
        assert point.published is not None  # as filtered
        name, ends = "pki_crl_next_update_timestamp_seconds", point.published.next_update.timestamp()
        yield Sample(name, "When a published CRL ends; alarm a day ahead.", ends, ("crl", str(point)))


def _requests() -> Iterator[Sample]:
    unfinished = CertificateRequest.objects.filter(state__in=UNFINISHED)
    counts = dict(unfinished.order_by().values_list("state").annotate(count=Count("pk")))
    for state in UNFINISHED:
        yield Sample("pki_requests_unfinished", "Requests under way.", counts.get(str(state), 0), ("state", str(state)))
    held = unfinished.filter(held_since__isnull=False).count()
    yield Sample("pki_requests_held", "Requests that wait for a CA or key backend.", held)
