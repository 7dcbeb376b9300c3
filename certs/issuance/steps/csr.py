"""Step 3: a CSR for each key, signed where the key is, parsed again and compared before it counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.events import EventType
from audit.log import together
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.fault_points import pause
from certs.issuance.attempts import Lease, as_things_stand, close_attempts, keep_unclaimed, open_attempts
from certs.issuance.steps.key import KeysUnavailable, key_reason
from certs.models import Attempt, CertificateRequest, RequestCSR, UnclaimedResult
from certs.models.rows import insert_models, new
from certs.requests.outcomes import ASK_AGAIN, KEY_BLOCKED, fail_many, reject_many, worn_out
from certs.requests.states import WORKER, Move, lock_ready, note_reasons, transition_many
from certs.x509.csr.build import build_csr
from db.clock import database_now
from keys.errors import KeyBackendError
from keys.lifecycle import blocked_keys, private_keys_for, side_by_side
from keys.models import Key
from keys.spec import spki_der, spki_sha256

STEP = "csr"
LEASE_EVERY = 100  # CSRs signed between two renewals of the lease; a slow HSM signs some 40 RSA-4096 a second


@dataclass(frozen=True, slots=True)
class SignedCSR:
    der: bytes
    spki_der: bytes


@dataclass(frozen=True, slots=True)
class CSRWork:
    """What beat 1 hands to beat 2: attempts and requests, by request id."""

    attempts: Mapping[int, Attempt]
    requests: Mapping[int, CertificateRequest]


Signed = Mapping[int, SignedCSR | KeyBackendError | PortalError]


def create_csrs(ids: Sequence[int]) -> Sequence[int]:
    """key_ready -> csr_created. Raises KeysUnavailable for those whose key cannot be used now."""
    if not ids:  # the first task of a bulk chunk has finished them
        return ids
    work = _note_intent(ids)
    if not work.attempts:
        return ids
    signed = sign(work)
    with transaction.atomic(), together():
        unavailable = record_csrs(work, signed)
    pause(STEP, "csr recorded")
    if unavailable:
        raise KeysUnavailable(list(unavailable), next(iter(unavailable.values())))
    return ids


@transaction.atomic
def _note_intent(ids: Sequence[int]) -> CSRWork:
    now = database_now()
    requests = lock_ready(ids, S.KEY_READY)
    with together():
        return begin_csrs(requests, now=now)


def begin_csrs(requests: Sequence[CertificateRequest], *, now: datetime, fresh: bool = False) -> CSRWork:
    """Beat 1. The requests are key_ready and locked. `fresh`: they became so in the open transaction."""
    if not requests:
        return CSRWork({}, {})
    claims = open_attempts(requests, STEP, now=now, fresh=fresh)
    worn_out(claims.worn_out, source=S.KEY_READY, now=now)
    return CSRWork(claims.mine, {request.pk: request for request in requests if request.pk in claims.mine})


def sign(work: CSRWork) -> Signed:
    """Beat 2: no transaction is open while the backend signs."""
    pause(STEP, "intent noted")
    keys = Key.objects.in_bulk([request.key_id for request in work.requests.values()])
    signers = private_keys_for(list(keys.values()))
    lease = Lease(work.attempts.values())
    results: dict[int, SignedCSR | KeyBackendError | PortalError] = {}
    for backend, wanted in _by_backend(work.requests.values(), keys).items():
        for first in range(0, len(wanted), LEASE_EVERY):
            lease.renew()
            part = wanted[first : first + LEASE_EVERY]
            signed = side_by_side(backend, part, lambda request: _sign_one(request, signers))
            results.update(zip([request.pk for request in part], signed, strict=True))
    pause(STEP, "csr signed")
    return results


def _by_backend(requests: Iterable[CertificateRequest], keys: Mapping[UUID, Key]) -> dict[str, list[CertificateRequest]]:
    found: dict[str, list[CertificateRequest]] = {}
    for request in requests:
        assert request.key_id is not None  # the state key_ready says so
        request.key = keys[request.key_id]
        found.setdefault(request.key.backend, []).append(request)
    return found


def _sign_one(request: CertificateRequest, signers: Mapping[UUID, Any]) -> SignedCSR | PortalError:
    """Raises KeyBackendError; a key or CSR that is not the one wanted is answered, not raised."""
    assert request.key_id is not None
    private_key = signers[request.key_id]
    if isinstance(private_key, KeyBackendError):
        raise private_key
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


def record_csrs(work: CSRWork, signed: Signed) -> dict[int, str]:
    """Beat 3: keep the CSRs of the requests whose claim held; answers what to try again. Needs an open transaction."""
    attempts, requests = work.attempts, work.requests
    standing = as_things_stand(attempts.values(), S.KEY_READY)
    now = standing.now
    close_attempts(attempts.values(), {pk: _outcome(result) for pk, result in signed.items()}, standing)
    unavailable: dict[int, str] = {}
    moves, rows, failures = [], [], []
    late: list[UnclaimedResult] = []
    mine = standing.mine
    for pk, result in signed.items():
        if pk not in mine:
            if isinstance(result, SignedCSR):
                late.append(
                    UnclaimedResult(request=attempts[pk].request, attempt=attempts[pk], kind="csr", payload=result.der, brought_at=now)
                )
            continue
        request = requests[pk]
        if isinstance(result, SignedCSR):
            rows.append(
                new(RequestCSR, request=request, der=result.der, spki_der=result.spki_der, spki_sha256=request.spki_sha256, created_at=now)
            )
            moves.append(
                Move(request, (S.CSR_CREATED,), ((EventType.CSR_CREATED, {"brought": False, "spki_sha256": request.spki_sha256}),))
            )
        elif isinstance(result, KeyBackendError) and result.retryable:
            unavailable[pk] = result.told
        else:
            failures.append((request, "csr", str(result)))
    keep_unclaimed(late, actor=WORKER, now=now)
    insert_models(rows)
    transition_many(moves, source=S.KEY_READY, actor=WORKER, now=now, seen=True)
    _end(failures, now=now)
    note_reasons([requests[pk] for pk in unavailable], {pk: key_reason(message) for pk, message in unavailable.items()})
    return unavailable


def _end(failures: Sequence[tuple[CertificateRequest, str, str]], *, now: datetime) -> None:
    """A key that was blocked while its CSR was to be signed is the policy's no; all else is a fault that can be resumed."""
    blocked = blocked_keys({request.spki_sha256 for request, _, _ in failures}) if failures else set()
    lost = [(request, "key_compromised", KEY_BLOCKED, ASK_AGAIN) for request, _, _ in failures if request.spki_sha256 in blocked]
    reject_many(lost, source=S.KEY_READY, now=now)
    fail_many([failure for failure in failures if failure[0].spki_sha256 not in blocked], source=S.KEY_READY, now=now)


def _outcome(result: SignedCSR | KeyBackendError | PortalError) -> tuple[str, str]:
    if isinstance(result, SignedCSR):
        return ("done", "")
    retryable = isinstance(result, KeyBackendError) and result.retryable
    return ("unavailable" if retryable else "refused", str(result))
