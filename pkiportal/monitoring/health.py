"""Liveness (`/healthz`) and readiness by part (`/readyz`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import redis
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import Error, connection, transaction
from django.db.models import Min
from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError

from audit.models import AuditUnsealed
from certs.ca.registry import get_ca_client
from certs.enums import AlertKind
from certs.models import Issuer, OperatorAlert
from certs.notifications.delivery.mail import waiting as waiting_mails
from certs.schedules.machinery import beat_status, is_stuck, jobs, stuck_requests
from certs.schedules.queues import BrokerUnreachable, queue_states
from certs.status.ocsp.signers import NobodySpeaks, NoResponder, signer_for
from certs.status.publishing import own_issuing_cas
from db.clock import database_now
from keys.errors import KeyBackendError
from keys.registry import is_answering
from pkiportal.celery import app
from pkiportal.web.served import Serve

BROKER_TIMEOUT = 2.0  # seconds
SEALER_LATE = timedelta(seconds=60)
MAIL_LATE = timedelta(minutes=10)
UNKNOWN = "not known, because the database does not answer"


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the portal depends on.

    Attributes:
        problem: Returns what is wrong in a few words, "" when the part works. Raises nothing but
            database errors, and those only where `in_database` is set.
        needed_by: The processes (`PKI_SERVE`) that cannot do their work without this part.
        effect: What stops and what still works while the part is missing.
        in_database: The check is a query, so its result is not known while the database is away.
        used_by: The processes that use it; it is no part of the others' readiness.
    """

    problem: Callable[[], str]
    needed_by: frozenset[Serve]
    effect: str
    in_database: bool = False
    used_by: frozenset[Serve] = frozenset(Serve)


def healthz(_request: HttpRequest) -> JsonResponse:
    """The process is alive. No part is checked: a restart of this process would not repair one."""
    return JsonResponse({"status": "ok"})


def readyz(_request: HttpRequest) -> JsonResponse:
    """Report each part; 503 when this process cannot do its work, 200 with `degraded` when others cannot."""
    serve = Serve(settings.PKI_SERVE)
    used = {name: part for name, part in PARTS.items() if serve in part.used_by}
    problems = _problems(used)
    missing = [name for name in problems if serve in used[name].needed_by]
    status = "unavailable" if missing else "degraded" if problems else "ok"
    parts = {
        name: {"ok": False, "problem": problems[name], "effect": part.effect} if name in problems else {"ok": True}
        for name, part in used.items()
    }
    document = {"status": status, "serves": str(serve), "failed": problems, "parts": parts}
    response = JsonResponse(document, status=503 if missing else 200)
    response["Cache-Control"] = "no-store"
    return response


