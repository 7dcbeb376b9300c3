"""End requests without a certificate: rejected, failed, or failed after too many lost workers."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime

from audit.events import EventType
from audit.unit_of_work import UnitOfWork
from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.requests.states import WORKER, Move, transition_many

KEY_BLOCKED = "The public key was blocked after the request was made."
ASK_AGAIN = "Ask again with a new key."


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
