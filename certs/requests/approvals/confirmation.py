"""Approvals confirmed with the approver's passkey or one-time code, and verified again before anything is signed.

A passkey signs a challenge that is made of the digest of the request and a nonce (WebAuthn Level 3,
13.4.3), so its signature is over what the approver was shown. See docs/decisions/0041.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
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
from certs.errors import Conflict, InputRefused, NotPermitted
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
    """The passkey or the code was not accepted. Each one counts against the limits on guessing."""


@dataclass(frozen=True, slots=True)
class PasskeyProof:
    """The browser's reply to a challenge (PublicKeyCredential in JSON), and the host name of the page: the RP ID."""

    response: Mapping[str, Any]
    host: str


@dataclass(frozen=True, slots=True)
class CodeProof:
    """A one-time code of the approver's authenticator app (TOTP, RFC 6238)."""

    code: str


Proof = PasskeyProof | CodeProof


def challenge_of(digest: str, nonce: bytes) -> bytes:
    """Return the challenge that a passkey signs: SHA-256 over the digest of the request and the nonce."""
    return hashlib.sha256(_PURPOSE + b"\0" + digest.encode("ascii") + b"\0" + nonce).digest()


def digest_of_lines(digests: Collection[str]) -> str:
    """Return one digest over the digests of several requests. Their order does not matter.

    The hashed text begins with a prefix that no other hash of the portal has, so the result can
    never be mistaken for the digest of one request.
    """
    listed = "\n".join(sorted(digests)).encode("ascii")
    return hashlib.sha256(_PURPOSE_OF_LINES + b"\0" + listed).hexdigest()


def begin(request: CertificateRequest, *, user: Any, digest: str, host: str) -> dict[str, Any]:
    """Return the options with which the browser asks for a passkey of the account (WebAuthn Level 3, 5.5).

    Effects: a row with the nonce; it replaces the account's earlier one for the request. Raises
    NotPermitted for an account that may not decide the request or has no passkey; Conflict where the
    request is not what was shown, so that nobody signs for another content.
    """
    check_may_decide(user, request)
    passkeys = _passkeys_to_ask(user)
    if digest != request.digest:
        raise Conflict("What you were shown is not this request's content.", next_step="Open the page again, and decide on what it shows.")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    ApprovalChallenge.objects.update_or_create(
        request=request,
        user=user,
        defaults={"digest": digest, "nonce": nonce, "expires_at": database_now() + CHALLENGE_LIVES},
    )
    return _options(passkeys, challenge_of(digest, nonce), host)


def begin_lines(order: BulkOrder, requests: Sequence[CertificateRequest], *, user: Any, host: str) -> dict[str, Any]:
    """Return the options with which the browser asks for one signature over all these lines of a bulk order.

    Effects: a row with the digests of the lines and the nonce; it replaces the account's earlier one
    for the order. Raises NotPermitted for an account that may not decide one of the lines or has no
    passkey.
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
    passkeys = _passkeys(user)
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
    """Check a one-time code of the account and mark it as used. Returns the authenticator. Raises NotConfirmed.

    Call it before the transaction of the decision: a code stays used even if the decision is rolled
    back. Recovery codes are refused: they replace a lost factor at sign-in and prove no possession.
    """
    row = Authenticator.objects.filter(user=user.pk, type=Authenticator.Type.TOTP).first()
    digits = proof.code.strip()
    if row is None or len(digits) > 16 or not row.wrap().validate_code(digits) or not use_up(user, digits):
        raise NotConfirmed("This code is wrong, or it was used already.", field="code", next_step="Wait for the next code of your app.")
    return row


def evidence_of_code(row: Authenticator, *, now: datetime) -> ApprovalEvidence:
    """Return the evidence of a code that `check_code` accepted. A code leaves no signature: stored are the factor and the time."""
    return ApprovalEvidence(factor=Factor.CODE, authenticator_id=row.pk, confirmed_at=now)


def check_passkey(request: CertificateRequest, proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Verify the passkey's signature over the stored challenge, and return the evidence.

    Effects, in the caller's transaction: the challenge is deleted, so that it can be used once.
    Raises NotConfirmed for anything but a signature of the account's passkey over that challenge.
    """
    waiting = ApprovalChallenge.objects.select_for_update().filter(request=request, user=user).first()
    if waiting is None or waiting.expires_at <= now or waiting.digest != request.digest:
        raise _too_old()
    waiting.delete()
    return _verified(request.digest, bytes(waiting.nonce), proof, user=user, now=now)


