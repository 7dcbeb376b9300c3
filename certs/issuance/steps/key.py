"""Step 2: a key for each request, made in its backend under a name that was claimed before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from audit.events import EventType
from audit.log import UnitOfWork
from certs.enums import RequestState as S
from certs.errors import sentence
from certs.issuance.attempts import Act, Lease, Recorded, close_attempts, keep_unclaimed, lock_claimed, open_attempts
from certs.issuance.steps.external_csr import accept_external, accept_reused
from certs.models import Attempt, CertificateRequest, UnclaimedResult
from certs.requests.lineage import keys_followed
from certs.requests.states import WORKER, Move, fail_many, note_reasons, transition_many
from keys.backends.base import KeyInfo
from keys.errors import KeyBackendError
from keys.lifecycle.claim import NewKey, claim_keys, key_name
from keys.lifecycle.create import confirm_keys, make_keys
from keys.models import Key
from keys.public_keys import record_public_keys
from keys.spec import KeySpec, spki_der


def reserve(work: UnitOfWork, requests: Sequence[CertificateRequest], *, now: datetime) -> list[Act]:
    """Move requests that need no new key to key_ready, and return the act of making the other keys.

    The requests are approved, and locked or new in `work`.
    """
    # 1. What needs no new key goes on at once: an external CSR, and a renewal that keeps its key.
    if external := [one for one in requests if one.csr_brought]:
        accept_external(work, external, source=S.APPROVED, now=now)
    if reusing := [one for one in requests if one.key_reused and not one.csr_brought]:
        accept_reused(work, reusing, now=now)
    # 2. An attempt for each of the others.
    wanting = [one for one in requests if not one.csr_brought and not one.key_reused]
    attempts = open_attempts(work, wanting, MakeKeys.step, now=now).mine
    claimed = [one for one in wanting if one.pk in attempts]
    if not claimed:
        return []
    # 3. A name for each key, before the backend is asked for anything.
    followed = keys_followed(claimed)
    wanted = [
        NewKey(
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
    return [MakeKeys(attempts, {r.pk: r for r in claimed}, {r.pk: key for r, key in zip(claimed, keys, strict=True)})]


@dataclass
class MakeKeys(Act):
    """Attempts, requests and claimed keys by request id; then what was made, by key id."""

    step: ClassVar[str] = "key"
    attempts: Mapping[int, Attempt]
    requests: Mapping[int, CertificateRequest]
    keys: Mapping[int, Key]
    made: Mapping[UUID, KeyInfo | KeyBackendError] = field(default_factory=dict)

    @property
    def open_attempts(self) -> Collection[Attempt]:
        return self.attempts.values()

    def execute(self, lease: Lease) -> None:
        self.made = make_keys(list(self.keys.values()), between=lease.renew)

    def each(self) -> list[MakeKeys]:
        return [
            replace(self, attempts={pk: self.attempts[pk]}, requests={pk: self.requests[pk]}, keys={pk: self.keys[pk]}) for pk in self.keys
        ]

    def record(self, work: UnitOfWork) -> Recorded:
        """Move requests from approved to key_ready or failed.

        Effects: keys, public keys, states, attempts, `key:generated` or `key:rotated`.
        """
        # 1. Under the locks: which results count. The attempts that are ours end here.
        claimed = lock_claimed(self.attempts.values(), S.APPROVED)
        now = claimed.now
        close_attempts(work, self.attempts.values(), {pk: _outcome(self.made[key.pk]) for pk, key in self.keys.items()}, claimed)
        # 2. A key that comes too late is kept for the reaper. It is the same key that the winner has: both act for one claim.
        late = [
            UnclaimedResult(request=attempt.request, attempt=attempt, kind="key", payload=spki_der(made.public_key), brought_at=now)
            for pk, attempt in self.attempts.items()
            if pk not in claimed.mine and isinstance(made := self.made[self.keys[pk].pk], KeyInfo)
        ]
        keep_unclaimed(work, late, now=now)
        # 3. The rows of the keys that were made. A public key belongs to the first team that it is recorded for.
        mine = {pk: self.made[key.pk] for pk, key in self.keys.items() if pk in claimed.mine}
        good = {pk: made for pk, made in mine.items() if isinstance(made, KeyInfo)}
        confirmed = {key.pk: key for key in confirm_keys({self.keys[pk].pk: made for pk, made in good.items()}, now=now)}
        keys = {pk: confirmed[self.keys[pk].pk] for pk in good}
        record_public_keys({key.spki_sha256: self.requests[pk].team.slug for pk, key in keys.items()}, now=now)
        # 4. Their requests go on, those whose backend is away wait, and the others fail.
        moves = [_ready(self.requests[pk], key) for pk, key in keys.items()]
        transition_many(work, moves, source=S.APPROVED, actor=WORKER, now=now)
        errors = {pk: made for pk, made in mine.items() if isinstance(made, KeyBackendError)}
        failures = [(self.requests[pk], "key_backend", str(error)) for pk, error in errors.items() if not error.retryable]
        fail_many(work, failures, source=S.APPROVED, now=now)
        unavailable = {pk: error.for_people for pk, error in errors.items() if error.retryable}
        note_reasons(work, [(self.requests[pk], key_reason(message)) for pk, message in unavailable.items()])
        return Recorded(now, ready=[self.requests[pk] for pk in good], keys_unavailable=unavailable)


def key_reason(message: str) -> str:
    """Return why a request waits whose key backend is unavailable."""
    return f"The key backend cannot be used now: {sentence(message)} It is tried again."


def _outcome(result: KeyInfo | KeyBackendError) -> tuple[str, str]:
    if isinstance(result, KeyInfo):
        return ("done", "")
    return ("unavailable" if result.retryable else "refused", str(result))


def _ready(request: CertificateRequest, key: Key) -> Move:
    data = {"key": key.locator, "version": key.version, "spec": key.spec, "spki_sha256": key.spki_sha256, "backend": key.backend}
    event, more = (EventType.KEY_ROTATED, {"from_version": key.version - 1}) if key.version > 1 else (EventType.KEY_GENERATED, {})
    return Move(request, (S.KEY_READY,), ((event, data | more),), {"key": key, "spki_sha256": key.spki_sha256})
