"""The same steps run here and now instead of by Celery: for the CA endpoint, whose caller waits.

Only a process that may use the CA's key can do this (the embedded one, or the `ca-api` service of the compose file).
A brought CSR that the policy allows has nobody to wait for, so its request, the policy's word and the intent to submit it
share one transaction, and its certificate and the end of the request another. What cannot be finished is handed to the
queue, which retries and holds as always.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from audit.log import one_transaction, together
from certs.ca.registry import is_remote
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.issuance.arriving import arrive
from certs.issuance.batcher import Joiner
from certs.issuance.steps.ca_call import Work
from certs.issuance.steps.ca_submit import carry_out, note_intents
from certs.issuance.steps.policy import evaluate_and_move
from certs.models import CertificateRequest
from certs.pipeline import start
from certs.requests.submit import Requester, Wanted, admit_all, check_idempotency_key, insert_requests, replayed
from certs.spec import CertificateSpec
from db.lending import lent_connection
from keys.interruptions import INTERRUPTIONS
from policy.engine import Decision

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
    check_idempotency_key(call.requester)
    return _joined(call)


def _in_turn(calls: Sequence[Call]) -> Sequence[CertificateRequest | Exception]:
    with lent_connection():
        return _issued(calls)


def _issued(calls: Sequence[Call], *, again: bool = True) -> Sequence[CertificateRequest | Exception]:
    """One result for each."""
    try:
        requests, works = _begin_at_once(calls)
    except INTERRUPTIONS:
        raise
    except Exception as exc:  # noqa: BLE001 - nothing of this batch was written, and each caller is told
        if len(calls) > 1:  # whose fault it was shows when each runs alone
            return [result for call in calls for result in _issued([call])]
        if not isinstance(exc, IntegrityError):
            return [_told(exc)]
        earlier = _earlier(calls[0], exc)
        if earlier is exc and again:  # its public key was recorded by somebody else meanwhile
            return _issued(calls, again=False)
        return [_told(earlier) if isinstance(earlier, Exception) else earlier]
    finish(works)
    return requests


def _told(problem: Exception) -> Exception:
    if not isinstance(problem, PortalError):
        log.error("a CSR could not be begun", exc_info=problem)
    return problem


def _earlier(call: Call, conflict: IntegrityError) -> CertificateRequest | Exception:
    """The request that its idempotency key has made before, or why there is none: the conflict, when that was about something else."""
    key = call.requester.idempotency_key
    if not key:
        return conflict
    try:
        return replayed(admit_all([(call.spec, call.requester)], [key]), conflict=conflict)[0]
    except (PortalError, IntegrityError) as exc:
        return exc


def _begin_at_once(calls: Sequence[Call]) -> tuple[list[CertificateRequest], list[Work]]:
    """Orders for a remote CA are handed to the workers of its queue: a CA that hangs must not hold
    the threads of this process, and only those workers keep to its PKI_CA_PARALLEL.
    """
    with one_transaction():
        arrived = arrive([(call.spec, call.requester) for call in calls], [call.requester.idempotency_key for call in calls])
        judged = evaluate_and_move(arrived.requests, now=arrived.now, read=arrived.facts, keys=arrived.keys)
        works = _noted(_signed_here(arrived.requests), judged, now=arrived.now, at_once=True)
    remote = [r.pk for r in arrived.requests if r.state == S.CSR_CREATED and is_remote(r.issuer.alias)]
    if remote:
        start(remote, at=S.CSR_CREATED)
    return arrived.requests, works


def _signed_here(requests: Sequence[CertificateRequest]) -> list[CertificateRequest]:
    """Those whose CA is not asked over the network."""
    return [request for request in requests if not is_remote(request.issuer.alias)]


def _noted(requests: Sequence[CertificateRequest], judged: Mapping[int, Decision], *, now: datetime, at_once: bool) -> list[Work]:
    return note_intents([r for r in requests if r.state == S.CSR_CREATED], now=now, judged=judged, at_once=at_once)


def issue_admitted(wanted: Sequence[Wanted]) -> list[CertificateRequest]:
    """The steps for a batch of brought CSRs. Raises IntegrityError for an idempotency key used before; nothing is written then."""
    return issue_wanted(lambda: wanted)


def issue_wanted(wanted: Callable[[], Sequence[Wanted]]) -> list[CertificateRequest]:
    """The same for what `wanted` answers in the first transaction, which may lock what it comes from."""
    with transaction.atomic():
        requests, works = _begin(wanted())
    finish(works)
    return requests


def _begin(wanted: Sequence[Wanted]) -> tuple[list[CertificateRequest], list[Work]]:
    if not wanted:
        return [], []
    with together():
        requests, now, read = insert_requests(wanted)
        judged = evaluate_and_move(requests, now=now, read=read)
        # A remote CA is asked by the workers of its own queue: the chunk's chain hands over to them.
        return requests, _noted(_signed_here(requests), judged, now=now, at_once=False)


def finish(works: Sequence[Work]) -> None:
    """The requests are on record by now: whatever happens here, their callers are told where they stand.

    Of a bulk chunk the next task of its chain takes what was missed, in its own lane.
    """
    for work in works:
        try:
            missed = carry_out(work, complete=True)
        except INTERRUPTIONS:
            raise
        except Exception:
            log.exception("%d orders at %s broke off; the sweeper goes on with them", len(work.orders), work.issuer.name)
            continue
        singles = [pk for pk in missed if work.requests[pk].bulk_item_id is None]
        if singles:
            start(singles, at=S.CSR_CREATED)


_joined: Joiner[Call, CertificateRequest] = Joiner(_in_turn, most=MOST_TOGETHER)