def _problems(parts: Mapping[str, Part]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, part in parts.items():
        if part.in_database and "database_read" in found:
            found[name] = UNKNOWN
            continue
        try:
            problem = part.problem()
        except Error as exc:
            problem = type(exc).__name__
        if problem:
            found[name] = problem
    return found


def _database_read() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _database_write() -> str:
    """Insert a row and roll it back: a standby, a read-only database and a full disk fail here."""
    with transaction.atomic():
        Session.objects.create(session_key=secrets.token_hex(20), session_data="", expire_date=database_now())
        transaction.set_rollback(True)
    return ""


def _broker() -> str:
    """Write a key: a full Redis still accepts connections, and PING, when it stores no message."""
    url: str = settings.CELERY_BROKER_URL
    if not url.startswith(("redis://", "rediss://")):
        return _connects()
    broker = redis.Redis.from_url(url, socket_timeout=BROKER_TIMEOUT, socket_connect_timeout=BROKER_TIMEOUT)
    try:
        broker.set("pki-readiness", "1", ex=60)
    except (redis.RedisError, OSError) as exc:
        return type(exc).__name__
    finally:
        broker.close()
    return ""


def _connects() -> str:
    try:
        with app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
    except (OperationalError, OSError) as exc:
        return type(exc).__name__
    return ""


def _keys() -> str:
    """Check what this process itself signs with, as its work does; for other processes see `_workers_keys`.

    A process without a login (VAULT_ADDR not set) has no backend to check.
    """
    serve, here = Serve(settings.PKI_SERVE), settings.KEY_BACKENDS
    silent: list[str] = []
    if serve is Serve.ALL and settings.PKI_LEAF_KEY_BACKEND in here and not is_answering(settings.PKI_LEAF_KEY_BACKEND):
        silent.append(f"new keys ({settings.PKI_LEAF_KEY_BACKEND})")
    if serve in {Serve.ALL, Serve.CA} and settings.PKI_CA_KEY_BACKEND in here and not get_ca_client(settings.PKI_DEFAULT_CA).is_working():
        silent.append(f"the CA {settings.PKI_DEFAULT_CA}")
    if serve in {Serve.ALL, Serve.STATUS} and settings.PKI_OCSP_KEY_BACKEND in here:
        silent += [f"OCSP of {issuer.name}" for issuer in own_issuing_cas() if not _answers_ocsp(issuer)]
    return f"no signatures for {', '.join(silent)}" if silent else ""


def _answers_ocsp(issuer: Issuer) -> bool:
    try:
        # Not the DER of a response, so the signature is of no use to anybody.
        signer_for(issuer.slug, now=database_now()).sign(b"pki-portal readiness")
    except NobodySpeaks:  # it has ended
        return True
    except (NoResponder, KeyBackendError):
        return False
    return True


def _workers_keys() -> str:
    return _open_alerts(AlertKind.KEYS_UNAVAILABLE)


def _cas() -> str:
    stopped = Issuer.objects.exclude(alias="").filter(circuit_opened_at__isnull=False)
    names = [f"{name} is stopped" for name in stopped.order_by("name").values_list("name", flat=True)]
    return ", ".join(filter(None, [*names, _open_alerts(AlertKind.CA_UNAVAILABLE)]))


def _open_alerts(kind: AlertKind) -> str:
    """Return what workers reported and has not ended."""
    alerts = OperatorAlert.objects.filter(kind=kind, closed_at__isnull=True).order_by("pk")
    return ", ".join(f"{cause} does not answer" for cause in alerts.values_list("cause", flat=True)[:5])


def _sealer() -> str:
    oldest = AuditUnsealed.objects.aggregate(at=Min("event__at"))["at"]
    age = database_now() - oldest if oldest else timedelta(0)
    return f"the oldest event waits for {age.total_seconds():.0f} s" if age > SEALER_LATE else ""


def _mail() -> str:
    now = database_now()
    late = waiting_mails().filter(written_at__lt=now - MAIL_LATE)
    count = late.filter(written_at__gt=now - timedelta(days=7)).count()
    return f"{count} mail(s) wait for more than 10 minutes" if count else ""


def _schedules() -> str:
    now = database_now()
    beat = beat_status(now)
    if beat.dead and beat.silent_since is not None:
        return f"beat has given no sign of life since {beat.silent_since:%Y-%m-%d %H:%M:%S} UTC"
    missed = [job.name for job in jobs(now, beat) if job.missed]
    return f"not run in time: {', '.join(missed[:5])}" if missed else ""


def _queues() -> str:
    now = database_now()
    try:
        stuck = [queue.name for queue in queue_states() if is_stuck(queue, now)]
    except BrokerUnreachable:
        return ""  # the part `broker` reports that
    return f"nothing is finished in: {', '.join(stuck)}" if stuck else ""


def _requests() -> str:
    stuck = stuck_requests(database_now())
    return f"{stuck.count} request(s) do not move, the oldest since {stuck.oldest_at:%Y-%m-%d %H:%M:%S} UTC" if stuck.count else ""


_EVERYONE = frozenset(Serve)
_WRITERS = frozenset({Serve.ALL, Serve.PORTAL, Serve.CA})

PARTS: dict[str, Part] = {
    "database_read": Part(_database_read, _EVERYONE, "Nothing works but OCSP replies and CRLs that a cache holds."),
    "database_write": Part(
        _database_write,
        _WRITERS,
        "Nothing can be requested, approved or issued. Pages, CRLs and OCSP can still be read.",
        in_database=True,
    ),
    "broker": Part(
        _broker,
        frozenset(),
        "Requests are accepted and stored; workers start them once the broker is back. CRLs and OCSP work.",
        used_by=_WRITERS,
    ),
    "keys": Part(
        _keys,
        frozenset({Serve.ALL, Serve.CA, Serve.STATUS}),
        "This process signs nothing. Pages and published CRLs work; requests wait and are continued.",
        in_database=True,
        used_by=frozenset({Serve.ALL, Serve.CA, Serve.STATUS}),
    ),
    "worker_keys": Part(
        _workers_keys,
        frozenset(),
        "Requests that need a key wait and are continued. Requests with a CSR, CRLs and OCSP work.",
        in_database=True,
    ),
    "ca": Part(
        _cas,
        frozenset(),
        "Requests to that CA wait at csr_created and are continued. Other CAs work.",
        in_database=True,
    ),
    "audit": Part(
        _sealer,
        frozenset(),
        "Events are written, but not sealed: look at the worker of the queue `audit`. Issuance works.",
        in_database=True,
    ),
    "schedules": Part(
        _schedules,
        frozenset(),
        "Jobs are late: look at beat and at /machinery/. Requests are accepted and issued.",
        in_database=True,
    ),
    "queues": Part(
        _queues,
        frozenset(),
        "Work of these queues waits: look at their workers. Requests are accepted and stored.",
        in_database=True,
        used_by=_WRITERS,
    ),
    "requests": Part(
        _requests,
        frozenset(),
        "These requests wait for nothing that is known: look at the workers. Others go on.",
        in_database=True,
    ),
    "mail": Part(
        _mail,
        frozenset(),
        "Mails are late: look at the mail server and at the worker of the queue `mail`. Issuance works.",
        in_database=True,
    ),
}
