"""A chunk of lines is worked off: its requests are made and go as far as one process can take them, in few transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction

from audit.log import Actor, together
from certs.bulk.lines import read_items, spec_of
from certs.enums import RequestState as S
from certs.issuance.steps.csr import begin_csrs, record_csrs, sign
from certs.issuance.steps.key import begin_keys, make, record_keys
from certs.issuance.steps.policy import evaluate_and_move
from certs.issuance.synchronous import issue_wanted
from certs.models import BulkChunk, BulkItem, BulkOrder, CertificateRequest, Team
from certs.models.rows import locked, update_rows
from certs.requests.states import UNFINISHED, WORKER
from certs.requests.submit import Requester, Wanted, insert_requests, latest_issuer, request_digest
from certs.requests.waiting import let_go_on
from db.sql import among_ids, ask, id_list


def make_chunk(chunk_id: int) -> list[int]:
    """Make the requests of a chunk that it does not have yet, evaluate them, and create their keys
    and CSRs. Safe to run again: the failed lines of a chunk that is tried again go on from where
    they stopped. What cannot be done now is left to the next tasks of the chunk's chain.

    Returns the ids of the requests that are not final.
    """
    # 1. The requests, the decision of the policy and the intent to create the keys share a
    #    transaction: a worker that dies before its end leaves a chunk that was never begun.
    with transaction.atomic():
        made, missing = lines_of(chunk_id)
        if not missing:
            return made
        with together():
            rows, now, read = insert_requests(missing)
            evaluate_and_move(rows, now=now, read=read)
            approved = [row for row in rows if row.state == S.APPROVED]
            keys = begin_keys(approved, now=now, fresh=True)
    # 2. The keys, which the backend makes while no transaction is open; then the CSRs, in the same
    #    way. The end of one step and the beginning of the next share a transaction.
    if keys.attempts:
        results = make(keys)
        with transaction.atomic(), together():
            ready, _, now = record_keys(keys, results)
            csrs = begin_csrs(ready, now=now, fresh=True)
        if csrs.attempts:
            signed = sign(csrs)
            with transaction.atomic(), together():
                record_csrs(csrs, signed)
    return _unfinished(made, rows)


def _unfinished(earlier: Sequence[int], rows: Sequence[CertificateRequest]) -> list[int]:
    return sorted([*earlier, *(row.pk for row in rows if row.state in UNFINISHED)])


def issue_chunk(chunk_id: int) -> list[int]:
    """The same for brought CSRs, and on to their certificates where the CA takes the orders; the steps after it do the rest."""
    made: list[int] = []

    def lines() -> list[Wanted]:
        there, missing = lines_of(chunk_id)
        made.extend(there)
        return missing

    return _unfinished(made, issue_wanted(lines))


def lines_of(chunk_id: int) -> tuple[list[int], list[Wanted]]:
    """Ids of the requests that a chunk has, and what is wanted besides. Locks the chunk: needs an open transaction."""
    chunk = _queued(chunk_id)
    return _lines(chunk) if chunk is not None else ([], [])


def _queued(chunk_id: int) -> BulkChunk | None:
    """The chunk, locked, when it is to be worked on."""
    return next(iter(locked(BulkChunk, [chunk_id], "state = 'queued'")), None)


def _lines(chunk: BulkChunk) -> tuple[list[int], list[Wanted]]:
    order = BulkOrder.objects.select_related("issuer", "team", "requester").get(pk=chunk.order_id)
    order.issuer = latest_issuer(order.issuer)  # which may be another than when the order was submitted
    items = read_items(order, chunk)
    made = _requests_of([item.pk for item in items])
    if chunk.retry:
        _go_on_with_failed(chunk, list(made.values()))
    requesters = _requesters(order, {item.team_id for item in items})
    return list(made.values()), [_wanted(order, item, requesters[item.team_id]) for item in items if item.pk not in made]


def _requests_of(items: Sequence[int]) -> dict[int, int]:
    """Ids of the requests that were made of lines, by line."""
    sql = f"SELECT bulk_item_id, id FROM certs_certificaterequest WHERE {among_ids('bulk_item_id')}"  # noqa: S608 - constants
    return dict(ask((sql, [id_list(items)]))[0])


def _go_on_with_failed(chunk: BulkChunk, ids: Sequence[int]) -> None:
    update_rows(BulkChunk, {chunk.pk: {"retry": False}})
    failed = CertificateRequest.objects.select_for_update().filter(pk__in=ids, state=S.FAILED).order_by("pk")
    let_go_on(list(failed), actor=WORKER)


def _requesters(order: BulkOrder, teams: Iterable[int]) -> dict[int, Requester]:
    """By team: a line may be for another than the order's."""
    actor = Actor(order.actor_kind, order.actor_name)  # type: ignore[arg-type] # stored from an Actor
    return {
        pk: Requester(actor=actor, team=team, door=order.door, user=order.requester) for pk, team in Team.objects.in_bulk(teams).items()
    }


def _wanted(order: BulkOrder, item: BulkItem, requester: Requester) -> Wanted:
    spec = spec_of(item)
    digest = request_digest(spec, team=requester.team, issuer=order.issuer, requester=str(order.requester or order.actor_name))
    return Wanted(spec, requester, order.issuer, digest, bulk_item_id=item.pk)
