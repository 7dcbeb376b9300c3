"""Is the process alive (`/healthz`), and can it work (`/readyz`)?"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError

from keys.errors import KeyBackendError
from keys.registry import get_key_backend
from pkiportal.celery import app


@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """The process answers. Nothing else is asked, so that a broken database does not have it restarted."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """Database, broker and key backend answer; 503 names what does not."""
    failed = {name: problem for name, check in CHECKS.items() if (problem := check())}
    status = 503 if failed else 200
    return JsonResponse({"status": "unavailable" if failed else "ok", "failed": failed}, status=status)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as exc:
        return type(exc).__name__
    return ""


def _broker() -> str:
    try:
        with app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=2)
    except (OperationalError, OSError) as exc:
        return type(exc).__name__
    return ""


def _keys() -> str:
    """A web process without a Vault login of its own has no backend to ask: the workers' matter, not a failure."""
    if settings.PKI_LEAF_KEY_BACKEND not in settings.KEY_BACKENDS:
        return ""
    try:
        return "" if get_key_backend(settings.PKI_LEAF_KEY_BACKEND).is_working() else "unreachable or sealed"
    except KeyBackendError as exc:
        return type(exc).__name__


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "broker": _broker, "keys": _keys}
