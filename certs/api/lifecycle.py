"""A certificate's later life over REST: renewed, revoked, released."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Router, Status

from certs.access.permissions import Authority
from certs.api.answers import RequestStatus, Revoked
from certs.api.http.auth import authority_of, require_scope
from certs.api.http.responses import REFUSALS
from certs.api.schemas import (
    KeyChallenge,
    Released,
    Renew,
    RenewalPlanned,
    Replace,
    ReplacementPlanned,
    Revoke,
    RevokeByID,
    RevokeBySerial,
    Serial,
)
from certs.errors import InputRefused
from certs.inventory import find_by_serial
from certs.models import Certificate, PlannedRevocation
from certs.renewal.plan import KeyOption
from certs.renewal.planned_revocation import replace_then_revoke
from certs.renewal.renew import describe_plan, plan_renewal, renew, renewal_result
from certs.revocation.key_proof import HOW, challenge_for, check_proof
from certs.revocation.request import request_release
from certs.revocation.revoke import revocation_result, revoke
from certs.x509.certificate.serial import serial_readings

router = Router()


@router.post("/revoke", response={200: Revoked, **REFUSALS}, exclude_unset=True, operation_id="revoke_by_serial")
def revoke_by_serial(request: HttpRequest, order: RevokeBySerial) -> Any:
    """Revoke a certificate of the token's team by its serial number. The CA is asked at once, and again until it has confirmed."""
    authority = _authority(request, "certificates:revoke")
    certificate, note = find_by_serial(authority.visible(), *serial_readings(order.serial_number))
    return Status(200, _revoked(certificate, order, authority) | ({"notes": [note]} if note else {}))


@router.post("/release", response={200: Released, **REFUSALS}, operation_id="release_by_serial")
def release_by_serial(request: HttpRequest, order: Serial) -> Any:
    """Take a certificateHold back, by serial number. A certificate that is not on hold any more is success."""
    authority = _authority(request, "certificates:revoke")
    certificate, _ = find_by_serial(authority.visible(), *serial_readings(order.serial_number))
    if certificate.status == Certificate.Status.GOOD:
        return Status(200, {"cert_id": certificate.cert_id, "status": certificate.status})
    return Status(200, _released(certificate, authority))


@router.post("/{cert_id}/revoke", response={200: Revoked, **REFUSALS}, exclude_unset=True, operation_id="revoke_certificate")
def revoke_by_id(request: HttpRequest, cert_id: str, order: RevokeByID) -> Any:
    """Revoke a certificate of the token's team."""
    authority = _authority(request, "certificates:revoke")
    certificate = _certificate(authority, cert_id)
    if order.proof is not None:
        check_proof(certificate, challenge=order.proof.challenge, signature=order.proof.signature)
    return Status(200, _revoked(certificate, order, authority, proven=order.proof is not None))


@router.get("/{cert_id}/key-challenge", response={200: KeyChallenge, **REFUSALS}, operation_id="key_challenge")
def key_challenge(request: HttpRequest, cert_id: str) -> Any:
    """What to sign with the certificate's private key, to prove that it is in the wrong hands: yours are enough."""
    authority = _authority(request, "certificates:revoke")
    return Status(200, {"challenge": challenge_for(_certificate(authority, cert_id)), "how": HOW})


@router.post("/{cert_id}/release", response={200: Released, **REFUSALS}, operation_id="release_certificate")
def release_by_id(request: HttpRequest, cert_id: str) -> Any:
    """Take a certificateHold back; no other reason has a way back. It is good once its CA has confirmed that."""
    authority = _authority(request, "certificates:revoke")
    return Status(200, _released(_certificate(authority, cert_id), authority))


@router.post(
    "/{cert_id}/renew", response={200: RenewalPlanned, 202: RequestStatus, **REFUSALS}, exclude_unset=True, operation_id="renew_certificate"
)
def renew_by_id(request: HttpRequest, cert_id: str, order: Renew) -> Any:
    """Renew under the policy of today. A second call answers the first one's request; watch it at /api/v1/requests/."""
    authority = _authority(request, "certificates:issue")
    certificate = _certificate(authority, cert_id)
    if order.new_key and order.keep_key:
        raise InputRefused("The key is either kept or new.", field="keep_key", next_step="Send one of new_key and keep_key.")
    key_option = KeyOption.NEW if order.new_key else KeyOption.KEEP if order.keep_key else KeyOption.DEFAULT
    if order.plan_only:
        return Status(200, describe_plan(plan_renewal(certificate, authority=authority, key_option=key_option)))
    return Status(202, renewal_result(renew(certificate, authority=authority, channel="api", key_option=key_option)))


@router.post(
    "/{cert_id}/replace",
    response={202: ReplacementPlanned, **REFUSALS},
    operation_id="replace_certificate",
)
def replace_by_id(request: HttpRequest, cert_id: str, order: Replace) -> Any:
    """Request a replacement with a new key, and revoke this certificate afterwards as keyCompromise.

    For a key that may be in other hands while its service must go on. Needs both scopes. A second
    call answers the first one's plan. The certificate's page takes a plan back.
    """
    _authority(request, "certificates:issue")
    authority = _authority(request, "certificates:revoke")
    certificate = _certificate(authority, cert_id)
    if order.proof is not None:
        check_proof(certificate, challenge=order.proof.challenge, signature=order.proof.signature)
    plan = replace_then_revoke(
        certificate,
        authority=authority,
        channel="api",
        hours=order.hours,
        when_issued=order.when_issued,
        csr=order.csr.encode(),
        comment=order.comment,
        invalidity_date=order.revocation_date,
        spared=order.spared,
        proven=order.proof is not None,
    )
    return Status(202, _planned(plan))


def _planned(plan: PlannedRevocation) -> dict[str, Any]:
    return {
        "cert_id": plan.certificate.cert_id,
        "replacement": plan.replacement.public_id,
        "reason": plan.reason,
        "when_issued": plan.when_issued,
        "deadline": plan.deadline,
    }


def _authority(request: Any, scope: str) -> Authority:
    require_scope(request.auth, scope)
    return authority_of(request)


def _certificate(authority: Authority, cert_id: str) -> Certificate:
    certificate = authority.visible().filter(cert_id=cert_id).first()
    if certificate is None:
        raise Http404
    return certificate


def _revoked(certificate: Certificate, order: Revoke, authority: Authority, *, proven: bool = False) -> dict[str, Any]:
    done = revoke(
        certificate,
        reason=order.reason,
        authority=authority,
        comment=order.comment,
        invalidity_date=order.revocation_date,
        only=None if order.all_on_key else (),
        destroy_key=order.destroy_key,
        proven=proven,
    )
    return revocation_result(done)


def _released(certificate: Certificate, authority: Authority) -> dict[str, Any]:
    request_release(certificate, authority=authority)
    certificate.refresh_from_db()
    return {"cert_id": certificate.cert_id, "status": certificate.status}
