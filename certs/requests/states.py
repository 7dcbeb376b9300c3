"""The only table of request states, and the only writer of them.

Every change of state is a compare-and-set over a batch, with its audit events in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.enums import RequestState as S
from certs.models import CertificateRequest, Issuer, Team
from certs.models.rows import locked, update_later, update_rows
from certs.notifications.outcomes import Outcome, notify_outcomes
from db.backend import on_postgresql
from db.sql import Query, among_ids, id_list

TRANSITIONS: Mapping[S, frozenset[S]] = {
    S.SUBMITTED: frozenset({S.APPROVED, S.AWAITING_APPROVAL, S.REJECTED, S.FAILED, S.CANCELLED}),
    S.AWAITING_APPROVAL: frozenset({S.APPROVED, S.REJECTED, S.CANCELLED}),
    S.APPROVED: frozenset({S.KEY_READY, S.REJECTED, S.FAILED, S.CANCELLED}),
    S.KEY_READY: frozenset({S.CSR_CREATED, S.REJECTED, S.FAILED, S.CANCELLED}),
    S.CSR_CREATED: frozenset({S.ISSUED, S.REJECTED, S.FAILED, S.CANCELLED}),
    S.ISSUED: frozenset({S.COMPLETED}),
    S.FAILED: frozenset({S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.CANCELLED}),  # resume goes back to where it stopped
    S.COMPLETED: frozenset(),
    S.REJECTED: frozenset(),
    S.CANCELLED: frozenset(),
}

WORKER = Actor("system", "worker")

UNFINISHED = (S.SUBMITTED, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.ISSUED)
FINAL = tuple(state for state, following in TRANSITIONS.items() if not following)


class Move(NamedTuple):
    """One request's way through one or more states, with an event for each thing that happened on it.

    `fields` are further columns of the request row to set; they may differ from row to row.
    """

    request: CertificateRequest
    path: tuple[S, ...]
    events: tuple[tuple[EventType, Mapping[str, Any]], ...]
    fields: Mapping[str, Any] = MappingProxyType({})


def transition_many(moves: Sequence[Move], *, source: S, actor: Actor, now: datetime, seen: bool = False) -> set[int]:
    """Move requests that are in `source` along their paths; answers the ids that moved.

    Compare-and-set: a request that another worker has moved meanwhile is left alone and gets no event. Needs an open
    transaction (the events share it). `seen`: the caller has locked the rows in this transaction and found them in `source`,
    so that they will move for certain, and may be written at its end. Raises ValueError for an arrow that TRANSITIONS does not have.
    """
    if not moves:
        return set()
    for move in moves:
        _check_path(source, move.path)
    moved = {move.request.pk for move in moves if _is_held_back(move.request) and move.request.state == source}
    values = {
        move.request.pk: {"state": str(move.path[-1]), "state_changed_at": now, **_no_reason(move, source), **move.fields}
        for move in moves
        if not _is_held_back(move.request)
    }
    if values and seen:
        update_later(CertificateRequest, values)
        moved |= values.keys()
    elif values:
        moved |= update_rows(CertificateRequest, values, only_if={"state": source})
    winners = [move for move in moves if move.request.pk in moved]
    record_many([Event(event, move.request.subject, actor, now, data) for move in winners for event, data in move.events])
    for move in winners:
        move.request.state, move.request.state_changed_at = move.path[-1], now
        for name, value in {**_no_reason(move, source), **move.fields}.items():
            setattr(move.request, _attribute(name), value)
    notify_outcomes([Outcome(move.request, source, move.path[-1]) for move in winners], actor=actor, now=now)
    return moved


def _no_reason(move: Move, source: S) -> dict[str, str]:
    """A request that leaves a state in which it waited has no reason to wait any more."""
    return {"error": ""} if move.request.error and source in UNFINISHED else {}


def _is_held_back(request: CertificateRequest) -> bool:
    """Made in this very transaction and not written yet: it will be written as it then is, and nobody else can have moved it."""
    return request._state.adding  # noqa: SLF001 - Django documents it


@lru_cache(maxsize=64)
def _attribute(column: str) -> str:
    """`key_id` for the column `key`: a move carries ids, not rows."""
    return str(getattr(CertificateRequest._meta.get_field(column), "attname", column))


def _check_path(source: S, path: Sequence[S]) -> None:
    here = source
    if not path:
        raise ValueError("a move needs at least one state")
    for there in path:
        if there not in TRANSITIONS[here]:
            raise ValueError(f"no transition from {here} to {there}")
        here = there


def annotate_many(requests: Sequence[CertificateRequest], fields: Mapping[int, Mapping[str, Any]]) -> None:
    """Set columns other than the state, which may differ from row to row (a hold, a loss). The caller holds the row locks."""
    update_rows(CertificateRequest, {request.pk: fields[request.pk] for request in requests})


def note_reasons(requests: Sequence[CertificateRequest], reasons: Mapping[int, str]) -> None:
    """Write why requests wait, by id, from the first failed try on: retries and alerts come later.
    The caller holds the row locks.
    """
    changed = [request for request in requests if request.pk in reasons and request.error != reasons[request.pk][:1000]]
    annotate_many(changed, {request.pk: {"error": reasons[request.pk][:1000]} for request in changed})


def lock_ready(ids: Sequence[int], state: S) -> list[CertificateRequest]:
    """The requests among `ids` that are in `state` and not held, locked in id order, with team and issuer. Needs an open transaction."""
    requests = locked(CertificateRequest, ids, "state = %s AND held_since IS NULL", [state])
    attach_rows(requests)
    return requests


def attach_rows(requests: Sequence[CertificateRequest]) -> None:
    """Give each request its team and issuer: one query for each kind, however many requests share them."""
    teams = Team.objects.in_bulk({request.team_id for request in requests})
    issuers = Issuer.objects.in_bulk({request.issuer_id for request in requests})
    for request in requests:
        request.team, request.issuer = teams[request.team_id], issuers[request.issuer_id]


def ready_query(ids: Sequence[int], state: S) -> Query:
    """Like `lock_ready`, for an `ask` of a caller that holds the rows' content already: the ids of those still there, locked."""
    lock = " FOR UPDATE" if on_postgresql() else ""
    sql = f"SELECT id FROM certs_certificaterequest WHERE {among_ids('id')} AND state = %s AND held_since IS NULL ORDER BY id{lock}"  # noqa: S608
    return sql, [id_list(ids), state]
