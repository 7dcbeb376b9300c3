"""Step 2: a key for each request. Made in the backend, where it stays; of a brought CSR only the public key is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from certs.models import Attempt, CertificateRequest, UnclaimedResult
from certs.terms import RequestState as S
from certs.workflow.attempts import close_attempts, keep_unclaimed, open_attempts, renew_leases
from certs.workflow.beats import pause
from certs.workflow.endings import fail_many, worn_out
from certs.workflow.states import WORKER, Move, lock_ready, still_ready, transition_many
from certs.workflow.steps.brought import advance_brought
from certs.workflow.steps.reused import advance_reused
from certs.workflow.succession import keys_followed
from keys.backends.base import KeyInfo
from keys.errors import KeyBackendError
from keys.lifecycle import KeyWanted, claim_keys, confirm_keys, key_name, make_keys, record_public_keys
from keys.models import Key
from keys.spec import KeySpec, spki_der, spki_sha256

STEP = "key"


class KeysUnavailable(Exception):
    """The key backend did not answer for some of a batch; nothing of theirs is lost, and they may be tried again."""

    def __init__(self, ids: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.ids = list(ids)
        self.message = message


def ensure_keys(ids: Sequence[int]) -> Sequence[int]:
    """Approved -> key_ready. Raises KeysUnavailable for those whose backend cannot be reached or is sealed."""
    attempts, requests, keys = _note_intent(ids)
    if not attempts:
        return ids
    pause(STEP, "intent noted")
    made = make_keys(list(keys.values()), between=lambda: renew_leases(attempts.values(), now=database_now()))
    pause(STEP, "key made")
    unavailable = _record(attempts, requests, keys, made)
    pause(STEP, "key recorded")
    if unavailable:
        raise KeysUnavailable(list(unavailable), next(iter(unavailable.values())))
    return ids


Claimed = tuple[Mapping[int, Attempt], Mapping[int, CertificateRequest], Mapping[int, Key]]


@transaction.atomic
def _note_intent(ids: Sequence[int]) -> Claimed:
    """Beat 1: claim a name for each key before the backend is asked for anything.

    What needs no new key goes on at once: a CSR that was brought and approved by a person (the rest went on with the policy's
    own yes), and a renewal that keeps its key.
    """
    now = database_now()
    ready = lock_ready(ids, S.APPROVED)
    advance_brought([request for request in ready if request.csr_brought], source=S.APPROVED, now=now)
    advance_reused([request for request in ready if request.key_reused and not request.csr_brought], now=now)
    requests = [request for request in ready if not request.csr_brought and not request.key_reused]
    if not requests:
        return {}, {}, {}
    claims = open_attempts(requests, STEP, now=now)
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
    return claims.mine, {r.pk: r for r in claimed}, {r.pk: key for r, key in zip(claimed, keys, strict=True)}


@transaction.atomic
def _record(
    attempts: Mapping[int, Attempt],
    requests: Mapping[int, CertificateRequest],
    keys: Mapping[int, Key],
    made: Mapping[UUID, KeyInfo | KeyBackendError],
) -> dict[int, str]:
    """Beat 3: write down the keys of the requests whose claim held; answers what to try again."""
    now, ready = still_ready(list(attempts), S.APPROVED)
    outcomes = {pk: _outcome(made[key.pk]) for pk, key in keys.items()}
    winners = close_attempts(attempts.values(), outcomes, now=now)
    unavailable: dict[int, str] = {}
    good: list[CertificateRequest] = []
    failures = []
    late: list[UnclaimedResult] = []
    for pk, key in keys.items():
        result = made[key.pk]
        if pk not in winners or pk not in ready:
            if isinstance(result, KeyInfo):
                late.append(
                    UnclaimedResult(
                        request=attempts[pk].request, attempt=attempts[pk], kind="key", payload=spki_der(result.public_key), brought_at=now
                    )
                )
        elif isinstance(result, KeyInfo):
            good.append(requests[pk])
        elif result.retryable:
            unavailable[pk] = result.told
        else:
            failures.append((requests[pk], "key_backend", str(result)))
    keep_unclaimed(late, actor=WORKER, now=now)
    confirmed = confirm_keys({keys[r.pk].pk: made[keys[r.pk].pk] for r in good}, now=now)  # type: ignore[misc]
    by_id = {key.pk: key for key in confirmed}
    record_public_keys({spki_sha256(made[keys[r.pk].pk].public_key): r.team.slug for r in good}, now=now)  # type: ignore[union-attr]
    transition_many([_ready(request, by_id[keys[request.pk].pk]) for request in good], source=S.APPROVED, actor=WORKER, now=now)
    fail_many(failures, source=S.APPROVED, now=now)
    return unavailable


def _outcome(result: KeyInfo | KeyBackendError) -> tuple[str, str]:
    if isinstance(result, KeyInfo):
        return ("done", "")
    return ("unavailable" if result.retryable else "refused", str(result))


def _ready(request: CertificateRequest, key: Key) -> Move:
    data = {"key": key.locator, "version": key.version, "spec": key.spec, "spki_sha256": key.spki_sha256, "backend": key.backend}
    event, more = (EventType.KEY_ROTATED, {"from_version": key.version - 1}) if key.version > 1 else (EventType.KEY_GENERATED, {})
    return Move(request, (S.KEY_READY,), ((event, data | more),), {"key": key.pk, "spki_sha256": key.spki_sha256})
