"""A chunk of lines is worked off: its requests are made and go as far as one process can take them, in few transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import IntegrityError, transaction

from audit.log import Actor, together
from certs.models import BulkChunk, BulkItem, BulkOrder, CertificateRequest, Team
from certs.models.batch import locked, update_rows
from certs.terms import RequestState as S
from certs.workflow.bulk.items import read_items, spec_of
from certs.workflow.holding import let_go_on
from certs.workflow.inline import issue_wanted
from certs.workflow.issuance import Requester, Wanted, insert_requests, latest_issuer, request_digest
from certs.workflow.states import WORKER
from certs.workflow.steps.csr import begin_csrs, record_csrs, sign
from certs.workflow.steps.drawn import DrawnCSR, draw_csrs, enter_drawn
from certs.workflow.steps.keys import KeyWork, begin_keys, make, record_keys
from certs.workflow.steps.policy import evaluate_and_move


def make_chunk(chunk_id: int) -> list[int]:
    """Make the requests of a chunk, those that it does not have yet, with the policy's word, their keys and their CSRs; answers the
    ids of all. Safe to run again: of a chunk that is tried again the failed ones go on from where they stopped.

    Neighbouring beats share a transaction here. What cannot be done now is left to the steps that follow in the chunk's chain.
    """
    ready = _drawn_for(chunk_id)
    try:
        made, rows, keys = _entered(chunk_id, ready)
    except IntegrityError:  # somebody else took a name meanwhile; beat by beat it is seen in time
        if not ready:
            raise
        made, rows, keys = _entered(chunk_id, {})
    if keys.attempts:
        results = make(keys)
        with transaction.atomic(), together():
            ready_ones, _, now = record_keys(keys, results)
            csrs = begin_csrs(ready_ones, now=now, fresh=True)
        if csrs.attempts:
            signed = sign(csrs)
            with transaction.atomic(), together():
                record_csrs(csrs, signed)
    return sorted(made + [row.pk for row in rows])


def _drawn_for(chunk_id: int) -> dict[int, DrawnCSR]:
    """Keys and CSRs by line, where the portal's own database holds the keys. Nothing is written before they are all there, so if a
    line kills its worker here the chunk is found begun, and the next worker goes from beat to beat, which tells the line.
    """
    with transaction.atomic():
        chunk = next(iter(locked(BulkChunk, [chunk_id])), None)
        if chunk is None or chunk.begun or chunk.state != BulkChunk.State.QUEUED:
            return {}
        _, missing = _lines(chunk)
        update_rows(BulkChunk, {chunk.pk: {"begun": True}})
    return draw_csrs({one.bulk_item_id: one.spec for one in missing if one.bulk_item_id is not None})


@transaction.atomic
def _entered(chunk_id: int, ready: Mapping[int, DrawnCSR]) -> tuple[list[int], list[CertificateRequest], KeyWork]:
    """Ids of the requests that were there, those that are made now, and the keys that are still to be made for them."""
    made, missing = lines_of(chunk_id)
    if not missing:
        return made, [], KeyWork({}, {}, {})
    with together():
        rows, now, read = insert_requests(missing)
        evaluate_and_move(rows, now=now, read=read)
        enter_drawn([(row, drawn) for row in rows if (drawn := ready.get(row.bulk_item_id or 0))], now=now)
        return made, rows, begin_keys([row for row in rows if row.state == S.APPROVED], now=now, fresh=True)


def issue_chunk(chunk_id: int) -> list[int]:
    """The same for brought CSRs, and on to their certificates where the CA takes the orders; the steps after it do the rest."""
    made: list[int] = []

    def lines() -> list[Wanted]:
        there, missing = lines_of(chunk_id)
        made.extend(there)
        return missing

    rows = issue_wanted(lines)
    return sorted(made + [row.pk for row in rows])


def lines_of(chunk_id: int) -> tuple[list[int], list[Wanted]]:
    """Ids of the requests that a chunk has, and what is wanted besides. Locks the chunk: needs an open transaction."""
    chunk = next(iter(locked(BulkChunk, [chunk_id])), None)
    return ([], []) if chunk is None or chunk.state != BulkChunk.State.QUEUED else _lines(chunk)


def _lines(chunk: BulkChunk) -> tuple[list[int], list[Wanted]]:
    order = BulkOrder.objects.select_related("issuer", "team", "requester").get(pk=chunk.order_id)
    order.issuer = latest_issuer(order.issuer)  # which may be another than when the order was submitted
    items = read_items(order, chunk)
    made = dict(CertificateRequest.objects.filter(bulk_item__in=[item.pk for item in items]).values_list("bulk_item_id", "pk"))
    if chunk.retry:
        _go_on_with_failed(chunk, list(made.values()))
    teams = Team.objects.in_bulk({item.team_id for item in items})
    return list(made.values()), [_wanted(order, item, teams[item.team_id]) for item in items if item.pk not in made]


def _go_on_with_failed(chunk: BulkChunk, ids: Sequence[int]) -> None:
    update_rows(BulkChunk, {chunk.pk: {"retry": False}})
    failed = CertificateRequest.objects.select_for_update().filter(pk__in=ids, state=S.FAILED).order_by("pk")
    let_go_on(list(failed), actor=WORKER)


def _wanted(order: BulkOrder, item: BulkItem, team: Team) -> Wanted:
    actor = Actor(order.actor_kind, order.actor_name)  # type: ignore[arg-type] # stored from an Actor
    requester = Requester(actor=actor, team=team, door=order.door, user=order.requester)
    spec = spec_of(item)
    digest = request_digest(spec, team=team, issuer=order.issuer, requester=str(order.requester or order.actor_name))
    return Wanted(spec, requester, order.issuer, digest, bulk_item_id=item.pk)
