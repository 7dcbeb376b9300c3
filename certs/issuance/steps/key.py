"""Step 2: a key for each request. Made in the backend, where it stays; of a brought CSR only the public key is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit.events import EventType
from audit.log import together
from certs.enums import RequestState as S
from certs.fault_points import pause
from certs.issuance.attempts import Lease, as_things_stand, close_attempts, keep_unclaimed, open_attempts
from certs.issuance.steps.external_csr import advance_brought
from certs.issuance.steps.reused import advance_reused
from certs.models import Attempt, CertificateRequest, UnclaimedResult
from certs.requests.lineage import keys_followed
from certs.requests.outcomes import fail_many, worn_out
from certs.requests.states import WORKER, Move, lock_ready, note_reasons, transition_many
from db.clock import database_now
from keys.backends.base import KeyInfo
from keys.errors import KeyBackendError
from keys.lifecycle import KeyWanted, claim_keys, confirm_keys, key_name, make_keys, record_public_keys
from keys.models import Key
from keys.spec import KeySpec, spki_der

STEP = "key"


class KeysUnavailable(Exception):
    """The key backend did not answer for some of a batch; nothing of theirs is lost, and they may be tried again."""

    def __init__(self, ids: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.ids = list(ids)
        self.message = message


@dataclass(frozen=True, slots=True)
class KeyWork:
    """What beat 1 hands to beat 2: attempts, requests and claimed keys, by request id."""

    attempts: Mapping[int, Attempt]
    requests: Mapping[int, CertificateRequest]
    keys: Mapping[int, Key]


Made = Mapping[UUID, KeyInfo | KeyBackendError]


def ensure_keys(ids: Sequence[int]) -> Sequence[int]:
    """Approved -> key_ready. Raises KeysUnavailable for those whose backend cannot be reached or is sealed."""
    if not ids:  # the first task of a bulk chunk has finished them
        return ids
    work = _note_intent(ids)
    if not work.attempts:
        return ids
    made = make(work)
    with transaction.atomic(), together():
        _, unavailable, _ = record_keys(work, made)
    pause(STEP, "key recorded")
    if unavailable:
        raise KeysUnavailable(list(unavailable), next(iter(unavailable.values())))
    return ids


@transaction.atomic
def _note_intent(ids: Sequence[int]) -> KeyWork:
    """Beat 1. What needs no new key goes on at once: a CSR that was brought and approved by a person (the rest went on with the
    policy's own yes), and a renewal that keeps its key.
    """
    now = database_now()
    ready = lock_ready(ids, S.APPROVED)
    with together():
        advance_brought([request for request in ready if request.csr_brought], source=S.APPROVED, now=now)
        advance_reused([request for request in ready if request.key_reused and not request.csr_brought], now=now)
        return begin_keys([request for request in ready if not request.csr_brought and not request.key_reused], now=now)


def begin_keys(requests: Sequence[CertificateRequest], *, now: datetime, fresh: bool = False) -> KeyWork:
    """Beat 1: claim a name for each key before the backend is asked for anything. The requests are approved, and locked or
    (`fresh`) made in the open transaction.
    """
    if not requests:
        return KeyWork({}, {}, {})
    claims = open_attempts(requests, STEP, now=now, fresh=fresh)
    worn_out(claims.worn_out, source=S.APPROVED, now=now)
    claimed = [request for request in requests if request.pk in claims.mine]
    followed = keys_followed(claimed)
    wanted = [
        KeyWanted(
            claimed_for=request.public_id,
            base_name=key_name(request.common_name or request.names[0]),
            spec=KeySpec(request.key_type),
            backend=request.key_backend,
            purpose="leaf",
            follows=followed.get(request.pk),
        )
        for request in claimed
    ]
    keys = claim_keys(wanted, now=now)
    return KeyWork(claims.mine, {r.pk: r for r in claimed}, {r.pk: key for r, key in zip(claimed, keys, strict=True)})


def make(work: KeyWork) -> Made:
    """Beat 2: no transaction is open while the backend makes keys."""
    pause(STEP, "intent noted")
    made = make_keys(list(work.keys.values()), between=Lease(work.attempts.values()).renew)
    pause(STEP, "key made")
    return made


def record_keys(work: KeyWork, made: Made) -> tuple[list[CertificateRequest], dict[int, str], datetime]:
    """Beat 3: write down the keys of the requests whose claim held. Answers the requests that are key_ready now, what to try
    again, and the time. Needs an open transaction.
    """
    standing = as_things_stand(work.attempts.values(), S.APPROVED)
    now = standing.now
    close_attempts(work.attempts.values(), {pk: _outcome(made[key.pk]) for pk, key in work.keys.items()}, standing)
    unavailable: dict[int, str] = {}
    good: list[CertificateRequest] = []
    failures = []
    late: list[UnclaimedResult] = []
    mine = standing.mine
    for pk, key in work.keys.items():
        result, attempt = made[key.pk], work.attempts[pk]
        if pk not in mine:
            if isinstance(result, KeyInfo):
                payload = spki_der(result.public_key)
                late.append(UnclaimedResult(request=attempt.request, attempt=attempt, kind="key", payload=payload, brought_at=now))
        elif isinstance(result, KeyInfo):
            good.append(work.requests[pk])
        elif result.retryable:
            unavailable[pk] = result.told
        else:
            failures.append((work.requests[pk], "key_backend", str(result)))
    keep_unclaimed(late, actor=WORKER, now=now)
    confirmed = confirm_keys({work.keys[r.pk].pk: made[work.keys[r.pk].pk] for r in good}, now=now)  # type: ignore[misc]
    by_id = {key.pk: key for key in confirmed}
    moves = [_ready(request, by_id[work.keys[request.pk].pk]) for request in good]
    if moves:
        record_public_keys({by_id[work.keys[r.pk].pk].spki_sha256: r.team.slug for r in good}, now=now)
    transition_many(moves, source=S.APPROVED, actor=WORKER, now=now, seen=True)
    fail_many(failures, source=S.APPROVED, now=now)
    note_reasons([work.requests[pk] for pk in unavailable], {pk: key_reason(message) for pk, message in unavailable.items()})
    for request in good:
        request.key = by_id[work.keys[request.pk].pk]
    return good, unavailable, now


def key_reason(message: str) -> str:
    """Why a request waits whose key backend did not do what was asked."""
    return f"The key backend cannot be used now: {message} It is tried again."


def _outcome(result: KeyInfo | KeyBackendError) -> tuple[str, str]:
    if isinstance(result, KeyInfo):
        return ("done", "")
    return ("unavailable" if result.retryable else "refused", str(result))


def _ready(request: CertificateRequest, key: Key) -> Move:
    data = {"key": key.locator, "version": key.version, "spec": key.spec, "spki_sha256": key.spki_sha256, "backend": key.backend}
    event, more = (EventType.KEY_ROTATED, {"from_version": key.version - 1}) if key.version > 1 else (EventType.KEY_GENERATED, {})
    return Move(request, (S.KEY_READY,), ((event, data | more),), {"key": key.pk, "spki_sha256": key.spki_sha256})
