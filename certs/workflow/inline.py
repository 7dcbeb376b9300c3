"""The same steps run here and now instead of by Celery: for the CA endpoint, whose caller waits.

Only a process that may use the CA's key can do this (the embedded one, or the `ca-api` service of the compose file).
A brought CSR that the policy allows has nobody to wait for, so its request, the policy's word and the intent to submit it
share one transaction, and its certificate and the end of the request another. What cannot be finished is handed to the
queue, which retries and holds as always.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from audit.log import together
from certs.errors import InputRefused, PortalError
from certs.intake.spec import CertificateSpec
from certs.models import CertificateRequest
from certs.terms import RequestState as S
from certs.workflow.canvas import start
from certs.workflow.issuance import Requester, Wanted, admit_all, insert_requests, replayed
from certs.workflow.joining import Joiner
from certs.workflow.steps.policy import evaluate_and_move
from certs.workflow.steps.submission import Work, carry_out, note_intents

log = logging.getLogger(__name__)

MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's CSR, read and found good."""

    spec: CertificateSpec
    requester: Requester


def issue_now(call: Call) -> CertificateRequest:
    """Take a request with a brought CSR from submitted to completed, as far as possible; calls that come together share a batch.

    An idempotency key seen before answers the first request as it stands. Raises NotPermitted, InputRefused.
    """
    return _joined(call)


def _run(calls: Sequence[Call]) -> Sequence[CertificateRequest | Exception]:
    """One result for each. Who may not ask at all is told so, and costs the others nothing."""
    results: dict[int, CertificateRequest | Exception] = {}
    for number, call in enumerate(calls):
        try:
            call.requester.check()
        except PortalError as exc:
            results[number] = exc
    good = [number for number in range(len(calls)) if number not in results]
    results |= dict(zip(good, _issued([calls[number] for number in good]), strict=True))
    return [results[number] for number in range(len(calls))]


def _issued(calls: Sequence[Call]) -> Sequence[CertificateRequest | Exception]:
    if not calls:
        return []
    wanted: list[Wanted] = []
    try:
        wanted = admit_all([(call.spec, call.requester) for call in calls], [call.requester.idempotency_key for call in calls])
        requests, works = _begin(wanted, at_once=True)
    except Exception as exc:  # nothing of this batch was written
        if len(calls) > 1:  # whose fault it was shows when each runs alone
            return [result for call in calls for result in _issued([call])]
        if isinstance(exc, IntegrityError) and calls[0].requester.idempotency_key:
            return [_earlier(wanted, exc)]
        if not isinstance(exc, PortalError):
            log.exception("a CSR could not be begun")
        return [exc]
    _finish(works)
    return requests


def _earlier(wanted: Sequence[Wanted], conflict: IntegrityError) -> CertificateRequest | Exception:
    try:
        return replayed(wanted, conflict=conflict)[0]
    except (InputRefused, IntegrityError) as exc:
        return exc


def issue_admitted(wanted: Sequence[Wanted]) -> list[CertificateRequest]:
    """The steps for a batch of brought CSRs. Raises IntegrityError for an idempotency key used before; nothing is written then."""
    return issue_wanted(lambda: wanted)


def issue_wanted(wanted: Callable[[], Sequence[Wanted]]) -> list[CertificateRequest]:
    """The same for what `wanted` answers in the first transaction, which may lock what it comes from."""
    with transaction.atomic():
        requests, works = _begin(wanted(), at_once=False)
    _finish(works)
    return requests


@transaction.atomic
def _begin(wanted: Sequence[Wanted], *, at_once: bool) -> tuple[list[CertificateRequest], list[Work]]:
    if not wanted:
        return [], []
    with together():
        requests, now, read = insert_requests(wanted)
        judged = evaluate_and_move(requests, now=now, read=read)
        return requests, note_intents([r for r in requests if r.state == S.CSR_CREATED], now=now, judged=judged, at_once=at_once)


def _finish(works: Sequence[Work]) -> None:
    """The requests are on record by now: whatever happens here, their callers are told where they stand.

    Of a bulk chunk the next task of its chain takes what was missed, in its own lane.
    """
    for work in works:
        try:
            missed = carry_out(work, complete=True)
        except Exception:
            log.exception("%d orders at %s broke off; the sweeper goes on with them", len(work.orders), work.issuer.name)
            continue
        singles = [pk for pk in missed if work.requests[pk].bulk_item_id is None]
        if singles:
            start(singles, at=S.CSR_CREATED)


_joined: Joiner[Call, CertificateRequest] = Joiner(_run, most=MOST_TOGETHER)
