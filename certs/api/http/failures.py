"""What an exception that no operation foresees means to a caller: an outage (503), a broken request
(400), or a fault of ours (500). Used by the API and by the portal's error pages.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

import psycopg
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.log import log_response

from keys.errors import KeyBackendError

log = logging.getLogger(__name__)
# The settings let one line a minute of it through: an outage fails every call alike.
outage_log = logging.getLogger("certs.outage")

RETRY_AFTER = "30"
# Of class 25, which Django calls internal errors: a standby or a server that takes no writes (read_only_sql_transaction), and
# a session that the server ended because this process stood still (idle_in_transaction_session_timeout, transaction_timeout).
_AWAY = ("25006", "25P03", "25P04")
_SAFE = ("GET", "HEAD", "OPTIONS")  # RFC 9110 9.2.1
_LOOK_FIRST = "Wait half a minute. Look in the list whether it was done before you send it again. If it goes on, tell the operators."


@dataclass(frozen=True, slots=True)
class Failure:
    """What is answered: the status, the problem type, what happened and what to do next."""

    status: int
    kind: str
    detail: str
    next_step: str
    error_id: str = ""


def failure_of(exc: BaseException, request: HttpRequest) -> Failure:
    """How the exception is answered."""
    again = "Try again in half a minute. If it goes on, tell the operators."
    if isinstance(exc, KeyBackendError):
        return Failure(503, "key_backend", str(exc), exc.next_step or again)
    if is_outage(exc):
        detail = "The portal's database cannot be used now."
        if request.method in _SAFE:
            return Failure(503, "unavailable", detail, again)
        # Lost in COMMIT, the connection cannot say any more whether the database has committed.
        return Failure(503, "unavailable", f"{detail} It is not known whether what you sent was done.", _LOOK_FIRST)
    if isinstance(exc, UnreadablePostError | MultiPartParserError | BadRequest | SuspiciousOperation):
        return Failure(
            400,
            "malformed",
            "The request could not be read. Nothing was changed.",
            "Check how the body is encoded, and send it again.",
        )
    error_id = secrets.token_hex(8)
    return Failure(
        500,
        "serverInternal",
        f"Something went wrong in the portal. It is in the portal's log as error {error_id}.",
        "Try again. If it goes on, tell the operators this number.",
        error_id,
    )


def is_outage(exc: BaseException) -> bool:
    """Whether a part that the portal needs is away: the same call may pass later."""
    if isinstance(exc, InternalError):
        return getattr(exc.__cause__, "sqlstate", "") in _AWAY
    return isinstance(exc, OperationalError | InterfaceError | KeyBackendError | psycopg.OperationalError)


def log_without_request(what: str, exc: BaseException) -> None:
    """The same for an answer that is made before Django: a line for an outage, else a traceback."""
    if is_outage(exc):
        cause = str(exc).partition("\n")[0][:200]
        outage_log.warning("%s: %s: %s", what, type(exc).__name__, cause)
    else:
        log.error("%s", what, exc_info=exc)


def log_failure(failure: Failure, exc: BaseException, request: HttpRequest, response: HttpResponse) -> None:
    """One log record for a failure: with its traceback for a fault of ours, one line otherwise.

    Django logs a response with a 5xx status again unless it was logged by `log_response`.
    """
    if failure.status == 503:
        cause = str(exc).partition("\n")[0][:200]
        message, level, logger = f"{type(exc).__name__}: {cause}", "warning", outage_log
    elif failure.status == 400:
        message, level, logger = f"unreadable request: {type(exc).__name__}", "info", log
    else:
        message, level, logger = f"error {failure.error_id}", "error", log
    log_response(
        "%s (%s %s)",
        message,
        request.method,
        request.path[:200],
        response=response,
        request=request,
        logger=logger,
        level=level,
        exception=exc if failure.status == 500 else None,
    )
