"""A chunk of lines is worked off: its requests are made and go as far as one process can take them, in few transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from audit.log import Actor, together
from certs.bulk.lines import read_items, spec_of
from certs.enums import RequestState as S
from certs.issuance.steps.ca_call import Work
from certs.issuance.steps.ca_submit import note_intents, signs_here
from certs.issuance.steps.csr import begin_csrs, record_csrs, sign
from certs.issuance.steps.drawn import DrawnCSR, draw_csrs, draws_keys, enter_drawn
from certs.issuance.steps.key import KeyWork, begin_keys, make, record_keys
from certs.issuance.steps.policy import evaluate_and_move
from certs.issuance.synchronous import finish, issue_wanted
from certs.models import BulkChunk, BulkItem, BulkOrder, CertificateRequest, Team
from certs.models.rows import locked, update_rows
from certs.requests.states import UNFINISHED, WORKER
from certs.requests.submit import Requester, Wanted, insert_requests, latest_issuer, request_digest
from certs.requests.waiting import let_go_on
from db.sql import among_ids, ask, id_list


def make_chunk(chunk_id: int) -> list[int]:
    """Make the requests of a chunk, those that it does not have yet, with the policy's word, their keys and their CSRs, and go on to
    their certificates where this process may use the CA's key too; answers the ids of all that have something left to do. Safe to
    run again: of a chunk that is tried again the failed ones go on from where they stopped.

    Neighbouring beats share a transaction here. What cannot be done now is left to the steps that follow in the chunk's chain.
    """
    wanted, drawn = _drawn_for(chunk_id)
    try:
        begun = _entered(chunk_id, wanted, drawn)
    except IntegrityError:  # somebody else took a name meanwhile; beat by beat it is seen in time
        if not drawn:
            raise
        begun = _entered(chunk_id, (), {})
    finish(begun.works)
    _make_keys(begun.keys)
    return begun.unfinished()


@dataclass(frozen=True, slots=True)
class _Begun:
    """Ids of the requests that a chunk had, those made now, the keys that are to be made for them, and what a CA is to sign."""

    earlier: Sequence[int]
    requests: Sequence[CertificateRequest]
    keys: KeyWork
    works: Sequence[Work]

    def unfinished(self) -> list[int]:
        return sorted([*self.earlier, *(request.pk for request in self.requests if request.state in UNFINISHED)])


_NO_KEYS = KeyWork({}, {}, {})


def _drawn_for(chunk_id: int) -> tuple[Sequence[Wanted], dict[int, DrawnCSR]]:
    """What a chunk wants, and keys and CSRs by line where the portal's own database holds the keys. Nothing is written before they
    are all there, so if a line kills its worker here the chunk is found begun, and the next worker goes from beat to beat, which
    tells the line.
    """
    if not draws_keys():
        return (), {}
    with transaction.atomic():
        chunk = _queued(chunk_id)
        if chunk is None or chunk.begun:
            return (), {}
        _, missing = _lines(chunk)
        update_rows(BulkChunk, {chunk.pk: {"begun": True}})
    return missing, draw_csrs({one.bulk_item_id: one.spec for one in missing if one.bulk_item_id is not None})


@transaction.atomic
def _entered(chunk_id: int, wanted: Sequence[Wanted], drawn: Mapping[int, DrawnCSR]) -> _Begun:
    """`wanted`: what the chunk wanted a moment ago; looked up where it is not known, or not true any more."""
    made, missing = _still_missing(chunk_id, wanted) if drawn else lines_of(chunk_id)
    if not missing:
        return _Begun(made, (), _NO_KEYS, ())
    with together():
        rows, now, read = insert_requests(missing)
        judged = evaluate_and_move(rows, now=now, read=read)
        enter_drawn([(row, one) for row in rows if (one := drawn.get(row.bulk_item_id or 0))], now=now)
        ready = [row for row in rows if row.state == S.CSR_CREATED]
        works = note_intents(ready, now=now, judged=judged) if ready and signs_here(ready[0].issuer) else []
        return _Begun(made, rows, begin_keys([row for row in rows if row.state == S.APPROVED], now=now, fresh=True), works)


def _still_missing(chunk_id: int, wanted: Sequence[Wanted]) -> tuple[list[int], Sequence[Wanted]]:
    """As `lines_of`, which need not read the lines again when nobody else has begun them meanwhile."""
    if _queued(chunk_id) is None:
        return [], ()
    if _requests_of([one.bulk_item_id for one in wanted if one.bulk_item_id is not None]):
        return lines_of(chunk_id)
    return [], wanted


def _make_keys(keys: KeyWork) -> None:
    """Keys of another backend, or such as take long: steps 2 and 3, each in its beats."""
    if not keys.attempts:
        return
    results = make(keys)
    with transaction.atomic(), together():
        ready, _, now = record_keys(keys, results)
        csrs = begin_csrs(ready, now=now, fresh=True)
    if csrs.attempts:
        signed = sign(csrs)
        with transaction.atomic(), together():
            record_csrs(csrs, signed)


def issue_chunk(chunk_id: int) -> list[int]:
    """The same for brought CSRs, and on to their certificates where the CA takes the orders; the steps after it do the rest."""
    made: list[int] = []

    def lines() -> list[Wanted]:
        there, missing = lines_of(chunk_id)
        made.extend(there)
        return missing

    return _Begun(made, issue_wanted(lines), _NO_KEYS, ()).unfinished()


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
