"""Step 3: a CSR for each key, signed where the key is, parsed again and compared before it counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from audit.events import EventType
from audit.log import UnitOfWork
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.issuance.attempts import Act, Lease, Recorded, close_attempts, keep_unclaimed, lock_claimed, open_attempts
from certs.issuance.steps.key import key_reason
from certs.models import Attempt, CertificateRequest, RequestCSR, UnclaimedResult
from certs.requests.states import ASK_AGAIN, KEY_BLOCKED, WORKER, Move, fail_many, note_reasons, reject_many, transition_many
from certs.x509.csr.build import build_csr
from db.rows import by_key, select
from keys.errors import KeyBackendError
from keys.models import Key
from keys.public_keys import blocked_keys
from keys.spec import spki_der, spki_sha256
from keys.use import private_keys_for, side_by_side

LEASE_EVERY = 100  # CSRs signed between two renewals of the lease; a slow HSM signs some 40 RSA-4096 a second


def reserve(work: UnitOfWork, requests: Sequence[CertificateRequest], *, now: datetime) -> list[Act]:
    """Write an attempt for each request whose CSR is about to be signed. The requests are key_ready and locked."""
    attempts = open_attempts(work, requests, SignCSRs.step, now=now).mine
    return [SignCSRs(attempts, {one.pk: one for one in requests if one.pk in attempts})] if attempts else []


@dataclass(frozen=True, slots=True)
class SignedCSR:
    der: bytes
    spki_der: bytes


@dataclass
class SignCSRs(Act):
    """Attempts and requests by request id; then the CSRs."""

    step: ClassVar[str] = "csr"
    attempts: Mapping[int, Attempt]
    requests: Mapping[int, CertificateRequest]
    signed: Mapping[int, SignedCSR | KeyBackendError | PortalError] = field(default_factory=dict)

    @property
    def open_attempts(self) -> Collection[Attempt]:
        return self.attempts.values()

    def execute(self, lease: Lease) -> None:
        keys = by_key(select(Key, id={request.key_id for request in self.requests.values()}))
        signers = private_keys_for(list(keys.values()))
        by_backend: dict[str, list[CertificateRequest]] = {}
        for request in self.requests.values():
            assert request.key_id is not None  # the state key_ready says so
            request.key = keys[request.key_id]
            by_backend.setdefault(request.key.backend, []).append(request)
        signed: dict[int, SignedCSR | KeyBackendError | PortalError] = {}
        for backend, wanted in by_backend.items():
            for first in range(0, len(wanted), LEASE_EVERY):
                lease.renew()
                part = wanted[first : first + LEASE_EVERY]
                results = side_by_side(backend, part, lambda request: _sign_one(request, signers))
                signed.update(zip([request.pk for request in part], results, strict=True))
        self.signed = signed

    def each(self) -> list[SignCSRs]:
        return [
            replace(self, attempts={pk: self.attempts[pk]}, requests={pk: self.requests[pk]}, signed={pk: self.signed[pk]})
            for pk in self.requests
        ]

    def record(self, work: UnitOfWork) -> Recorded:
        """Move requests from key_ready to csr_created, rejected or failed. Effects: CSRs, states, attempts, `csr:created`."""
        # 1. Under the locks: which results count. The attempts that are ours end here.
        claimed = lock_claimed(self.attempts.values(), S.KEY_READY)
        now = claimed.now
        close_attempts(work, self.attempts.values(), {pk: _outcome(result) for pk, result in self.signed.items()}, claimed)
        # 2. A CSR that comes too late is kept; it is only a signature over the claim's own key.
        late = [
            UnclaimedResult(request=attempt.request, attempt=attempt, kind="csr", payload=csr.der, brought_at=now)
            for pk, attempt in self.attempts.items()
            if pk not in claimed.mine and isinstance(csr := self.signed[pk], SignedCSR)
        ]
        keep_unclaimed(work, late, now=now)
        # 3. The CSRs of the others, whose requests go on.
        mine = {pk: result for pk, result in self.signed.items() if pk in claimed.mine}
        good = {pk: result for pk, result in mine.items() if isinstance(result, SignedCSR)}
        ready = [self.requests[pk] for pk in good]
        work.insert(
            [
                RequestCSR(request=r, der=good[r.pk].der, spki_der=good[r.pk].spki_der, spki_sha256=r.spki_sha256, created_at=now)
                for r in ready
            ]
        )
        moves = [Move(r, (S.CSR_CREATED,), ((EventType.CSR_CREATED, {"brought": False, "spki_sha256": r.spki_sha256}),)) for r in ready]
        transition_many(work, moves, source=S.KEY_READY, actor=WORKER, now=now)
        # 4. What cannot be signed now waits. A key that was blocked in the meantime is refused; all
        #    else is a fault after which the request can be resumed.
        unavailable = {pk: error.for_people for pk, error in mine.items() if isinstance(error, KeyBackendError) and error.retryable}
        note_reasons(work, [(self.requests[pk], key_reason(message)) for pk, message in unavailable.items()])
        failed = {pk: str(error) for pk, error in mine.items() if pk not in good and pk not in unavailable}
        blocked = blocked_keys({self.requests[pk].spki_sha256 for pk in failed}) if failed else set()
        refused = [self.requests[pk] for pk in failed if self.requests[pk].spki_sha256 in blocked]
        reject_many(work, [(r, "key_compromised", KEY_BLOCKED, ASK_AGAIN) for r in refused], source=S.KEY_READY, now=now)
        failures = [(r, "csr", failed[r.pk]) for r in map(self.requests.__getitem__, failed) if r.spki_sha256 not in blocked]
        fail_many(work, failures, source=S.KEY_READY, now=now)
        return Recorded(now, ready=ready, keys_unavailable=unavailable)


def _sign_one(request: CertificateRequest, signers: Mapping[UUID, Any]) -> SignedCSR | PortalError:
    """Return the signed CSR, or the error for a key or CSR that is not the right one. Raises KeyBackendError."""
    assert request.key_id is not None
    private_key = signers[request.key_id]
    if isinstance(private_key, KeyBackendError):
        raise private_key
    # The backend's public key against the recorded one: a key that was replaced in the backend must not get a certificate.
    public = spki_der(private_key.public_key())
    if spki_sha256(public) != request.spki_sha256:
        return PortalError(
            f"The key behind {request.key} is not the one recorded for {request.public_id}; nothing was signed.",
            next_step="Find out who replaced the key in the backend before anything else.",
        )
    try:
        der = build_csr(
            private_key,
            common_name=request.common_name,
            dns_names=tuple(request.dns_names),
            ip_addresses=tuple(request.ip_addresses),
        )
    except PortalError as exc:
        return exc
    return SignedCSR(der, public)


def _outcome(result: SignedCSR | KeyBackendError | PortalError) -> tuple[str, str]:
    if isinstance(result, SignedCSR):
        return ("done", "")
    retryable = isinstance(result, KeyBackendError) and result.retryable
    return ("unavailable" if retryable else "refused", str(result))
