"""The only table of request states, the only writer of them, and how a request ends without a certificate.

Every change of state is a compare-and-set over a batch, with its audit events in the same transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from audit.events import EventType
from audit.log import Actor, Event, UnitOfWork
from certs.enums import RequestState as S
from certs.models import CertificateRequest, Issuer, Team
from certs.notifications.outcomes import Outcome, notify_outcomes
from db.rows import Lock, by_key, select

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
KEY_BLOCKED = "The public key was blocked after the request was made."
ASK_AGAIN = "Ask again with a new key."

UNFINISHED = (S.SUBMITTED, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.ISSUED)
FINAL = tuple(state for state, following in TRANSITIONS.items() if not following)
CANCELLABLE = tuple(state for state, following in TRANSITIONS.items() if S.CANCELLED in following)
# No certificate yet, and on its way to one. (A failed request may be cancelled too, but goes on only when it is resumed.)
UNSIGNED = tuple(state for state in CANCELLABLE if state is not S.FAILED)


class Move(NamedTuple):
    """One request's path through one or more states, with an event for each thing that happened.

    `fields` are further attributes of the request row to set; they may differ from row to row.
    """

    request: CertificateRequest
    path: tuple[S, ...]
    events: tuple[tuple[EventType, Mapping[str, Any]], ...]
    fields: Mapping[str, Any] = MappingProxyType({})


def transition_many(work: UnitOfWork, moves: Sequence[Move], *, source: S, actor: Actor, now: datetime) -> set[int]:
    """Move requests that are in `source` along their paths; return the ids of those that moved.

    The rows must be locked in the transaction of `work`, or be new in it. One that is in another
    state is left alone and gets no event. Effects, all in `work`: state, time of the change and
    `fields` of each request, and its events; besides, the notices to the people concerned. The
    stored state is compared once more when `work` is written (`db.unit_of_work.StaleRow`).

    Raises ValueError for a path that TRANSITIONS does not have.
    """
    if not moves:
        return set()
    for move in moves:
        _check_path(source, move.path)
    winners = [move for move in moves if move.request.state == source]
    for move in winners:
        request = move.request
        # A request that leaves a state in which it waited has no reason to wait any more.
        no_reason = {"error": ""} if request.error and source in UNFINISHED else {}
        values = {"state": move.path[-1], "state_changed_at": now, **no_reason, **move.fields}
        work.update(request, values, was={"state": source})
    work.record(Event(event, move.request.subject, actor, now, data) for move in winners for event, data in move.events)
    outcomes = [Outcome(move.request, source, move.path[-1], move.events[-1][0] if move.events else None) for move in winners]
    notify_outcomes(outcomes, actor=actor, now=now)
    return {move.request.pk for move in winners}


def _check_path(source: S, path: Sequence[S]) -> None:
    here = source
    if not path:
        raise ValueError("a move needs at least one state")
    for there in path:
        if there not in TRANSITIONS[here]:
            raise ValueError(f"no transition from {here} to {there}")
        here = there


def note_reasons(work: UnitOfWork, reasons: Iterable[tuple[CertificateRequest, str]]) -> None:
    """Write why requests wait, from the first failed try on: retries and alerts come later. The rows are locked."""
    for request, reason in reasons:
        if request.error != reason[:1000]:
            work.update(request, {"error": reason[:1000]})


def lock_ready(ids: Collection[int], states: Collection[S]) -> list[CertificateRequest]:
    """Return the requests among `ids` that are in one of `states` and not held, locked in id order, with team and issuer.

    Needs an open transaction.
    """
    requests = select(CertificateRequest, lock=Lock.UPDATE, id=set(ids), state=set(states), held_since=None)
    # One query for each kind, however many requests share them.
    teams = by_key(select(Team, id={request.team_id for request in requests}))
    issuers = by_key(select(Issuer, id={request.issuer_id for request in requests}))
    for request in requests:
        request.team, request.issuer = teams[request.team_id], issuers[request.issuer_id]
    return requests


def new_resume_id() -> str:
    return f"resume-{secrets.token_hex(8)}"


def fail_many(work: UnitOfWork, failures: Iterable[tuple[CertificateRequest, str, str]], *, source: S, now: datetime) -> None:
    """End requests as `failed` with (request, class, message), keeping where they stopped and a resume id."""
    moves = [
        Move(
            request,
            (S.FAILED,),
            ((EventType.REQUEST_FAILED, {"stopped_at": str(source), "problem": problem, "reason": message[:500]}),),
            {"error": message[:1000], "stopped_at": str(source), "resume_id": request.resume_id or new_resume_id()},
        )
        for request, problem, message in failures
    ]
    transition_many(work, moves, source=source, actor=WORKER, now=now)


def reject_many(work: UnitOfWork, rejections: Iterable[tuple[CertificateRequest, str, str, str]], *, source: S, now: datetime) -> None:
    """End requests as `rejected` with (request, problem class, message, suggestion)."""
    moves = [
        Move(
            request,
            (S.REJECTED,),
            ((EventType.REQUEST_REJECTED, {"problem": problem, "reason": message[:500], "policy_version": request.policy_version}),),
            {"error": message[:1000], "suggestion": suggestion[:1000]},
        )
        for request, problem, message, suggestion in rejections
    ]
    transition_many(work, moves, source=source, actor=WORKER, now=now)


def worn_out(work: UnitOfWork, requests: Iterable[CertificateRequest], *, source: S, now: datetime) -> None:
    """End requests whose workers were lost too often as `failed` (`worker_lost`), so that they take no more workers."""
    fail_many(
        work,
        [
            (request, "worker_lost", f"The worker was lost {request.losses} times at this step; resume it once the cause is known.")
            for request in requests
        ],
        source=source,
        now=now,
    )
