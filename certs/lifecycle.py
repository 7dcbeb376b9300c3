"""Request sentences about an existing certificate: find it, and describe what its renewal or revocation would do."""

from __future__ import annotations

from typing import Any

from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.inventory import find_by_serial, find_certificate
from certs.models import Certificate
from certs.renewal.plan import KeyOption
from certs.renewal.renew import describe_plan, living_renewals, plan_renewal
from certs.revocation.revoke import on_same_key
from certs.spec import RenewPlan, RevokePlan
from db.clock import database_now


def certificate_of(plan: RenewPlan | RevokePlan, *, authority: Authority) -> tuple[Certificate, tuple[str, ...]]:
    """Return the certificate that a sentence names, and the notes on how the name was understood.

    Raises NotFound for what the actor may not see, Conflict for a serial number or a name of several certificates.
    """
    if plan.serial_number is not None:
        certificate, note = find_by_serial(authority.visible(), plan.serial_number)
    else:
        certificate, note = find_certificate(authority.visible(), plan.cert_id or plan.name)
    return certificate, ((note,) if note else ()) + plan.notes


def key_option_of(plan: RenewPlan) -> KeyOption:
    return KeyOption.NEW if plan.new_key else KeyOption.KEEP if plan.keep_key else KeyOption.DEFAULT


def describe_words(plan: RenewPlan | RevokePlan, *, authority: Authority) -> dict[str, Any]:
    """Return as JSON what the plan would do. Nothing is changed. Raises NotFound, NotPermitted, Conflict."""
    certificate, notes = certificate_of(plan, authority=authority)
    authority.check_may_act(certificate)
    if isinstance(plan, RenewPlan):
        result = describe_plan(plan_renewal(certificate, authority=authority, key_option=key_option_of(plan)))
        existing = living_renewals([certificate.pk]).get(certificate.pk)
        return result | {"notes": [*notes, *result["notes"]], "already": existing.public_id if existing else None}
    compromised = plan.reason is RevocationReason.KEY_COMPROMISE
    also = on_same_key(certificate, authority=authority, now=database_now()) if compromised else []
    return {
        "action": "revoke",
        "cert_id": certificate.cert_id,
        "common_name": certificate.common_name,
        "status": certificate.status,
        "reason": str(plan.reason),
        "destroy_key": plan.destroy_key,
        "also_on_same_key": [one.cert_id for one in also],
        "notes": list(notes),
    }
