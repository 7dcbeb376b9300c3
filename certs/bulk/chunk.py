"""Issue the certificates of a chunk of lines: make its requests, and advance them as far as this process can."""

from __future__ import annotations

import contextlib

from audit.log import Actor, UnitOfWork
from certs.bulk.lines import items_of, spec_of
from certs.enums import RequestState as S
from certs.issuance.advance import Unavailable, advance
from certs.issuance.synchronous import furthest_here
from certs.models import BulkChunk, BulkItem, BulkOrder, CertificateRequest, Team
from certs.requests.states import UNFINISHED, WORKER
from certs.requests.submit import Admitted, Requester, insert_requests, latest_issuer, request_digest
from certs.requests.waiting import let_go_on
from db.clock import database_now
from db.rows import Lock, select


def make_chunk(chunk_id: int) -> list[int]:
    """Make the requests that a chunk does not have yet, and take all of its requests forward.

    They go as far as their certificates where this process may use the CA's key too; else the next
    tasks of the chunk's chain go on. Returns the ids of all that are not finished. Safe to run again:
    where the chunk is tried again, failed requests go on from where they stopped.
    """
    # 1. Commit the requests first: what kills this process afterwards is counted against them, not
    #    against the chunk, which would be begun again and again.
    requests = make_requests(chunk_id)
    if not requests:
        return []
    ids = [request.pk for request in requests]
    # 2. The way that every request goes. What a CA or key backend cannot do now is left to the next
    #    tasks of the chain, which retry and hold.
    with contextlib.suppress(Unavailable):
        advance(ids, until=furthest_here(requests[0].issuer))
    # 3. What is left for those tasks, read from the rows: another worker may have finished some of it.
    return sorted(CertificateRequest.objects.filter(pk__in=ids, state__in=UNFINISHED).values_list("pk", flat=True))


def make_requests(chunk_id: int) -> list[CertificateRequest]:
    """Return the requests of a chunk's lines, made where there are none; empty for a chunk that is not in the queue."""
    with UnitOfWork() as work:
        # 1. Lock the chunk: of two workers with the same message the second finds the requests. A chunk that
        #    was paused or cancelled since its message was published is no longer QUEUED, and nothing is begun.
        chunk = next(iter(select(BulkChunk, lock=Lock.UPDATE, id=chunk_id, state=BulkChunk.State.QUEUED)), None)
        if chunk is None:
            return []
        order = BulkOrder.objects.select_related("issuer", "team", "requester").get(pk=chunk.order_id)
        order.issuer = latest_issuer(order.issuer)  # which may be another than when the order was submitted
        items = list(items_of(order, chunk))
        made = {row.bulk_item_id: row for row in select(CertificateRequest, bulk_item=[item.pk for item in items])}
        # 2. Failed lines that a person wants to try again. They keep their keys and CSRs; the mark on the chunk
        #    goes in the same transaction, so that a second delivery of the message does not resume them twice.
        if chunk.retry:
            work.update(chunk, {"retry": False})
            failed = select(CertificateRequest, lock=Lock.UPDATE, id={row.pk for row in made.values()}, state=S.FAILED)
            let_go_on(work, failed, actor=WORKER)
        # 3. Requests for the lines that have none, each for the team of its line, which may be another than the order's.
        #    A line has one request at most (a unique column), so a crash in between makes no second certificate.
        actor = Actor(order.actor_kind, order.actor_name)  # type: ignore[arg-type] # stored from an Actor
        teams = Team.objects.in_bulk({item.team_id for item in items})
        requesters = {pk: Requester(actor, team, order.door, user=order.requester) for pk, team in teams.items()}
        admitted = [_admitted(order, item, requesters[item.team_id]) for item in items if item.pk not in made]
        fresh = insert_requests(work, admitted, now=database_now()) if admitted else []
    return [*made.values(), *fresh]


def _admitted(order: BulkOrder, item: BulkItem, requester: Requester) -> Admitted:
    # The requester is the person who drafted the order, not the worker: an approver is compared with that person.
    spec = spec_of(item)
    digest = request_digest(spec, team=requester.team, issuer=order.issuer, requester=str(order.requester or order.actor_name))
    return Admitted(spec, requester, order.issuer, digest, bulk_item_id=item.pk)
