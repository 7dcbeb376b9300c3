"""A chunk of lines is worked off: its requests are made and go as far as one process can take them, in few transactions."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

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
from certs.workflow.steps.keys import KeyWork, begin_keys, make, record_keys
from certs.workflow.steps.policy import evaluate_and_move


def make_chunk(chunk_id: int) -> list[int]:
    """Make the requests of a chunk, those that it does not have yet, with the policy's word, their keys and their CSRs; answers the
    ids of all. Safe to run again: of a chunk that is tried again the failed ones go on from where they stopped.

    Neighbouring beats share a transaction here. What cannot be done now is left to the steps that follow in the chunk's chain.
    """
    with transaction.atomic():
        made, missing = lines_of(chunk_id)
        with together():
            rows, keys = _begin(missing) if missing else ([], KeyWork({}, {}, {}))
    if keys.attempts:
        results = make(keys)
        with transaction.atomic(), together():
            ready, _, now = record_keys(keys, results)
            csrs = begin_csrs(ready, now=now, fresh=True)
        if csrs.attempts:
            signed = sign(csrs)
            with transaction.atomic(), together():
                record_csrs(csrs, signed)
    return sorted(made + [row.pk for row in rows])


def _begin(missing: Sequence[Wanted]) -> tuple[list[CertificateRequest], KeyWork]:
    rows, now, read = insert_requests(missing)
    evaluate_and_move(rows, now=now, read=read)
    return rows, begin_keys([row for row in rows if row.state == S.APPROVED], now=now, fresh=True)


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
    if chunk is None or chunk.state != BulkChunk.State.QUEUED:
        return [], []
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
