"""Why a request is not finished yet, for every channel: derived from its row, so never late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Exists, OuterRef

from certs.ca.registry import is_remote
from certs.enums import RequestState as S
from certs.models import Attempt, BulkChunk, BulkOrder, CertificateRequest
from certs.pipeline import STEP_TASKS, SUBMIT_TO_REMOTE, first_task_of, queue_of
from certs.requests.states import UNFINISHED
from db.clock import database_now

WAITS_FOR_WORKER = "Waits for a worker of the queue"
AT_WORK = timedelta(seconds=3)  # a state that a request leaves within this time needs no reason


def waiting_reason(request: CertificateRequest) -> str:
    """Return why a request has not gone on, or an empty text where nothing keeps it waiting."""
    return waiting_reasons([request])[request.pk]


def waiting_reasons(requests: Iterable[CertificateRequest]) -> dict[int, str]:
    """Return the same for several requests, by id, with one query for all of them.

    A reason that a worker or a person wrote comes first. A request without one, in the same state
    for more than AT_WORK, is with a worker, whose attempt is open, or waits for one.
    """
    now = database_now()
    reasons = {request.pk: request.error for request in requests}
    silent = {
        request.pk: request
        for request in requests
        if not request.error and request.state in UNFINISHED and now - request.state_changed_at > AT_WORK
    }
    if not silent:
        return reasons
    attempts = Attempt.objects.filter(request__in=silent, closed_at__isnull=True, lease_until__gt=now)
    at_work = {attempt.request_id: attempt for attempt in attempts}
    for pk, request in silent.items():
        attempt = at_work.get(pk)
        reasons[pk] = _with_worker(request, attempt) if attempt else _without_worker(request)
    return reasons


def waiting_reasons_of_lines(order: BulkOrder, numbers: Iterable[int]) -> dict[int, str]:
    """Return why lines of an order that have no request yet are not begun, by their number.

    Only lines that are with a worker's queue have a reason: the others wait for those.
    """
    chunks = _chunks_nobody_took_up(order)
    return {number: _without_chunk_worker(chunk) for number in numbers for chunk in chunks if chunk.first <= number <= chunk.last}


def waiting_reason_of_order(order: BulkOrder) -> str:
    """Return the reason of the request or line that has waited longest, empty if all is new."""
    rows = CertificateRequest.objects.filter(
        bulk_item__order=order,
        state__in=UNFINISHED,
        held_since__isnull=True,
        state_changed_at__lt=database_now() - AT_WORK,
    )
    request = rows.select_related("issuer").order_by("state_changed_at", "pk").first()
    if request is not None:
        return waiting_reason(request)
    chunks = _chunks_nobody_took_up(order)
    return _without_chunk_worker(chunks[0]) if chunks else ""


def waits_for_worker(queues: Iterable[str]) -> str:
    """Return the words for a request that no worker has taken up."""
    return f"{WAITS_FOR_WORKER} {' or '.join(queues)}"


def _chunks_nobody_took_up(order: BulkOrder) -> list[BulkChunk]:
    """Return chunks that were published some time ago and have no requests yet."""
    published = order.chunks.filter(state=BulkChunk.State.QUEUED, queued_at__lt=database_now() - AT_WORK)
    begun = CertificateRequest.objects.filter(
        bulk_item__order=order,
        bulk_item__number__gte=OuterRef("first"),
        bulk_item__number__lte=OuterRef("last"),
    )
    return list(published.exclude(Exists(begun)).order_by("queued_at", "first"))


def _without_chunk_worker(chunk: BulkChunk) -> str:
    queue = queue_of(first_task_of(chunk), bulk=True)
    return f"{waits_for_worker([queue])}, since {chunk.queued_at:%H:%M:%S} UTC."


def _with_worker(request: CertificateRequest, attempt: Attempt) -> str:
    since = f"{attempt.opened_at:%H:%M:%S} UTC"
    if attempt.step == "submit":
        return f"{request.issuer.name} was asked at {since} and has not answered yet."
    return f"A worker has been at it since {since}."


def _without_worker(request: CertificateRequest) -> str:
    bulk = request.bulk_item_id is not None
    tasks = [STEP_TASKS[S(request.state)]]
    if request.state == S.CSR_CREATED and is_remote(request.issuer.alias):
        tasks.append(SUBMIT_TO_REMOTE)  # the workers of the first queue hand over to these
    queues = [queue_of(task, bulk=bulk) for task in tasks]
    return f"{waits_for_worker(queues)}, since {request.state_changed_at:%H:%M:%S} UTC."
