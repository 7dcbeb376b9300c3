"""Approvals confirmed with the approver's passkey or one-time code, and verified again before anything is signed.

A passkey signs a challenge that is made of the digest of the request and a nonce (WebAuthn Level 3,
13.4.3), so its signature is over what the approver was shown. See docs/decisions/0041.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any

from allauth.mfa.models import Authenticator
from cryptography.exceptions import InvalidSignature
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AuthenticationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)

from audit.log import Value
from certs.access.sign_in.second_factors import use_up
from certs.errors import InputRefused, NotPermitted
from certs.models import (
    Approval,
    ApprovalChallenge,
    ApprovalEvidence,
    ApprovalOfLines,
    BulkOrder,
    CertificateRequest,
)
from certs.requests.approvals.deciders import check_may_decide, check_may_decide_all
from db.clock import database_now

CHALLENGE_LIVES = timedelta(minutes=5)
_PURPOSE = b"pki portal: approval of a request, 1"
_PURPOSE_OF_LINES = b"pki portal: approval of lines, 1"
_NONCE_BYTES = 32
Factor = ApprovalEvidence.Factor


class NotConfirmed(InputRefused):
    """The passkey or the code was not accepted: a wrong try, which counts against the limits on guessing."""


@dataclass(frozen=True, slots=True)
class PasskeyProof:
    """What the browser returned for a challenge; `host`: the name under which the portal was called."""

    response: Mapping[str, Any]
    host: str


@dataclass(frozen=True, slots=True)
class CodeProof:
    """A code of the approver's authenticator app."""

    code: str


Proof = PasskeyProof | CodeProof


def challenge_of(digest: str, nonce: bytes) -> bytes:
    """Return what a passkey signs: a hash over the digest of the request and the nonce."""
    return hashlib.sha256(_PURPOSE + b"\0" + digest.encode("ascii") + b"\0" + nonce).digest()


def digest_of_lines(digests: Collection[str]) -> str:
    """Return one digest over the digests of several requests, in whatever order they come.

    What it is a hash of begins with a purpose of its own, so it is never the digest of a request.
    """
    listed = "\n".join(sorted(digests)).encode("ascii")
    return hashlib.sha256(_PURPOSE_OF_LINES + b"\0" + listed).hexdigest()


def begin(request: CertificateRequest, *, user: Any, digest: str, host: str) -> dict[str, Any]:
    """Return the options with which the browser asks for a passkey of the account (WebAuthn Level 3, 5.5).

    Effects: the nonce, in place of the account's last one for the request. Raises NotPermitted for
    who may not decide the request, and for an account without a passkey.
    """
    check_may_decide(user, request)
    passkeys = _passkeys_to_ask(user)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    ApprovalChallenge.objects.update_or_create(
        request=request,
        user=user,
        defaults={"digest": digest[:64], "nonce": nonce, "expires_at": database_now() + CHALLENGE_LIVES},
    )
    return _options(passkeys, challenge_of(digest, nonce), host)


def begin_lines(order: BulkOrder, requests: Sequence[CertificateRequest], *, user: Any, host: str) -> dict[str, Any]:
    """Return the options with which the browser asks for a passkey, over one digest of all these lines.

    Effects: the lines with a nonce, in place of the account's last ones of the order. Raises
    NotPermitted for who may not decide one of them, and for an account without a passkey.
    """
    check_may_decide_all(user, requests)
    passkeys = _passkeys_to_ask(user)
    nonce, digests = secrets.token_bytes(_NONCE_BYTES), sorted(one.digest for one in requests)
    digest = digest_of_lines(digests)
    ApprovalOfLines.objects.update_or_create(
        order=order,
        approver=user,
        expires_at__isnull=False,
        defaults={
            "digests": digests,
            "digest": digest,
            "nonce": nonce,
            "expires_at": database_now() + CHALLENGE_LIVES,
        },
    )
    return _options(passkeys, challenge_of(digest, nonce), host)


def _passkeys_to_ask(user: Any) -> list[Authenticator]:
    passkeys = _passkeys([user.pk])
    if not passkeys:
        raise NotPermitted("Your account has no passkey.", next_step="Add one under Account, or confirm with a one-time code.")
    return passkeys


