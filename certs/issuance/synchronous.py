"""Issuing while the caller waits: the CA endpoint, where the CA's key may be used in this process.

Only the embedded process and the `ca-api` service of the compose file have that key. An external
CSR that the policy allows takes two transactions: its request, the policy's decision and what will
be signed share the first, its certificate and the end of the request the second. What cannot be
finished here goes to the queue, which retries and lets requests wait as always.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from django.db import IntegrityError, connection

from audit.log import UnitOfWork
from certs.alone import DATABASE_AWAY, Alone
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.issuance.advance import Unavailable, carry_out, reserve
from certs.issuance.attempts import Act
from certs.issuance.steps.ca_call import signs_here
from certs.models import CertificateRequest, Issuer
from certs.pipeline import start
from certs.requests.submit import Requester, admit_all, begin, check_idempotency_key, insert_begun, replayed
from certs.spec import CertificateSpec
from db.pipeline import keep_plans

log = logging.getLogger(__name__)

MOST_TOGETHER = 64
MOST_PATIENCE = 0.01  # seconds
TRUSTED_SECONDS = 5.0  # for so long the database connection is not checked, and its plans are kept


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's external CSR, which has passed the CSR gate."""

    spec: CertificateSpec
    requester: Requester


def issue_now(call: Call) -> CertificateRequest:
    """Take a request with an external CSR from submitted to completed, as far as possible.

    Calls that come at the same time share a batch. An idempotency key used before returns the first
    request. Raises NotPermitted, InputRefused. No transaction may be open.
    """
    check_idempotency_key(call.requester)
    if connection.in_atomic_block:
        raise RuntimeError("issue_now() signs, so it must not be called inside a transaction.")
    return _issuer_of_calls.submit(call)


