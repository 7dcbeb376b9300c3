"""Let requests wait while a CA or a key backend is unavailable, and resume them.

A held request keeps its state, key and CSR, and gets a resume id. The chain and the sweeper leave it alone until a person or a
command resumes it, or the sweeper does once the CA or the key backend works again.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings

from audit.events import EventType
from audit.log import Actor, Event, UnitOfWork
from certs.access.permissions import Authority
from certs.enums import AlertKind
from certs.enums import RequestState as S
from certs.errors import Conflict, NotFound
from certs.models import CertificateRequest, Issuer
from certs.notifications.alerts import ca_cause, raise_alert
from certs.pipeline import start_on_commit
from certs.requests.states import UNFINISHED, WORKER, Move, new_resume_id, transition_many
from db.clock import database_now
from db.rows import Lock, select

AT_ONCE = 100  # requests in one chain
GOES_ON = "Requests wait {}; nothing is lost. They continue automatically when {}, or with `manage.py resume RESUME_ID`."


def hold_for_ca(ids: Sequence[int], reason: str) -> None:
    """Hold requests at csr_created after the last retry. Effects: state, resume id, `ca:unavailable` each, one alert for each CA."""
    message = f"CA unavailable after {len(settings.PKI_CA_RETRY_SECONDS)} retries"
    with UnitOfWork() as work:
        requests = _hold(work, ids, S.CSR_CREATED, error=message, reason=reason, event=EventType.CA_UNAVAILABLE)
        now = database_now()
        for issuer in Issuer.objects.filter(pk__in={request.issuer_id for request in requests}):
            raise_alert(
                kind=AlertKind.CA_UNAVAILABLE,
                cause=ca_cause(issuer),
                message=f"{issuer.name} is unavailable: {reason}",
                next_step=GOES_ON.format("with their keys and CSRs", "the CA answers"),
                now=now,
            )


def hold_for_keys(ids: Sequence[int], reason: str) -> None:
    """Hold requests at approved or key_ready after the last retry. Effects: as `hold_for_ca`, one alert for each key backend."""
    for state in (S.APPROVED, S.KEY_READY):
        with UnitOfWork() as work:
            requests = _hold(work, ids, state, error="Key backend unavailable", reason=reason, event=EventType.REQUEST_HELD)
            for backend in sorted({request.key_backend for request in requests}):
                raise_alert(
                    kind=AlertKind.KEYS_UNAVAILABLE,
                    cause=f"keys:{backend}",
                    message=f"Key backend {backend} is unavailable: {reason}",
                    next_step="Unseal or restart it. " + GOES_ON.format("for their keys or CSRs", "it answers"),
                    now=database_now(),
                )


def _hold(work: UnitOfWork, ids: Sequence[int], state: S, *, error: str, reason: str, event: EventType) -> list[CertificateRequest]:
    requests = select(CertificateRequest, lock=Lock.UPDATE, id=set(ids), state=state, held_since=None)
    now = database_now()
    for request in requests:
        resume_id = request.resume_id or new_resume_id()
        work.update(request, {"held_since": now, "resume_id": resume_id, "error": error}, was={"state": state})
    work.record(Event(event, r.subject, WORKER, now, {"state": str(state), "reason": reason[:500]}) for r in requests)
    return requests


def resume(resume_id: str, *, authority: Authority) -> CertificateRequest:
    """Resume a held or failed request from where it stopped, without a second key or CSR.

    Raises NotFound for an id that nobody has or that the actor may not see, NotPermitted, Conflict for a request that is not waiting.
    """
    with UnitOfWork() as work:
        request = CertificateRequest.objects.select_for_update().filter(resume_id=resume_id).first()
        if request is None or not authority.may_see(request):
            raise NotFound(
                f"No request has the resume id {resume_id}.", next_step="Copy it from the answer or the alert; a finished request has none."
            )
        authority.check_may_operate(request)
        authority.check_profiles((request.profile,))
        if not release(work, [request], actor=authority.actor):
            raise Conflict(
                f"{request.public_id} does not wait to be resumed (now: {request.state_words}).",
                next_step=f"See what happened: /requests/{request.public_id}/",
            )
    return request


def release_held(
    *, states: Sequence[S], issuer: Issuer | None = None, backend: str | None = None, limit: int, actor: Actor = WORKER
) -> int:
    """Resume requests that were held for a CA or a key backend, oldest first, at most `limit`. Returns how many."""
    with UnitOfWork() as work:
        rows = CertificateRequest.objects.select_for_update(skip_locked=True).filter(held_since__isnull=False, state__in=states)
        if issuer is not None:
            rows = rows.filter(issuer=issuer)
        if backend is not None:
            rows = rows.filter(key_backend=backend)
        return release(work, list(rows.order_by("held_since", "pk")[:limit]), actor=actor)


def release(work: UnitOfWork, requests: Sequence[CertificateRequest], *, actor: Actor) -> int:
    """Resume held and failed requests, each in the chain of the state in which it stopped. Returns how many.

    The caller has locked them.
    """
    released = let_go_on(work, requests, actor=actor)
    for state, bulk in {(r.state, r.bulk_item_id is not None) for r in released}:
        ids = [r.pk for r in released if r.state == state and (r.bulk_item_id is not None) == bulk]
        for first in range(0, len(ids), AT_ONCE):
            start_on_commit(ids[first : first + AT_ONCE], at=S(state), bulk=bulk)
    return len(released)


def let_go_on(work: UnitOfWork, requests: Sequence[CertificateRequest], *, actor: Actor) -> list[CertificateRequest]:
    """Put held and failed requests back into the state in which they stopped. Returns them. Starts no chain: the caller does."""
    now = database_now()
    held = [r for r in requests if r.held_since is not None and r.state in UNFINISHED]
    failed = [r for r in requests if r.state == S.FAILED and r.stopped_at]
    for request in held:
        work.update(request, {"held_since": None, "error": "", "losses": 0}, was={"state": request.state})
    work.record(Event(EventType.REQUEST_RESUMED, r.subject, actor, now, {"state": r.state}) for r in held)
    for state in {r.stopped_at for r in failed}:
        moves = [
            Move(
                r,
                (S(state),),
                ((EventType.REQUEST_RESUMED, {"state": state}),),
                {"error": "", "stopped_at": "", "losses": 0, "held_since": None},
            )
            for r in failed
            if r.stopped_at == state
        ]
        transition_many(work, moves, source=S.FAILED, actor=actor, now=now)
    return held + failed