def _options(passkeys: Sequence[Authenticator], challenge: bytes, host: str) -> dict[str, Any]:
    options, _ = _server(host).authenticate_begin(
        [_credential(one).credential_data for one in passkeys],
        UserVerificationRequirement.PREFERRED,
        challenge=challenge,
    )
    return dict(options)


def check_code(user: Any, proof: CodeProof) -> Authenticator:
    """Check a code of the account's authenticator app and use it up. Raises NotConfirmed.

    Runs before the transaction of the decision: a code that was tried is used, whatever follows.
    A recovery code confirms nothing: it stands in for a factor that is lost.
    """
    row = Authenticator.objects.filter(user=user.pk, type=Authenticator.Type.TOTP).first()
    digits = proof.code.strip()
    if row is None or len(digits) > 16 or not row.wrap().validate_code(digits) or not use_up(user, digits):
        raise NotConfirmed("This code is wrong, or it was used already.", field="code", next_step="Wait for the next code of your app.")
    return row


def evidence_of_code(row: Authenticator, *, now: datetime) -> ApprovalEvidence:
    """Return the evidence of a code that was checked: the fact, the factor and the time."""
    return ApprovalEvidence(factor=Factor.CODE, authenticator_id=row.pk, confirmed_at=now)


def check_passkey(request: CertificateRequest, proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Verify the signature over the challenge that waits, and return the evidence.

    Effects, in the caller's transaction: the challenge is gone, so that it serves once. Raises
    NotConfirmed for everything that is not a signature of the account's passkey over it.
    """
    waiting = ApprovalChallenge.objects.select_for_update().filter(request=request, user=user).first()
    if waiting is None or waiting.expires_at <= now or waiting.digest != request.digest:
        raise _too_old()
    waiting.delete()
    return _verified(request.digest, bytes(waiting.nonce), proof, user=user, now=now)


def check_passkey_for_lines(order: BulkOrder, digests: Sequence[str], proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Verify the signature over all lines, and return the evidence that holds for each of them.

    Effects, in the caller's transaction: the lines are kept permanently, and their challenge serves
    once. Raises NotConfirmed as `check_passkey`.
    """
    waiting = ApprovalOfLines.objects.select_for_update(of=("self",)).filter(order=order, approver=user, expires_at__gt=now).first()
    if waiting is None or waiting.digests != sorted(digests):
        raise _too_old()
    evidence = _verified(waiting.digest, bytes(waiting.nonce), proof, user=user, now=now)
    waiting.expires_at = None
    waiting.save(update_fields=["expires_at"])
    evidence.lines = waiting
    return evidence


def keep_lines(order: BulkOrder, digests: Sequence[str], *, user: Any) -> ApprovalOfLines:
    """Keep which lines a code confirmed together. Needs the transaction of the decision."""
    return ApprovalOfLines.objects.create(order=order, approver=user, digests=sorted(digests), digest=digest_of_lines(digests))


def _too_old() -> NotConfirmed:
    return NotConfirmed("The question to your passkey is too old.", field="passkey", next_step="Use the passkey once more.")


def _verified(digest: str, nonce: bytes, proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Return the evidence of a signature of the account's passkey over the digest and the nonce. Raises NotConfirmed."""
    by_id = {_credential(one).credential_data.credential_id: one for one in _passkeys([user.pk])}
    state = {
        "challenge": websafe_encode(challenge_of(digest, nonce)),
        "user_verification": UserVerificationRequirement.PREFERRED,
    }

    def complete() -> AuthenticationResponse:
        _server(proof.host).authenticate_complete(state, [_credential(one).credential_data for one in by_id.values()], proof.response)
        return AuthenticationResponse.from_dict(proof.response)

    found = _checked(complete)
    return ApprovalEvidence(
        factor=Factor.PASSKEY,
        authenticator_id=by_id[found.raw_id].pk,
        confirmed_at=now,
        nonce=nonce,
        credential_id=found.raw_id,
        authenticator_data=bytes(found.response.authenticator_data),
        client_data=bytes(found.response.client_data),
        signature=found.response.signature,
    )


def confirmed_approvals(approvals: Sequence[Approval]) -> set[int]:
    """Return ids of the approvals whose evidence holds now: the one check, before every use of an approval.

    A confirmation counts while its factor belongs to the approver. Two queries, however many there
    are, and one more where lines were approved together.
    """
    if not approvals:
        return set()
    by_id = {row.pk: row for row in approvals}
    evidence = list(ApprovalEvidence.objects.filter(approval__in=by_id))
    together = {one.lines_id for one in evidence if one.lines_id is not None}
    # Loaded once each: many approvals share one list.
    lines = ApprovalOfLines.objects.in_bulk(together) if together else {}
    rows = Authenticator.objects.filter(user__in={row.approver_id for row in approvals}, type__in=_FACTORS.values())
    factors = {row.pk: row for row in rows}
    return {
        one.approval_id
        for one in evidence
        if _holds(
            one,
            by_id[one.approval_id],
            factors.get(one.authenticator_id),
            lines.get(one.lines_id or 0),
        )
    }


def evidence_data(evidence: ApprovalEvidence) -> dict[str, Value]:
    """Return what the audit event of the decision holds about it; the hash ties the stored octets to the sealed log."""
    content = b"".join(
        hashlib.sha256(bytes(part)).digest()
        for part in (
            evidence.nonce,
            evidence.credential_id,
            evidence.authenticator_data,
            evidence.client_data,
            evidence.signature,
        )
    )
    return {
        "confirmed_by": str(evidence.factor),
        "authenticator_id": evidence.authenticator_id,
        "evidence_sha256": hashlib.sha256(content).hexdigest(),
    }


def copy_of(evidence: ApprovalEvidence, approval: Approval) -> ApprovalEvidence:
    """Return the same evidence for another approval: an inherited one, or one of a line approved together with it."""
    names = ("factor", "authenticator_id", "confirmed_at", "nonce", "credential_id", "authenticator_data", "client_data", "signature")
    values = {name: getattr(evidence, name) for name in (*names, "lines_id")}
    return ApprovalEvidence(approval=approval, **values)


def forget_challenges(now: datetime) -> int:
    """Delete challenges that nobody used. Returns how many."""
    of_lines = ApprovalOfLines.objects.filter(expires_at__lte=now).delete()[0]
    return ApprovalChallenge.objects.filter(expires_at__lte=now).delete()[0] + of_lines


_FACTORS = {Factor.PASSKEY.value: Authenticator.Type.WEBAUTHN, Factor.CODE.value: Authenticator.Type.TOTP}


def _holds(
    evidence: ApprovalEvidence,
    approval: Approval,
    factor: Authenticator | None,
    lines: ApprovalOfLines | None,
) -> bool:
    digest = approval.digest
    if lines is not None:
        # The signature is over one digest of all lines: this approval's must be among them.
        if lines.approver_id != approval.approver_id or digest not in lines.digests:
            return False
        digest = digest_of_lines(lines.digests)
    if factor is None or factor.user_id != approval.approver_id or factor.type != _FACTORS[evidence.factor]:
        return False
    if evidence.factor == Factor.CODE:
        return True
    registered = _credential(factor)
    try:
        client, data = CollectedClientData(bytes(evidence.client_data)), AuthenticatorData(bytes(evidence.authenticator_data))
        registered.credential_data.public_key.verify(bytes(data) + client.hash, bytes(evidence.signature))
    except (ValueError, KeyError, InvalidSignature):
        return False
    return (
        registered.credential_data.credential_id == bytes(evidence.credential_id)
        and client.type == CollectedClientData.TYPE.GET
        and compare_digest(client.challenge, challenge_of(digest, bytes(evidence.nonce)))
        and compare_digest(data.rp_id_hash, registered.rp_id_hash)
        and data.is_user_present()
    )


def _passkeys(users: Collection[int]) -> list[Authenticator]:
    return list(Authenticator.objects.filter(user__in=users, type=Authenticator.Type.WEBAUTHN))


def _credential(row: Authenticator) -> Any:
    """Return the authenticator data with which a passkey was registered; it holds the credential and its public key."""
    return row.wrap().authenticator_data


def _server(host: str) -> Fido2Server:
    """Return the verifier for the portal's name; the origin must be it, under HTTPS (or localhost)."""
    return Fido2Server(PublicKeyCredentialRpEntity(id=host, name="PKI Portal"))


def _checked(check: Callable[[], AuthenticationResponse]) -> AuthenticationResponse:
    """Return what the library returns; NotConfirmed for everything that it cannot read or does not accept."""
    try:
        return check()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as exc:
        raise NotConfirmed(
            "This passkey was not accepted.", field="passkey", next_step="Try again, or confirm with a one-time code."
        ) from exc