class IssuingThread:
    """One thread of a process that issues for all callers, one batch after the other, on its own database connection.

    A batch costs little more than a single request. Callers that send their next call as soon as they
    have their certificate would be served one by one. So a batch waits a moment, at most half as long
    as the last one took, for as many callers as the last one had. A single caller never waits.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Call, Future[CertificateRequest]]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._check_at = 0.0  # monotonic seconds
        self._session: object = None  # the database connection whose plans are kept

    def submit(self, call: Call) -> CertificateRequest:
        """Wait for the request of this call and return it. Raises what refused the call."""
        # Started by the first call, not when the module is imported: a thread does not survive the fork of a web worker.
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="issuing", daemon=True)
                self._thread.start()
        future: Future[CertificateRequest] = Future()
        self._calls.put((call, future))
        return future.result()

    def _run(self) -> None:
        expected, patience = 1, 0.0
        while True:
            batch = self._next_batch(expected, patience)
            began = time.monotonic()
            results = self._results([call for call, _ in batch])
            # As many callers as now come back at once, if each sends its next call when it has its certificate.
            expected, patience = len(batch) + self._calls.qsize(), min((time.monotonic() - began) / 2, MOST_PATIENCE)
            for (_, future), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _results(self, calls: Sequence[Call]) -> Sequence[CertificateRequest | BaseException]:
        """Return one result for each call, whatever happens: a caller must not wait for a thread that has ended."""
        try:
            due = time.monotonic() >= self._check_at
            if due:  # as Django does between two requests; the check costs a round trip
                connection.close_if_unusable_or_obsolete()
                self._check_at = time.monotonic() + TRUSTED_SECONDS
            if connection.connection is not None and (due or connection.connection is not self._session):
                keep_plans()
                self._session = connection.connection
            return issue_batch(calls)
        except BaseException as exc:  # noqa: BLE001 - every caller raises it; the thread serves the next ones
            self._check_at = 0.0
            return [exc] * len(calls)

    def _next_batch(self, expected: int, patience: float) -> list[tuple[Call, Future[CertificateRequest]]]:
        batch = [self._calls.get()]
        until = time.monotonic() + patience
        with contextlib.suppress(Empty):
            while len(batch) < MOST_TOGETHER:
                wait = until - time.monotonic() if len(batch) < expected else 0
                batch.append(self._calls.get(timeout=wait) if wait > 0 else self._calls.get_nowait())
        return batch


_issuer_of_calls = IssuingThread()


def _forget_thread() -> None:
    """Make a new thread after a fork, which copies no threads."""
    global _issuer_of_calls  # noqa: PLW0603 - one a process
    _issuer_of_calls = IssuingThread()


os.register_at_fork(after_in_child=_forget_thread)


def issue_batch(calls: Sequence[Call]) -> Sequence[CertificateRequest | Exception]:
    """Return a request or an exception for each call, in order. No transaction may be open."""
    # 1. Make the requests and reserve what comes next, all in one transaction.
    session = None
    with Alone() as outcome:
        connection.ensure_connection()
        session = connection.connection
        requests, acts = _begin(calls)
    # 2. Have them signed. They are on record by now, so their callers get them as they are, whatever happens.
    if outcome.error is None:
        finish(acts)
        return requests
    # 3. Nothing of this batch was written, unless the connection was lost at the commit. Then nobody
    #    knows, so the batch is not begun again here: the callers repeat their calls.
    if isinstance(outcome.error, DATABASE_AWAY) and connection.connection is not session:
        return [_logged(outcome.error)] * len(calls)
    # 4. Run each call alone, which shows the one at fault; the others are not refused because of it.
    if len(calls) > 1:
        return [result for call in calls for result in issue_batch([call])]
    return [_earlier(calls[0], outcome.error) if isinstance(outcome.error, IntegrityError) else _logged(outcome.error)]


def _begin(calls: Sequence[Call]) -> tuple[list[CertificateRequest], list[Act]]:
    specs, keys = [(call.spec, call.requester) for call in calls], [call.requester.idempotency_key for call in calls]
    with UnitOfWork() as work:
        beginning = begin(specs, keys)
        requests = insert_begun(work, beginning.admitted, beginning.ids, {beginning.issuer.pk: beginning.issuer}, now=beginning.now)
        until = furthest_here(requests[0].issuer)
        acts = reserve(work, requests, until=until, now=beginning.now, known=beginning.facts)
    if until is S.CSR_CREATED:  # what this process does not finish goes to the queue
        _hand_over(request.pk for request in requests if request.state == S.CSR_CREATED)
    return requests, acts


def _earlier(call: Call, conflict: IntegrityError) -> CertificateRequest | Exception:
    """Return the request that the call's idempotency key has made before.

    Without one, return the conflict: it was about something else.
    """
    key = call.requester.idempotency_key
    if not key:
        return _logged(conflict)
    try:
        return replayed(admit_all([(call.spec, call.requester)], [key]), conflict=conflict)[0]
    except (PortalError, IntegrityError) as exc:
        return _logged(exc)


def _logged(problem: Exception) -> Exception:
    if not isinstance(problem, PortalError):
        log.error("a CSR could not be begun", exc_info=problem)
    return problem


def furthest_here(issuer: Issuer) -> S:
    """Return how far this process takes requests at that CA.

    A CA elsewhere, and an own CA whose key is elsewhere, is left to the workers of its queue: a CA
    that hangs must not hold the threads of this process, and only those workers keep to PKI_CA_PARALLEL.
    """
    return S.COMPLETED if signs_here(issuer) else S.CSR_CREATED


def finish(acts: Sequence[Act]) -> None:
    """Carry out what was reserved. What cannot be finished here goes to the queue, which retries, or is left to the sweeper."""
    for act in acts:
        with Alone() as outcome:
            carry_out([act], until=S.COMPLETED)
        if isinstance(outcome.error, Unavailable):
            _hand_over(outcome.error.ca)
        elif outcome.error is not None:
            log.error("a batch broke off at the step %s; the sweeper continues it", act.step, exc_info=outcome.error)


def _hand_over(ids: Iterable[int]) -> None:
    ready = list(ids)
    if ready:
        start(ready, at=S.CSR_CREATED)