def check_passkey_for_lines(order: BulkOrder, digests: Sequence[str], proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Verify the passkey's signature over all lines, and return the evidence, which is valid for each of them.

    Effects, in the caller's transaction: the row with the digests of the lines is kept permanently,
    and its challenge cannot be used again. Raises NotConfirmed as `check_passkey` does.
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
    """Store which lines one code confirmed together. Needs the transaction of the decision."""
    return ApprovalOfLines.objects.create(order=order, approver=user, digests=sorted(digests), digest=digest_of_lines(digests))


def _too_old() -> NotConfirmed:
    return NotConfirmed("The question to your passkey is too old.", field="passkey", next_step="Use the passkey once more.")


def _verified(digest: str, nonce: bytes, proof: PasskeyProof, *, user: Any, now: datetime) -> ApprovalEvidence:
    """Return the evidence of a signature of the account's passkey over the digest and the nonce. Raises NotConfirmed."""
    by_id = {_credential(one).credential_data.credential_id: one for one in _passkeys(user)}
    state = {
        "challenge": websafe_encode(challenge_of(digest, nonce)),
        "user_verification": UserVerificationRequirement.PREFERRED,
    }
    try:
        _server(proof.host).authenticate_complete(state, [_credential(one).credential_data for one in by_id.values()], proof.response)
        found = AuthenticationResponse.from_dict(proof.response)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as exc:
        # What the library raises for a reply that it cannot read, or whose signature is wrong.
        raise NotConfirmed(
            "This passkey was not accepted.", field="passkey", next_step="Try again, or confirm with a one-time code."
        ) from exc
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
    """Return ids of the approvals whose confirmation is valid now. Called before every use of an approval.

    A confirmation is valid as long as the approver has the passkey or authenticator app that made
    it. Costs two queries for any number of approvals, and a third where lines were approved together.
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
    """Return the fields of the decision's audit event. The hash binds the stored signature to the sealed log."""
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
    """Return a copy of the evidence for another approval: one that a renewal inherits, or one of another line of the same order."""
    names = ("factor", "authenticator_id", "confirmed_at", "nonce", "credential_id", "authenticator_data", "client_data", "signature")
    values = {name: getattr(evidence, name) for name in (*names, "lines_id")}
    return ApprovalEvidence(approval=approval, **values)


def forget_challenges(now: datetime) -> int:
    """Delete challenges that expired unused. Returns the number of deleted rows."""
    of_lines = ApprovalOfLines.objects.filter(expires_at__lte=now).delete()[0]
    return ApprovalChallenge.objects.filter(expires_at__lte=now).delete()[0] + of_lines


_FACTORS = {Factor.PASSKEY.value: Authenticator.Type.WEBAUTHN, Factor.CODE.value: Authenticator.Type.TOTP}


def _holds(
    evidence: ApprovalEvidence,
    approval: Approval,
    factor: Authenticator | None,
    lines: ApprovalOfLines | None,
) -> bool:
    """Return whether the evidence proves the approval: its factor is the approver's, and a passkey's signature verifies."""
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


def _passkeys(user: Any) -> list[Authenticator]:
    return list(Authenticator.objects.filter(user=user.pk, type=Authenticator.Type.WEBAUTHN))


def _credential(row: Authenticator) -> Any:
    """Return the authenticator data of a passkey's registration, with its credential id and public key (WebAuthn Level 3, 6.1)."""
    return row.wrap().authenticator_data


def _server(host: str) -> Fido2Server:
    """Return the verifier for the RP ID `host`. It accepts HTTPS origins of that host only, and localhost."""
    return Fido2Server(PublicKeyCredentialRpEntity(id=host, name="PKI Portal"))
